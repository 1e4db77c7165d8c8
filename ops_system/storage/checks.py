"""What must be true before the database is used: it is there where it was, whole, and ours. Blocking."""

import sqlite3
from pathlib import Path

from ops_system.model.errors import SafetyRefusal
from ops_system.storage.connection import BUSY_TIMEOUT_S, translate
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import applied_numbers

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def check_database(folder: DataFolder) -> None:
    """Refuse a database that is damaged, or missing where one was; the file is only read.

    Raises SafetyRefusal naming the file and the copies found; Unavailable, StorageFull.
    """
    path = folder.database
    if not path.exists() or path.stat().st_size == 0:
        if folder.is_initialized:
            raise SafetyRefusal(_explain(folder, "is missing or empty, but this data folder was in use"))
        return
    problem = find_damage(path, is_expected_filled=folder.is_initialized)
    if problem:
        raise SafetyRefusal(_explain(folder, f"is damaged ({problem})"), path=str(path))


def find_damage(path: Path, *, is_expected_filled: bool) -> str:
    """Return what is wrong with the database file in a few words, or an empty string.

    Raises Unavailable or StorageFull when the file cannot be looked at now, which is no damage.
    """
    try:
        return _look(path, is_expected_filled=is_expected_filled)
    except sqlite3.Error as error:
        if (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF in _DAMAGE:
            return str(error)
        raise translate(error, path) from error


def _look(path: Path, *, is_expected_filled: bool) -> str:
    raw = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        verdict = [str(row[0]) for row in raw.execute("PRAGMA quick_check(5)")]
        if verdict != ["ok"]:
            return "; ".join(verdict)
        if is_expected_filled and not applied_numbers(raw):
            return "it holds no schema"
    finally:
        raw.close()
    return ""


def _explain(folder: DataFolder, problem: str) -> str:
    path = folder.database
    backups = [str(copy) for copy in folder.backups_found()]
    ways = f"copies found: {', '.join(backups)}" if backups else "no copy of it was found in the data folder"
    left = [name for name in (f"{path}-wal", f"{path}-shm") if Path(name).exists()]
    also = f" and take {' and '.join(left)} away, which belong to the old one" if left else ""
    return (
        f"{path} {problem}. Nothing was changed. Put a good copy in its place ({ways}){also},"
        f" or choose an empty data_dir to begin anew"
    )
