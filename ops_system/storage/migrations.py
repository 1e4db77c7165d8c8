"""Numbered migrations `NNNN_name.sql`: they go forward only, each in one transaction, with a copy of the file before.

A database that knows a migration this program does not is newer than the program and is refused.
"""

import importlib.resources
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ops_system.model.errors import SafetyRefusal
from ops_system.model.language import Said
from ops_system.runtime.files import sync_dir
from ops_system.storage.connection import connect_raw

_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql\Z")


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema. `number` orders and identifies it."""

    number: int
    name: str
    sql: str


def load_migrations(package: str, folder: str = "schema") -> tuple[Migration, ...]:
    """Read the migrations that lie in `folder` of an installed package, in order.

    Raises ValueError when two carry one number or a name is not `NNNN_name.sql`.
    """
    found: dict[int, Migration] = {}
    for entry in importlib.resources.files(package).joinpath(folder).iterdir():
        if not entry.name.endswith(".sql"):
            continue
        match = _NAME.match(entry.name)
        if match is None or int(match[1]) in found:
            raise ValueError(f"migration {entry.name}: the name must be NNNN_name.sql with a number of its own")
        found[int(match[1])] = Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8"))
    return tuple(found[number] for number in sorted(found))


def migrate(path: Path, migrations: tuple[Migration, ...], now_ms: int) -> None:
    """Bring the database at `path` to the newest known schema. Blocking; hold the folder's init lock.

    Raises SafetyRefusal when the database is newer than this program, and names the copy when a step fails.
    """
    raw = connect_raw(path)
    try:
        applied = applied_numbers(raw)
        unknown = sorted(applied - {migration.number for migration in migrations})
        if unknown:
            steps = ", ".join(f"{number:04}" for number in unknown)
            raise SafetyRefusal(
                "{path} was written by a newer version of this program (schema steps {steps}): install that version",
                path=path,
                steps=steps,
            )
        pending = [migration for migration in migrations if migration.number not in applied]
        if not pending:
            return
        copy = _copy_before(raw, path, pending[0], now_ms) if applied else None
        for migration in pending:
            _apply(raw, path, migration, now_ms, copy)
    finally:
        raw.close()


def applied_numbers(raw: sqlite3.Connection) -> set[int]:
    """Return the numbers of the steps this database has seen; none for an empty file."""
    known = raw.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'").fetchone()
    if known is None:
        return set()
    return {row[0] for row in raw.execute("SELECT number FROM schema_migrations")}


def copy_database(source: sqlite3.Connection, target: Path) -> None:
    """Write a consistent copy to `target`, whole or not at all, while others read and write. Blocking."""
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        copy = sqlite3.connect(temporary)
        try:
            temporary.chmod(0o600)
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
        finally:
            copy.close()
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_dir(target.parent)


def split_statements(script: str) -> Iterator[str]:
    """Yield the statements of an SQL script; a trigger's inner semicolons do not end it."""
    pending = ""
    *pieces, rest = script.split(";")
    for piece in pieces:
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            if _has_sql(pending):
                yield pending.strip()
            pending = ""
    if _has_sql(pending + rest):
        raise ValueError(f"an SQL statement does not end: {(pending + rest).strip()[:80]!r}")


def _has_sql(text: str) -> bool:
    lines = (line.partition("--")[0].strip(" ;\t\r") for line in text.splitlines())
    return any(lines)


def _copy_before(raw: sqlite3.Connection, path: Path, first: Migration, now_ms: int) -> Path:
    target = path.with_name(f"{path.name}.before-{first.number:04}-{now_ms}")
    copy_database(raw, target)
    return target


def _apply(raw: sqlite3.Connection, path: Path, migration: Migration, now_ms: int, copy: Path | None) -> None:
    try:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_ms INTEGER NOT NULL)"
        )
        for statement in split_statements(migration.sql):
            raw.execute(statement)
        raw.execute("INSERT INTO schema_migrations VALUES (?, ?, ?)", (migration.number, migration.name, now_ms))
        raw.execute("COMMIT")
    except sqlite3.Error as error:
        if raw.in_transaction:
            raw.execute("ROLLBACK")
        kept = Said("; a copy from before lies at {copy}", copy=copy) if copy else ""
        step = f"{migration.number:04}_{migration.name}"
        raise SafetyRefusal(
            "{path}: schema step {step} failed and was undone: {error}{kept}",
            path=path,
            step=step,
            error=error,
            kept=kept,
        ) from error
