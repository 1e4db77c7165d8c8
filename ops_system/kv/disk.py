"""The embedded engine's file: every revision, the leases, and nothing that is not durable. Plain SQLite, no asyncio.

The caller sees to it that `write` and what else changes the file run one at a time, on whatever thread; `Past` has a
connection of its own. A row's id is `revision << 24 | place in the revision`, so new rows are always the last ones.
"""

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from secrets import randbits
from typing import NamedTuple

import msgspec

from ops_system.kv.base import Event, KeyValue
from ops_system.kv.ranges import TO_THE_END
from ops_system.kv.state import FIRST_REVISION
from ops_system.model.errors import SafetyRefusal

FORMAT = 1
_SHIFT = 24
_BUSY_TIMEOUT_S = 5.0
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE revisions (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    value BLOB
);
CREATE INDEX revisions_by_key ON revisions (key, id);
CREATE TABLE leases (id INTEGER PRIMARY KEY, ttl_s INTEGER NOT NULL, left_s REAL NOT NULL, owner TEXT NOT NULL);
"""
_COLUMNS = "id, key, create_revision, version, lease, value"
_ROWS_AT_ONCE = 64  # in one statement: each step gives the interpreter away and has to win it back
_INSERTS = [
    f"INSERT INTO revisions ({_COLUMNS}) VALUES " + ", ".join(["(?, ?, ?, ?, ?, ?)"] * count)  # noqa: S608 - constant text
    for count in range(_ROWS_AT_ONCE + 1)
]
_SET_FACT = "INSERT OR REPLACE INTO facts VALUES (?, ?)"

Row = tuple[int, bytes, int, int, int, bytes | None]


class LeaseRow(NamedTuple):
    """A lease on the disk."""

    id: int
    ttl_s: int
    left_s: float
    owner: str


class Loaded(NamedTuple):
    """What a file held when it was opened."""

    revision: int
    compacted: int
    kvs: list[KeyValue]
    leases: list[LeaseRow]
    cluster_id: int
    history: int
    """How many rows are kept that are not alive, and the bytes of their values."""
    history_bytes: int


class Writes(msgspec.Struct):
    """What one commit brings."""

    rows: list[Row] = []
    leases: dict[int, LeaseRow | None] = {}
    """The newest word on a lease; None: it is gone."""
    compacted: int = 0

    def __bool__(self) -> bool:
        return bool(self.rows or self.leases or self.compacted)


def row_id(revision: int, place: int = 0) -> int:
    """Return the id of the `place`-th change of a revision."""
    return revision << _SHIFT | place


def rows_of(events: Sequence[Event]) -> list[Row]:
    """Return the rows of the events of one revision."""
    if len(events) == 1:
        kv = events[0].kv
        value = kv.value if kv.version else None
        return [(kv.mod_revision << _SHIFT, kv.key, kv.create_revision, kv.version, kv.lease, value)]
    return [
        (
            row_id(event.kv.mod_revision, place),
            event.kv.key,
            event.kv.create_revision,
            event.kv.version,
            event.kv.lease,
            event.kv.value if event.kv.version else None,
        )
        for place, event in enumerate(events)
    ]


def _kv(row: Row) -> KeyValue:
    number, key, create_revision, version, lease, value = row
    return KeyValue(key, create_revision, number >> _SHIFT, version, value or b"", lease)


class Disk:
    """The writing side. Raises sqlite3.Error; `open` raises SafetyRefusal for a damaged or newer file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = _connect(path)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def load(self) -> Loaded:
        """Read what is alive."""
        newest = "SELECT max(id) AS id FROM revisions GROUP BY key"
        alive = self._db.execute(
            f"SELECT {_COLUMNS} FROM revisions JOIN ({newest}) USING (id) WHERE version > 0"  # noqa: S608 - constant text
        )
        kvs = [_kv(row) for row in alive]
        question = "SELECT max(id), count(*), coalesce(sum(length(value)), 0) FROM revisions"
        last, rows, size_bytes = self._db.execute(question).fetchone()
        leases = [LeaseRow(*row) for row in self._db.execute("SELECT id, ttl_s, left_s, owner FROM leases")]
        return Loaded(
            FIRST_REVISION if last is None else last >> _SHIFT,
            self._fact("compacted"),
            kvs,
            leases,
            self._fact("cluster_id"),
            rows - len(kvs),
            size_bytes - sum(len(kv.value) for kv in kvs),
        )

    def write(self, writes: Writes) -> None:
        """Commit, all or nothing; when it returns, the disk has it."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for start in range(0, len(writes.rows), _ROWS_AT_ONCE):
                rows = writes.rows[start : start + _ROWS_AT_ONCE]
                db.execute(_INSERTS[len(rows)], [value for row in rows for value in row])
            if writes.leases:
                self._write_leases(writes.leases)
            if writes.compacted:
                db.execute(_SET_FACT, ("compacted", writes.compacted))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def forget(self, revision: int, after_id: int, limit: int) -> tuple[int, int, int]:
        """Look at `limit` rows after a row for what nobody can ask for once `revision` is the oldest one; remove it.

        Kept is, of each key, what stood at `revision`, and what was written or removed in it or later. Returns the
        row to go on after (0: all were looked at), how many rows went, and the bytes of their values.
        """
        end = row_id(revision + 1)
        last = self._db.execute(
            "SELECT id FROM revisions WHERE id > ? AND id < ? ORDER BY id LIMIT 1 OFFSET ?", (after_id, end, limit)
        ).fetchone()
        gone = self._db.execute(
            "DELETE FROM revisions AS old WHERE old.id > ?1 AND old.id <= ?2 AND EXISTS"
            " (SELECT 1 FROM revisions AS new WHERE new.key = old.key AND new.id > old.id AND new.id < ?3)"
            " RETURNING coalesce(length(value), 0)",
            (after_id, last[0] if last else end - 1, end),
        ).fetchall()
        return (last[0] if last else 0), len(gone), sum(size for (size,) in gone)

    def forget_removed(self, revision: int) -> int:
        """Remove the notes of keys that were removed before `revision`; after `forget` has seen every row.

        Such a note goes only when nothing older of its key is left: without it that would be alive again.
        """
        return self._db.execute(
            "DELETE FROM revisions AS old WHERE old.version = 0 AND old.id < ?1 AND NOT EXISTS"
            " (SELECT 1 FROM revisions AS older WHERE older.key = old.key AND older.id < old.id)",
            (row_id(revision),),
        ).rowcount

    def checkpoint(self) -> None:
        """Bring the write-ahead log into the file and cut it."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the file; checkpoints when this is the last connection."""
        self._db.close()

    def _write_leases(self, leases: dict[int, LeaseRow | None]) -> None:
        gone = [(lease_id,) for lease_id, row in leases.items() if row is None]
        kept = [row for row in leases.values() if row is not None]
        if gone:
            self._db.executemany("DELETE FROM leases WHERE id = ?", gone)
        if kept:
            self._db.executemany("INSERT OR REPLACE INTO leases (id, ttl_s, left_s, owner) VALUES (?, ?, ?, ?)", kept)

    def _fact(self, name: str) -> int:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _prepare(self) -> None:
        db = self._db
        try:
            (found,) = db.execute("PRAGMA user_version").fetchone()
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0] if found else "ok"
        except sqlite3.DatabaseError as error:
            found, verdict = FORMAT, str(error)
        if verdict != "ok":
            raise SafetyRefusal(
                "{path} is damaged ({verdict}); put a copy of it in its place, or move it away to begin anew",
                path=self.path,
                verdict=verdict,
            )
        if found > FORMAT:
            raise SafetyRefusal(
                "{path} was written by a newer version (format {found}); start that one", path=self.path, found=found
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 0")  # the engine chooses the moment
        if not found:
            db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")
            db.execute(_SET_FACT, ("cluster_id", randbits(62) + 1))


class Past:
    """The reading side: what was. Its snapshots never wait for the writer. Raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._db = _connect(path)
        self._db.execute("PRAGMA query_only = ON")

    def keys_at(self, revision: int, key: bytes, range_end: bytes) -> list[KeyValue]:
        """Return the keys of a range as they stood at a revision, in order."""
        where, parameters = _where(key, range_end)
        newest = f"SELECT max(id) AS id FROM revisions WHERE {where} AND id < ? GROUP BY key"  # noqa: S608 - constant text
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM revisions JOIN ({newest}) USING (id) WHERE version > 0 ORDER BY key",  # noqa: S608 - constant text
            (*parameters, row_id(revision + 1)),
        )
        return [_kv(row) for row in rows]

    def events(
        self, key: bytes, range_end: bytes, first: int, last: int, limit: int, *, has_before: bool
    ) -> tuple[list[Event], int]:
        """Return the events of whole revisions from `first` on, about `limit` of them, and up to which revision."""
        where, parameters = _where(key, range_end)
        span = (*parameters, row_id(first), row_id(last + 1))
        cut = self._db.execute(
            f"SELECT id FROM revisions WHERE {where} AND id >= ? AND id < ? ORDER BY id LIMIT 1 OFFSET ?",  # noqa: S608 - constant text
            (*span, limit),
        ).fetchone()
        if cut is not None:
            last = max(first, (cut[0] >> _SHIFT) - 1)
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM revisions WHERE {where} AND id >= ? AND id < ? ORDER BY id",  # noqa: S608 - constant text
            (*parameters, row_id(first), row_id(last + 1)),
        ).fetchall()
        return [self._event(row, has_before=has_before) for row in rows], last

    def copy(self, target: Path) -> None:
        """Write everything that is committed to another file."""
        with contextlib.closing(sqlite3.connect(target)) as copy:
            self._db.backup(copy)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _event(self, row: Row, *, has_before: bool) -> Event:
        if not has_before:
            return Event(_kv(row))
        before = self._db.execute(
            f"SELECT {_COLUMNS} FROM revisions WHERE key = ? AND id < ? ORDER BY id DESC LIMIT 1",  # noqa: S608 - constant text
            (row[1], row[0]),
        ).fetchone()
        return Event(_kv(row), _kv(before) if before and before[3] else None)


def _where(key: bytes, range_end: bytes) -> tuple[str, tuple[bytes, ...]]:
    if not range_end:
        return "key = ?", (key,)
    if range_end == TO_THE_END:
        return "key >= ?", (key,)
    return "key >= ? AND key < ?", (key, range_end)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
