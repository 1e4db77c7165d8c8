"""SQL of second factors and recovery codes."""

from collections.abc import Iterable

import msgspec

from ops_system.storage.database import Queries, Transaction


class Factor(msgspec.Struct, frozen=True):
    """A user's second factor. `secret` is sealed; `last_step` is the newest time step that was used."""

    user_id: str
    secret: bytes
    is_confirmed: bool
    last_step: int
    created_ms: int


async def find_factor(db: Queries, user_id: str) -> Factor | None:
    """Return a user's second factor, confirmed or not."""
    row = await db.fetch_one("SELECT * FROM second_factors WHERE user_id = ?", (user_id,))
    if row is None:
        return None
    return Factor(
        user_id=row["user_id"],
        secret=bytes(row["secret"]),
        is_confirmed=bool(row["is_confirmed"]),
        last_step=row["last_step"],
        created_ms=row["created_ms"],
    )


async def replace_factor(tx: Transaction, factor: Factor) -> None:
    """Write a factor in place of the one before, whose recovery codes go with it."""
    await delete_factor(tx, factor.user_id)
    await tx.execute(
        "INSERT INTO second_factors (user_id, secret, is_confirmed, last_step, created_ms) VALUES (?, ?, ?, ?, ?)",
        msgspec.structs.astuple(factor),
    )


async def use_step(tx: Transaction, user_id: str, step: int) -> None:
    """Remember the newest time step used; the factor is confirmed by it."""
    await tx.execute("UPDATE second_factors SET is_confirmed = 1, last_step = ? WHERE user_id = ?", (step, user_id))


async def delete_factor(tx: Transaction, user_id: str) -> bool:
    """Remove a factor and its recovery codes; False when there is none."""
    return await tx.execute("DELETE FROM second_factors WHERE user_id = ?", (user_id,)) > 0


async def replace_codes(tx: Transaction, user_id: str, hashes: Iterable[bytes]) -> None:
    """Write new recovery codes; the old ones are void."""
    await tx.execute("DELETE FROM recovery_codes WHERE user_id = ?", (user_id,))
    for code_hash in hashes:
        await tx.execute("INSERT INTO recovery_codes (user_id, code_hash) VALUES (?, ?)", (user_id, code_hash))


async def use_code(tx: Transaction, user_id: str, code_hash: bytes) -> bool:
    """Use a recovery code up; False when there is no such code."""
    return await tx.execute("DELETE FROM recovery_codes WHERE user_id = ? AND code_hash = ?", (user_id, code_hash)) > 0


async def count_codes(db: Queries, user_id: str) -> int:
    """Return how many recovery codes are left."""
    row = await db.fetch_one("SELECT count(*) AS n FROM recovery_codes WHERE user_id = ?", (user_id,))
    assert row is not None
    return int(row["n"])
