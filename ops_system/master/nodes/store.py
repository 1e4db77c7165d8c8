"""The SQL of nodes and their timelines. Used by the nodes service and the timeline alone."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from ops_system.master.nodes.notes import NodeEvent, NodeEventQuery, NodeNoted, NoteKind
from ops_system.master.nodes.rules import NodeRecord
from ops_system.master.web.paging import like, order_by
from ops_system.model.errors import Invalid
from ops_system.model.ids import NodeId
from ops_system.model.nodes import Fingerprint, NodeStatus
from ops_system.model.reasons import Reason
from ops_system.model.stamps import from_ms, from_ms_or_none, to_ms, to_ms_or_none
from ops_system.storage.database import Queries, Row, Transaction

KEPT_EVENTS = 2000  # per node; older ones go


async def list_all(reader: Queries) -> list[NodeRecord]:
    """Return every node on record."""
    return [_record(row) for row in await reader.fetch_all("SELECT * FROM nodes ORDER BY name")]


async def save(tx: Transaction, record: NodeRecord) -> None:
    """Write a node, new or changed."""
    await tx.execute(
        "INSERT INTO nodes (id, name, public_key, join_token_id, clone_of, is_paused, is_draining, is_revoked, labels,"
        " fingerprint, worker_version, address, connection_epoch, last_seen_ms, created_ms, created_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET name = excluded.name, public_key = excluded.public_key,"
        " join_token_id = excluded.join_token_id, is_paused = excluded.is_paused, is_draining = excluded.is_draining,"
        " is_revoked = excluded.is_revoked, labels = excluded.labels, fingerprint = excluded.fingerprint,"
        " worker_version = excluded.worker_version, address = excluded.address,"
        " connection_epoch = excluded.connection_epoch, last_seen_ms = excluded.last_seen_ms",
        (
            record.id,
            record.name,
            record.public_key,
            record.join_token_id,
            record.clone_of,
            int(record.is_paused),
            int(record.is_draining),
            int(record.is_revoked),
            msgspec.json.encode(record.labels).decode(),
            None if record.fingerprint is None else msgspec.json.encode(record.fingerprint).decode(),
            record.worker_version,
            record.address,
            record.connection_epoch,
            to_ms_or_none(record.last_seen),
            to_ms(record.created_at),
            record.created_by,
        ),
    )


async def save_last_seen(tx: Transaction, seen: Mapping[NodeId, datetime]) -> None:
    """Write when nodes were last heard."""
    rows = [(to_ms(at), node_id) for node_id, at in seen.items()]
    await tx.execute_many("UPDATE nodes SET last_seen_ms = ? WHERE id = ?", rows)


async def delete(tx: Transaction, node_id: NodeId) -> None:
    """Remove a node and the clones that showed its identity."""
    await tx.execute("DELETE FROM nodes WHERE id = ? OR clone_of = ?", (node_id, node_id))


def _record(row: Row) -> NodeRecord:
    seen = row["fingerprint"]
    return NodeRecord(
        id=NodeId(row["id"]),
        name=row["name"],
        created_at=from_ms(row["created_ms"]),
        created_by=row["created_by"],
        public_key=row["public_key"],
        join_token_id=row["join_token_id"],
        clone_of=row["clone_of"],
        is_paused=bool(row["is_paused"]),
        is_draining=bool(row["is_draining"]),
        is_revoked=bool(row["is_revoked"]),
        labels=msgspec.json.decode(row["labels"], type=dict[str, str]),
        fingerprint=None if seen is None else msgspec.json.decode(seen, type=Fingerprint),
        worker_version=row["worker_version"],
        address=row["address"],
        connection_epoch=row["connection_epoch"],
        last_seen=from_ms_or_none(row["last_seen_ms"]),
    )


# --- timelines -------------------------------------------------------------------------------------------------------
async def add_events(tx: Transaction, notes: Sequence[NodeNoted]) -> list[tuple[int, NodeNoted]]:
    """Write the notes whose node is still on record; return those, with their row ids."""
    added = []
    for note in notes:
        row = await tx.fetch_one(
            "INSERT INTO node_events (node_id, at_ms, kind, status, reason, actor)"
            " SELECT id, ?, ?, ?, ?, ? FROM nodes WHERE id = ? RETURNING id",
            (
                to_ms(note.at),
                note.kind,
                note.status,
                None if note.reason is None else msgspec.json.encode(note.reason).decode(),
                note.actor,
                note.node_id,
            ),
        )
        if row is not None:
            added.append((int(row["id"]), note))
    for node_id in {note.node_id for _, note in added}:
        await _trim_events(tx, node_id)
    return added


async def _trim_events(tx: Transaction, node_id: NodeId) -> None:
    await tx.execute(
        "DELETE FROM node_events WHERE node_id = ? AND id <= (SELECT id FROM node_events"
        " WHERE node_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (node_id, node_id, KEPT_EVENTS),
    )


async def list_events(reader: Queries, node_id: NodeId, query: NodeEventQuery) -> tuple[list[NodeEvent], int]:
    """Return one page of a timeline and how many lines match. Raises `Invalid` for an unknown kind or field."""
    order = order_by(query.sort, {"at": "id"}, "-at")
    kinds = _kinds(query.kind)
    values = (node_id, like(query.q), msgspec.json.encode(kinds).decode())
    where = (
        "node_id = ? AND coalesce(reason, '') || actor LIKE ? ESCAPE '\\' AND kind IN (SELECT value FROM json_each(?))"
    )
    total = await reader.fetch_one(f"SELECT count(*) AS n FROM node_events WHERE {where}", values)  # noqa: S608 - text made here, values bound
    rows = await reader.fetch_all(
        f"SELECT * FROM node_events WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",  # noqa: S608 - see above
        (*values, query.limit, query.offset),
    )
    assert total is not None
    return [_event(row) for row in rows], int(total["n"])


def _kinds(text: str) -> list[NoteKind]:
    try:
        return [NoteKind(word.strip()) for word in text.split(",") if word.strip()] or list(NoteKind)
    except ValueError as problem:
        message = f"kind: {problem}; use {', '.join(NoteKind)}"
        raise Invalid(message, problems=[message]) from problem


def _event(row: Row) -> NodeEvent:
    return NodeEvent(
        id=row["id"],
        at=from_ms(row["at_ms"]),
        kind=NoteKind(row["kind"]),
        status=None if row["status"] is None else NodeStatus(row["status"]),
        reason=None if row["reason"] is None else msgspec.json.decode(row["reason"], type=Reason),
        actor=row["actor"],
    )
