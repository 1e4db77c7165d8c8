"""Group commit: many requests, one write to the disk. Used by `embedded`.

While few wait and the disk is quick the commit is made on the loop's own time; otherwise a thread makes it while the
next one gathers.
"""

import asyncio
import concurrent.futures
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ops_system.kv.base import Event
from ops_system.kv.disk import Disk, Writes, rows_of
from ops_system.model.errors import Unavailable
from ops_system.storage.connection import translate

_log = logging.getLogger(__name__)
T = TypeVar("T")

_INLINE_ROWS, _QUICK_S = 64, 0.003  # a commit on the loop's own time: so few rows, so quick a disk
_STRIKES, _IN_THREAD = 8, 500  # so many slow ones in a row (a busy CPU has quick ones between): then to the thread


class _Batch:
    """What the next commit brings, and who waits for it."""

    __slots__ = ("jobs", "told", "waiters", "writes")

    def __init__(self) -> None:
        self.writes = Writes()
        self.told: list[Sequence[Event]] = []
        self.jobs: list[Callable[[], None]] = []
        self.waiters: list[asyncio.Future[None]] = []


class Commits:
    """The one who writes to the disk. `on_durable` hears each revision in order; `on_lost` that a commit failed."""

    def __init__(self, disk: Disk, on_durable: Callable[[Sequence[Event]], None], on_lost: Callable[[], None]) -> None:
        self._disk, self._on_durable, self._on_lost = disk, on_durable, on_lost
        self._batch = _Batch()
        self._is_scheduled = self._is_writing = self._is_closed = False
        self._strikes = self._in_thread = 0
        self._thread = ThreadPoolExecutor(1, "store-writer")
        self.rows = 0

    @property
    def writes(self) -> Writes:
        """What the next commit brings; a caller adds to it and then waits in `settle`."""
        return self._batch.writes

    def add(self, events: Sequence[Event]) -> None:
        """Let the next commit bring one revision."""
        self._batch.writes.rows += rows_of(events)
        self._batch.told.append(events)

    async def settle(self) -> None:
        """Wait until everything that was decided so far is on the disk. Raises StorageFull, Unavailable."""
        if self._is_closed:
            raise _closed()
        if self._is_writing or self._batch.writes or self._batch.waiters:
            await self._wait()

    async def exclusive(self, job: Callable[[], T]) -> T:
        """Run `job` on the writer's thread, between two commits. Raises what it raises, and no commit fails for it."""
        if self._is_closed:
            raise _closed()
        ended: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                ended.set_result(job())
            except sqlite3.Error as error:
                ended.set_exception(translate(error, self._disk.path))

        self._batch.jobs.append(run)
        await self._wait()
        return ended.result()

    async def close(self) -> None:
        """Wait for the thread; nothing is written any more."""
        self._is_closed = True
        await asyncio.to_thread(self._thread.shutdown)

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._batch.waiters.append(waiter)
        self._wake()
        await waiter

    def _wake(self) -> None:
        if not self._is_scheduled and not self._is_writing:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_scheduled = False
        batch, self._batch = self._batch, _Batch()
        self.rows += len(batch.writes.rows)
        if not batch.jobs and (not batch.writes or self._may_be_inline(batch)):
            try:
                self._write_here(batch)
            except sqlite3.Error as error:
                self._lose(batch, error)
            else:
                self._finish(batch)
            return
        self._is_writing = True
        self._in_thread = max(0, self._in_thread - 1)
        written = asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch)
        written.add_done_callback(lambda future: self._on_written(batch, future))

    def _may_be_inline(self, batch: _Batch) -> bool:
        return len(batch.writes.rows) <= _INLINE_ROWS and not self._in_thread

    def _write_here(self, batch: _Batch) -> None:
        began_s = time.perf_counter()
        self._write(batch)
        if time.perf_counter() - began_s < _QUICK_S:
            self._strikes = 0
            return
        self._strikes += 1
        if self._strikes >= _STRIKES:
            self._strikes, self._in_thread = _STRIKES - 1, _IN_THREAD

    def _write(self, batch: _Batch) -> None:
        if batch.writes:
            self._disk.write(batch.writes)
        for job in batch.jobs:
            job()

    def _on_written(self, batch: _Batch, written: "asyncio.Future[None]") -> None:
        self._is_writing = False
        error = written.exception()
        if error is None:
            self._finish(batch)
        else:
            self._lose(batch, error)

    def _finish(self, batch: _Batch) -> None:
        for events in batch.told:
            self._on_durable(events)
        for waiter in batch.waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._batch.waiters:
            self._wake()

    def _lose(self, batch: _Batch, error: BaseException) -> None:
        """Tell all who wait, those who built on what is lost too."""
        told = translate(error, self._disk.path) if isinstance(error, sqlite3.Error) else error
        _log.error("a commit of the store failed: %s", told)
        later, self._batch = self._batch, _Batch()
        self._on_lost()
        for waiter in (*batch.waiters, *later.waiters):
            if not waiter.done():
                waiter.set_exception(told)


def _closed() -> Unavailable:
    return Unavailable("the store is closed: the program is stopping")
