"""The database: one writer with group commit, a few readers, opened with checks and migrations. `app.py` owns it.

async with db.transaction() as tx:          # returns after the COMMIT is on the disk
    await tx.execute("UPDATE …", (…,))
rows = await db.fetch_all("SELECT …")       # committed state, never waits for the writer
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from ops_system.runtime.files import sync_dir
from ops_system.storage.checks import check_database
from ops_system.storage.connection import Connection, Synchronous, Work, connect, connect_raw, translate
from ops_system.storage.folder import DataFolder
from ops_system.storage.lock import hold
from ops_system.storage.migrations import Migration, copy_database, migrate
from ops_system.storage.restore import finish_restore
from ops_system.storage.writer import Turn, Writer

T = TypeVar("T")
Row = sqlite3.Row
Parameters = Sequence[Any] | Mapping[str, Any]
READERS = 3


class Queries(Protocol):
    """What can be asked: a transaction, a reader, or the database itself."""

    async def fetch_one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """Return the first row, or None."""

    async def fetch_all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Return every row."""


class Reader:
    """One consistent snapshot of the committed state."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    async def fetch_one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """Return the first row, or None."""
        return await self._run(lambda raw: _fetch_one(raw, sql, parameters))

    async def fetch_all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Return every row."""
        return await self._run(lambda raw: _fetch_all(raw, sql, parameters))

    async def _run(self, work: Work[T]) -> T:
        try:
            return await self._connection.submit(work)
        except sqlite3.Error as error:
            raise translate(error, self._path) from error


class Transaction:
    """An open transaction; it sees its own writes."""

    def __init__(self, writer: Writer, turn: Turn) -> None:
        self._writer = writer
        self._turn = turn

    async def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one statement and return how many rows it changed.

        Raises Conflict when a unique key is taken, StorageFull, Unavailable.
        """
        return await self._writer.run(self._turn, lambda raw: raw.execute(sql, parameters).rowcount)

    async def execute_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Run one statement once per row and return how many rows changed in all."""
        return await self._writer.run(self._turn, lambda raw: raw.executemany(sql, rows).rowcount)

    async def fetch_one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """Return the first row, or None. The statement may write (`RETURNING`)."""
        return await self._writer.run(self._turn, lambda raw: _fetch_one(raw, sql, parameters))

    async def fetch_all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Return every row. The statement may write (`RETURNING`)."""
        return await self._writer.run(self._turn, lambda raw: _fetch_all(raw, sql, parameters))


class Database:
    """An open database. Other processes may open the same file; each sees what the others committed."""

    def __init__(self, path: Path, writer: Connection, readers: Sequence[Connection]) -> None:
        self.path = path
        self._connections = (writer, *readers)
        self._writer = Writer(writer, path)
        self._readers: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        for reader in readers:
            self._readers.put_nowait(reader)

    @classmethod
    async def open(
        cls,
        folder: DataFolder,
        migrations: tuple[Migration, ...],
        *,
        readers: int = READERS,
        synchronous: Synchronous = "FULL",
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> Self:
        """Check, migrate and open `folder.database`; the folder exists.

        A restore that was cut short is finished first. Raises SafetyRefusal for a damaged, missing or newer database
        and changes nothing then; StorageFull, Unavailable.
        """
        path = folder.database
        await asyncio.to_thread(_prepare, folder, migrations, now_ms())
        async with contextlib.AsyncExitStack() as opened:
            connections = []
            for number in range(1 + readers):
                connections.append(await connect(path, readonly=number > 0, synchronous=synchronous))
                opened.push_async_callback(connections[-1].close)
            opened.pop_all()
        return cls(path, connections[0], connections[1:])

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Take the writer; commit when the block ends, undo when it raises. Keep the block short: others wait.

        Raises RuntimeError when this task already is inside one.
        """
        turn = await self._writer.begin()
        try:
            yield Transaction(self._writer, turn)
        except BaseException:
            self._writer.roll_back(turn)
            raise
        await self._writer.commit(turn)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Reader]:
        """Several questions on one snapshot of the committed state."""
        connection = await self._readers.get()
        try:
            connection.post(_begin_snapshot)
            yield Reader(connection, self.path)
        finally:
            self._readers.put_nowait(connection)
            connection.post(_end_snapshot)

    async def fetch_one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """Ask one question of the committed state; the first row, or None."""
        async with self.read() as reader:
            return await reader.fetch_one(sql, parameters)

    async def fetch_all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Ask one question of the committed state; every row."""
        async with self.read() as reader:
            return await reader.fetch_all(sql, parameters)

    async def backup(self, target: Path) -> None:
        """Write a consistent copy to `target` while everything goes on. Raises StorageFull, Unavailable."""
        await asyncio.to_thread(_backup, self.path, target)

    async def close(self) -> None:
        """Let what was begun finish, then close every connection."""
        await self._writer.close()
        for connection in reversed(self._connections):
            await connection.close()


def _fetch_one(raw: sqlite3.Connection, sql: str, parameters: Parameters) -> Row | None:
    cursor = raw.execute(sql, parameters)
    try:
        row: Row | None = cursor.fetchone()
        return row
    finally:
        cursor.close()


def _fetch_all(raw: sqlite3.Connection, sql: str, parameters: Parameters) -> list[Row]:
    return raw.execute(sql, parameters).fetchall()


def _begin_snapshot(raw: sqlite3.Connection) -> None:
    raw.execute("BEGIN")


def _end_snapshot(raw: sqlite3.Connection) -> None:
    if raw.in_transaction:
        raw.execute("ROLLBACK")


def _prepare(folder: DataFolder, migrations: tuple[Migration, ...], now_ms: int) -> None:
    path = folder.database
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with hold(folder.init_lock):
        finish_restore(folder)
        check_database(folder)
        try:
            if not path.exists():
                path.touch(0o600)
                sync_dir(path.parent)
            migrate(path, migrations, now_ms)
        except sqlite3.Error as error:
            raise translate(error, path) from error


def _backup(path: Path, target: Path) -> None:
    try:
        source = connect_raw(path, readonly=True)
        try:
            copy_database(source, target)
        finally:
            source.close()
    except sqlite3.Error as error:
        raise translate(error, target) from error
