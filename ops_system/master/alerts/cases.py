"""A rule on one subject while it matters: what is kept of it in memory, and what of that goes to disk. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec

from ops_system.master.alerts.rules import Track, shift
from ops_system.model.alerts import Alert, AlertState, Transition

Told = Literal["", "firing", "no_data"]


class Timers(msgspec.Struct, frozen=True, omit_defaults=True):
    """The timers of a case as written: seconds before the moment of writing (negative)."""

    track: Track
    told: Told = ""
    told_s: float | None = None


class StoredCase(msgspec.Struct, frozen=True):
    """A case as it stands on disk."""

    alert: Alert
    timers: Timers
    saved_ms: int


@dataclass(slots=True)
class Case:
    """`alert` None: inactive, kept for its memory of flapping. `told`: what people heard last, at `told_s`."""

    rule_id: str
    subject: str
    track: Track = field(default_factory=Track)
    alert: Alert | None = None
    told: Told = ""
    told_s: float | None = None
    news_s: float | None = None  # since when there is something to tell
    is_dirty: bool = False
    lines: list[Transition] = field(default_factory=list)  # of its history, not yet on disk

    @property
    def news(self) -> Literal["", "firing", "no_data", "resolved"]:
        """What people have not heard yet."""
        state = self.alert.state if self.alert is not None else AlertState.PENDING
        match state:
            case AlertState.PENDING:
                return ""
            case AlertState.RESOLVED:
                return "resolved" if self.told else ""
            case AlertState.NO_DATA:
                return "" if self.told == "no_data" else "no_data"
            case _:
                return "" if self.told == "firing" else "firing"

    def timers(self, now_s: float) -> Timers:
        """Return what goes to disk now."""
        told_s = None if self.told_s is None else self.told_s - now_s
        return Timers(shift(self.track, -now_s), self.told, told_s)


class Outcome(msgspec.Struct, frozen=True):
    """What a case is once it is written."""

    case: Case
    alert: Alert
    timers: Timers
    lines: list[Transition]


def outcome_of(
    case: Case, news: Literal["firing", "no_data", "resolved"] | None, now: datetime, now_s: float
) -> Outcome:
    """Return what is written of a case of which `news` is told in the same transaction."""
    alert = case.alert
    assert alert is not None
    if news is None:
        return Outcome(case, alert, case.timers(now_s), list(case.lines))
    told: Told = "" if news == "resolved" else news
    timers = Timers(shift(case.track, -now_s), told, 0.0 if told else None)
    line = Transition(now, "told", note=news)
    return Outcome(case, msgspec.structs.replace(alert, told_at=now), timers, [*case.lines, line])


def revive(stored: StoredCase, now_s: float, beat_ms: int) -> Case:
    """Return the case as it goes on at `now_s`; `beat_ms`: when rules were last looked at.

    What passed between the writing and that moment counts, the time the master was away does not.
    """
    lived_s = max(0, beat_ms - stored.saved_ms) / 1000
    alert, timers = stored.alert, stored.timers
    return Case(
        rule_id=alert.rule_id,
        subject=alert.subject,
        track=shift(timers.track, now_s - lived_s),
        alert=alert,
        told=timers.told,
        told_s=None if timers.told_s is None else now_s - lived_s + timers.told_s,
    )
