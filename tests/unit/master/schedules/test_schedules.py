"""Schedules on a real database with a clock that is told: due, missed, overlapping, leaping, stopped in between."""

from datetime import UTC, datetime, timedelta

import pytest

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.master.operations.rules import TargetEnd
from ops_system.master.operations.service import Operations
from ops_system.master.schedules.rules import Outcome, ScheduleBody, ScheduleQuery
from ops_system.master.schedules.service import LOOK_S, MAX_LATE_AT_ONCE, TOPIC, Schedules
from ops_system.master.web.route import ListQuery, Permission, Principal
from ops_system.model.errors import Conflict, Forbidden, Invalid, NotAllowed, NotFound
from ops_system.model.operations import OperationState, OperationTarget
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations
from tests.fakes.clock import FakeClock

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ANN = Principal("user", "usr-1", "ann", frozenset({Permission.VIEW, Permission.OPERATE}))


class Work:
    """A kind of work whose operations end when they are told to."""

    kind = "work"
    permission = Permission.OPERATE

    def __init__(self, database, operations) -> None:
        self._database = database
        self._operations = operations
        self.begun = []
        self.actors = []

    async def check(self, params, actor):
        if "bad" in params:
            raise Invalid("bad", problems=["$.params.bad"])
        return params

    async def start(self, params, actor):
        self.actors.append(actor)
        if params.get("fails"):
            raise NotAllowed("not today", reason="not_today")
        target = OperationTarget("thing", "t", "t", None, OperationState.PENDING)
        async with self._database.transaction() as tx:
            made = await self._operations.create(tx, "work", title="w", actor=actor, targets=[target], steps=("go",))
        self._operations.publish(made)
        self.begun.append(made)
        return [made]

    async def end(self, operation, state=OperationState.SUCCEEDED):
        async with self._database.transaction() as tx:
            ended = await self._operations.finish_target(tx, operation.id, "t", TargetEnd(state))
        self._operations.publish(ended)


class Desk:
    """Everything a test needs."""

    def __init__(self, database) -> None:
        self.clock, self.bus, self.people = FakeClock(NOW), Bus(), {"usr-1": ANN}
        self.database = database
        self.operations = Operations(database, self.bus, self.clock)
        self.work = Work(database, self.operations)
        self.book = self.build()

    def build(self) -> Schedules:
        async def stand_in(_kind, owner_id):
            return self.people.get(owner_id)

        book = Schedules(
            database=self.database,
            audit=Audit(self.database, self.clock),
            bus=self.bus,
            clock=self.clock,
            operations=self.operations,
            stand_in=stand_in,
        )
        book.offer(self.work)
        return book

    async def add(self, name="nightly", cron="0 * * * *", **changes):
        return await self.book.create(ScheduleBody(name=name, kind="work", cron=cron, **changes), ANN)

    async def runs(self, schedule):
        return (await self.book.list_runs(schedule.id, ListQuery(), ANN)).items

    async def pass_time(self, **span):
        """Let time pass as it does for a running master: a look each half minute."""
        for _ in range(int(timedelta(**span).total_seconds() // 30)):
            self.clock.advance(30)
            await self.book.look()


@pytest.fixture
async def desk(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.create()
    opened = await Database.open(folder, load_migrations("ops_system.master"))
    yield Desk(opened)
    await opened.close()


async def test_it_runs_at_its_moments_in_its_owners_name_and_tells_the_outcome(desk):
    schedule = await desk.add()
    assert schedule.next_at == NOW + timedelta(hours=1)
    await desk.pass_time(minutes=59)
    assert desk.work.begun == []
    await desk.pass_time(minutes=2)
    assert [actor.name for actor in desk.work.actors] == ["ann"]
    (run,) = await desk.runs(schedule)
    assert (run.outcome, run.trigger, run.due_at) == (Outcome.RUNNING, "clock", NOW + timedelta(hours=1))
    assert run.operation_ids == (desk.work.begun[0].id,)
    await desk.work.end(desk.work.begun[0], OperationState.FAILED)
    await desk.book.look()
    (run,) = await desk.runs(schedule)
    assert run.outcome is Outcome.FAILED
    assert run.ended_at is not None
    shown = await desk.book.get(schedule.id, ANN)
    assert shown.next_at == NOW + timedelta(hours=2)
    assert shown.last_run == run


async def test_runs_do_not_overlap(desk):
    schedule = await desk.add()
    await desk.pass_time(hours=2)
    newest, first = await desk.runs(schedule)
    assert (newest.outcome, newest.reason.code) == (Outcome.SKIPPED, "overlap")
    with pytest.raises(NotAllowed):
        await desk.book.run_now(schedule.id, ANN)
    await desk.work.end(desk.work.begun[0])
    await desk.pass_time(hours=1)
    assert len(desk.work.begun) == 2
    assert first.outcome is Outcome.RUNNING


@pytest.mark.parametrize(("missed", "count", "outcome"), [("once", 1, Outcome.RUNNING), ("skip", 0, Outcome.SKIPPED)])
async def test_many_missed_moments_are_one_run_or_none(desk, missed, count, outcome):
    schedule = await desk.add(missed=missed)
    desk.clock.advance(3 * 86400 + 600)
    await desk.book.look()
    assert len(desk.work.begun) == count
    (run,) = await desk.runs(schedule)
    assert (run.outcome, run.trigger) == (outcome, "missed")
    assert (await desk.book.get(schedule.id, ANN)).next_at == NOW + timedelta(days=3, hours=1)


async def test_a_clock_that_leaps_three_days_forward_and_back_begins_no_storm(desk):
    schedules = [await desk.add(f"s{number}", missed="once") for number in range(12)]
    desk.clock.jump(3 * 86400)
    await desk.book.look()
    assert len(desk.work.begun) == MAX_LATE_AT_ONCE
    for _ in range(10):
        await desk.book.look()
    assert len(desk.work.begun) == 12
    for operation in desk.work.begun:
        await desk.work.end(operation)
    desk.clock.jump(-3 * 86400)
    await desk.book.look()
    assert len(desk.work.begun) == 12
    await desk.pass_time(minutes=61)
    assert len(desk.work.begun) == 12  # a run stood for 13:00 already
    await desk.pass_time(minutes=60)
    assert len(desk.work.begun) == 24  # and each goes on at its hour
    assert {(await desk.book.get(one.id, ANN)).next_at for one in schedules} == {NOW + timedelta(hours=3)}


async def test_a_small_correction_of_the_clock_repeats_nothing(desk):
    await desk.add()
    await desk.pass_time(hours=1)
    assert len(desk.work.begun) == 1
    await desk.work.end(desk.work.begun[0])
    desk.clock.jump(-2)
    await desk.pass_time(minutes=5)
    assert len(desk.work.begun) == 1


async def test_after_a_restart_a_run_goes_on_and_one_cut_off_is_called_unknown(desk):
    schedule, other = await desk.add(), await desk.add("other")
    await desk.pass_time(hours=1)
    async with desk.database.transaction() as tx:
        await tx.execute("UPDATE schedule_runs SET operations = '[]' WHERE schedule_id = ?", (other.id,))
    desk.book = desk.build()
    await desk.book.take_up()
    await desk.work.end(desk.work.begun[0])
    await desk.book.look()
    assert (await desk.runs(schedule))[0].outcome is Outcome.SUCCEEDED
    cut = (await desk.runs(other))[0]
    assert (cut.outcome, cut.reason.code) == (Outcome.FAILED, "result_unknown")


async def test_who_is_gone_or_has_lost_the_right_begins_nothing(desk):
    schedule = await desk.add()
    desk.people["usr-1"] = Principal("user", "usr-1", "ann", frozenset({Permission.VIEW}))
    await desk.pass_time(hours=1)
    desk.people.clear()
    await desk.pass_time(hours=1)
    newest, first = await desk.runs(schedule)
    assert (first.outcome, first.reason.code) == (Outcome.FAILED, "forbidden")
    assert (newest.outcome, newest.reason.code) == (Outcome.FAILED, "owner_gone")
    assert desk.work.begun == []


async def test_a_start_that_is_refused_is_a_failed_run(desk):
    schedule = await desk.add(params={"fails": True})
    run = await desk.book.run_now(schedule.id, ANN)
    assert (run.outcome, run.reason.code, run.trigger) == (Outcome.FAILED, "not_today", "person")


async def test_paused_it_does_not_run_and_nothing_is_made_up_for(desk):
    schedule = await desk.add(missed="once")
    paused = await desk.book.set_paused(schedule.id, ANN, is_paused=True)
    assert (paused.is_paused, paused.next_at) == (True, None)
    await desk.pass_time(hours=3)
    resumed = await desk.book.set_paused(schedule.id, ANN, is_paused=False)
    assert resumed.next_at == NOW + timedelta(hours=4)
    await desk.pass_time(minutes=5)
    assert desk.work.begun == []


async def test_what_is_wrong_is_refused_and_nothing_kept(desk):
    await desk.add()
    viewer = Principal("user", "usr-2", "vic", frozenset({Permission.VIEW}))
    body = ScheduleBody(name="x", kind="work", cron="0 * * * *")
    with pytest.raises(Forbidden):
        await desk.book.create(body, viewer)
    for changes in ({"kind": "other"}, {"cron": "0 0 30 2 *"}, {"timezone": "x"}, {"name": ""}, {"params": {"bad": 1}}):
        with pytest.raises(Invalid):
            await desk.add(**{"name": "y", **changes}) if "kind" not in changes else await desk.book.create(
                ScheduleBody(name="y", kind="other", cron="0 * * * *"), ANN
            )
    with pytest.raises(Conflict):
        await desk.add("NIGHTLY")
    assert (await desk.book.list_page(ScheduleQuery(), ANN)).total == 1


async def test_who_sees_a_part_of_the_fleet_sees_their_own_schedules(desk):
    schedule = await desk.add()
    scoped = Principal("user", "usr-3", "sue", ANN.permissions, scope={"site": "a"})
    own = await desk.book.create(ScheduleBody(name="own", kind="work", cron="0 * * * *"), scoped)
    assert [one.id for one in (await desk.book.list_page(ScheduleQuery(), scoped)).items] == [own.id]
    with pytest.raises(NotFound):
        await desk.book.get(schedule.id, scoped)


async def test_changing_it_makes_it_ones_own(desk):
    schedule = await desk.add()
    bob = Principal("user", "usr-9", "bob", ANN.permissions)
    body = ScheduleBody(name="nightly", kind="work", cron="30 4 * * *", timezone="Asia/Shanghai")
    changed = await desk.book.replace(schedule.id, body, bob)
    assert (changed.owner.name, changed.created_at) == ("bob", schedule.created_at)
    await desk.book.delete(schedule.id, bob)
    with pytest.raises(NotFound):
        await desk.book.get(schedule.id, bob)


async def test_the_next_look_is_at_the_next_moment_and_after_ten_seconds_at_the_latest(desk):
    assert await desk.book.look() == LOOK_S
    await desk.add(cron="1 12 * * *")
    assert await desk.book.look() == LOOK_S
    desk.clock.advance(57)
    assert await desk.book.look() == 3.0
    desk.clock.advance(3)
    assert await desk.book.look() == LOOK_S
    assert len(desk.work.begun) == 1


async def test_browsers_are_told_when_a_run_begins_when_it_ends_and_of_what_is_theirs(desk):
    told = []
    desk.bus.subscribe(Changed, lambda change: change.topic == TOPIC and told.append(change))
    schedule = await desk.add()
    await desk.pass_time(hours=1)
    await desk.work.end(desk.work.begun[0])
    await desk.book.look()
    assert {change.key for change in told} == {schedule.id}
    outcomes = [change.data.last_run and change.data.last_run.outcome for change in told]
    assert [outcomes[0], outcomes[-1]] == [None, Outcome.SUCCEEDED]
    assert Outcome.RUNNING in outcomes
    stranger = Principal("user", "usr-2", "bob", ANN.permissions, scope={"zone": "b"})
    assert [key for key, _ in await desk.book.snapshot(ANN)] == [schedule.id]
    assert await desk.book.snapshot(stranger) == []
    assert not desk.book.sees(stranger, schedule.id)
    await desk.book.delete(schedule.id, ANN)
    assert told[-1].data is None
