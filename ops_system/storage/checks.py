"""What must be true before the database is used: it is there where it was, whole, and ours. Blocking."""

import sqlite3
from pathlib import Path

from ops_system.model.errors import SafetyRefusal
from ops_system.model.language import Said
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
            raise _refusal(folder, Said("is missing or empty, but this data folder was in use"))
        return
    problem = find_damage(path, is_expected_filled=folder.is_initialized)
    if problem:
        raise _refusal(folder, Said("is damaged ({problem})", problem=problem))


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


def _refusal(folder: DataFolder, problem: Said) -> SafetyRefusal:
    path = folder.database
    backups = ", ".join([str(copy) for copy in folder.backups_found()])
    left = ", ".join([name for name in (f"{path}-wal", f"{path}-shm") if Path(name).exists()])
    return SafetyRefusal(
        "{path} {problem}. Nothing was changed. Put a good copy in its place ({ways}){also}, "
        "or choose an empty data_dir to begin anew",
        path=path,
        problem=problem,
        ways=Said("copies found: {backups}", backups=backups)
        if backups
        else Said("no copy of it was found in the data folder"),
        also=Said(" and take {left} away, which belong to the old one", left=left) if left else "",
    )
