"""The store inside one master: etcd's model on SQLite, every answer durable. `master` opens and runs it.

A request is judged at once against the keys in memory and answered when the commit it belongs to is on the disk. While
few wait and the disk is quick, the commit is made right there; otherwise a thread makes it while the next one gathers.
"""

import asyncio
import contextlib
import logging
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from ops_system.kv import checks
from ops_system.kv.base import (
    Changes,
    DeleteRequest,
    DeleteResponse,
    Event,
    Lease,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    TxnRequest,
    TxnResponse,
    Watch,
    WatchRequest,
)
from ops_system.kv.commits import Commits
from ops_system.kv.disk import Disk, LeaseRow, Loaded, Past
from ops_system.kv.errors import Compacted, EmptyKey, LeaseExists, LeaseNotFound, NoSpace
from ops_system.kv.hub import Hub
from ops_system.kv.leases import Deadlines, granted
from ops_system.kv.state import Done, State, select
from ops_system.model.errors import StorageFull, Unavailable
from ops_system.runtime.clock import Clock, SystemClock
from ops_system.runtime.files import sync_dir
from ops_system.storage.connection import translate

_log = logging.getLogger(__name__)
T = TypeVar("T")

QUOTA_BYTES = 1024 * 1024 * 1024
KEPT_REVISIONS, KEPT_BYTES = 50_000, 256 * 1024 * 1024
_TICK_S, _LATE_S = 0.25, 1.0
_KEEP_LEASES_S = 30.0
_CHECKPOINT_ROWS = 2_000
_FORGET_ROWS = 1_000


class Embedded:
    """A `Store` on one file. `run` keeps leases and history in order; `close` ends it."""

    def __init__(self, disk: Disk, past: Past, clock: Clock, quota_bytes: int, kept_revisions: int) -> None:
        self._disk, self._past, self._clock = disk, past, clock
        self._quota_bytes, self._kept_revisions = quota_bytes, kept_revisions
        self._deadlines = Deadlines()
        loaded = disk.load()
        self._take(loaded)
        self.cluster_id = loaded.cluster_id
        self._hub = Hub(loaded.revision, loaded.compacted, self._read_history)
        self._commits = Commits(disk, self._on_durable, self._on_lost)
        self._is_closed = False
        self._reader = ThreadPoolExecutor(1, "store-reader")

    @classmethod
    async def open(
        cls,
        path: Path,
        clock: Clock | None = None,
        *,
        quota_bytes: int = QUOTA_BYTES,
        kept_revisions: int = KEPT_REVISIONS,
    ) -> Self:
        """Open or make the file. Raises SafetyRefusal for a damaged or newer one, StorageFull, Unavailable."""
        try:
            disk, past = await asyncio.to_thread(_open_file, path)
            return cls(disk, past, clock or SystemClock(), quota_bytes, kept_revisions)
        except sqlite3.Error as error:
            raise translate(error, path) from error

    async def backup(self, target: Path) -> None:
        """Write a consistent copy to `target`, a file that is not there, while everything goes on."""
        await self._commits.settle()
        await self._read(lambda: self._past.copy(target))

    @property
    def revision(self) -> int:
        """The newest durable revision."""
        return self._hub.revision

    @property
    def compacted(self) -> int:
        """What is older than this revision is forgotten."""
        return self._state.compacted

    @property
    def size_bytes(self) -> int:
        """The bytes of all keys and values that are alive."""
        return self._state.size_bytes

    @property
    def watchers(self) -> int:
        """How many watches are open."""
        return len(self._hub)

    async def close(self) -> None:
        """Commit what was begun, remember what is left of each lease, end all watches, close the file."""
        if self._is_closed:
            return
        self._hub.close()
        self._is_closed = True  # nothing new is taken; what was taken is finished
        with contextlib.suppress(Exception):  # a full disk must not stop the closing; leases then have what was kept
            self._keep_leases(0.0)
            await self._commits.settle()
        await asyncio.to_thread(self._reader.shutdown)
        await self._commits.close()
        self._past.close()
        self._disk.close()

    # --- keys -------------------------------------------------------------------------------------------------------
    async def range(self, request: RangeRequest) -> RangeResponse:
        """Read; what is not durable yet is waited for."""
        self._check_open()
        checks.check(request)
        self._state.check_revision(request.revision)
        if self._state.is_past(request):
            return await self._range_past(request)
        response = self._state.range(request)
        await self._commits.settle()
        return response

    async def put(self, request: PutRequest) -> PutResponse:
        """Write one key."""
        self._check_open()
        checks.check(request)
        self._check_room()
        return await self._commit(self._state.put(request))

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Remove a key or a range."""
        self._check_open()
        checks.check(request)
        return await self._commit(self._state.delete(request))

    async def txn(self, request: TxnRequest) -> TxnResponse:
        """Compare and act."""
        self._check_open()
        checks.check(request)
        ops = list(checks.flatten((request,)))
        if any(isinstance(op, PutRequest) for op in ops):
            self._check_room()
        past: dict[RangeRequest, RangeResponse] = {}
        while asked := [op for op in ops if isinstance(op, RangeRequest) and op not in past and self._needs_disk(op)]:
            for op in asked:  # meanwhile a newer revision may make another range one that looks back
                past[op] = await self._range_past(op)
        return await self._commit(self._state.txn(request, past))

    async def compact(self, revision: int) -> None:
        """Forget what was before `revision`; the disk is tidied by and by."""
        self._check_open()
        await self._commits.settle()
        self._state.compact(revision)
        self._commits.writes.compacted = self._hub.compacted = revision
        await self._commits.settle()
        await self._forget(revision)

    def _needs_disk(self, request: RangeRequest) -> bool:
        return self._state.is_past(request) and request.revision >= self._state.compacted

    async def _range_past(self, request: RangeRequest) -> RangeResponse:
        await self._commits.settle()
        kvs = await self._read(lambda: self._past.keys_at(request.revision, request.key, request.range_end))
        self._state.check_revision(request.revision)  # a compaction meanwhile may have taken rows away
        return select(kvs, request, self._state.revision)

    def _check_room(self) -> None:
        if self._state.size_bytes > self._quota_bytes:
            raise NoSpace

    # --- leases -----------------------------------------------------------------------------------------------------
    async def grant(self, ttl_s: int, lease_id: int = 0, owner: str = "") -> Lease:
        """Make a lease. `owner` names the data centre whose credential asked; empty: nobody's."""
        self._check_open()
        ttl_s = granted(ttl_s)
        lease_id = lease_id or secrets.randbits(62) + 1
        if lease_id in self._state.leased:
            raise LeaseExists
        self._state.leased[lease_id] = set()
        self._deadlines.grant(lease_id, ttl_s, self._clock.monotonic_s(), owner)
        self._commits.writes.leases[lease_id] = LeaseRow(lease_id, ttl_s, ttl_s, owner)
        await self._commits.settle()
        return Lease(lease_id, ttl_s, ttl_s)

    async def revoke(self, lease_id: int) -> None:
        """End a lease and remove its keys."""
        self._check_open()
        done = self._state.drop_lease(lease_id)
        self._deadlines.drop(lease_id)
        self._commits.writes.leases[lease_id] = None
        await self._commit(done)

    async def keepalive(self, lease_id: int) -> int:
        """Renew a lease; 0 when there is none. Written only when the disk would give it less after a crash."""
        return (await self.keepalive_many((lease_id,)))[0]

    async def keepalive_many(self, lease_ids: Sequence[int]) -> tuple[int, ...]:
        """Renew several leases, under one commit."""
        self._check_open()
        renewed = tuple([self._renew(lease_id) for lease_id in lease_ids])
        await self._commits.settle()
        return renewed

    def _renew(self, lease_id: int) -> int:
        term = self._deadlines.renew(lease_id, self._clock.monotonic_s())
        if term is None:
            return 0
        if term.kept_s < term.ttl_s:
            term.kept_s = float(term.ttl_s)
            self._commits.writes.leases[lease_id] = LeaseRow(lease_id, term.ttl_s, term.kept_s, term.owner)
        return term.ttl_s

    async def time_to_live(self, lease_id: int, *, keys: bool = False) -> Lease:
        """Tell what is left of a lease."""
        await self._commits.settle()
        term = self._deadlines.terms.get(lease_id)
        if term is None:
            return Lease(lease_id, -1)
        left_s = int(self._deadlines.left_s(lease_id, self._clock.monotonic_s()))
        return Lease(lease_id, left_s, term.ttl_s, tuple(sorted(self.keys_of(lease_id))) if keys else ())

    async def leases(self) -> tuple[int, ...]:
        """Tell the ids of all leases."""
        await self._commits.settle()
        return tuple(self._deadlines.terms)

    def owner_of(self, lease_id: int) -> str:
        """Return whose credential made a lease. Raises LeaseNotFound."""
        if (term := self._deadlines.terms.get(lease_id)) is None:
            raise LeaseNotFound
        return term.owner

    def keys_of(self, lease_id: int) -> frozenset[bytes]:
        """Return the keys that a lease would take with it."""
        return frozenset(self._state.leased.get(lease_id, ()))

    async def expire_due(self) -> None:
        """End every lease whose time is over."""
        for lease_id in self._deadlines.due(self._clock.monotonic_s()):
            _log.info("lease %d is over; %d keys go with it", lease_id, len(self.keys_of(lease_id)))
            with contextlib.suppress(LeaseNotFound):
                await self.revoke(lease_id)

    def _keep_leases(self, step_s: float) -> None:
        terms = self._deadlines.terms
        for lease_id, left_s in self._deadlines.to_keep(self._clock.monotonic_s(), step_s):
            term = terms[lease_id]
            row = LeaseRow(lease_id, term.ttl_s, left_s, term.owner)
            self._commits.writes.leases.setdefault(lease_id, row)

    # --- watching ---------------------------------------------------------------------------------------------------
    @contextlib.asynccontextmanager
    async def watch(self, request: WatchRequest) -> AsyncIterator[Watch]:
        """Open a watch. Raises EmptyKey; iterating raises Compacted when its start is gone."""
        if not request.key:
            raise EmptyKey
        self._check_open()
        watcher = self._hub.add(request)
        try:
            yield watcher
        finally:
            self._hub.remove(watcher)

    async def _read_history(self, request: WatchRequest, first: int, limit: int) -> Changes:
        last = self._hub.revision
        self._check_kept(first)
        events, upto = await self._read(
            lambda: self._past.events(request.key, request.range_end, first, last, limit, has_before=request.prev_kv)
        )
        self._check_kept(first)
        return Changes(upto, tuple(events))

    def _check_kept(self, revision: int) -> None:
        if revision < self._state.compacted:
            raise Compacted(revision=self._state.compacted)

    async def _read(self, question: Callable[[], T]) -> T:
        self._check_open()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, question)
        except sqlite3.Error as error:
            raise translate(error, self._disk.path) from error

    # --- what is durable, and what was lost -------------------------------------------------------------------------
    async def _commit(self, done: Done[T]) -> T:
        if done.events:
            self._commits.add(done.events)
        await self._commits.settle()
        return done.response

    def _on_durable(self, events: Sequence[Event]) -> None:
        self._hub.publish(events[0].kv.mod_revision, events)
        for event in events:
            if event.prev_kv is not None:
                self._history_rows += 1
                self._history_bytes += len(event.prev_kv.value)

    def _on_lost(self) -> None:
        """Read the keys anew: they hold what is not durable."""
        try:
            self._take(self._disk.load())
            if self._state.revision != self._hub.revision:  # an error that was told after all was written
                self._hub.close()
                self._hub = Hub(self._state.revision, self._state.compacted, self._read_history)
        except sqlite3.Error:
            _log.exception("the store cannot be read any more; it is closed until the next start")
            self._is_closed = True
            self._hub.close()

    def _take(self, loaded: Loaded) -> None:
        self._state = State(loaded.kvs, (row.id for row in loaded.leases), loaded.revision)
        self._state.compacted = loaded.compacted
        self._history_rows, self._history_bytes = loaded.history, loaded.history_bytes
        now_s, terms = self._clock.monotonic_s(), self._deadlines.terms
        for gone in terms.keys() - {row.id for row in loaded.leases}:
            self._deadlines.drop(gone)
        for row in loaded.leases:
            if row.id not in terms:
                self._deadlines.restore(row.id, row.ttl_s, row.left_s, now_s, row.owner)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable("the store is closed: the program is stopping")

    # --- housekeeping -----------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """End leases in time, keep what is left of them, cut the log, forget old revisions; until cancelled."""
        try:
            await self._keep_house()
        finally:
            self._hub.close()  # streams to other machines end with it

    async def _keep_house(self) -> None:
        loop = asyncio.get_running_loop()
        before_s = kept_s = loop.time()
        while True:
            await asyncio.sleep(_TICK_S)
            late_s = loop.time() - before_s - _TICK_S
            before_s = loop.time()
            if late_s > _LATE_S:
                _log.warning("the store could hear nobody for %.1f s: no lease ends for that", late_s)
                self._deadlines.hold(late_s)
            try:
                await self.expire_due()
                if before_s - kept_s >= _KEEP_LEASES_S:
                    kept_s = before_s
                    self._keep_leases(_KEEP_LEASES_S)
                    await self._commits.settle()
                await self._tidy()
            except (Unavailable, StorageFull) as error:
                self._check_open()
                _log.warning("the store's housekeeping waits: %s", error.message)

    async def _tidy(self) -> None:
        if self._commits.rows >= _CHECKPOINT_ROWS:
            self._commits.rows = 0
            await self._commits.exclusive(self._disk.checkpoint)
        target = self._state.revision - self._kept_revisions
        if self._history_bytes > KEPT_BYTES:
            target = max(target, (self._state.revision + self._state.compacted) // 2)
        has_much = self._history_rows > 2 * self._kept_revisions or self._history_bytes > KEPT_BYTES
        if has_much and target > self._state.compacted:
            await self.compact(target)

    async def _forget(self, revision: int) -> None:
        after_id = 0
        while True:
            look = partial(self._disk.forget, revision, after_id, _FORGET_ROWS)
            after_id, rows, size_bytes = await self._commits.exclusive(look)
            self._history_rows -= rows
            self._history_bytes -= size_bytes
            if not after_id:
                break
        self._history_rows -= await self._commits.exclusive(lambda: self._disk.forget_removed(revision))


def _open_file(path: Path) -> tuple[Disk, Past]:
    is_new = not path.exists()
    if is_new:
        path.touch(0o600)
        sync_dir(path.parent)
    disk = Disk(path)
    try:
        return disk, Past(path)
    except BaseException:
        disk.close()
        raise
