"""The SQL of nodes. Used by the nodes service alone."""

import msgspec

from ops_system.master.nodes.rules import NodeRecord
from ops_system.model.ids import NodeId
from ops_system.model.nodes import Fingerprint
from ops_system.model.stamps import from_ms, from_ms_or_none, to_ms, to_ms_or_none
from ops_system.storage.database import Queries, Row, Transaction


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


async def save_last_seen(tx: Transaction, seen: list[NodeRecord]) -> None:
    """Write when nodes were last heard."""
    rows = [(to_ms_or_none(record.last_seen), record.id) for record in seen]
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
