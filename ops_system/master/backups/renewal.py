"""What a restored database must not bring back: sessions, open links, half done work, numbers already used.

`generation` of every wish rises above anything the lost time can have given out: a worker compares numbers, and an
equal one with another meaning would be taken for what it has done already (trust R8, R16). The lost numbers rose by one
a wish, so the seconds since 1970 are above all of them.
"""

from datetime import datetime

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus
from ops_system.master.operations.rules import TargetEnd
from ops_system.master.operations.service import Operations
from ops_system.master.web.route import Principal
from ops_system.model.operations import ENDED, OperationState
from ops_system.model.reasons import Reason
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Transaction
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import Migration

_FORGOTTEN = (
    "DELETE FROM sessions",
    "DELETE FROM join_tokens",  # one that was used since would be good again
    "DELETE FROM idempotency",
    "DELETE FROM uploads",
    "DELETE FROM terminal_shares",
    "DELETE FROM deliveries WHERE ended_ms IS NULL",  # told already, or too old to tell
    "UPDATE schedules SET next_ms = NULL",  # counted anew from now: nothing was missed
    "UPDATE instances SET action = NULL, operation_id = NULL, action_ms = NULL",
)
_RAISED = (
    "UPDATE {table} SET generation = max(generation + 1, ?)",
    "UPDATE {table} SET spec = json_set(spec, '$.generation', generation)",
)
_PUT_META = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_CUT = Reason("restored", "it was under way when the backup was made; the data was restored meanwhile")


class Origin(msgspec.Struct, frozen=True):
    """From which backup data came."""

    name: str
    created_at: datetime


class Note(msgspec.Struct, frozen=True):
    """What `meta.restored` keeps of the last restore."""

    name: str
    restored_at: datetime
    backup_created_at: datetime


async def renew(  # noqa: PLR0917 - everything a restored database is told
    folder: DataFolder,
    migrations: tuple[Migration, ...],
    clock: Clock,
    actor: Principal,
    origin: Origin,
    known_epoch: int,
) -> int:
    """Prepare the staged database, `folder.database`, for its new life; return its epoch.

    Raises SafetyRefusal for a newer schema, StorageFull, Unavailable.
    """
    database = await Database.open(folder, migrations, readers=1)
    try:
        await _end_operations(database, clock)
        async with database.transaction() as tx:
            for statement in _FORGOTTEN:
                await tx.execute(statement)
            for table in ("instances", "instance_tombstones"):
                await _raise_generations(tx, table, int(clock.now().timestamp()))
            epoch = await _raise_epoch(tx, known_epoch)
            note = Note(origin.name, clock.now(), origin.created_at)
            await tx.execute(_PUT_META, ("restored", msgspec.json.encode(note).decode()))
            details = {"epoch": epoch, "backup_created_at": origin.created_at.isoformat()}
            await Audit(database, clock).record(tx, actor, "backup.restore", f"backup:{origin.name}", "done", details)
    finally:
        await database.close()
    return epoch


async def _raise_generations(tx: Transaction, table: str, least: int) -> None:
    raise_column, raise_spec = (statement.format(table=table) for statement in _RAISED)
    await tx.execute(raise_column, (least,))
    await tx.execute(raise_spec)


async def _raise_epoch(tx: Transaction, known_epoch: int) -> int:
    row = await tx.fetch_one("SELECT value FROM meta WHERE key = 'epoch'")
    epoch = max(known_epoch, 1 if row is None else int(row["value"])) + 1
    await tx.execute(_PUT_META, ("epoch", str(epoch)))
    return epoch


async def _end_operations(database: Database, clock: Clock) -> None:
    operations = Operations(database, Bus(), clock)
    await operations.load()
    end = TargetEnd(OperationState.FAILED, _CUT)
    for operation in operations.list_open():
        async with database.transaction() as tx:
            known = operation
            for target in operation.targets:
                if target.state not in ENDED:
                    known = await operations.finish_target(tx, operation.id, target.id, end, known=known)
