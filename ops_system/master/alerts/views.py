"""Rules and silences as stored and as shown, and what lists can be asked: pure. Used by services, store and API."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from ops_system.master.alerts.defaults import DEFAULTS
from ops_system.master.web.route import ListQuery
from ops_system.model.alerts import Alert, AlertState, Matchers, NewRule, Rule, Severity, Silence
from ops_system.model.errors import Invalid


class AlertQuery(ListQuery, frozen=True):
    """Filters of the list; `state` and `severity` take several words, separated by commas."""

    state: str = ""
    severity: str = ""
    rule_id: str = ""
    node_id: str = ""
    subject: str = ""


class SilenceQuery(ListQuery, frozen=True):
    """`state`: `scheduled`, `active` or `expired`, several separated by commas."""

    state: str = ""


class RulePatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Switch a rule on or off."""

    enabled: bool


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody says when they acknowledge an alert."""

    note: str = ""


class StoredRule(msgspec.Struct, frozen=True):
    """A rule on record."""

    id: str
    builtin: str
    body: NewRule
    created_at: datetime
    created_by: str
    updated_at: datetime

    @property
    def name_key(self) -> str:
        """Which shipped rule it is called like; empty once it was renamed."""
        shipped = DEFAULTS.get(self.builtin)
        return self.builtin if shipped is not None and shipped.name == self.body.name else ""

    def shown(self, states: Iterable[AlertState] = ()) -> Rule:
        """Return the rule as the API shows it; `states` are those of its alerts."""
        found = list(states)
        body = {name: getattr(self.body, name) for name in NewRule.__struct_fields__}
        return Rule(
            **body,
            id=self.id,
            builtin=self.builtin,
            name_key=self.name_key,
            created_at=self.created_at,
            created_by=self.created_by,
            updated_at=self.updated_at,
            firing=sum(state in {AlertState.FIRING, AlertState.NO_DATA} for state in found),
            pending=found.count(AlertState.PENDING),
        )


class LogPlace(msgspec.Struct, frozen=True):
    """How far a log was looked through for a rule, and the lines that still count: until when (Unix), how many."""

    offset: int
    hits: tuple[tuple[int, int], ...] = ()


class StoredSilence(msgspec.Struct, frozen=True):
    """A silence on record."""

    id: str
    author: str
    reason: str
    matchers: Matchers
    starts_at: datetime
    ends_at: datetime
    created_at: datetime

    def state(self, now: datetime) -> Literal["scheduled", "active", "expired"]:
        """Return whether it quiets now."""
        if now >= self.ends_at:
            return "expired"
        return "active" if now >= self.starts_at else "scheduled"

    def shown(self, now: datetime, matching: int = 0) -> Silence:
        """Return the silence as the API shows it."""
        return Silence(
            id=self.id,
            author=self.author,
            reason=self.reason,
            matchers=self.matchers,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            state=self.state(now),
            matching=matching,
            created_at=self.created_at,
        )


def matches(matchers: Matchers, alert: Alert) -> bool:
    """Whether a silence quiets an alert: everything that is given fits."""
    return (
        (not matchers.rule_ids or alert.rule_id in matchers.rule_ids)
        and (not matchers.node_ids or alert.node_id in matchers.node_ids)
        and (not matchers.system_id or alert.system_id == matchers.system_id)
        and (not matchers.instance_id or alert.instance_id == matchers.instance_id)
        and (matchers.severity is None or alert.severity is matchers.severity)
        and all(alert.labels.get(key) == value for key, value in matchers.labels.items())
    )


def check_words(field: str, text: str, known: Iterable[str]) -> set[str]:
    """Return the words of a filter. Raises `Invalid` for one that is not known."""
    words, allowed = {word.strip() for word in text.split(",") if word.strip()}, list(known)
    unknown = sorted(words - set(allowed))
    if unknown:
        message = f"{field}: {unknown[0][:40]!r} is none of {', '.join(allowed)}"
        raise Invalid(message, problems=[message])
    return words


def check_query(query: AlertQuery) -> None:
    """Raise `Invalid` for a filter that cannot match anything."""
    check_words("state", query.state, AlertState)
    check_words("severity", query.severity, Severity)
