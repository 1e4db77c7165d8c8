"""`audit verify` on the data folder, whether a master runs or not: follows the chain and names the first bad row."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ops_system.master.audit.rules import GENESIS, Entry, Verdict, check_links
from ops_system.master.audit.service import Audit
from ops_system.model.errors import UsageError
from ops_system.runtime.clock import SystemClock
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations

_BATCH = 200


def verify(folder: DataFolder) -> Verdict:
    """Follow the whole chain. Blocking; not inside an event loop. Raises UsageError, SafetyRefusal."""
    if not folder.is_initialized:
        raise UsageError("{root} holds no data of a master; name the folder by -data_dir", root=folder.root)
    return asyncio.run(_verify(folder))


async def _verify(folder: DataFolder) -> Verdict:
    database = await Database.open(folder, load_migrations("ops_system.master"), readers=1)
    try:
        return await Audit(database, SystemClock()).verify()
    finally:
        await database.close()


def render(verdict: Verdict) -> str:
    """Return the line to print."""
    if verdict.ok:
        return f"{verdict.rows} rows: the chain holds"
    return f"row {verdict.first_bad} does not fit the one before: it was changed, or a row before it is gone"


def verify_file(path: Path, *, breathe: Callable[[], None]) -> Verdict:
    """Follow the chain in a database file that nobody writes; `breathe` is called between batches. Blocking.

    Raises sqlite3.Error.
    """
    previous, seq, rows = GENESIS, 0, 0
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as raw:
        found = raw.execute(f"SELECT {', '.join(Entry.__struct_fields__)}, hash FROM audit ORDER BY seq")  # noqa: S608 - names from the struct
        while batch := found.fetchmany(_BATCH):
            previous, first_bad = check_links(previous, seq, ((Entry(*row[:-1]), row[-1]) for row in batch))
            rows, seq = rows + len(batch), batch[-1][0]
            if first_bad is not None:
                return Verdict(ok=False, rows=rows, first_bad=first_bad)
            breathe()
    return Verdict(ok=True, rows=rows, first_bad=None)
