"""One SQLite connection on its own thread (the home of aiosqlite), and what SQLite's errors mean to us.

`submit` queues work without awaiting, so that a cancelled caller can still queue its clean-up behind what is running:
the thread works strictly in order, whatever happens to the tasks that wait.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import aiosqlite

from ops_system.model.errors import Conflict, StorageFull, Unavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Synchronous = Literal["FULL", "NORMAL"]

BUSY_TIMEOUT_S = 5.0
_FULL_BELOW_BYTES = 1_000_000
_FULL, _IO, _BUSY, _LOCKED = 13, 10, 5, 6
_UNIQUE = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that also takes whole pieces of work, in order, without an await."""

    def submit(self, work: Work[T]) -> "asyncio.Future[T]":
        """Queue `work` for the connection's thread; the future tells its result. Raises Unavailable when closed."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((future, partial(work, self._open())))
        return future

    def post(self, work: Work[None]) -> None:
        """Queue `work` and forget it; it must keep its own record of failure."""
        self._tx.put_nowait((None, partial(work, self._open())))

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Unavailable("the database is closed: the program is stopping")
        return self._connection


async def connect(path: Path, *, readonly: bool, synchronous: Synchronous = "FULL") -> Connection:
    """Open `path` with the product's settings. `readonly` refuses writes but may still share the WAL index."""
    connection = Connection(partial(connect_raw, path, readonly=readonly, synchronous=synchronous), 64)
    return await connection  # type: ignore[return-value]  # aiosqlite types its awaitable as the base class


def connect_raw(path: Path, *, readonly: bool = False, synchronous: Synchronous = "FULL") -> sqlite3.Connection:
    """The same as a plain blocking connection, for opening and migrating. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        if readonly:
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute("PRAGMA journal_size_limit = 67108864")
    except BaseException:
        connection.close()
        raise
    return connection


def translate(error: sqlite3.Error, path: Path) -> Exception:
    """Return what the product raises for an SQLite failure; a bug in our SQL stays the error it is."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    primary = code & 0xFF
    if code in _UNIQUE:
        constraint = str(error).partition(": ")[2]
        return Conflict(f"such an object exists already ({constraint})", constraint=constraint)
    if primary == _FULL or (primary == _IO and _is_full(path)):
        return StorageFull(
            f"the disk that holds {path} is full: nothing was written; free some space, writing resumes by itself",
            path=str(path),
        )
    if primary in {_BUSY, _LOCKED}:
        return Unavailable(f"{path} is being written by another process for over {BUSY_TIMEOUT_S:.0f} s; try again")
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError) or primary in {0, 1}:
        return error
    return Unavailable(f"{path} cannot be used now: {error}; look at the disk and the system log", path=str(path))


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _FULL_BELOW_BYTES
    except OSError:
        return False
