"""The SQL of operations and their targets. Used by the operations service alone."""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from ops_system.master.operations.lines import LOG_LINES, OperationLine
from ops_system.master.operations.rules import OperationQuery
from ops_system.master.web.paging import like, order_by
from ops_system.model.ids import OperationId
from ops_system.model.operations import Operation, OperationState, OperationStep, OperationTarget
from ops_system.model.reasons import Reason
from ops_system.model.stamps import from_ms, from_ms_or_none, to_ms, to_ms_or_none
from ops_system.storage.database import Queries, Row, Transaction

_SORTS: Mapping[str, str] = {
    "created_at": "created_ms",
    "updated_at": "updated_ms",
    "kind": "kind",
    "state": "state",
    "title": "title",
}


_ON_NO_OTHER = (
    "NOT EXISTS (SELECT 1 FROM operation_targets t WHERE t.operation_id = operations.id"
    " AND (t.node_id IS NULL OR t.node_id NOT IN (SELECT value FROM json_each(?))))"
)


def _decode_reason(text: str | None) -> Reason | None:
    return None if text is None else msgspec.json.decode(text, type=Reason)


def _encode_reason(reason: Reason | None) -> str | None:
    return None if reason is None else msgspec.json.encode(reason).decode()


def _target(row: Row) -> OperationTarget:
    return OperationTarget(
        kind=row["kind"],
        id=row["target_id"],
        name=row["name"],
        node_id=row["node_id"],
        state=OperationState(row["state"]),
        step=row["step"],
        bytes_done=row["bytes_done"],
        bytes_total=row["bytes_total"],
        reason=_decode_reason(row["reason"]),
    )


def _operation(row: Row, targets: Iterable[OperationTarget]) -> Operation:
    return Operation(
        id=OperationId(row["id"]),
        kind=row["kind"],
        title=row["title"],
        state=OperationState(row["state"]),
        reverted=bool(row["reverted"]),
        steps=msgspec.json.decode(row["steps"], type=tuple[OperationStep, ...]),
        targets=tuple(targets),
        error=_decode_reason(row["error"]),
        created_at=from_ms(row["created_ms"]),
        updated_at=from_ms(row["updated_ms"]),
        ended_at=from_ms_or_none(row["ended_ms"]),
        created_by=row["created_by"],
        is_paused=bool(row["is_paused"]),
    )


async def insert(tx: Transaction, operation: Operation) -> None:
    """Write a new operation with its targets."""
    await tx.execute(
        "INSERT INTO operations (id, kind, title, state, reverted, steps, error, created_ms, updated_ms, ended_ms,"
        " created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            operation.id,
            operation.kind,
            operation.title,
            operation.state,
            int(operation.reverted),
            msgspec.json.encode(operation.steps).decode(),
            _encode_reason(operation.error),
            to_ms(operation.created_at),
            to_ms(operation.updated_at),
            to_ms_or_none(operation.ended_at),
            operation.created_by,
        ),
    )
    for position, target in enumerate(operation.targets):
        await tx.execute(
            "INSERT INTO operation_targets (operation_id, position, kind, target_id, name, node_id, state, step,"
            " bytes_done, bytes_total, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (operation.id, position, target.kind, target.id, target.name, target.node_id, *_target_state(target)),
        )


async def save(tx: Transaction, operation: Operation, changed: Iterable[OperationTarget]) -> None:
    """Write the operation's own state and the targets in `changed`."""
    await tx.execute(
        "UPDATE operations SET state = ?, reverted = ?, is_paused = ?, steps = ?, error = ?, updated_ms = ?,"
        " ended_ms = ? WHERE id = ?",
        (
            operation.state,
            int(operation.reverted),
            int(operation.is_paused),
            msgspec.json.encode(operation.steps).decode(),
            _encode_reason(operation.error),
            to_ms(operation.updated_at),
            to_ms_or_none(operation.ended_at),
            operation.id,
        ),
    )
    for target in changed:
        await tx.execute(
            "UPDATE operation_targets SET state = ?, step = ?, bytes_done = ?, bytes_total = ?, reason = ?"
            " WHERE operation_id = ? AND target_id = ?",
            (*_target_state(target), operation.id, target.id),
        )


async def add_lines(tx: Transaction, operation_id: str, lines: Iterable[OperationLine]) -> None:
    """Add lines to an operation's log and forget the oldest beyond what is kept."""
    for line in lines:
        await tx.execute(
            "INSERT INTO operation_log (operation_id, seq, at_ms, target_id, target_name, state, step, reason)"
            " SELECT ?, coalesce(max(seq), 0) + 1, ?, ?, ?, ?, ?, ? FROM operation_log WHERE operation_id = ?",
            (
                operation_id,
                to_ms(line.at),
                line.target_id,
                line.target_name,
                line.state,
                line.step,
                _encode_reason(line.reason),
                operation_id,
            ),
        )
    await tx.execute(
        "DELETE FROM operation_log WHERE operation_id = ?"
        " AND seq <= (SELECT max(seq) FROM operation_log WHERE operation_id = ?) - ?",
        (operation_id, operation_id, LOG_LINES),
    )


async def list_lines(reader: Queries, operation_id: str, limit: int, offset: int) -> tuple[list[OperationLine], int]:
    """Return a page of an operation's log, the newest first, and how many lines there are."""
    count = await reader.fetch_one("SELECT count(*) AS n FROM operation_log WHERE operation_id = ?", (operation_id,))
    rows = await reader.fetch_all(
        "SELECT * FROM operation_log WHERE operation_id = ? ORDER BY seq DESC LIMIT ? OFFSET ?",
        (operation_id, limit, offset),
    )
    assert count is not None
    return [_line(row) for row in rows], int(count["n"])


def _line(row: Row) -> OperationLine:
    return OperationLine(
        at=from_ms(row["at_ms"]),
        target_id=row["target_id"],
        target_name=row["target_name"],
        state=OperationState(row["state"]),
        step=row["step"],
        reason=_decode_reason(row["reason"]),
    )


async def sweep(tx: Transaction, before_ms: int) -> None:
    """Forget operations that ended before."""
    await tx.execute("DELETE FROM operations WHERE ended_ms < ?", (before_ms,))


async def find(reader: Queries, operation_id: str) -> Operation | None:
    """Return one operation."""
    row = await reader.fetch_one("SELECT * FROM operations WHERE id = ?", (operation_id,))
    if row is None:
        return None
    return _operation(row, await _targets(reader, operation_id))


async def list_open(reader: Queries) -> list[Operation]:
    """Return every operation that has not ended."""
    rows = await reader.fetch_all("SELECT * FROM operations WHERE ended_ms IS NULL ORDER BY created_ms", ())
    return [_operation(row, await _targets(reader, row["id"])) for row in rows]


async def list_page(
    reader: Queries, query: OperationQuery, reached: Collection[str] | None = None
) -> tuple[list[Operation], int]:
    """Return one page of operations and how many match in all; `reached`: only those on no other nodes."""
    where, values = _conditions(query)
    if reached is not None:
        where, values = f"{where} AND {_ON_NO_OTHER}", (*values, msgspec.json.encode(list(reached)).decode())
    order = order_by(query.sort, _SORTS, "-created_at")
    total = await reader.fetch_one(f"SELECT count(*) AS n FROM operations WHERE {where}", values)  # noqa: S608 - text made here, values bound
    rows = await reader.fetch_all(
        f"SELECT * FROM operations WHERE {where} ORDER BY {order}, id LIMIT ? OFFSET ?",  # noqa: S608 - see above
        (*values, query.limit, query.offset),
    )
    assert total is not None
    return [_operation(row, await _targets(reader, row["id"])) for row in rows], int(total["n"])


def _conditions(query: OperationQuery) -> tuple[str, tuple[str, ...]]:
    where, values = ["1"], list[str]()
    if query.state:
        wanted = query.state.split(",")
        where.append(f"state IN ({', '.join('?' for _ in wanted)})")
        values += wanted
    if query.kind:
        where.append("kind LIKE ? ESCAPE '\\'")
        values.append(like(query.kind))
    if query.target:
        where.append("id IN (SELECT operation_id FROM operation_targets WHERE target_id = ?)")
        values.append(query.target)
    if query.q:
        where.append("title LIKE ? ESCAPE '\\'")
        values.append(like(query.q))
    return " AND ".join(where), tuple(values)


async def _targets(reader: Queries, operation_id: str) -> list[OperationTarget]:
    rows = await reader.fetch_all(
        "SELECT * FROM operation_targets WHERE operation_id = ? ORDER BY position", (operation_id,)
    )
    return [_target(row) for row in rows]


def _target_state(target: OperationTarget) -> tuple[str, str, int, int, str | None]:
    return target.state, target.step, target.bytes_done, target.bytes_total, _encode_reason(target.reason)
