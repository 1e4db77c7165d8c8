"""The SQL of rules, alerts and silences. Used by the alerts services alone."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

import msgspec

from ops_system.master.alerts.cases import StoredCase, Timers
from ops_system.master.alerts.views import AlertQuery, LogPlace, StoredRule, StoredSilence
from ops_system.master.web.paging import like, order_by
from ops_system.model.alerts import Alert, Matchers, NewRule, Transition
from ops_system.model.stamps import from_ms, to_ms, to_ms_or_none
from ops_system.storage.database import Queries, Row, Transaction

KEPT_LINES = 500  # of one alert's history
_SORTS: Mapping[str, str] = {
    "started_at": "started_ms",
    "resolved_at": "resolved_ms",
    "severity": "CASE severity WHEN 'critical' THEN 2 WHEN 'warning' THEN 1 ELSE 0 END",
    "state": "state",
    "subject": "subject",
}


# --- rules -----------------------------------------------------------------------------------------------------------
async def list_rules(reader: Queries) -> list[StoredRule]:
    """Return every rule."""
    return [
        StoredRule(
            id=row["id"],
            builtin=row["builtin"],
            body=msgspec.json.decode(row["body"], type=NewRule),
            created_at=from_ms(row["created_ms"]),
            created_by=row["created_by"],
            updated_at=from_ms(row["updated_ms"]),
        )
        for row in await reader.fetch_all("SELECT * FROM alert_rules ORDER BY name")
    ]


async def save_rule(tx: Transaction, rule: StoredRule) -> None:
    """Write a rule, new or changed."""
    await tx.execute(
        "INSERT INTO alert_rules (id, name, builtin, body, created_ms, created_by, updated_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, body = excluded.body,"
        " updated_ms = excluded.updated_ms",
        (
            rule.id,
            rule.body.name,
            rule.builtin,
            msgspec.json.encode(rule.body).decode(),
            to_ms(rule.created_at),
            rule.created_by,
            to_ms(rule.updated_at),
        ),
    )


async def delete_rule(tx: Transaction, rule_id: str) -> None:
    """Forget a rule; its alerts stay as history."""
    await tx.execute("DELETE FROM alert_rules WHERE id = ?", (rule_id,))


async def claim_defaults(tx: Transaction, names: Collection[str]) -> list[str]:
    """Return the shipped rules this data was not offered yet; they count as offered from now on."""
    row = await tx.fetch_one("SELECT value FROM meta WHERE key = 'alert_defaults'")
    offered = row["value"].split(",") if row is not None else []
    new = [name for name in names if name not in offered]
    if new:
        value = ",".join(sorted({*offered, *new}))
        await tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('alert_defaults', ?)", (value,))
    return new


# --- alerts ----------------------------------------------------------------------------------------------------------
async def list_cases(reader: Queries, ended_after: datetime) -> list[StoredCase]:
    """Return what is open, and what ended lately: it may be told still, or flap."""
    rows = await reader.fetch_all(
        "SELECT * FROM alerts WHERE resolved_ms IS NULL OR resolved_ms >= ? ORDER BY started_ms", (to_ms(ended_after),)
    )
    return [_case(row) for row in rows]


def _case(row: Row) -> StoredCase:
    kept = msgspec.json.decode(row["track"], type=_Kept)
    return StoredCase(msgspec.json.decode(row["view"], type=Alert), kept.timers, kept.saved_ms)


class _Kept(msgspec.Struct, frozen=True):
    """The column `track`."""

    timers: Timers
    saved_ms: int


async def save_alerts(tx: Transaction, rows: Iterable[tuple[Alert, Timers]], at: datetime) -> None:
    """Write alerts, new or changed."""
    await tx.execute_many(
        "INSERT INTO alerts (id, rule_id, subject, node_id, severity, state, view, track, started_ms, resolved_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET severity = excluded.severity,"
        " state = excluded.state, view = excluded.view, track = excluded.track, resolved_ms = excluded.resolved_ms",
        [
            (
                alert.id,
                alert.rule_id,
                alert.subject,
                alert.node_id,
                alert.severity,
                alert.state,
                msgspec.json.encode(alert).decode(),
                msgspec.json.encode(_Kept(timers, to_ms(at))).decode(),
                to_ms(alert.started_at),
                to_ms_or_none(alert.resolved_at),
            )
            for alert, timers in sorted(rows, key=lambda row: row[0].resolved_at is None)  # what ends makes room first
        ],
    )


async def delete_alerts(tx: Transaction, alert_ids: Iterable[str]) -> None:
    """Forget what did not come to fire."""
    await tx.execute_many("DELETE FROM alerts WHERE id = ?", [(alert_id,) for alert_id in alert_ids])


async def add_lines(tx: Transaction, lines: Iterable[tuple[str, Transition]]) -> None:
    """Add to the histories of alerts."""
    await tx.execute_many(
        "INSERT INTO alert_transitions (alert_id, at_ms, kind, value, actor, note) VALUES (?, ?, ?, ?, ?, ?)",
        [(alert_id, to_ms(line.at), line.kind, line.value, line.actor, line.note) for alert_id, line in lines],
    )


async def find_alert(reader: Queries, alert_id: str) -> Alert | None:
    """Return one alert as it was last written."""
    row = await reader.fetch_one("SELECT view FROM alerts WHERE id = ?", (alert_id,))
    return None if row is None else msgspec.json.decode(row["view"], type=Alert)


async def list_lines(reader: Queries, alert_id: str) -> list[Transition]:
    """Return the history of an alert, the oldest line first."""
    rows = await reader.fetch_all("SELECT * FROM alert_transitions WHERE alert_id = ? ORDER BY id", (alert_id,))
    return [Transition(from_ms(row["at_ms"]), row["kind"], row["value"], row["actor"], row["note"]) for row in rows]


async def list_alerts(reader: Queries, query: AlertQuery, node_ids: Iterable[str] | None) -> tuple[list[Alert], int]:
    """Return one page of alerts of these nodes (None: all), the newest first unless sorted otherwise."""
    where = (
        "(view LIKE ?1 ESCAPE '\\') AND (?2 = '' OR state IN (SELECT value FROM json_each(?2)))"
        " AND (?3 = '' OR severity IN (SELECT value FROM json_each(?3))) AND (?4 = '' OR rule_id = ?4)"
        " AND (?5 = '' OR node_id = ?5) AND (?6 = '' OR subject = ?6)"
        " AND (?7 IS NULL OR node_id IN (SELECT value FROM json_each(?7)))"
    )
    values = (
        like(query.q),
        _words(query.state),
        _words(query.severity),
        query.rule_id,
        query.node_id,
        query.subject,
        None if node_ids is None else msgspec.json.encode(list(node_ids)).decode(),
    )
    order = order_by(query.sort, _SORTS, "-started_at")
    total = await reader.fetch_one(f"SELECT count(*) AS n FROM alerts WHERE {where}", values)  # noqa: S608 - text made here, values bound
    rows = await reader.fetch_all(
        f"SELECT view FROM alerts WHERE {where} ORDER BY {order}, id LIMIT ?8 OFFSET ?9",  # noqa: S608 - see above
        (*values, query.limit, query.offset),
    )
    assert total is not None
    return [msgspec.json.decode(row["view"], type=Alert) for row in rows], int(total["n"])


def _words(text: str) -> str:
    words = [word.strip() for word in text.split(",") if word.strip()]
    return msgspec.json.encode(words).decode() if words else ""


async def sweep_alerts(tx: Transaction, before: datetime, keep: int) -> None:
    """Forget alerts that ended before, and all but so many of those that ended."""
    await tx.execute("DELETE FROM alerts WHERE resolved_ms < ?", (to_ms(before),))
    await tx.execute(
        "DELETE FROM alerts WHERE resolved_ms IS NOT NULL AND resolved_ms <="
        " (SELECT resolved_ms FROM alerts WHERE resolved_ms IS NOT NULL ORDER BY resolved_ms DESC LIMIT 1 OFFSET ?)",
        (keep,),
    )
    await tx.execute(
        "DELETE FROM alert_transitions WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER"
        " (PARTITION BY alert_id ORDER BY id DESC) AS place FROM alert_transitions) WHERE place > ?)",
        (KEPT_LINES,),
    )


# --- silences --------------------------------------------------------------------------------------------------------
async def list_silences(reader: Queries) -> list[StoredSilence]:
    """Return every silence."""
    return [
        StoredSilence(
            id=row["id"],
            author=row["author"],
            reason=row["reason"],
            matchers=msgspec.json.decode(row["matchers"], type=Matchers),
            starts_at=from_ms(row["starts_ms"]),
            ends_at=from_ms(row["ends_ms"]),
            created_at=from_ms(row["created_ms"]),
        )
        for row in await reader.fetch_all("SELECT * FROM silences ORDER BY created_ms")
    ]


async def save_silence(tx: Transaction, silence: StoredSilence) -> None:
    """Write a silence, new or changed."""
    await tx.execute(
        "INSERT OR REPLACE INTO silences (id, author, reason, matchers, starts_ms, ends_ms, created_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            silence.id,
            silence.author,
            silence.reason,
            msgspec.json.encode(silence.matchers).decode(),
            to_ms(silence.starts_at),
            to_ms(silence.ends_at),
            to_ms(silence.created_at),
        ),
    )


async def delete_silence(tx: Transaction, silence_id: str) -> None:
    """Forget a silence."""
    await tx.execute("DELETE FROM silences WHERE id = ?", (silence_id,))


async def sweep_silences(tx: Transaction, before: datetime) -> None:
    """Forget silences that ended before."""
    await tx.execute("DELETE FROM silences WHERE ends_ms < ?", (to_ms(before),))


# --- when rules were last looked at ----------------------------------------------------------------------------------
async def find_beat(reader: Queries) -> int:
    """Return when rules were last looked at, in Unix milliseconds; 0: never."""
    row = await reader.fetch_one("SELECT at_ms FROM alert_beat")
    return 0 if row is None else int(row["at_ms"])


async def save_beat(tx: Transaction, at: datetime) -> None:
    """Write that rules are looked at."""
    await tx.execute("INSERT OR REPLACE INTO alert_beat (id, at_ms) VALUES (1, ?)", (to_ms(at),))


# --- how far logs were looked through --------------------------------------------------------------------------------
async def list_log_places(reader: Queries) -> dict[tuple[str, str], LogPlace]:
    """Return what is kept, by rule and instance."""
    rows = await reader.fetch_all("SELECT * FROM alert_log_places")
    return {
        (row["rule_id"], row["instance_id"]): LogPlace(
            int(row["offset"]), msgspec.json.decode(row["hits"], type=tuple[tuple[int, int], ...])
        )
        for row in rows
    }


async def save_log_places(tx: Transaction, places: Mapping[tuple[str, str], LogPlace | None]) -> None:
    """Write those that changed; None forgets one."""
    gone = [key for key, place in places.items() if place is None]
    await tx.execute_many("DELETE FROM alert_log_places WHERE rule_id = ? AND instance_id = ?", gone)
    await tx.execute_many(
        "INSERT OR REPLACE INTO alert_log_places (rule_id, instance_id, offset, hits) VALUES (?, ?, ?, ?)",
        [
            (*key, place.offset, msgspec.json.encode(place.hits).decode())
            for key, place in places.items()
            if place is not None
        ],
    )
