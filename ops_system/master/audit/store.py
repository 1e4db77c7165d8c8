"""SQL of the audit log. Rows are only ever added; triggers refuse the rest."""

from typing import Any

import msgspec

from ops_system.master.audit.rules import GENESIS, AuditQuery, AuditRow, Entry
from ops_system.master.web.paging import like, order_by
from ops_system.model.stamps import from_ms, to_ms
from ops_system.storage.database import Queries, Row, Transaction

_COLUMNS = "seq, at_ms, actor_kind, actor_id, actor_name, action, target, outcome, details, hash"
_SORTS = {"at": "seq", "seq": "seq", "actor_name": "actor_name", "action": "action", "target": "target"}


async def find_last(tx: Queries) -> tuple[int, bytes]:
    """Return the newest row's seq and hash; 0 and the genesis hash for an empty log."""
    row = await tx.fetch_one("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
    return (row["seq"], bytes(row["hash"])) if row else (0, GENESIS)


async def append(tx: Transaction, entry: Entry, digest: bytes) -> None:
    """Add one row."""
    await tx.execute(
        f"INSERT INTO audit ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant text
        (*msgspec.structs.astuple(entry), digest),
    )


async def list_chain(db: Queries, after_seq: int, limit: int) -> list[tuple[Entry, bytes]]:
    """Return rows in order of the chain, to verify them."""
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM audit WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608 - constant text
        (after_seq, limit),
    )
    return [(Entry(*tuple(row)[:9]), bytes(row["hash"])) for row in rows]


async def list_page(db: Queries, query: AuditQuery) -> tuple[list[AuditRow], int]:
    """Return one page and how many rows match in all."""
    where, values = _conditions(query)
    order = order_by(query.sort, _SORTS, "-seq")
    total = await db.fetch_one(f"SELECT count(*) AS n FROM audit WHERE {where}", values)  # noqa: S608 - text made here
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM audit WHERE {where} ORDER BY {order}, seq DESC LIMIT ? OFFSET ?",  # noqa: S608 - see above
        (*values, query.limit, query.offset),
    )
    assert total is not None
    return [_row(row) for row in rows], int(total["n"])


def _conditions(query: AuditQuery) -> tuple[str, tuple[Any, ...]]:
    parts: list[tuple[str, Any]] = []
    if query.actor:
        parts.append(("actor_name = ?", query.actor))
    if query.action:
        parts.append(("action LIKE ? ESCAPE '\\'", like(query.action)[1:]))
    if query.target:
        parts.append(("target LIKE ? ESCAPE '\\'", like(query.target)))
    if query.outcome:
        parts.append(("outcome = ?", query.outcome))
    if query.from_at:
        parts.append(("at_ms >= ?", to_ms(query.from_at)))
    if query.to_at:
        parts.append(("at_ms < ?", to_ms(query.to_at)))
    if query.q:
        columns = "actor_name || ' ' || action || ' ' || target || ' ' || details"
        parts.append((f"{columns} LIKE ? ESCAPE '\\'", like(query.q)))
    return " AND ".join(["1", *(text for text, _ in parts)]), tuple(value for _, value in parts)


def _row(row: Row) -> AuditRow:
    return AuditRow(
        seq=row["seq"],
        at=from_ms(row["at_ms"]),
        actor_kind=row["actor_kind"],
        actor_id=row["actor_id"],
        actor_name=row["actor_name"],
        action=row["action"],
        target=row["target"],
        outcome=row["outcome"],
        details=msgspec.json.decode(row["details"]),
        hash=bytes(row["hash"]).hex(),
    )
