"""The SQL of rollouts under way. Used by the rollouts service alone."""

import msgspec

from ops_system.master.instances.rules import Action
from ops_system.master.rollouts.rules import Rollout, Waves
from ops_system.storage.database import Queries, Row, Transaction


def _rollout(row: Row) -> Rollout:
    return Rollout(
        operation_id=row["operation_id"],
        subject_id=row["subject_id"],
        action=Action(row["action"]),
        waves=msgspec.json.decode(row["waves"], type=Waves),
        scope=msgspec.json.decode(row["scope"], type=dict[str, str]),
    )


async def insert(tx: Transaction, rollout: Rollout) -> None:
    """Write a new rollout."""
    await tx.execute(
        "INSERT INTO rollouts (operation_id, subject_id, action, waves, scope) VALUES (?, ?, ?, ?, ?)",
        (
            rollout.operation_id,
            rollout.subject_id,
            rollout.action,
            msgspec.json.encode(rollout.waves).decode(),
            msgspec.json.encode(rollout.scope).decode(),
        ),
    )


async def find(reader: Queries, operation_id: str) -> Rollout | None:
    """Return the rollout of an operation, ended or not."""
    row = await reader.fetch_one("SELECT * FROM rollouts WHERE operation_id = ?", (operation_id,))
    return None if row is None else _rollout(row)


async def list_open(reader: Queries) -> list[Rollout]:
    """Return every rollout whose operation has not ended, the oldest first."""
    rows = await reader.fetch_all(
        "SELECT r.* FROM rollouts r JOIN operations o ON o.id = r.operation_id"
        " WHERE o.ended_ms IS NULL ORDER BY o.created_ms, o.id"
    )
    return [_rollout(row) for row in rows]


async def find_latest(reader: Queries, subject_id: str) -> Rollout | None:
    """Return the newest rollout of a system or node, ended or not."""
    row = await reader.fetch_one(
        "SELECT r.* FROM rollouts r JOIN operations o ON o.id = r.operation_id"
        " WHERE r.subject_id = ? ORDER BY o.created_ms DESC, o.id DESC LIMIT 1",
        (subject_id,),
    )
    return None if row is None else _rollout(row)
