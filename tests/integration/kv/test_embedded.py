"""What only the embedded engine promises: fair leases over restarts, slow watchers, bounds, a disk that says no."""

import asyncio
import sqlite3
import threading

import pytest

from ops_system.kv import commits, hub
from ops_system.kv.access import access_of_idc
from ops_system.kv.base import DeleteRequest, PutRequest, RangeRequest, TxnRequest, WatchRequest
from ops_system.kv.embedded import Embedded
from ops_system.kv.errors import Denied, NoSpace
from ops_system.kv.leases import GRACE_S
from ops_system.kv.scoped import Scoped
from ops_system.model.errors import SafetyRefusal, Unavailable
from tests.fakes.clock import FakeClock

SOON_S = 30.0


async def ttl(store: Embedded, lease_id: int) -> int:
    return (await store.time_to_live(lease_id)).ttl_s


async def test_a_lease_keeps_what_was_left_over_a_stop_however_long(tmp_path):
    clock = FakeClock()
    store = await Embedded.open(tmp_path / "store.db", clock)
    await store.grant(3600, 1)
    await store.grant(30, 2)
    await store.put(PutRequest(b"a", lease=1))
    clock.advance(29)
    await store.close()
    clock.advance(1_000_000)
    store = await Embedded.open(tmp_path / "store.db", clock)
    await store.expire_due()
    assert (await ttl(store, 1), await ttl(store, 2)) == (3571, int(GRACE_S))
    clock.advance(GRACE_S)
    await store.expire_due()
    assert await store.leases() == (1,)
    assert (await store.time_to_live(1, keys=True)).keys == (b"a",)
    await store.close()


async def test_after_kill_9_a_lease_has_at_least_what_was_left(tmp_path):
    clock = FakeClock()
    store = await Embedded.open(tmp_path / "store.db", clock)
    await store.grant(3600, 1)
    clock.advance(3000)
    store._keep_leases(30.0)
    await store.put(PutRequest(b"a"))
    assert await store.keepalive(1) == 3600
    left = await Embedded.open(copy(tmp_path), clock)  # what a killed process left behind
    assert await ttl(left, 1) == 3600
    await left.close()
    await store.close()


def copy(folder):
    source, target = sqlite3.connect(folder / "store.db"), sqlite3.connect(folder / "copy.db")
    with target:
        source.backup(target)
    source.close()
    target.close()
    return folder / "copy.db"


async def test_a_watcher_that_does_not_read_costs_little_and_misses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "MAX_WAITING", 20)
    monkeypatch.setattr(hub, "KEPT_EVENTS", 50)
    store = await Embedded.open(tmp_path / "store.db")
    async with store.watch(WatchRequest(b"k", b"l", prev_kv=True)) as watch:
        for number in range(300):
            await store.put(PutRequest(b"k", b"%d" % number))
        assert len(watch._waiting) < 30
        told = []
        async with asyncio.timeout(SOON_S):
            while len(told) < 300:
                told += (await watch.next()).events
            await store.put(PutRequest(b"k", b"300"))
            told += (await watch.next()).events
        assert [event.kv.value for event in told] == [b"%d" % number for number in range(301)]
        assert [event.prev_kv.value for event in told[1:]] == [b"%d" % number for number in range(300)]
    assert store.watchers == 0
    await store.close()


async def test_on_a_slow_disk_a_thread_commits_for_all_who_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(commits, "_QUICK_S", 0.0)
    store = await Embedded.open(tmp_path / "store.db")
    real, threads = store._disk.write, []

    def write(writes):
        threads.append(threading.current_thread())
        real(writes)

    monkeypatch.setattr(store._disk, "write", write)
    async with store.watch(WatchRequest(b"k", b"l")) as watch:
        for number in range(10):
            await store.put(PutRequest(b"k%d" % number))
        assert threads[0] is threading.main_thread()
        assert threads[-1] is not threading.main_thread()
        threads.clear()
        async with asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(store.put(PutRequest(b"k%d" % number, b"2")))
        assert len(threads) < 20
        told = []
        async with asyncio.timeout(SOON_S):
            while len(told) < 210:
                told += [event.kv.mod_revision for event in (await watch.next()).events]
    assert told == list(range(2, 212))
    await store.close()


async def test_the_past_is_forgotten_by_itself(tmp_path):
    store = await Embedded.open(tmp_path / "store.db", kept_revisions=100)
    for start in range(0, 500, 100):
        async with asyncio.TaskGroup() as group:
            for number in range(start, start + 100):
                group.create_task(store.put(PutRequest(b"k", b"%d" % number)))
        await store._tidy()
    assert store.revision - store.compacted <= 300
    assert store.compacted > 100
    rows = store._disk._db.execute("SELECT count(*) FROM revisions").fetchone()[0]
    assert rows <= 301
    await store.close()


async def test_the_quota_stops_puts_and_lets_removals_pass(tmp_path):
    store = await Embedded.open(tmp_path / "store.db", quota_bytes=1000)
    await store.put(PutRequest(b"a", bytes(1001)))
    with pytest.raises(NoSpace):
        await store.put(PutRequest(b"b"))
    with pytest.raises(NoSpace):
        await store.txn(TxnRequest((), (PutRequest(b"b"),)))
    await store.delete(DeleteRequest(b"a"))
    await store.put(PutRequest(b"b"))
    await store.close()


async def test_a_commit_that_fails_is_told_and_nothing_of_it_is_seen(tmp_path, monkeypatch):
    store = await Embedded.open(tmp_path / "store.db")
    await store.put(PutRequest(b"a", b"1"))
    await store.grant(60, 1)
    real = store._disk.write

    def fail(_writes):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store._disk, "write", fail)
    async with store.watch(WatchRequest(b"\0", b"\0")) as watch:
        results = await asyncio.gather(  # noqa: TID251 - several callers of one commit
            store.put(PutRequest(b"a", b"2")),
            store.put(PutRequest(b"b", b"1", lease=1)),
            store.range(RangeRequest(b"a")),
            store.revoke(1),
            return_exceptions=True,
        )
        assert all(isinstance(result, Exception) for result in results), results
        monkeypatch.setattr(store._disk, "write", real)
        answer = await store.range(RangeRequest(b"\0", b"\0"))
        assert [(kv.key, kv.value) for kv in answer.kvs] == [(b"a", b"1")]
        assert await store.keepalive(1) == 60
        revision = (await store.put(PutRequest(b"c", b"1", lease=1))).revision
        assert revision == answer.revision + 1
        async with asyncio.timeout(SOON_S):
            assert [event.kv.key for event in (await watch.next()).events] == [b"c"]
    await store.close()


async def test_housekeeping_that_fails_is_told_to_its_caller_alone(tmp_path):
    store = await Embedded.open(tmp_path / "store.db")

    def fail():
        raise sqlite3.OperationalError("disk I/O error")

    async with store.watch(WatchRequest(b"a")) as watch:
        kept, failed = await asyncio.gather(  # noqa: TID251 - a write and a job in one commit
            store.put(PutRequest(b"a", b"1")), store._commits.exclusive(fail), return_exceptions=True
        )
        assert kept.revision == 2
        assert isinstance(failed, Exception)
        assert (await watch.next()).events[0].kv.value == b"1"
    await store.close()


async def test_a_commit_that_was_written_though_it_was_told_lost(tmp_path, monkeypatch):
    store = await Embedded.open(tmp_path / "store.db")
    real = store._disk.write

    def write_and_fail(writes):
        real(writes)
        raise sqlite3.OperationalError("disk I/O error")

    async with store.watch(WatchRequest(b"a")) as watch:
        monkeypatch.setattr(store._disk, "write", write_and_fail)
        with pytest.raises(sqlite3.OperationalError):
            await store.put(PutRequest(b"a", b"1"))
        monkeypatch.setattr(store._disk, "write", real)
        with pytest.raises(Unavailable):  # whoever watches opens anew, from where it was
            await watch.next()
    async with store.watch(WatchRequest(b"a", start_revision=2)) as watch:
        assert (await watch.next()).events[0].kv.value == b"1"
        assert (await store.put(PutRequest(b"a", b"2"))).revision == 3
        assert (await watch.next()).events[0].kv.value == b"2"
    await store.close()


async def test_a_copy_is_whole(tmp_path):
    store = await Embedded.open(tmp_path / "store.db")
    await store.grant(60, 1)
    await store.put(PutRequest(b"a", b"1", lease=1))
    await store.backup(tmp_path / "copy.db")
    await store.put(PutRequest(b"a", b"2"))
    await store.close()
    store = await Embedded.open(tmp_path / "copy.db")
    answer = await store.range(RangeRequest(b"a"))
    assert (answer.revision, answer.kvs[0].value, await store.leases()) == (2, b"1", (1,))
    await store.close()


async def test_a_damaged_or_newer_file_is_refused(tmp_path):
    path = tmp_path / "store.db"
    store = await Embedded.open(path)
    await store.put(PutRequest(b"a"))
    await store.close()
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(SafetyRefusal, match="newer version"):
        await Embedded.open(path)
    path.write_bytes(b"SQLite format 3\0" + b"rubbish" * 1000)
    with pytest.raises(SafetyRefusal, match="damaged"):
        await Embedded.open(path)


async def test_a_closed_store_says_so(tmp_path):
    store = await Embedded.open(tmp_path / "store.db")
    async with store.watch(WatchRequest(b"a")) as watch:
        await store.close()
        with pytest.raises(Unavailable):
            await watch.next()
    for refused in (store.put(PutRequest(b"a")), store.range(RangeRequest(b"a")), store.grant(5)):
        with pytest.raises(Unavailable):
            await refused


async def test_a_region_uses_its_own_leases_only(tmp_path):
    store = await Embedded.open(tmp_path / "store.db")
    dc1, dc2 = Scoped(store, access_of_idc("dc1")), Scoped(store, access_of_idc("dc2"))
    await dc1.grant(60, 1)
    await dc2.grant(60, 2)
    await dc2.put(PutRequest(b"/os/region/dc2/heartbeat", lease=2))
    assert await dc1.leases() == (1,)
    assert await dc1.keepalive(99) == 0
    for refused in (
        dc1.revoke(2),
        dc1.keepalive(2),
        dc1.keepalive_many((1, 2)),
        dc1.time_to_live(2, keys=True),
        dc1.put(PutRequest(b"/os/dc1/a", lease=2)),
        dc1.txn(TxnRequest((), (), (PutRequest(b"/os/dc1/a", lease=2),))),
        dc1.compact(2),
    ):
        with pytest.raises(Denied):
            await refused
    await store.put(PutRequest(b"/os/dc2/machines/x/lease", lease=1))  # an administrator's odd choice
    with pytest.raises(Denied):
        await dc1.revoke(1)
    await store.close()
    store = await Embedded.open(tmp_path / "store.db")
    with pytest.raises(Denied):
        await Scoped(store, access_of_idc("dc1")).keepalive(2)
    await store.close()
