"""`audit verify` on the data folder, whether a master runs or not: follows the chain and names the first bad row."""

import asyncio

from ops_system.master.audit.rules import Verdict
from ops_system.master.audit.service import Audit
from ops_system.model.errors import UsageError
from ops_system.runtime.clock import SystemClock
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations


def verify(folder: DataFolder) -> Verdict:
    """Follow the whole chain. Blocking; not inside an event loop. Raises UsageError, SafetyRefusal."""
    if not folder.is_initialized:
        raise UsageError(f"{folder.root} holds no data of a master; name the folder by -data_dir")
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
