"""The story of schedules: kept, due, run in their owner's name, and what became of each run.

Kinds of work are offered from outside (`offer`); each begins operations, whose ends come over the bus.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.master.operations.service import TOPIC as OPERATIONS
from ops_system.master.operations.service import Operations
from ops_system.master.schedules import store
from ops_system.master.schedules.rules import (
    CronLine,
    CronPreview,
    Outcome,
    Schedule,
    ScheduleBody,
    ScheduleKind,
    ScheduleOwner,
    ScheduleQuery,
    ScheduleRun,
    check_cron,
    check_name,
    find_zone,
    is_late,
    moments_after,
    replan,
)
from ops_system.master.web.route import ListQuery, Page, Permission, Principal
from ops_system.model.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotAllowed,
    NotFound,
    OpsError,
    StorageFull,
    Unavailable,
)
from ops_system.model.ids import spell_id
from ops_system.model.operations import ENDED, Operation, OperationState
from ops_system.model.reasons import Reason
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Queries

_log = logging.getLogger(__name__)

TOPIC = "schedules"
LOOK_S, SHORTEST_WAIT_S = 10.0, 0.05
MAX_LATE_AT_ONCE = 5  # after a long absence, or a leap of the clock: the others follow look by look
_OVERLAP = Reason("overlap", "the run before has not ended")
_MISSED = Reason("missed", "its moment passed while the master was down or the clock leapt")
_NO_OWNER = Reason("owner_gone", "the account it ran for is gone or disabled; save it again under another one")
_UNKNOWN_KIND = Reason("unknown_kind", "this version does not know this kind of work")
_CUT = Reason("result_unknown", "the master was stopped while it began; whether it began is not known")
_LOST = Reason("result_unknown", "what it began is no longer on record")
_OUTCOMES = {
    OperationState.SUCCEEDED: Outcome.SUCCEEDED,
    OperationState.FAILED: Outcome.FAILED,
    OperationState.CANCELLED: Outcome.CANCELLED,
}

Trigger = Literal["clock", "missed", "person"]


class Job(Protocol):
    """A kind of work that can be scheduled."""

    kind: str
    permission: Permission

    async def check(self, params: dict[str, Any], actor: Principal) -> dict[str, Any]:
        """Return the parameters as they are kept. Raises `Invalid`, `NotFound`."""
        ...

    async def start(self, params: dict[str, Any], actor: Principal) -> list[Operation]:
        """Begin the work. Raises `OpsError` when it cannot begin."""
        ...


StandIn = Callable[[str, str], Awaitable[Principal | None]]
"""Returns who an owner (kind, id) is now, with today's rights; None: gone or disabled."""


class Schedules:
    """The one book of schedules."""

    def __init__(
        self,
        *,
        database: Database,
        audit: Audit,
        bus: Bus,
        clock: Clock,
        operations: Operations,
        stand_in: StandIn,
    ) -> None:
        self._database = database
        self._audit = audit
        self._bus = bus
        self._clock = clock
        self._operations = operations
        self._stand_in = stand_in
        self._jobs: dict[str, Job] = {}
        self._open: dict[int, ScheduleRun] = {}
        self._waiting_for: set[str] = set()
        self._owners: dict[str, str] = {}  # of the schedules that browsers were told of
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        bus.subscribe(Changed, self._on_changed)

    def offer(self, job: Job) -> None:
        """Let this kind of work be scheduled."""
        self._jobs[job.kind] = job

    def list_kinds(self) -> list[ScheduleKind]:
        """Return what can be scheduled."""
        return [ScheduleKind(job.kind, job.permission) for job in self._jobs.values()]

    async def run(self) -> None:
        """Look when something is due or ends, and each ten seconds: the clock may leap. Until cancelled."""
        is_taken_up = False
        while True:
            wait_s = LOOK_S
            try:
                if not is_taken_up:
                    await self.take_up()
                    is_taken_up = True
                wait_s = await self.look()
            except (StorageFull, Unavailable) as problem:
                _log.warning("schedules wait: %s", problem.message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
            self._news.clear()

    async def take_up(self) -> None:
        """Go on with the runs of a stopped master; of one that was just beginning nothing is known."""
        for run in await store.list_open_runs(self._database):
            if run.operation_ids:
                self._open[run.id] = run
                self._waiting_for.update(run.operation_ids)
            else:
                await self._close(run, Outcome.FAILED, _CUT)

    # --- the clock ------------------------------------------------------------------------------------------------
    async def look(self) -> float:
        """Close what has ended, begin what is due, and return after how many seconds to look again."""
        async with self._turn:
            await self._close_ended()
            soonest = await self._meet_due()
        left_s = LOOK_S if soonest is None else (soonest - self._clock.now()).total_seconds()
        return min(max(left_s, SHORTEST_WAIT_S), LOOK_S)

    async def _meet_due(self) -> datetime | None:
        """Begin what is due; return the next moment anything is."""
        now, late = self._clock.now(), 0
        soonest: datetime | None = None
        for schedule in await store.list_all(self._database):
            if schedule.is_paused:
                continue
            fresh = next(moments_after(schedule.cron, find_zone(schedule.timezone), now))
            last_due = schedule.last_run.due_at if schedule.last_run else None
            next_at = replan(now, schedule.next_at, last_due, fresh)
            if next_at <= now:
                is_missed = is_late(now, next_at)
                late += is_missed
                if not is_missed or late <= MAX_LATE_AT_ONCE:
                    await self._meet(schedule, next_at, fresh, is_missed=is_missed)
                next_at = fresh
            elif next_at != schedule.next_at:
                await self._plan(schedule, next_at)
            soonest = next_at if soonest is None else min(soonest, next_at)
        return soonest

    async def _plan(self, schedule: Schedule, next_at: datetime) -> None:
        async with self._database.transaction() as tx:
            await store.set_next(tx, schedule.id, next_at)

    async def _meet(self, schedule: Schedule, due_at: datetime, fresh: datetime, *, is_missed: bool) -> None:
        """Do at one due moment what the schedule says. The next moment is on the disk before anything begins."""
        reason = _MISSED if is_missed and schedule.missed == "skip" else self._reason_to_wait(schedule.id)
        run = await self._note(schedule.id, due_at, "missed" if is_missed else "clock", reason, fresh)
        if reason is None:
            await self._begin(schedule, run)

    def _reason_to_wait(self, schedule_id: str) -> Reason | None:
        return _OVERLAP if any(run.schedule_id == schedule_id for run in self._open.values()) else None

    async def _note(
        self, schedule_id: str, due_at: datetime, trigger: Trigger, reason: Reason | None, fresh: datetime | None
    ) -> ScheduleRun:
        now = self._clock.now()
        run = ScheduleRun(
            id=0,
            schedule_id=schedule_id,
            due_at=due_at,
            started_at=now,
            ended_at=None if reason is None else now,
            trigger=trigger,
            outcome=Outcome.RUNNING if reason is None else Outcome.SKIPPED,
            reason=reason,
        )
        async with self._database.transaction() as tx:
            run = await store.add_run(tx, run)
            if fresh is not None:
                await store.set_next(tx, schedule_id, fresh)
        if reason is None:
            self._open[run.id] = run
        await self._tell(schedule_id)
        return run

    async def _begin(self, schedule: Schedule, run: ScheduleRun) -> ScheduleRun:
        """Begin the work in the owner's name, with the rights the owner has now."""
        try:
            operations = await self._start(schedule)
        except OpsError as problem:
            code = str(problem.details.get("reason") or problem.code)
            return await self._close(run, Outcome.FAILED, Reason(code, problem.message))
        run = msgspec.structs.replace(run, operation_ids=tuple(operation.id for operation in operations))
        self._open[run.id] = run
        self._waiting_for.update(run.operation_ids)
        async with self._database.transaction() as tx:
            await store.save_run(tx, run)
        if not operations:
            return await self._close(run, Outcome.SUCCEEDED, None)
        self._news.set()  # one may have ended before it was waited for
        return run

    async def _start(self, schedule: Schedule) -> list[Operation]:
        job = self._jobs.get(schedule.kind)
        if job is None:
            raise NotAllowed(_UNKNOWN_KIND.message, reason=_UNKNOWN_KIND.code)
        owner = await self._stand_in(schedule.owner.kind, schedule.owner.id)
        if owner is None:
            raise NotAllowed(_NO_OWNER.message, reason=_NO_OWNER.code)
        check_may(job, owner)
        return await job.start(schedule.params, owner)

    def _on_changed(self, event: Changed) -> None:
        if event.topic == OPERATIONS and event.key in self._waiting_for and event.data.state in ENDED:
            self._news.set()

    async def _close_ended(self) -> None:
        """Close the runs all of whose operations have ended."""
        for run in list(self._open.values()):
            found = [await self._find(operation_id) for operation_id in run.operation_ids]
            if not found or any(operation is not None and operation.state not in ENDED for operation in found):
                continue
            worst = next((one for one in found if one is None or one.state is not OperationState.SUCCEEDED), found[0])
            if worst is None:
                await self._close(run, Outcome.FAILED, _LOST)
            else:
                await self._close(run, _OUTCOMES[worst.state], worst.error)

    async def _find(self, operation_id: str) -> Operation | None:
        try:
            return await self._operations.get(operation_id)
        except NotFound:
            return None

    async def _close(self, run: ScheduleRun, outcome: Outcome, reason: Reason | None) -> ScheduleRun:
        closed = msgspec.structs.replace(run, outcome=outcome, reason=reason, ended_at=self._clock.now())
        async with self._database.transaction() as tx:
            await store.save_run(tx, closed)
        self._open.pop(run.id, None)
        self._waiting_for.difference_update(run.operation_ids)
        await self._tell(run.schedule_id)
        return closed

    # --- what browsers see ----------------------------------------------------------------------------------------
    async def _tell(self, schedule_id: str) -> None:
        found = await store.find(self._database, schedule_id)
        if found is not None:
            self._owners[schedule_id] = found.owner.id
        self._bus.publish(Changed(TOPIC, schedule_id, found))

    async def snapshot(self, actor: Principal) -> list[tuple[str, Schedule]]:
        """Return every schedule the actor sees."""
        found = await store.list_all(self._database)
        self._owners.update({one.id: one.owner.id for one in found})
        return [(one.id, one) for one in found if self.sees(actor, one.id)]

    def sees(self, actor: Principal, schedule_id: str) -> bool:
        """Whether the actor is told of a schedule: who sees a part of the fleet alone is told of their own alone."""
        return not actor.scope or self._owners.get(schedule_id) == actor.id

    # --- the book -------------------------------------------------------------------------------------------------
    async def list_page(self, query: ScheduleQuery, actor: Principal) -> Page[Schedule]:
        """Return one page. Who sees a part of the fleet alone sees their own schedules alone."""
        items, total = await store.list_page(self._database, query, actor.id if actor.scope else None)
        return Page(items=items, total=total)

    async def get(self, schedule_id: str, actor: Principal, reader: Queries | None = None) -> Schedule:
        """Return one schedule. Raises NotFound."""
        found = await store.find(reader or self._database, schedule_id)
        if found is None or (actor.scope and found.owner.id != actor.id):
            raise NotFound(f"there is no schedule {schedule_id}", id=schedule_id)
        return found

    async def list_runs(self, schedule_id: str, query: ListQuery, actor: Principal) -> Page[ScheduleRun]:
        """Return one page of its runs, the newest first. Raises NotFound."""
        await self.get(schedule_id, actor)
        items, total = await store.list_runs(self._database, schedule_id, query)
        return Page(items=items, total=total)

    def preview(self, body: CronLine) -> CronPreview:
        """Return the next moments of a cron line. Raises Invalid."""
        return CronPreview(check_cron(body.cron, body.timezone, self._clock.now()))

    async def create(self, body: ScheduleBody, actor: Principal) -> Schedule:
        """Keep a schedule that runs in the actor's name. Raises Invalid, Conflict, Forbidden."""
        made = await self._spell(spell_id("sch", secrets.token_bytes(10)), body, actor, self._clock.now())
        return await self._put(made, "schedule.create", actor)

    async def replace(self, schedule_id: str, body: ScheduleBody, actor: Principal) -> Schedule:
        """Write a schedule anew; from now on it runs in the actor's name. Raises NotFound, Invalid, Conflict."""
        known = await self.get(schedule_id, actor)
        made = await self._spell(schedule_id, body, actor, known.created_at)
        return await self._put(made, "schedule.change", actor)

    async def _put(self, made: Schedule, action: str, actor: Principal) -> Schedule:
        async with self._database.transaction() as tx:
            if await store.is_name_taken(tx, made.name, made.id):
                raise Conflict(f"a schedule named {made.name!r} exists already", name=made.name)
            await store.put(tx, made)
            details = {"name": made.name, "kind": made.kind, "cron": made.cron, "paused": made.is_paused}
            await self._audit.record(tx, actor, action, f"schedule:{made.id}", "done", details)
        self._news.set()
        await self._tell(made.id)
        return await self.get(made.id, actor)

    async def _spell(self, schedule_id: str, body: ScheduleBody, actor: Principal, created_at: datetime) -> Schedule:
        check_name(body.name)
        now = self._clock.now()
        next_at = check_cron(body.cron, body.timezone, now)[0]
        job = self._jobs.get(body.kind)
        if job is None:
            problem = f"$.kind: there is no kind {body.kind!r}; use one of {', '.join(sorted(self._jobs))}"
            raise Invalid(problem, problems=[problem])
        check_may(job, actor)
        return Schedule(
            id=schedule_id,
            name=body.name,
            kind=body.kind,
            cron=body.cron,
            timezone=body.timezone,
            params=await job.check(body.params, actor),
            missed=body.missed,
            is_paused=body.is_paused,
            owner=ScheduleOwner(actor.kind, actor.id, actor.name),
            next_at=None if body.is_paused else next_at,
            created_at=created_at,
            updated_at=now,
        )

    async def set_paused(self, schedule_id: str, actor: Principal, *, is_paused: bool) -> Schedule:
        """Pause or resume; the owner stays. What was due meanwhile is not made up for. Raises NotFound."""
        async with self._database.transaction() as tx:
            known = await self.get(schedule_id, actor, tx)
            now = self._clock.now()
            next_at = None if is_paused else next(moments_after(known.cron, find_zone(known.timezone), now))
            changed = msgspec.structs.replace(known, is_paused=is_paused, next_at=next_at, updated_at=now)
            await store.put(tx, changed)
            action = "schedule.pause" if is_paused else "schedule.resume"
            await self._audit.record(tx, actor, action, f"schedule:{known.id}", "done", {"name": known.name})
        await self._tell(known.id)
        return await self.get(schedule_id, actor)

    async def delete(self, schedule_id: str, actor: Principal) -> None:
        """Remove a schedule and its history; what it began goes on. Raises NotFound."""
        async with self._database.transaction() as tx:
            known = await self.get(schedule_id, actor, tx)
            await store.delete(tx, schedule_id)
            await self._audit.record(tx, actor, "schedule.delete", f"schedule:{known.id}", "done", {"name": known.name})
        self._open = {run_id: run for run_id, run in self._open.items() if run.schedule_id != schedule_id}
        await self._tell(schedule_id)
        self._owners.pop(schedule_id, None)

    async def run_now(self, schedule_id: str, actor: Principal) -> ScheduleRun:
        """Run it once, in its owner's name. Raises NotFound, NotAllowed while a run of it goes on, Forbidden."""
        schedule = await self.get(schedule_id, actor)
        job = self._jobs.get(schedule.kind)
        if job is not None:
            check_may(job, actor)
        async with self._turn:
            if self._reason_to_wait(schedule_id) is not None:
                raise NotAllowed(f"the run before of {schedule.name} has not ended", reason="overlap")
            details = {"name": schedule.name}
            await self._audit.record_alone(actor, "schedule.run", f"schedule:{schedule_id}", "done", details)
            run = await self._note(schedule_id, self._clock.now(), "person", None, None)
            return await self._begin(schedule, run)


def check_may(job: Job, actor: Principal) -> None:
    """Raise Forbidden for who may not do by hand what would run by the clock."""
    if job.permission not in actor.permissions:
        message = f"work of the kind {job.kind} wants the permission {job.permission}, which {actor.name} has not"
        raise Forbidden(message, permission=job.permission)
