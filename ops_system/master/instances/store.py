"""The SQL of instances, their tombstones and their timelines. Used by the instances service alone."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ops_system.master.instances.rules import Action, EventMark, Record
from ops_system.master.instances.views import InstanceQuery, TimelineEvent
from ops_system.master.packages.rules import PackageUser
from ops_system.master.web.paging import like, order_by
from ops_system.master.web.route import ListQuery
from ops_system.model.ids import InstanceId, ModuleId, NodeId
from ops_system.model.instances import InstanceEvent, InstanceReport, InstanceSpec
from ops_system.model.stamps import from_ms, from_ms_or_none, to_ms, to_ms_or_none
from ops_system.storage.database import Queries, Row, Transaction

KEPT_EVENTS = 2000  # per instance; older ones go

_SORTS: Mapping[str, str] = {
    "name": "name",
    "state": "state",
    "desired": "desired",
    "package": "package",
    "version": "version",
    "node_id": "node_id",
    "created_at": "created_ms",
}
_VISIBLE = (
    "SELECT *, CASE WHEN node_id NOT IN (SELECT value FROM json_each(?)) THEN 'unknown'"
    " ELSE coalesce(json_extract(observed, '$.state'), 'pending') END AS state FROM instances"
)


def _record(row: Row) -> Record:
    observed = row["observed"]
    return Record(
        node_id=NodeId(row["node_id"]),
        spec=msgspec.json.decode(row["spec"], type=InstanceSpec),
        observed=None if observed is None else msgspec.json.decode(observed, type=InstanceReport),
        action=None if row["action"] is None else Action(row["action"]),
        operation_id=row["operation_id"],
        action_at=from_ms_or_none(row["action_ms"]),
        created_at=from_ms(row["created_ms"]),
        is_drained=bool(row["is_drained"]),
    )


async def find(reader: Queries, instance_id: str) -> Record | None:
    """Return one instance."""
    row = await reader.fetch_one("SELECT * FROM instances WHERE id = ?", (instance_id,))
    return None if row is None else _record(row)


async def find_on_node(reader: Queries, module_id: str, node_id: str) -> Record | None:
    """Return a module's instance on a node."""
    row = await reader.fetch_one("SELECT * FROM instances WHERE module_id = ? AND node_id = ?", (module_id, node_id))
    return None if row is None else _record(row)


async def list_by_node(reader: Queries, node_id: str) -> list[Record]:
    """Return every instance of one node."""
    return [_record(row) for row in await reader.fetch_all("SELECT * FROM instances WHERE node_id = ?", (node_id,))]


async def list_ports(reader: Queries) -> dict[NodeId, dict[int, str]]:
    """Return by node each port that an instance declares, and the name of that instance."""
    rows = await reader.fetch_all(
        "SELECT i.node_id, i.name, p.value AS port FROM instances i, json_each(i.spec, '$.service.ports') p"
        " WHERE i.desired <> 'absent'"
    )
    found: dict[NodeId, dict[int, str]] = {}
    for row in rows:
        found.setdefault(NodeId(row["node_id"]), {})[row["port"]] = row["name"]
    return found


async def list_by_system(reader: Queries, system_id: str) -> list[Record]:
    """Return every instance of one system, by name and age."""
    rows = await reader.fetch_all(
        "SELECT * FROM instances WHERE system_id = ? ORDER BY name, created_ms, id", (system_id,)
    )
    return [_record(row) for row in rows]


async def list_after(reader: Queries, instance_id: str, limit: int) -> list[Record]:
    """Return the instances whose ids follow this one, in order of their ids; an empty id begins."""
    rows = await reader.fetch_all("SELECT * FROM instances WHERE id > ? ORDER BY id LIMIT ?", (instance_id, limit))
    return [_record(row) for row in rows]


async def list_waiting(reader: Queries) -> dict[InstanceId, tuple[NodeId, str]]:
    """Return node and operation of each instance that waits for something."""
    rows = await reader.fetch_all("SELECT id, node_id, operation_id FROM instances WHERE operation_id IS NOT NULL")
    return {InstanceId(row["id"]): (NodeId(row["node_id"]), row["operation_id"]) for row in rows}


async def list_page(
    reader: Queries, query: InstanceQuery, heard: Collection[NodeId], reached: Collection[NodeId] | None = None
) -> tuple[list[Record], int]:
    """Return one page and how many match; `heard`: the nodes whose reports count; `reached`: those to list."""
    where, values = _conditions(query, heard)
    if reached is not None:
        where += " AND node_id IN (SELECT value FROM json_each(?))"
        values = (*values, msgspec.json.encode(list(reached)).decode())
    order = order_by(query.sort, _SORTS, "name")
    total = await reader.fetch_one(f"SELECT count(*) AS n FROM ({_VISIBLE}) WHERE {where}", values)  # noqa: S608 - text made here, values bound
    rows = await reader.fetch_all(
        f"SELECT * FROM ({_VISIBLE}) WHERE {where} ORDER BY {order}, node_id, id LIMIT ? OFFSET ?",  # noqa: S608 - see above
        (*values, query.limit, query.offset),
    )
    assert total is not None
    return [_record(row) for row in rows], int(total["n"])


def _conditions(query: InstanceQuery, heard: Collection[NodeId]) -> tuple[str, tuple[Any, ...]]:
    where, values = ["1"], [msgspec.json.encode(list(heard)).decode()]
    for column in ("system_id", "module_id", "node_id", "package", "version", "desired"):
        wanted = getattr(query, column)
        if wanted:
            where.append(f"{column} = ?")
            values.append(wanted)
    if query.state:
        states = query.state.split(",")
        where.append(f"state IN ({', '.join('?' for _ in states)})")
        values += states
    if query.q:
        where.append("(name LIKE ? ESCAPE '\\' OR id LIKE ? ESCAPE '\\' OR package LIKE ? ESCAPE '\\')")
        values += [like(query.q)] * 3
    return " AND ".join(where), tuple(values)


async def list_names_by_modules(reader: Queries, modules: Iterable[ModuleId]) -> list[str]:
    """Return `name on node` of every instance of these modules."""
    rows = await reader.fetch_all(
        "SELECT name || ' on ' || node_id AS name FROM instances"
        " WHERE module_id IN (SELECT value FROM json_each(?)) ORDER BY 1",
        (msgspec.json.encode(list(modules)).decode(),),
    )
    return [row["name"] for row in rows]


async def list_package_users(reader: Queries, package: str, version: str) -> list[PackageUser]:
    """Return every instance of this package version."""
    rows = await reader.fetch_all(
        "SELECT id, name, node_id FROM instances WHERE package = ? AND version = ? ORDER BY name, node_id",
        (package, version),
    )
    return [PackageUser("instance", row["id"], row["name"], row["node_id"]) for row in rows]


async def insert(tx: Transaction, record: Record) -> None:
    """Write a new instance."""
    spec = record.spec
    await tx.execute(
        "INSERT INTO instances (id, system_id, module_id, node_id, name, package, version, desired, generation, spec,"
        " observed, action, operation_id, action_ms, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            spec.instance_id,
            spec.system_id,
            spec.module_id,
            record.node_id,
            *_wish_columns(record),
            None,
            *_action_columns(record),
            to_ms(record.created_at),
        ),
    )


async def save_wish(tx: Transaction, record: Record) -> None:
    """Write the wish and what waits for it."""
    await tx.execute(
        "UPDATE instances SET name = ?, package = ?, version = ?, desired = ?, generation = ?, spec = ?, action = ?,"
        " operation_id = ?, action_ms = ?, is_drained = ? WHERE id = ?",
        (*_wish_columns(record), *_action_columns(record), int(record.is_drained), record.spec.instance_id),
    )


async def save_observed(tx: Transaction, record: Record) -> None:
    """Write what was observed and what is still waited for."""
    observed = None if record.observed is None else msgspec.json.encode(record.observed).decode()
    await tx.execute(
        "UPDATE instances SET observed = ?, action = ?, operation_id = ?, action_ms = ? WHERE id = ?",
        (observed, *_action_columns(record), record.spec.instance_id),
    )


def _wish_columns(record: Record) -> tuple[Any, ...]:
    spec = record.spec
    name, version = spec.service.name, spec.service.version
    if spec.package is not None:
        name, version = spec.package.name, spec.package.version
    return spec.name, name, version, spec.desired, spec.generation, msgspec.json.encode(spec).decode()


def _action_columns(record: Record) -> tuple[Any, ...]:
    return record.action, record.operation_id, to_ms_or_none(record.action_at)


# --- tombstones ------------------------------------------------------------------------------------------------------
async def bury(tx: Transaction, record: Record, now_ms: int) -> None:
    """Replace an instance by its tombstone; the timeline goes with it."""
    spec = record.spec
    await tx.execute("DELETE FROM instances WHERE id = ?", (spec.instance_id,))
    await save_tombstone(tx, record.node_id, spec, now_ms)


async def save_tombstone(tx: Transaction, node_id: NodeId, spec: InstanceSpec, now_ms: int) -> None:
    """Write or renew a tombstone."""
    await tx.execute(
        "INSERT OR REPLACE INTO instance_tombstones (id, node_id, generation, spec, removed_ms) VALUES (?, ?, ?, ?, ?)",
        (spec.instance_id, node_id, spec.generation, msgspec.json.encode(spec).decode(), now_ms),
    )


async def find_tombstone(reader: Queries, node_id: NodeId, instance_id: InstanceId) -> InstanceSpec | None:
    """Return the last wish of what was destroyed on this node."""
    row = await reader.fetch_one(
        "SELECT spec FROM instance_tombstones WHERE id = ? AND node_id = ?", (instance_id, node_id)
    )
    return None if row is None else msgspec.json.decode(row["spec"], type=InstanceSpec)


async def sweep_tombstones(tx: Transaction, before_ms: int) -> None:
    """Forget what was destroyed long ago."""
    await tx.execute("DELETE FROM instance_tombstones WHERE removed_ms < ?", (before_ms,))


# --- timelines -------------------------------------------------------------------------------------------------------
async def find_mark(reader: Queries, node_id: NodeId) -> EventMark:
    """Return up to where the node's events are on disk."""
    row = await reader.fetch_one("SELECT era, last_seq FROM event_marks WHERE node_id = ?", (node_id,))
    return EventMark(0, 0) if row is None else EventMark(row["era"], row["last_seq"])


async def save_mark(tx: Transaction, node_id: NodeId, mark: EventMark) -> None:
    """Write up to where the node's events are on disk."""
    await tx.execute(
        "INSERT OR REPLACE INTO event_marks (node_id, era, last_seq) VALUES (?, ?, ?)",
        (node_id, mark.era, mark.last_seq),
    )


async def add_events(
    tx: Transaction, node_id: NodeId, era: int, events: Sequence[InstanceEvent]
) -> list[tuple[int, InstanceEvent]]:
    """Write the events whose instance is on record on this node; return those that are new, with their row ids."""
    added = []
    for event in events:
        row = await tx.fetch_one(
            "INSERT INTO instance_events (node_id, era, seq, instance_id, event)"
            " SELECT ?, ?, ?, id, ? FROM instances WHERE id = ? AND node_id = ?"
            " ON CONFLICT DO NOTHING RETURNING id",
            (node_id, era, event.seq, msgspec.json.encode(event).decode(), event.instance_id, node_id),
        )
        if row is not None:
            added.append((int(row["id"]), event))
    for instance_id in {event.instance_id for _, event in added}:
        await _trim_events(tx, instance_id)
    return added


async def _trim_events(tx: Transaction, instance_id: InstanceId) -> None:
    await tx.execute(
        "DELETE FROM instance_events WHERE instance_id = ? AND id <= (SELECT id FROM instance_events"
        " WHERE instance_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (instance_id, instance_id, KEPT_EVENTS),
    )


async def list_events(reader: Queries, instance_id: str, query: ListQuery) -> tuple[list[TimelineEvent], int]:
    """Return one page of a timeline and its length; the newest first unless sorted by `at`."""
    order = order_by(query.sort, {"at": "id"}, "-at")
    values = (instance_id, like(query.q))
    where = "instance_id = ? AND event LIKE ? ESCAPE '\\'"
    total = await reader.fetch_one(f"SELECT count(*) AS n FROM instance_events WHERE {where}", values)  # noqa: S608 - text made here, values bound
    rows = await reader.fetch_all(
        f"SELECT id, event FROM instance_events WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",  # noqa: S608 - see above
        (*values, query.limit, query.offset),
    )
    assert total is not None
    decoded = [(row["id"], msgspec.json.decode(row["event"], type=InstanceEvent)) for row in rows]
    return [TimelineEvent.of(row_id, event) for row_id, event in decoded], int(total["n"])
