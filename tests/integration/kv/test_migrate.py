"""`master provision migrate`: what lives moves to an etcd and back; a state that is another one is never mixed in."""

import asyncio

import pytest

from ops_system.kv.base import EVERYTHING, DeleteRequest, PutRequest, Store, TxnRequest
from ops_system.kv.client import Client
from ops_system.kv.embedded import Embedded
from ops_system.kv.follow import list_all
from ops_system.master import main
from ops_system.model.errors import Conflict, SafetyRefusal, UsageError
from ops_system.storage.lock import acquire
from tests.fakes.etcd import NEEDS_ETCD, Member

KEYS = 1_200


async def state_of(store: Store) -> dict[bytes, tuple[bytes, int]]:
    return {kv.key: (kv.value, kv.lease) for kv in (await list_all(store, b"/os/")).kvs}


async def fill(folder) -> dict[bytes, tuple[bytes, int]]:
    folder.mkdir()
    store = await Embedded.open(folder / "provision.db")
    await store.grant(60, 77)
    for start in range(0, KEYS, 100):
        puts = [
            PutRequest(b"/os/dc1/machines/%04d/task" % number, b"%d" % number) for number in range(start, start + 100)
        ]
        await store.txn(TxnRequest((), tuple(puts)))
    await store.put(PutRequest(b"/os/dc1/machines/0001/lease", b"agent", lease=77))
    await store.put(PutRequest(b"/elsewhere", b"not ours"))
    state = await state_of(store)
    await store.close()
    return state


async def reopen(folder) -> dict[bytes, tuple[bytes, int]]:
    store = await Embedded.open(folder / "provision.db")
    try:
        return await state_of(store)
    finally:
        await store.close()


def migrate(folder, *words: str) -> int:
    return main.run(["provision", "migrate", "-data_dir", str(folder), *words])


@NEEDS_ETCD
async def test_there_and_back(tmp_path, etcd: Member, capsys):
    async with Client([etcd.url]) as client:
        await client.delete(DeleteRequest(EVERYTHING.key, EVERYTHING.range_end))
        before = await fill(tmp_path / "a")
        assert len(before) == KEYS + 1
        assert await asyncio.to_thread(migrate, tmp_path / "a", "--to", etcd.url) == 0
        assert await state_of(client) == before
        assert (await client.time_to_live(77)).granted_ttl_s == 60
        assert "are there and verified" in capsys.readouterr().out
        assert await asyncio.to_thread(migrate, tmp_path / "a", "--to", etcd.url) == 0  # again: nothing is left to do
        assert "0 were written now" in capsys.readouterr().out
        (tmp_path / "b").mkdir()
        assert await asyncio.to_thread(migrate, tmp_path / "b", "--to", "embedded", "-etcd", etcd.url) == 0
        assert await reopen(tmp_path / "b") == before

        await client.put(PutRequest(b"/os/dc1/machines/0002/task", b"went on"))
        with pytest.raises(Conflict, match="another state"):
            await asyncio.to_thread(migrate, tmp_path / "a", "--to", etcd.url)


async def test_what_cannot_be_moved_is_said(tmp_path):
    folder = tmp_path / "data"
    await fill(folder)
    for words in ((), ("--to", "embedded"), ("--to", "10.0.0.1:2379")):
        with pytest.raises(UsageError):
            await asyncio.to_thread(migrate, folder, *words)
    lock = acquire(folder / "lock")
    with pytest.raises(SafetyRefusal):
        await asyncio.to_thread(migrate, folder, "--to", "http://127.0.0.1:9")
    lock.release()
