"""What a copy of the database says about itself, and whether it is sound. Blocking, on a file nobody else uses."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import msgspec

from ops_system.master.audit.offline import verify_file
from ops_system.master.backups.envelope import refuse
from ops_system.storage.migrations import applied_numbers

_COUNTED = ("users", "nodes", "packages", "systems", "instances", "audit")


class CopyFacts(msgspec.Struct, frozen=True):
    """`packages`: SHA-256 and size of each stored package."""

    epoch: int
    schema: tuple[int, ...]
    rows: dict[str, int]
    packages: dict[str, int]


def read_facts(path: Path) -> CopyFacts:
    """Read what a backup lists. Raises sqlite3.Error."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as raw:
        epoch = raw.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
        rows = {name: raw.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in _COUNTED}  # noqa: S608 - names from above
        packages = dict(raw.execute("SELECT sha256, max(size_bytes) FROM packages GROUP BY sha256"))
        return CopyFacts(int(epoch[0]) if epoch else 1, tuple(sorted(applied_numbers(raw))), rows, packages)


def check_copy(path: Path) -> None:
    """Read the whole copy: every page, and the chain of the audit log.

    Raises Invalid with reason `damaged`. Pauses again and again, so that the event loop beside it keeps its pace.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as raw:
            verdict = [str(row[0]) for row in raw.execute("PRAGMA integrity_check(5)")]
        if verdict != ["ok"]:
            raise refuse("damaged", f"its database is damaged: {'; '.join(verdict)}")
        chain = verify_file(path, breathe=lambda: time.sleep(0.002))
    except sqlite3.Error as error:
        raise refuse("damaged", f"its database cannot be read: {error}") from error
    if not chain.ok:
        raise refuse("damaged", f"its audit log does not hold: row {chain.first_bad} does not fit the one before")
