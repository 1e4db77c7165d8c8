"""SQL of the waves in which configuration is brought to instances."""

import msgspec

from ops_system.master.configs.rules import Waves
from ops_system.storage.database import Queries, Transaction


async def insert(tx: Transaction, operation_id: str, waves: Waves) -> None:
    """Write how an operation goes through its targets."""
    await tx.execute(
        "INSERT INTO config_applies (operation_id, max_parallel, waves) VALUES (?, ?, ?)",
        (operation_id, waves.max_parallel, msgspec.json.encode(waves.waves).decode()),
    )


async def find(reader: Queries, operation_id: str) -> Waves | None:
    """Return how an operation goes through its targets; None for those begun before this was written down."""
    row = await reader.fetch_one("SELECT * FROM config_applies WHERE operation_id = ?", (operation_id,))
    if row is None:
        return None
    return Waves(row["max_parallel"], msgspec.json.decode(row["waves"], type=list[list[str]]))
