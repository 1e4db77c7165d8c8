"""Change a key by compare-and-swap until it wins or the caller's rule forbids it. For every writer of shared keys."""

import asyncio
import random
from collections.abc import Callable, Sequence

from ops_system.kv.base import (
    Compare,
    CompareTarget,
    KeyValue,
    PutRequest,
    RangeRequest,
    RangeResponse,
    Store,
    TxnRequest,
    TxnResponse,
)
from ops_system.kv.base import DeleteRequest as Delete
from ops_system.model.errors import TimedOut

Write = PutRequest | Delete
Rule = Callable[[KeyValue | None], Sequence[Write]]
"""Sees the key as it stands (None: not there) and returns what to write, nothing to leave all as it is. Raises to
forbid. It may be asked many times and must not act by itself."""

ManyRule = Callable[[tuple[KeyValue | None, ...]], Sequence[Write]]
"""The same for several keys, in the order they were named."""

_CALM_TRIES = 4
_LONGEST_PAUSE_S = 0.02


class Overtaken(Exception):
    """A condition of the caller's own failed while the keys were as the rule saw them."""


async def change(store: Store, key: bytes, rule: Rule, *, may_repeat: bool = False) -> TxnResponse | None:
    """Write what `rule` says, on the condition that `key` is still what the rule saw. None: the rule wrote nothing.

    Never gives up on losing to others. Raises what the rule raises, and TimedOut when an answer got lost: then nobody
    can know whether this write was done. `may_repeat` goes on in that case: give it only for a rule that sees by the
    key itself that its work is done already.
    """
    return await change_all(store, (key,), lambda seen: rule(seen[0]), may_repeat=may_repeat)


async def change_all(
    store: Store,
    keys: tuple[bytes, ...],
    rule: ManyRule,
    *,
    compares: tuple[Compare, ...] = (),
    may_repeat: bool = False,
) -> TxnResponse | None:
    """Do as `change` does, on the condition that every one of `keys` is still what the rule saw, and of `compares`.

    Raises Overtaken when only `compares` failed.
    """
    looks = tuple([RangeRequest(key) for key in keys])
    seen = await _look(store, looks)
    tries = 0
    while True:
        writes = tuple(rule(seen))
        if not writes:
            return None
        guards = tuple([guard(key, kv) for key, kv in zip(keys, seen, strict=True)])
        try:
            done = await store.txn(TxnRequest((*guards, *compares), writes, looks))
        except TimedOut:
            if not may_repeat:
                raise
            seen = await _look(store, looks)
        else:
            if done.succeeded:
                return done
            before, seen = seen, _current(done)
            if compares and before == seen:
                raise Overtaken
        tries += 1
        if tries > _CALM_TRIES:
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - a pause, no secret


def guard(key: bytes, seen: KeyValue | None) -> Compare:
    """Return the condition that a key is unchanged since it was seen; never seen: that it is not there."""
    return Compare(key, CompareTarget.MOD, mod_revision=seen.mod_revision if seen else 0)


async def _look(store: Store, looks: tuple[RangeRequest, ...]) -> tuple[KeyValue | None, ...]:
    if len(looks) == 1:
        answer = await store.range(looks[0])
        return (answer.kvs[0] if answer.kvs else None,)
    return _current(await store.txn(TxnRequest((), looks)))


def _current(done: TxnResponse) -> tuple[KeyValue | None, ...]:
    return tuple([each.kvs[0] if isinstance(each, RangeResponse) and each.kvs else None for each in done.responses])
