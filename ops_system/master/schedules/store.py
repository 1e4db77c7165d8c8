"""The SQL of schedules and their runs. Used by the service alone."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ops_system.master.schedules.rules import Outcome, Schedule, ScheduleBody, ScheduleOwner, ScheduleQuery, ScheduleRun
from ops_system.master.web.paging import like, order_by
from ops_system.master.web.route import ListQuery
from ops_system.model.reasons import Reason
from ops_system.model.stamps import from_ms, from_ms_or_none, to_ms, to_ms_or_none
from ops_system.storage.database import Queries, Row, Transaction

KEEP_RUNS = 200
_SORTS: Mapping[str, str] = {
    "name": "name",
    "kind": "kind",
    "next_at": "coalesce(next_ms, 9e15)",
    "created_at": "created_ms",
}
_LAST = "SELECT * FROM schedule_runs WHERE id IN (SELECT max(id) FROM schedule_runs GROUP BY schedule_id)"


def _run(row: Row) -> ScheduleRun:
    return ScheduleRun(
        id=row["id"],
        schedule_id=row["schedule_id"],
        due_at=from_ms(row["due_ms"]),
        started_at=from_ms(row["started_ms"]),
        ended_at=from_ms_or_none(row["ended_ms"]),
        trigger=row["trigger"],
        outcome=Outcome(row["outcome"]),
        operation_ids=msgspec.json.decode(row["operations"], type=tuple[str, ...]),
        reason=None if row["reason"] is None else msgspec.json.decode(row["reason"], type=Reason),
    )


def _schedule(row: Row, last: ScheduleRun | None) -> Schedule:
    body = msgspec.json.decode(row["body"], type=ScheduleBody)
    fields = msgspec.structs.asdict(body) | {"is_paused": bool(row["is_paused"])}
    return Schedule(
        id=row["id"],
        owner=msgspec.json.decode(row["owner"], type=ScheduleOwner),
        next_at=from_ms_or_none(row["next_ms"]),
        last_run=last,
        created_at=from_ms(row["created_ms"]),
        updated_at=from_ms(row["updated_ms"]),
        **fields,
    )


async def _lasts(reader: Queries) -> dict[str, ScheduleRun]:
    return {row["schedule_id"]: _run(row) for row in await reader.fetch_all(_LAST)}


async def list_all(reader: Queries) -> list[Schedule]:
    """Return every schedule."""
    lasts = await _lasts(reader)
    return [_schedule(row, lasts.get(row["id"])) for row in await reader.fetch_all("SELECT * FROM schedules")]


async def list_page(reader: Queries, query: ScheduleQuery, owner_id: str | None) -> tuple[list[Schedule], int]:
    """Return one page and how many match; `owner_id`: only theirs."""
    where, values = ["1"], list[Any]()
    if query.kind:
        where.append("kind = ?")
        values.append(query.kind)
    if query.q:
        where.append("name LIKE ? ESCAPE '\\'")
        values.append(like(query.q))
    if owner_id is not None:
        where.append("json_extract(owner, '$.id') = ?")
        values.append(owner_id)
    text, order = " AND ".join(where), order_by(query.sort, _SORTS, "name")
    total = await reader.fetch_one(f"SELECT count(*) AS n FROM schedules WHERE {text}", values)  # noqa: S608 - text made here, values bound
    rows = await reader.fetch_all(
        f"SELECT * FROM schedules WHERE {text} ORDER BY {order}, id LIMIT ? OFFSET ?",  # noqa: S608 - see above
        (*values, query.limit, query.offset),
    )
    lasts = await _lasts(reader)
    assert total is not None
    return [_schedule(row, lasts.get(row["id"])) for row in rows], int(total["n"])


async def find(reader: Queries, schedule_id: str) -> Schedule | None:
    """Return one schedule."""
    row = await reader.fetch_one("SELECT * FROM schedules WHERE id = ?", (schedule_id,))
    if row is None:
        return None
    last = await reader.fetch_one(f"{_LAST} AND schedule_id = ?", (schedule_id,))
    return _schedule(row, _run(last) if last else None)


async def put(tx: Transaction, schedule: Schedule) -> None:
    """Write a schedule, new or changed. Raises Conflict when the name is taken."""
    body = ScheduleBody(
        name=schedule.name,
        kind=schedule.kind,
        cron=schedule.cron,
        timezone=schedule.timezone,
        params=schedule.params,
        missed=schedule.missed,
    )
    await tx.execute(
        "INSERT INTO schedules (id, name, kind, body, owner, is_paused, next_ms, created_ms, updated_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name,"
        " kind = excluded.kind, body = excluded.body, owner = excluded.owner, is_paused = excluded.is_paused,"
        " next_ms = excluded.next_ms, updated_ms = excluded.updated_ms",
        (
            schedule.id,
            schedule.name,
            schedule.kind,
            msgspec.json.encode(body).decode(),
            msgspec.json.encode(schedule.owner).decode(),
            int(schedule.is_paused),
            to_ms_or_none(schedule.next_at),
            to_ms(schedule.created_at),
            to_ms(schedule.updated_at),
        ),
    )


async def is_name_taken(reader: Queries, name: str, but_id: str) -> bool:
    """Return whether another schedule has this name."""
    return await reader.fetch_one("SELECT 1 FROM schedules WHERE name = ? AND id <> ?", (name, but_id)) is not None


async def set_next(tx: Transaction, schedule_id: str, next_at: datetime) -> None:
    """Note when it is due."""
    await tx.execute("UPDATE schedules SET next_ms = ? WHERE id = ?", (to_ms(next_at), schedule_id))


async def delete(tx: Transaction, schedule_id: str) -> None:
    """Remove a schedule with its runs; what they began goes on."""
    await tx.execute("DELETE FROM schedules WHERE id = ?", (schedule_id,))


async def add_run(tx: Transaction, run: ScheduleRun) -> ScheduleRun:
    """Write a new run, and forget the oldest of the same schedule."""
    row = await tx.fetch_one(
        "INSERT INTO schedule_runs (schedule_id, due_ms, started_ms, ended_ms, trigger, outcome, operations, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (
            run.schedule_id,
            to_ms(run.due_at),
            to_ms(run.started_at),
            to_ms_or_none(run.ended_at),
            run.trigger,
            *_end(run),
        ),
    )
    assert row is not None
    await tx.execute(
        "DELETE FROM schedule_runs WHERE schedule_id = ? AND ended_ms IS NOT NULL AND id NOT IN"
        " (SELECT id FROM schedule_runs WHERE schedule_id = ? ORDER BY id DESC LIMIT ?)",
        (run.schedule_id, run.schedule_id, KEEP_RUNS),
    )
    return msgspec.structs.replace(run, id=row["id"])


def _end(run: ScheduleRun) -> tuple[str, str, str | None]:
    reason = None if run.reason is None else msgspec.json.encode(run.reason).decode()
    return run.outcome, msgspec.json.encode(run.operation_ids).decode(), reason


async def save_run(tx: Transaction, run: ScheduleRun) -> None:
    """Write how far a run is."""
    await tx.execute(
        "UPDATE schedule_runs SET ended_ms = ?, outcome = ?, operations = ?, reason = ? WHERE id = ?",
        (to_ms_or_none(run.ended_at), *_end(run), run.id),
    )


async def list_open_runs(reader: Queries) -> list[ScheduleRun]:
    """Return the runs that have not ended."""
    return [_run(row) for row in await reader.fetch_all("SELECT * FROM schedule_runs WHERE ended_ms IS NULL")]


async def list_runs(reader: Queries, schedule_id: str, query: ListQuery) -> tuple[list[ScheduleRun], int]:
    """Return one page of runs, the newest first, and how many there are."""
    total = await reader.fetch_one("SELECT count(*) AS n FROM schedule_runs WHERE schedule_id = ?", (schedule_id,))
    rows = await reader.fetch_all(
        "SELECT * FROM schedule_runs WHERE schedule_id = ? ORDER BY id DESC LIMIT ? OFFSET ?",
        (schedule_id, query.limit, query.offset),
    )
    assert total is not None
    return [_run(row) for row in rows], int(total["n"])
