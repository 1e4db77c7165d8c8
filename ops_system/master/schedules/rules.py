"""When a schedule is due, and what a due moment means: pure. Called by the service.

    next_at  = the first moment of the cron line after now
    due      : now >= next_at -> at most 90 s late: run (clock) | later: run once (missed) or skip, as the policy says
    however many moments were missed, one run stands for all of them

A clock set back must not wait for the moment it had counted before, and must not repeat the one just run: see `replan`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from ops_system.master.web.route import ListQuery
from ops_system.model.errors import Invalid
from ops_system.model.reasons import Reason

GRACE = timedelta(seconds=90)
CLOCK_WAS_SET = timedelta(hours=1)
SHOWN_RUNS = 5
MAX_NAME_CHARS = 64
MAX_CRON_CHARS = 200
FIELDS = 5
HORIZON = timedelta(days=366 * 9)  # 29 February comes every four years, or eight around 2100


class Outcome(StrEnum):
    """What became of a run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class ScheduleOwner(msgspec.Struct, frozen=True):
    """In whose name a schedule runs, with the rights they have at that moment."""

    kind: str
    id: str
    name: str


class ScheduleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a schedule is. `cron`: five fields; `kind` and `params`: what is done (GET /schedules/kinds).

    `missed`: what happens when its moment passed while the master was down, or the clock leapt.
    """

    name: str
    kind: str
    cron: str
    timezone: str = "UTC"
    params: dict[str, Any] = {}
    missed: Literal["skip", "once"] = "skip"
    is_paused: bool = False


class ScheduleRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `due_at`: the moment it stands for."""

    id: int
    schedule_id: str
    due_at: datetime
    started_at: datetime
    ended_at: datetime | None = None
    trigger: Literal["clock", "missed", "person"]
    outcome: Outcome
    operation_ids: tuple[str, ...] = ()
    reason: Reason | None = None


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as the API shows it."""

    id: str
    name: str
    kind: str
    cron: str
    timezone: str
    params: dict[str, Any]
    missed: Literal["skip", "once"]
    is_paused: bool
    owner: ScheduleOwner
    next_at: datetime | None
    last_run: ScheduleRun | None = None
    created_at: datetime
    updated_at: datetime


class CronLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cron line to look at before it is kept."""

    cron: str
    timezone: str = "UTC"


class CronPreview(msgspec.Struct, frozen=True):
    """The next moments of a cron line."""

    next_at: list[datetime]


class ScheduleKind(msgspec.Struct, frozen=True):
    """A kind of work that can be scheduled, and the permission it wants."""

    kind: str
    permission: str


class ScheduleQuery(ListQuery, frozen=True):
    """The list's own query. `kind`: only these."""

    kind: str = ""


def find_zone(name: str) -> ZoneInfo:
    """Return the time zone. Raises Invalid for an unknown one."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise _refuse("timezone", f"there is no time zone {name!r}; write one like Asia/Shanghai or UTC") from error


def moments_after(cron: str, zone: ZoneInfo, now: datetime) -> Iterator[datetime]:
    """Yield the moments of a checked cron line after `now`, in UTC. In a repeated hour a fixed time comes once."""
    for moment in CronSim(cron, now.astimezone(zone)):
        at = moment.astimezone(UTC)
        if at > now:
            yield at


def check_cron(cron: str, timezone: str, now: datetime) -> list[datetime]:
    """Return its next moments. Raises Invalid for a line that cannot be read, or that never comes."""
    zone = find_zone(timezone)
    if len(cron) > MAX_CRON_CHARS or len(cron.split()) != FIELDS:
        raise _refuse("cron", "write five fields: minute, hour, day of month, month, day of week; 0 3 * * * is 03:00")
    try:
        moments = list(islice(moments_after(cron, zone, now), SHOWN_RUNS))
    except CronSimError as error:
        if _names_a_day_no_month_has(cron):
            raise _never(cron) from error
        raise _refuse("cron", f"{cron!r} cannot be read: {error}") from error
    if not moments or moments[0] - now > HORIZON:
        raise _never(cron)
    return moments


def _names_a_day_no_month_has(cron: str) -> bool:
    """`cronsim` calls 30 February a bad day; people are told why."""
    minute, hour, _, month, weekday = cron.split()
    try:
        CronSim(f"{minute} {hour} 1 {month} {weekday}", datetime(2000, 1, 1, tzinfo=UTC))
        CronSim(cron.replace(month, "*") if month != "*" else cron, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError:
        return False
    return True


def _never(cron: str) -> Invalid:
    problem = f"$.cron: {cron!r} never comes: no month it names has that day"
    return Invalid(problem, reason="cron_never_fires", problems=[problem])


def replan(now: datetime, next_at: datetime | None, last_due: datetime | None, fresh: datetime) -> datetime:
    """Return when a schedule is due. `fresh`: the first moment after `now`.

    A clock that was set back makes `fresh` come before what was counted: it counts unless it is what has just been run,
    which a small correction of the clock would repeat.
    """
    if next_at is None or (fresh < next_at and _is_new(now, last_due, fresh)):
        return fresh
    return next_at


def _is_new(now: datetime, last_due: datetime | None, fresh: datetime) -> bool:
    return last_due is None or fresh > last_due or last_due - now > CLOCK_WAS_SET


def is_late(now: datetime, next_at: datetime) -> bool:
    """Return whether the moment was missed rather than met."""
    return now - next_at > GRACE


def check_name(name: str) -> None:
    """Raise Invalid for a name that is no short line."""
    if not name.strip() or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise _refuse("name", f"from 1 to {MAX_NAME_CHARS} printable characters")


def _refuse(field: str, words: str) -> Invalid:
    problem = f"$.{field}: {words}"
    return Invalid(problem, problems=[problem])
