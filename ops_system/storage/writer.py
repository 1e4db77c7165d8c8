"""The one writer: transactions take turns on one connection and share COMMITs (group commit).

    waiting -> turn -> SAVEPOINT … statements … RELEASE -> waiting for COMMIT -> done
                          |  (body failed: ROLLBACK TO, only its own work goes)
                          v
                       the next in the queue joins the same BEGIN; when nobody waits, or the group is full, COMMIT

Loop-side code only queues work; what is true of the transaction is decided on the connection's thread, in order. No
step that ends a turn awaits anything, so a task cancelled anywhere cannot leave the writer inside a transaction.
"""

import asyncio
import sqlite3
import time
from collections import deque
from pathlib import Path
from typing import TypeVar

from ops_system.model.errors import Unavailable
from ops_system.storage.connection import Connection, Work, translate

T = TypeVar("T")

GROUP_MEMBERS = 256
GROUP_AGE_S = 0.02


class Group:
    """The transactions that one COMMIT will make durable."""

    def __init__(self) -> None:
        self.started_s = time.monotonic()
        self.waiting: list[asyncio.Future[None]] = []  # members that ended well, until the COMMIT
        self.members = 0
        self.is_used = False  # loop side: something was queued
        self.has_begun = False  # thread side
        self.lost: sqlite3.Error | None = None  # thread side: SQLite rolled the whole transaction back

    def is_full(self) -> bool:
        """Whether the COMMIT should not wait for more members."""
        return self.members >= GROUP_MEMBERS or time.monotonic() - self.started_s >= GROUP_AGE_S


class Turn:
    """One caller's time at the writer."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.is_used = False  # loop side
        self.is_saved = False  # thread side: the SAVEPOINT stands
        self.owner = asyncio.current_task()


class Writer:
    """Turns and group commit on one connection."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._group = Group()
        self._queue: deque[asyncio.Future[None]] = deque()
        self._turn: Turn | None = None
        self._is_busy = False
        self._is_closed = False

    async def begin(self) -> Turn:
        """Wait for our turn. Raises RuntimeError for a nested use by the same task."""
        if self._turn is not None and self._turn.owner is asyncio.current_task():
            raise RuntimeError("a transaction is already open in this task: pass its `tx` down instead")
        await self._wait()
        if not self._group.is_used:
            self._group.started_s = time.monotonic()
        self._turn = Turn(self._group)
        return self._turn

    async def run(self, turn: Turn, work: Work[T]) -> T:
        """Do `work` inside the turn's savepoint."""
        if turn is not self._turn:
            raise RuntimeError("this transaction is over")
        turn.is_used = turn.group.is_used = True
        try:
            return await self._connection.submit(lambda raw: _run(raw, turn, work))
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    def roll_back(self, turn: Turn) -> None:
        """End the turn and undo its work alone."""
        if turn.is_used:
            self._connection.post(lambda raw: _leave(raw, turn, keep=False))
        self._end_turn()

    async def commit(self, turn: Turn) -> None:
        """End the turn and return when the COMMIT that holds it is on the disk. Cancelled here: the outcome is open."""
        if not turn.is_used:
            self._end_turn()
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        turn.group.waiting.append(done)
        turn.group.members += 1
        self._connection.post(lambda raw: _leave(raw, turn, keep=True))
        self._end_turn()
        await done

    async def close(self) -> None:
        """Wait for those before us, refuse those behind us."""
        if self._is_closed:
            return
        await self._wait()
        self._is_closed = True
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_exception(_closed())
        if self._group.is_used:  # those before us handed their COMMIT on to us
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._group.waiting.append(done)
            self._commit_group()
            await asyncio.wait([done])
            done.exception()  # its members were told; it must not stop the closing

    async def _wait(self) -> None:
        if self._is_closed:
            raise _closed()
        if not self._is_busy:
            self._is_busy = True
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._end_turn()  # the turn was already ours: hand it on
            raise

    def _end_turn(self) -> None:
        self._turn = None
        if self._group.is_full() or not self._wake_next():
            self._commit_group()

    def _wake_next(self) -> bool:
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return True
        return False

    def _commit_group(self) -> None:
        group, self._group = self._group, Group()
        if group.is_used:
            finished = self._connection.submit(lambda raw: _commit(raw, group))
            finished.add_done_callback(lambda future: self._on_commit(group, future))
        else:
            self._is_busy = self._wake_next()

    def _on_commit(self, group: Group, finished: "asyncio.Future[None]") -> None:
        error = finished.exception()
        for member in group.waiting:
            if member.done():
                continue
            if error is None:
                member.set_result(None)
            else:
                member.set_exception(translate(error, self._path) if isinstance(error, sqlite3.Error) else error)
        self._is_busy = self._wake_next()


def _run(raw: sqlite3.Connection, turn: Turn, work: Work[T]) -> T:
    group = turn.group
    if group.lost is not None:
        raise group.lost
    try:
        if not group.has_begun:
            if raw.in_transaction:  # the last group's ROLLBACK failed too
                raw.execute("ROLLBACK")
            raw.execute("BEGIN IMMEDIATE")
            group.has_begun = True
        if not turn.is_saved:
            raw.execute("SAVEPOINT turn")
            turn.is_saved = True
        return work(raw)
    except sqlite3.Error as error:
        if group.has_begun and not raw.in_transaction:  # disk full, I/O error: SQLite itself rolled everything back
            group.lost = error
        raise


def _leave(raw: sqlite3.Connection, turn: Turn, *, keep: bool) -> None:
    if turn.group.lost is not None or not turn.is_saved:
        return
    try:
        if not keep:
            raw.execute("ROLLBACK TO turn")
        raw.execute("RELEASE turn")
    except sqlite3.Error as error:
        turn.group.lost = error


def _commit(raw: sqlite3.Connection, group: Group) -> None:
    try:
        if group.lost is None and group.has_begun:
            raw.execute("COMMIT")
    finally:
        if raw.in_transaction:
            raw.execute("ROLLBACK")
    if group.lost is not None:
        raise group.lost


def _closed() -> Unavailable:
    return Unavailable("the database is closed: the program is stopping")
