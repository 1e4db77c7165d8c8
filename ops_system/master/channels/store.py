"""The SQL of channels, of the outbox, and of what was told lately. Used by the channels service alone."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from ops_system.master.channels.rules import (
    KEPT_DELIVERIES,
    Bundle,
    Channel,
    ChannelKind,
    DeliveryQuery,
    DeliveryState,
    EmailSettings,
    EventKind,
    LastDelivery,
    StoredDelivery,
)
from ops_system.master.web.paging import like, order_by
from ops_system.master.web.route import ListQuery
from ops_system.model.reasons import Reason
from ops_system.model.stamps import from_ms, from_ms_or_none, to_ms, to_ms_or_none
from ops_system.storage.database import Queries, Row, Transaction

_SORTS: Mapping[str, str] = {"name": "name", "kind": "kind", "created_at": "created_ms"}
_WITH_LAST = (
    "SELECT c.*, d.state AS last_state, coalesce(d.ended_ms, d.created_ms) AS last_ms, d.attempts AS last_attempts,"
    " d.error AS last_error FROM channels c LEFT JOIN deliveries d"
    " ON d.id = (SELECT max(id) FROM deliveries WHERE channel_id = c.id)"
)


def _channel(row: Row) -> Channel:
    last = None
    if row["last_state"] is not None:
        state = DeliveryState(row["last_state"])
        last = LastDelivery(state, from_ms(row["last_ms"]), row["last_attempts"], _reason(row["last_error"]))
    return Channel(
        id=row["id"],
        name=row["name"],
        kind=ChannelKind(row["kind"]),
        language=row["language"],
        enabled=bool(row["enabled"]),
        events=msgspec.json.decode(row["events"], type=tuple[EventKind, ...]),
        target=row["target"],
        email=None if row["email"] is None else msgspec.json.decode(row["email"], type=EmailSettings),
        has_secret=bool(row["has_secret"]),
        created_at=from_ms(row["created_ms"]),
        created_by=row["created_by"],
        updated_at=from_ms(row["updated_ms"]),
        last_delivery=last,
    )


def _reason(text: str | None) -> Reason | None:
    return None if text is None else msgspec.json.decode(text, type=Reason)


async def find(reader: Queries, channel_id: str) -> Channel | None:
    """Return one channel."""
    row = await reader.fetch_one(f"{_WITH_LAST} WHERE c.id = ?", (channel_id,))
    return None if row is None else _channel(row)


async def find_sealed(reader: Queries, channel_id: str) -> bytes | None:
    """Return a channel's sealed secrets."""
    row = await reader.fetch_one("SELECT secrets FROM channels WHERE id = ?", (channel_id,))
    return None if row is None else row["secrets"]


async def is_name_taken(reader: Queries, name: str, channel_id: str) -> bool:
    """Return whether another channel has this name."""
    row = await reader.fetch_one("SELECT 1 FROM channels WHERE name = ? AND id <> ?", (name, channel_id))
    return row is not None


async def count(reader: Queries) -> int:
    """Return how many channels there are."""
    row = await reader.fetch_one("SELECT count(*) AS n FROM channels")
    assert row is not None
    return int(row["n"])


async def list_page(reader: Queries, query: ListQuery) -> tuple[list[Channel], int]:
    """Return one page and how many match in all."""
    where = "(name LIKE ?1 ESCAPE '\\' OR kind LIKE ?1 ESCAPE '\\' OR target LIKE ?1 ESCAPE '\\')"
    order = order_by(query.sort, _SORTS, "name")
    total = await reader.fetch_one(f"SELECT count(*) AS n FROM channels WHERE {where}", (like(query.q),))  # noqa: S608 - text made here, values bound
    rows = await reader.fetch_all(
        f"SELECT * FROM ({_WITH_LAST}) WHERE {where} ORDER BY {order}, id LIMIT ?2 OFFSET ?3",  # noqa: S608 - see above
        (like(query.q), query.limit, query.offset),
    )
    assert total is not None
    return [_channel(row) for row in rows], int(total["n"])


async def list_ids(reader: Queries) -> set[str]:
    """Return the ids of all channels."""
    return {row["id"] for row in await reader.fetch_all("SELECT id FROM channels")}


async def list_enabled(reader: Queries) -> list[Channel]:
    """Return every channel that is switched on."""
    return [_channel(row) for row in await reader.fetch_all(f"{_WITH_LAST} WHERE c.enabled = 1 ORDER BY c.id")]


async def save(tx: Transaction, channel: Channel, sealed: bytes) -> None:
    """Write a channel, new or changed."""
    await tx.execute(
        "INSERT INTO channels (id, name, kind, language, enabled, events, email, target, has_secret, secrets,"
        " created_ms, created_by, updated_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET name = excluded.name, language = excluded.language,"
        " enabled = excluded.enabled, events = excluded.events, email = excluded.email, target = excluded.target,"
        " has_secret = excluded.has_secret, secrets = excluded.secrets, updated_ms = excluded.updated_ms",
        (
            channel.id,
            channel.name,
            channel.kind,
            channel.language,
            channel.enabled,
            msgspec.json.encode(channel.events).decode(),
            None if channel.email is None else msgspec.json.encode(channel.email).decode(),
            channel.target,
            channel.has_secret,
            sealed,
            to_ms(channel.created_at),
            channel.created_by,
            to_ms(channel.updated_at),
        ),
    )


async def delete(tx: Transaction, channel_id: str) -> None:
    """Forget a channel with its deliveries."""
    await tx.execute("DELETE FROM channels WHERE id = ?", (channel_id,))


# --- what was told lately --------------------------------------------------------------------------------------------
async def find_told(reader: Queries, kind: str, subject: str) -> datetime | None:
    """Return when this was last told of this object."""
    row = await reader.fetch_one("SELECT told_ms FROM notice_marks WHERE kind = ? AND subject = ?", (kind, subject))
    return None if row is None else from_ms(row["told_ms"])


async def save_told(tx: Transaction, kind: str, subject: str, at: datetime) -> None:
    """Note that this is told of this object."""
    await tx.execute(
        "INSERT OR REPLACE INTO notice_marks (kind, subject, told_ms) VALUES (?, ?, ?)", (kind, subject, to_ms(at))
    )


async def sweep_told(tx: Transaction, before: datetime) -> None:
    """Forget what was told long ago."""
    await tx.execute("DELETE FROM notice_marks WHERE told_ms < ?", (to_ms(before),))


# --- the outbox ------------------------------------------------------------------------------------------------------
def _delivery(row: Row) -> StoredDelivery:
    return StoredDelivery(
        id=row["id"],
        channel_id=row["channel_id"],
        bundle=msgspec.json.decode(row["bundle"], type=Bundle),
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        due_at=from_ms_or_none(row["due_ms"]),
        error=_reason(row["error"]),
        created_at=from_ms(row["created_ms"]),
        ended_at=from_ms_or_none(row["ended_ms"]),
    )


async def find_newest(reader: Queries, channel_id: str) -> StoredDelivery | None:
    """Return a channel's newest message."""
    row = await reader.fetch_one(
        "SELECT * FROM deliveries WHERE channel_id = ? ORDER BY id DESC LIMIT 1", (channel_id,)
    )
    return None if row is None else _delivery(row)


async def find_delivery(reader: Queries, delivery_id: int) -> StoredDelivery | None:
    """Return one message."""
    row = await reader.fetch_one("SELECT * FROM deliveries WHERE id = ?", (delivery_id,))
    return None if row is None else _delivery(row)


async def add_delivery(
    tx: Transaction, channel_id: str, bundle: Bundle, now: datetime, due_at: datetime | None
) -> StoredDelivery:
    """Write a new message, due then (None: whoever writes it sends it); the channel's oldest go."""
    row = await tx.fetch_one(
        "INSERT INTO deliveries (channel_id, bundle, state, attempts, due_ms, created_ms)"
        " VALUES (?, ?, 'pending', 0, ?, ?) RETURNING *",
        (channel_id, msgspec.json.encode(bundle).decode(), to_ms_or_none(due_at), to_ms(now)),
    )
    assert row is not None
    await tx.execute(
        "DELETE FROM deliveries WHERE channel_id = ?1 AND id <= (SELECT id FROM deliveries WHERE channel_id = ?1"
        " ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        (channel_id, KEPT_DELIVERIES),
    )
    return _delivery(row)


async def save_bundle(tx: Transaction, delivery_id: int, bundle: Bundle) -> None:
    """Write what a message tells that has not been tried yet."""
    await tx.execute(
        "UPDATE deliveries SET bundle = ? WHERE id = ?", (msgspec.json.encode(bundle).decode(), delivery_id)
    )


async def save_attempt(tx: Transaction, row: StoredDelivery) -> None:
    """Write how an attempt went."""
    error = None if row.error is None else msgspec.json.encode(row.error).decode()
    await tx.execute(
        "UPDATE deliveries SET state = ?, attempts = ?, due_ms = ?, error = ?, ended_ms = ? WHERE id = ?",
        (row.state, row.attempts, to_ms_or_none(row.due_at), error, to_ms_or_none(row.ended_at), row.id),
    )


async def list_next(reader: Queries) -> list[StoredDelivery]:
    """Return of each enabled channel the message that is due first."""
    rows = await reader.fetch_all(
        "SELECT d.*, min(d.due_ms) FROM deliveries d JOIN channels c ON c.id = d.channel_id"
        " WHERE d.due_ms IS NOT NULL AND c.enabled = 1 GROUP BY d.channel_id"
    )
    return [_delivery(row) for row in rows]


async def list_deliveries(reader: Queries, channel_id: str, query: DeliveryQuery) -> tuple[list[StoredDelivery], int]:
    """Return one page of a channel's messages, the newest first unless sorted otherwise."""
    where = (
        "channel_id = ?1 AND bundle LIKE ?2 ESCAPE '\\' AND (?3 = '' OR state = ?3)"
        " AND (?4 = '' OR instr(bundle, '\"' || ?4 || '\"'))"
    )
    values = (channel_id, like(query.q), query.state, query.alert_id)
    order = order_by(query.sort, {"created_at": "id", "state": "state", "attempts": "attempts"}, "-created_at")
    total = await reader.fetch_one(f"SELECT count(*) AS n FROM deliveries WHERE {where}", values)  # noqa: S608 - text made here, values bound
    rows = await reader.fetch_all(
        f"SELECT * FROM deliveries WHERE {where} ORDER BY {order}, id DESC LIMIT ?5 OFFSET ?6",  # noqa: S608 - see above
        (*values, query.limit, query.offset),
    )
    assert total is not None
    return [_delivery(row) for row in rows], int(total["n"])


async def give_up(tx: Transaction, channel_id: str, reason: Reason, now: datetime) -> None:
    """End every message of a channel that waits."""
    await tx.execute(
        "UPDATE deliveries SET state = 'failed', due_ms = NULL, error = ?, ended_ms = ?"
        " WHERE channel_id = ? AND due_ms IS NOT NULL",
        (msgspec.json.encode(reason).decode(), to_ms(now), channel_id),
    )
