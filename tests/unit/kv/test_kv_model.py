"""The engine against a plain model: whatever is asked, in whatever order, with restarts and compactions between."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ops_system.kv.base import (
    Compare,
    CompareTarget,
    DeleteRequest,
    KeyValue,
    PutRequest,
    RangeRequest,
    TxnRequest,
    WatchRequest,
)
from ops_system.kv.embedded import Embedded
from ops_system.kv.errors import Compacted, DuplicateKey, LeaseNotFound
from ops_system.kv.ranges import holds

KEYS = st.sampled_from([b"a", b"a0", b"b", b"b/1", b"b/2", b"c"])
ENDS = st.sampled_from([b"", b"\0", b"b", b"b0", b"c"])
VALUES = st.sampled_from([b"", b"1", b"2", b"long" * 50])
LEASES = st.sampled_from([0, 0, 1, 2])


class Model:
    """All there ever was, written down in the simplest way: one picture of the keys for each revision."""

    def __init__(self) -> None:
        self.pictures: dict[int, dict[bytes, KeyValue]] = {1: {}}
        self.revision = 1
        self.compacted = 0
        self.leases: set[int] = set()
        self.events: list[tuple[int, bytes, bool]] = []

    @property
    def now(self) -> dict[bytes, KeyValue]:
        return self.pictures[self.revision]

    def write(self, puts: list[PutRequest], removed: list[bytes]) -> None:
        keys, revision = dict(self.now), self.revision + 1
        gone = [key for key in sorted(removed) if key in keys]
        for key in gone:
            del keys[key]
            self.events.append((revision, key, True))
        for put in puts:
            before = keys.get(put.key)
            created, version = (before.create_revision, before.version + 1) if before else (revision, 1)
            keys[put.key] = KeyValue(put.key, created, revision, version, put.value, put.lease)
            self.events.append((revision, put.key, False))
        if gone or puts:
            self.revision = revision
            self.pictures[revision] = keys

    def select(self, key: bytes, end: bytes, revision: int = 0) -> list[KeyValue]:
        keys = self.pictures[revision or self.revision]
        return [keys[name] for name in sorted(keys) if holds(key, end, name)]


class StoreMachine(RuleBasedStateMachine):
    """Rules do the same to both, and compare."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.model = Model()
        self.reopen()

    def reopen(self) -> None:
        self.store = self.run(Embedded.open(Path(self.folder.name) / "store.db"))

    def run(self, coro):
        return self.loop.run_until_complete(coro)

    @rule(key=KEYS, value=VALUES, lease=LEASES)
    def put(self, key, value, lease):
        request = PutRequest(key, value, lease)
        if lease and lease not in self.model.leases:
            try:
                self.run(self.store.put(request))
            except LeaseNotFound:
                return
            raise AssertionError("a lease that is not there was taken")
        self.model.write([request], [])
        assert self.run(self.store.put(request)).revision == self.model.revision

    @rule(key=KEYS, end=ENDS)
    def delete(self, key, end):
        gone = self.model.select(key, end)
        done = self.run(self.store.delete(DeleteRequest(key, end, prev_kv=True)))
        assert list(done.prev_kvs) == gone
        self.model.write([], [kv.key for kv in gone])

    @rule(guarded=KEYS, version=st.integers(0, 2), key=KEYS, other=KEYS, value=VALUES)
    def txn(self, guarded, version, key, other, value):
        compare = Compare(guarded, CompareTarget.VERSION, version=version)
        found = self.model.now.get(guarded)
        is_true = (found.version if found else 0) == version
        request = TxnRequest((compare,), (DeleteRequest(other), PutRequest(key, value)), (PutRequest(other, value),))
        if key == other:
            try:
                self.run(self.store.txn(request))
            except DuplicateKey:
                return
            raise AssertionError("one key was written twice")
        done = self.run(self.store.txn(request))
        assert done.succeeded is is_true
        self.model.write([PutRequest(key if is_true else other, value)], [other] if is_true else [])
        assert done.revision == self.model.revision

    @rule(lease=st.sampled_from([1, 2]))
    def grant(self, lease):
        if lease not in self.model.leases:
            self.run(self.store.grant(3600, lease))
            self.model.leases.add(lease)

    @rule(lease=st.sampled_from([1, 2]))
    def revoke(self, lease):
        if lease in self.model.leases:
            self.run(self.store.revoke(lease))
            self.model.leases.discard(lease)
            self.model.write([], [kv.key for kv in self.model.now.values() if kv.lease == lease])

    @rule(key=KEYS, end=ENDS, back=st.integers(0, 6))
    def read_the_past(self, key, end, back):
        revision = self.model.revision - back
        if revision < max(self.model.compacted, 1):
            return
        answer = self.run(self.store.range(RangeRequest(key, end, revision=revision)))
        assert list(answer.kvs) == self.model.select(key, end, revision)

    @rule(back=st.integers(0, 3))
    def compact(self, back):
        target = self.model.revision - back
        if target > self.model.compacted and target > 0:
            self.run(self.store.compact(target))
            self.model.compacted = target
            kept = self.run(self.store.range(RangeRequest(b"\0", b"\0", revision=target)))
            assert list(kept.kvs) == self.model.select(b"\0", b"\0", target)

    @rule(back=st.integers(0, 8), key=KEYS, end=ENDS)
    def watch_from_the_past(self, back, key, end):
        start = self.model.revision - back
        if start < 1:
            return
        wanted = [event for event in self.model.events if event[0] >= start and holds(key, end, event[1])]
        if start >= self.model.compacted and not wanted:
            return
        try:
            told = self.run(self.read_events(WatchRequest(key, end, start), len(wanted)))
        except Compacted:
            assert start < self.model.compacted
            return
        assert told == wanted

    async def read_events(self, request, count):
        told = []
        async with asyncio.timeout(30), self.store.watch(request) as watch:
            while len(told) < max(count, 1):
                told += [(e.kv.mod_revision, e.kv.key, e.is_delete) for e in (await watch.next()).events]
        return told

    @rule()
    def restart(self):
        self.run(self.store.close())
        self.reopen()

    @invariant()
    def they_agree(self):
        if not hasattr(self, "store"):
            return
        answer = self.run(self.store.range(RangeRequest(b"\0", b"\0")))
        assert list(answer.kvs) == self.model.select(b"\0", b"\0")
        assert answer.revision == self.model.revision
        for lease in self.model.leases:
            keys = self.run(self.store.time_to_live(lease, keys=True)).keys
            assert list(keys) == sorted(kv.key for kv in self.model.now.values() if kv.lease == lease)
        assert self.store.size_bytes == sum(len(kv.key) + len(kv.value) for kv in answer.kvs)

    def teardown(self):
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.loop.close()
            self.folder.cleanup()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
