"""Concurrent histories are linearizable, key by key, on every engine; a broken engine is caught by the same checker."""

import asyncio
import random
import time
from operator import ge

import pytest

from ops_system.kv import state
from ops_system.kv.base import (
    Compare,
    CompareResult,
    CompareTarget,
    PutRequest,
    RangeRequest,
    Store,
    TxnRequest,
)
from ops_system.kv.embedded import Embedded
from ops_system.model.errors import TimedOut
from tests.integration.kv.linear import FOREVER, Op, is_linearizable

WORKERS, ROUNDS, KEYS = 6, 12, 3
_CLOCK = time.perf_counter


async def act(store: Store, key: bytes, dice: random.Random, value: bytes, seen: bytes | None) -> Op:
    began = _CLOCK()
    kind = dice.choice(["read", "read", "put", "swap", "swap"])
    if kind == "read":
        answer = await store.range(RangeRequest(key))
        return Op("read", began, _CLOCK(), answer.kvs[0].value if answer.kvs else None)
    if kind == "put":
        try:
            await store.put(PutRequest(key, value))
        except TimedOut:
            return Op("put", began, FOREVER, value)
        return Op("put", began, _CLOCK(), value)
    away, there = Compare(key, CompareTarget.CREATE), Compare(key, CompareTarget.VALUE, value=seen or b"")
    guard = away if seen is None else there
    try:
        done = await store.txn(TxnRequest((guard,), (PutRequest(key, value),)))
    except TimedOut:
        return Op("swap", began, FOREVER, value, seen)
    return Op("swap", began, _CLOCK(), value, seen, done.succeeded)


async def make_history(store: Store, seed: int, rounds: int = ROUNDS) -> dict[bytes, list[Op]]:
    """Let some workers act on few keys at once; every value is written once."""
    keys = [b"/os/dc1/%d" % number for number in range(KEYS)]
    history: dict[bytes, list[Op]] = {key: [] for key in keys}

    async def work(number: int) -> None:
        dice = random.Random(seed * 100 + number)
        seen: dict[bytes, bytes | None] = dict.fromkeys(keys)
        for turn in range(rounds):
            key = dice.choice(keys)
            op = await act(store, key, dice, b"%d-%d" % (number, turn), seen[key])
            history[key].append(op)
            if op.kind == "read" or op.succeeded:
                seen[key] = op.value

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(WORKERS):
            group.create_task(work(number))
    return history


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_engine_is_linearizable(store, seed):
    history = await make_history(store, seed)
    assert all(is_linearizable(ops) for ops in history.values()), history
    assert sum(op.kind == "swap" and op.succeeded for ops in history.values() for op in ops) > 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 30))
async def test_every_engine_is_linearizable_often(store, seed):
    history = await make_history(store, seed, 25)
    assert all(is_linearizable(ops) for ops in history.values()), history


async def test_an_engine_with_one_mutated_compare_is_rejected(tmp_path, monkeypatch):
    mutated = {**state._COMPARE, CompareResult.EQUAL: ge}
    monkeypatch.setattr(state, "_COMPARE", mutated)
    engine = await Embedded.open(tmp_path / "store.db")
    histories = [await make_history(engine, seed) for seed in range(3)]
    await engine.close()
    assert not all(is_linearizable(ops) for history in histories for ops in history.values())


async def test_an_engine_that_reads_before_the_write_is_done_is_rejected():
    """A read that began after a put was answered, and yet shows what was before it."""
    assert is_linearizable([Op("put", 0, 2, b"a"), Op("read", 1, 3, None)])
    assert not is_linearizable([Op("put", 0, 1, b"a"), Op("read", 2, 3, None)])
    assert not is_linearizable([Op("put", 0, 9, b"a"), Op("read", 1, 2, b"a"), Op("read", 3, 4, None)])
    assert is_linearizable([Op("put", 0, FOREVER, b"a"), Op("read", 5, 6, None), Op("read", 7, 8, b"a")])
    two_winners = [Op("swap", 0, 3, b"a", None), Op("swap", 1, 4, b"b", None)]
    assert not is_linearizable(two_winners)
