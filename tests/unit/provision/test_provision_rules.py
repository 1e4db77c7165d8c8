"""The moves of a task: nothing is written without a fresh approval, a fence only rises, what ended stays so."""

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from ops_system.model.errors import Conflict, Invalid, NotAllowed
from ops_system.model.machines import Machine
from ops_system.model.tasks import (
    BOOTS_AGENT,
    DEADLINES_S,
    FINISHED,
    INSTALLER_S,
    MOVES,
    ApproveCall,
    Progress,
    Task,
    TaskStatus,
)
from ops_system.provision import rules
from ops_system.provision.approvals import approve, approve_by_rule
from ops_system.provision.intents import is_handed_over, open_intent, with_installer_key
from ops_system.provision.log_tail import with_lines
from ops_system.provision.regions import RegionSettings
from ops_system.provision.reports import after_report
from tests.fakes.clock import FakeClock
from tests.fakes.provision import CEPH, DATA, DISK, IDC, a_report, a_task, begins, completes, ends

S = TaskStatus
AT = FakeClock().now()
DISKS = [(DISK, DATA), (DISK, DATA), (DISK,), (CEPH,)]


class Road(RuleBasedStateMachine):
    """Everybody says anything at any time: agents of several boots, people, clocks; the checks look at each write."""

    @initialize(second=st.booleans(), far=st.integers(0, 4))
    def begin(self, second: bool, far: int) -> None:
        """Begin anywhere on the road, so that each part of it is walked often."""
        self.task: Task = a_task()
        self.machine: Machine | None = None
        self.settings = RegionSettings(needs_second_approval=second)
        self.at = AT
        self.fences = [0]
        self.wiped_under: set[object] = set()
        if far >= 1:
            self.agent_reports("b1", (DISK, DATA))
        if far >= 2:
            self.somebody_approves("ann", ("DISK1",))
            self.somebody_approves("bob", ("DISK1",))
        if far >= 3:
            self.agent_takes_the_fence()
        if far >= 4:
            self.agent_begins(0, "wipe", "DISK1")

    def put(self, after: Task) -> None:
        """Take a write, as the store would, and look at what it did."""
        before, self.task = self.task, after
        assert after.fence >= before.fence, "a fence only rises"
        if after.status is not before.status:
            assert after.status in MOVES[before.status]
            assert after.status_history[-1].status is after.status
        if after.status is S.INSTALLING and before.status is not S.INSTALLING:
            approval = before.approval
            assert before.status is S.APPROVED
            assert approval is not None
            assert approval.used_at is None
            assert self.at < approval.expires_at
            assert self.machine is not None
            assert approval.inventory_hash == self.machine.inventory_hash
            assert not self.settings.needs_second_approval or approval.second_by not in {"", approval.by}
            assert approval.at not in self.wiped_under, "an approval is used once"
            self.wiped_under.add(approval.at)
            assert after.fence == before.fence + 1
        if before.status in FINISHED and before.status is not after.status:
            assert (before.status, after.status) in {
                (S.COMPLETED, S.NEEDS_OPERATOR), (S.FAILED, S.PENDING), (S.REJECTED, S.PENDING),
                (S.CANCELLED, S.PENDING),
            }  # fmt: skip

    def attempt(self, act) -> None:
        """Do what is allowed; what is not changes nothing."""
        try:
            after = act()
        except (NotAllowed, Conflict, Invalid):
            return
        self.put(after)

    @rule(boot=st.sampled_from(["b1", "b2", "b3"]), disks=st.sampled_from(DISKS))
    def agent_reports(self, boot, disks) -> None:
        machine, after = after_report(IDC, self.task, self.machine, a_report(boot=boot, disks=disks), self.at)
        self.machine = machine
        assert after is not None
        self.put(after)

    @rule(who=st.sampled_from(["ann", "bob"]), disks=st.sampled_from([("DISK1",), ("DISK2",), ("DISK3",), ()]))
    def somebody_approves(self, who, disks) -> None:
        call = ApproveCall(disks)
        self.attempt(lambda: approve(self.task, self.machine, call, self.settings, by=who, at=self.at))

    @rule()
    def a_rule_approves(self) -> None:
        self.attempt(lambda: approve_by_rule(self.task, self.machine, "all", self.settings, at=self.at))

    @rule()
    def agent_takes_the_fence(self) -> None:
        wrote = bool(self.task.intents)
        was = self.task.status
        self.attempt(lambda: rules.take_fence(self.task, "b1", self.at))
        if was is S.INSTALLING and wrote:
            assert self.task.fence == self.fences[-1], "never a second wipe by itself"
        self.fences.append(self.task.fence)

    @rule()
    def agent_is_late(self) -> None:
        self.at += timedelta(minutes=31)
        self.agent_takes_the_fence()

    @rule(old=st.integers(0, 2), step=st.sampled_from(["wipe", "write"]), disk=st.sampled_from(["DISK1", "DISK2", "X"]))
    def agent_begins(self, old, step, disk) -> None:
        call = begins(replace(self.task, fence=max(0, self.task.fence - old)), step, (disk,))
        before = len(self.task.intents)
        self.attempt(lambda: rules.begin_step(self.task, call, self.at))
        if len(self.task.intents) > before:
            assert old == 0 or self.task.fence == 0
            assert self.task.status is S.INSTALLING
            assert self.task.approval is not None
            assert disk in self.task.approval.disks
            assert not self.task.is_cancel_asked

    @rule(step=st.sampled_from(["wipe", "write"]), success=st.booleans())
    def agent_completes(self, step, success) -> None:
        self.attempt(lambda: rules.complete_step(self.task, completes(self.task, step, success=success), self.at))

    @rule(step=st.sampled_from(["wipe", "write"]))
    def agent_hands_over(self, step) -> None:
        intent = open_intent(self.task)
        self.attempt(lambda: rules.complete_step(self.task, completes(self.task, step, hands_over=True), self.at))
        if is_handed_over(self.task) and intent is not None:
            assert open_intent(self.task) == intent, "only the installer's end closes what it writes"

    @rule(percent=st.floats(-10, 200))
    def agent_tells(self, percent) -> None:
        status = self.task.status
        self.attempt(lambda: rules.with_progress(self.task, Progress("write", percent), self.at))
        assert self.task.status is status, "progress gives no authority"

    @rule(status=st.sampled_from(["completed", "failed", "cancelled", "needs_operator"]))
    def agent_ends(self, status) -> None:
        had_open = open_intent(self.task) is not None and not is_handed_over(self.task)
        self.attempt(lambda: rules.finish(self.task, ends(self.task, status), self.at))
        assert not (had_open and self.task.status is S.COMPLETED)
        assert self.task.status is not S.COMPLETED or open_intent(self.task) is None

    @rule()
    def agent_goes(self) -> None:
        at_work = is_handed_over(self.task)
        before = self.task
        self.put(rules.agent_gone(self.task, self.at))
        assert not at_work or self.task is before

    @rule(act=st.sampled_from([rules.reject, rules.ask_cancel, rules.retry]))
    def somebody_acts(self, act) -> None:
        self.attempt(lambda: act(self.task, by="ann", at=self.at))

    @rule(seconds=st.sampled_from([1, 1, 600, 1_801, 90_000]))
    def time_passes(self, seconds) -> None:
        self.at += timedelta(seconds=seconds)

    @rule()
    def master_sweeps(self) -> None:
        self.put(rules.after_deadline(self.task, self.at))

    @rule()
    def system_calls_home(self) -> None:
        self.put(rules.called_home(self.task, "node_1", self.at))

    @invariant()
    def bounded(self) -> None:
        if not hasattr(self, "task"):
            return
        assert len(self.task.status_history) <= rules.HISTORY_KEPT
        assert len(self.task.progress) <= rules.STEPS_KEPT
        assert (self.task.status in BOOTS_AGENT) == (self.task.status not in FINISHED | {S.NEEDS_OPERATOR})
        if self.task.status in {S.PENDING, S.BOOTING}:
            assert self.task.approval is None


TestRoad = Road.TestCase
TestRoad.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_no_move_leads_to_installing_but_from_approved():
    assert [status for status, after in MOVES.items() if S.INSTALLING in after] == [S.APPROVED]
    assert [status for status, after in MOVES.items() if S.APPROVED in after] == [S.PENDING_APPROVAL]


def test_what_is_said_twice_changes_nothing():
    task = _installing()
    begun = rules.begin_step(task, begins(task), AT)
    assert rules.begin_step(begun, begins(begun), AT) is begun
    done = rules.complete_step(begun, completes(begun), AT)
    assert rules.complete_step(done, completes(done), AT).intents == done.intents
    over = rules.finish(done, ends(done), AT)
    assert rules.finish(over, ends(over), AT) is over
    with pytest.raises(NotAllowed):
        rules.begin_step(done, begins(done), AT)


def test_a_reboot_in_the_middle_calls_an_operator():
    task = _installing()
    machine, _ = after_report(IDC, None, None, a_report(), AT)
    begun = rules.begin_step(task, begins(task), AT)
    done = rules.complete_step(begun, completes(begun), AT)
    for each, code in ((begun, "interrupted"), (done, "written")):
        _, after = after_report(IDC, each, machine, a_report(boot="boot-2"), AT)
        assert (after.status, after.reason.code) == (S.NEEDS_OPERATOR, code)
        _, same = after_report(IDC, each, machine, a_report(), AT)
        assert same.status is S.INSTALLING, "the same boot that says it again is no reboot"
    _, after = after_report(IDC, task, machine, a_report(boot="boot-2"), AT)
    assert after.status is S.INSTALLING


def _handed_over() -> Task:
    task = _installing()
    begun = rules.begin_step(task, begins(task, "start-installer"), AT)
    return rules.complete_step(begun, completes(begun, "start-installer", hands_over=True), AT)


def test_an_installer_has_time_and_its_end_closes_what_was_begun():
    task = _handed_over()
    assert rules.agent_gone(task, AT) is task
    later = AT + timedelta(seconds=DEADLINES_S[S.INSTALLING] + 1)
    assert rules.after_deadline(task, later) is task, "an installer takes longer than an agent is silent"
    heard = rules.with_progress(task, Progress("installer", 5.0), later)
    assert heard.deadline_at == later + timedelta(seconds=INSTALLER_S)
    done = rules.finish(heard, ends(heard), later)
    assert (done.status, done.intents[0].done_at, open_intent(done)) == (S.COMPLETED, later, None)
    assert (done.progress[-1].step, done.progress[-1].percent) == ("installer", 100.0)
    assert rules.finish(done, ends(done), later) is done
    assert not is_handed_over(done)


def test_the_key_of_an_installer_is_given_before_the_machine_is_to_whoever_holds_the_fence():
    task = _installing()
    given = with_installer_key(task, task.fence, "ab")
    assert with_installer_key(given, task.fence, "cd").installer_sha256 == "cd"
    with pytest.raises(Conflict) as stale:
        with_installer_key(task, task.fence - 1, "ab")
    assert stale.value.details["reason"] == "stale_fence"
    with pytest.raises(NotAllowed):
        with_installer_key(_handed_over(), task.fence, "ab")
    failed = rules.finish(given, ends(given, "failed"), AT)
    assert rules.retry(failed, by="ann", at=AT).installer_sha256 == ""


def test_an_installer_that_never_says_it_is_done_calls_an_operator():
    task = _handed_over()
    after = rules.after_deadline(task, AT + timedelta(seconds=INSTALLER_S))
    assert (after.status, after.reason.code) == (S.NEEDS_OPERATOR, "installer_silent")
    again = rules.retry(after, by="ann", at=AT)
    assert (again.handed_over_at, again.intents) == (None, ())


def test_a_system_that_calls_home_was_made_though_nobody_heard_its_installer():
    home = rules.called_home(_handed_over(), "node_1", AT)
    assert (home.status, home.node_id, home.deadline_at, open_intent(home)) == (S.COMPLETED, "node_1", None, None)
    assert rules.called_home(_installing(), "node_1", AT).status is S.INSTALLING


def test_a_machine_that_comes_back_from_its_installer_undone_calls_an_operator():
    machine, _ = after_report(IDC, None, None, a_report(), AT)
    _, after = after_report(IDC, _handed_over(), machine, a_report(boot="boot-2"), AT)
    assert (after.status, after.reason.code) == (S.NEEDS_OPERATOR, "interrupted")


def test_a_cancelled_installer_is_no_longer_waited_for():
    after = rules.ask_cancel(_handed_over(), by="ann", at=AT)
    assert (after.status, after.reason.code) == (S.CANCELLED, "cancelled_in_installer")
    assert "until it is switched off" in after.reason.message


def test_only_what_was_begun_and_not_cancelled_is_handed_over():
    task = _installing()
    hands = completes(task, "start-installer", hands_over=True)
    with pytest.raises(NotAllowed, match="was not begun"):
        rules.complete_step(task, hands, AT)
    begun = rules.begin_step(task, begins(task, "start-installer"), AT)
    asked = rules.ask_cancel(begun, by="ann", at=AT)
    with pytest.raises(NotAllowed, match="asked to cancel"):
        rules.complete_step(asked, hands, AT)
    with pytest.raises(NotAllowed, match="not done"):
        rules.finish(begun, ends(begun), AT)
    failed = rules.complete_step(begun, completes(begun, "start-installer", success=False, hands_over=True), AT)
    assert failed.handed_over_at is None


def test_the_log_keeps_every_line_once_and_in_order():
    task, spilled = a_task(), []
    lines = [f"{number} é" + "x" * (number % 3_000) for number in range(400)]
    for start in range(0, 400, 7):
        task, out = with_lines(task, tuple(lines[start : start + 7]), AT)
        spilled += out
        assert len(task.logs) <= 100
        assert sum(len(line.encode()) + 1 for line in task.logs) <= 16_384
    whole = [*spilled, *task.logs]
    assert len(whole) == 400
    assert all(full.startswith(kept[:1_000]) for full, kept in zip(lines, whole, strict=True))


def test_progress_keeps_the_newest_of_each_step_in_order():
    task = _installing()
    for step, percent in (("wipe", 10.0), ("write", 5.0), ("wipe", 100.0), ("write", 250.0)):
        task = rules.with_progress(task, Progress(step, percent), AT)
    assert [(each.step, each.percent) for each in task.progress] == [("wipe", 100.0), ("write", 100.0)]


def _installing() -> Task:
    machine, task = after_report(IDC, a_task(), None, a_report(), AT)
    task = approve(task, machine, ApproveCall(("DISK1",)), RegionSettings(), by="ann", at=AT)
    return rules.take_fence(task, "boot-1", AT)
