"""The SQL of recordings and shares of terminals. Used by the terminals feature alone."""

from collections.abc import Collection, Mapping
from datetime import datetime

import msgspec

from ops_system.master.terminals.rules import (
    IDLE_LIMIT_S,
    Recording,
    RecordingQuery,
    TerminalSettings,
    TerminalShare,
)
from ops_system.master.web.paging import like, order_by
from ops_system.model.stamps import from_ms, to_ms
from ops_system.storage.database import Queries, Row, Transaction

_SORTS: Mapping[str, str] = {"started_at": "started_ms", "size_bytes": "size_bytes", "started_by": "started_by"}
_ALWAYS = "terminal.always_record"
_IDLE = "terminal.idle_limit_s"
_SEEN = (
    "FROM terminal_recordings WHERE (name LIKE ?1 ESCAPE '\\' OR node_name LIKE ?1 ESCAPE '\\'"
    " OR started_by LIKE ?1 ESCAPE '\\') AND (?2 = '' OR node_id = ?2) AND (?3 IS NULL OR owner_id = ?3)"
    " AND (?4 IS NULL OR node_id IN (SELECT value FROM json_each(?4)))"
)


# --- recordings ------------------------------------------------------------------------------------------------------
async def put_recording(tx: Transaction, one: Recording, owner_id: str) -> None:
    """Write a recording, anew when it is known."""
    await tx.execute(
        "INSERT OR REPLACE INTO terminal_recordings (id, node_id, session, owner_id, started_ms, ended_ms, size_bytes,"
        " started_by, node_name, name, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            one.id,
            one.node_id,
            one.session,
            owner_id,
            to_ms(one.started_at),
            None if one.ended_at is None else to_ms(one.ended_at),
            one.size_bytes,
            one.started_by,
            one.node_name,
            one.name,
            msgspec.json.encode(one).decode(),
        ),
    )


async def find_recording(reader: Queries, recording_id: str) -> tuple[Recording, str] | None:
    """Return a recording and whose it is."""
    row = await reader.fetch_one("SELECT * FROM terminal_recordings WHERE id = ?", (recording_id,))
    return None if row is None else (_recording(row), row["owner_id"])


async def owner_of_session(reader: Queries, session: str) -> str | None:
    """Return whose session this is, by its first recording."""
    text = "SELECT owner_id FROM terminal_recordings WHERE session = ? ORDER BY started_ms LIMIT 1"
    row = await reader.fetch_one(text, (session,))
    return None if row is None else str(row["owner_id"])


async def list_recordings(
    reader: Queries, query: RecordingQuery, owner_id: str | None, reached: Collection[str] | None
) -> tuple[list[Recording], int]:
    """Return one page, the newest first, and how many there are; of one owner, on these nodes (None: no limit)."""
    order = order_by(query.sort, _SORTS, "-started_at")
    nodes = None if reached is None else msgspec.json.encode(sorted(reached)).decode()
    values = (like(query.q), query.node, owner_id, nodes)
    total = await reader.fetch_one(f"SELECT count(*) AS n {_SEEN}", values)
    rows = await reader.fetch_all(
        f"SELECT * {_SEEN} ORDER BY {order}, id LIMIT ?5 OFFSET ?6", (*values, query.limit, query.offset)
    )
    assert total is not None
    return [_recording(row) for row in rows], int(total["n"])


async def all_recordings(reader: Queries) -> list[tuple[Recording, str]]:
    """Return every recording and whose it is."""
    rows = await reader.fetch_all("SELECT * FROM terminal_recordings")
    return [(_recording(row), row["owner_id"]) for row in rows]


async def delete_recording(tx: Transaction, recording_id: str) -> None:
    """Forget a recording."""
    await tx.execute("DELETE FROM terminal_recordings WHERE id = ?", (recording_id,))


def _recording(row: Row) -> Recording:
    return msgspec.json.decode(row["details"], type=Recording)


# --- settings --------------------------------------------------------------------------------------------------------
async def read_settings(reader: Queries) -> TerminalSettings:
    """Return what holds for every node."""
    rows = await reader.fetch_all("SELECT key, value FROM meta WHERE key IN (?, ?)", (_ALWAYS, _IDLE))
    kept = {row["key"]: row["value"] for row in rows}
    idle_s = float(kept.get(_IDLE, IDLE_LIMIT_S))
    return TerminalSettings(always_record=kept.get(_ALWAYS) == "1", idle_limit_s=idle_s)


async def write_settings(tx: Transaction, settings: TerminalSettings) -> None:
    """Keep the choice."""
    for key, value in ((_ALWAYS, "1" if settings.always_record else "0"), (_IDLE, str(settings.idle_limit_s))):
        await tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


# --- shares ----------------------------------------------------------------------------------------------------------
async def insert_share(tx: Transaction, share: TerminalShare) -> None:
    """Write a new share; those that have expired go."""
    await tx.execute("DELETE FROM terminal_shares WHERE expires_ms < ?", (to_ms(share.created_at),))
    await tx.execute(
        "INSERT INTO terminal_shares (id, node_id, session, name, created_ms, created_by, expires_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            share.id,
            share.node_id,
            share.session,
            share.name,
            to_ms(share.created_at),
            share.created_by,
            to_ms(share.expires_at),
        ),
    )


async def find_share(reader: Queries, share_id: str, now: datetime) -> TerminalShare | None:
    """Return a share that has not expired."""
    text = "SELECT * FROM terminal_shares WHERE id = ? AND expires_ms > ?"
    row = await reader.fetch_one(text, (share_id, to_ms(now)))
    return None if row is None else _share(row)


async def list_shares(reader: Queries, node_id: str, session: str, now: datetime) -> list[TerminalShare]:
    """Return the shares of a session that have not expired, the newest first."""
    text = "SELECT * FROM terminal_shares WHERE node_id = ? AND session = ? AND expires_ms > ? ORDER BY created_ms DESC"
    rows = await reader.fetch_all(text, (node_id, session, to_ms(now)))
    return [_share(row) for row in rows]


async def delete_share(tx: Transaction, share_id: str) -> None:
    """Forget a share."""
    await tx.execute("DELETE FROM terminal_shares WHERE id = ?", (share_id,))


def _share(row: Row) -> TerminalShare:
    return TerminalShare(
        id=row["id"],
        node_id=row["node_id"],
        session=row["session"],
        name=row["name"],
        created_at=from_ms(row["created_ms"]),
        created_by=row["created_by"],
        expires_at=from_ms(row["expires_ms"]),
    )
