import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ops_system.model.instances import ConfigFile, Desired, HealthState, State
from ops_system.model.manifest import Hooks
from ops_system.model.reasons import Reason
from ops_system.model.stamps import from_ms
from ops_system.processes.lifecycle import decide
from ops_system.processes.spec import ProbeRules, RestartRules, StopRules
from ops_system.processes.states import (
    Adopted,
    CancelLaunch,
    CancelPrepare,
    Emit,
    Exited,
    FilesRemoved,
    KillTree,
    Launch,
    LaunchError,
    Prepare,
    PrepareDone,
    PrepareError,
    PrepareWaits,
    ProbeFailed,
    ProbePassed,
    RemoveError,
    RemoveFiles,
    Restored,
    SetTimer,
    Spawned,
    Stage,
    StartProbe,
    StopPolitely,
    StopProbe,
    Timer,
    TimerFired,
    TreeAlive,
    TreeEmpty,
    View,
    Wish,
    report_of,
)
from tests.fakes.processes import make_spec, rewish

AT = from_ms(0)
WHY = Reason("test", "test")
TCP = ProbeRules("tcp", "127.0.0.1:1", failures=2, start_timeout_s=20)


class World:
    """Follows decisions one by one; keeps the last actions."""

    def __init__(self, spec=None, now_s=1000.0):
        self.spec = spec or make_spec()
        self.view = View(self.spec)
        self.now_s = now_s
        self.actions = ()

    def happen(self, *events):
        for event in events:
            self.view, self.actions = decide(self.view, event, self.now_s, 0.5)
        return self

    def wish(self, desired=None, **changes):
        self.spec = rewish(self.spec, desired, **changes)
        return self.happen(Wish(self.spec))

    def to_starting(self):
        return self.happen(Wish(self.spec), PrepareDone(), Spawned(10, AT))

    def to_running(self):
        self.to_starting()
        return self.happen(ProbePassed() if self.spec.probe.type != "process" else TimerFired(Timer.PROVEN))

    def did(self, kind):
        return [action for action in self.actions if isinstance(action, kind)]

    def timer(self, timer):
        return next((action.delay_s for action in self.did(SetTimer) if action.timer is timer), None)


def test_the_way_to_running():
    world = World().happen(Wish(make_spec()))
    assert (world.view.state, world.did(Prepare)) == (State.PREPARING, [Prepare()])
    world.happen(PrepareDone())
    assert (world.view.state, world.did(Launch)) == (State.STARTING, [Launch()])
    world.happen(Spawned(10, AT))
    assert (world.view.stage, world.timer(Timer.PROVEN)) == (Stage.STARTING, 3.0)
    world.happen(TimerFired(Timer.PROVEN))
    assert (world.view.state, world.view.health) == (State.RUNNING, HealthState.HEALTHY)
    assert report_of(world.view, AT).pid == 10


def test_a_probe_proves_instead_of_time():
    world = World(make_spec(probe=TCP)).to_starting()
    assert world.did(StartProbe)
    world.happen(ProbeFailed("refused"), TimerFired(Timer.PROVEN))
    assert world.view.stage is Stage.STARTING
    world.happen(ProbePassed())
    assert world.view.reason.code == "probe_passed"


def test_liveness_counts_failures_in_a_row():
    world = World(make_spec(probe=TCP)).to_running()
    world.happen(ProbeFailed("a"), ProbePassed(), ProbeFailed("b"))
    assert world.view.stage is Stage.RUNNING
    world.happen(ProbeFailed("c"))
    assert (world.view.stage, world.view.health) == (Stage.STOPPING, HealthState.UNHEALTHY)
    assert world.did(StopPolitely)
    world.happen(Exited(0), TreeEmpty())
    assert (world.view.state, world.view.reason.code) == (State.BACKOFF, "probe_failed")


def test_a_start_that_is_not_proven_in_time_is_killed_and_counted():
    world = World(make_spec(probe=TCP)).to_starting().happen(TimerFired(Timer.START_TIMEOUT))
    assert world.did(KillTree)
    world.happen(Exited(signal="SIGKILL"), TreeEmpty())
    assert (world.view.state, world.view.restarts) == (State.BACKOFF, 1)
    assert world.view.reason.code == "start_timeout"


def test_an_exit_at_once_backs_off_with_its_code():
    world = World().to_starting().happen(Exited(7))
    assert world.did(KillTree)
    world.happen(TreeEmpty())
    assert (world.view.state, world.view.reason.params) == (State.BACKOFF, {"exit_code": 7})
    assert world.timer(Timer.BACKOFF) == 1.0
    world.happen(TimerFired(Timer.BACKOFF))
    assert world.did(Launch)
    assert not world.did(Prepare)


def test_an_exit_before_the_pid_was_told_counts_as_well():
    world = World().happen(Wish(make_spec()), PrepareDone(), Exited(7), TreeEmpty())
    assert world.view.state is State.BACKOFF


def test_another_probe_is_asked_without_a_restart():
    world = World().to_running().happen(Wish(make_spec(generation=2, probe=TCP)))
    assert world.view.stage is Stage.RUNNING
    assert [type(action) for action in world.actions] == [StopProbe, StartProbe]
    world = World(make_spec(probe=TCP)).to_starting().happen(Wish(make_spec(generation=2)))
    assert world.timer(Timer.PROVEN) == 3


def test_files_that_a_reload_brings_are_prepared_with_the_next_start_alone():
    hooks = Hooks(reload=("true",))
    spec = make_spec()
    service = replace(spec.source.service, hooks=hooks)
    world = World(replace(spec, source=replace(spec.source, service=service))).to_running()
    world.wish(config_files=(ConfigFile("a.yaml", "a: 1"),))
    assert (world.view.stage, world.actions) == (Stage.RUNNING, ())
    world.happen(Exited(1), TreeEmpty(), TimerFired(Timer.BACKOFF))
    assert world.did(Prepare)


def test_giving_up_ends_failed_until_a_new_wish():
    world = World(make_spec(restart=RestartRules(max_restarts=1))).to_starting()
    world.happen(Exited(7), TreeEmpty(), TimerFired(Timer.BACKOFF), Spawned(11, AT), Exited(7), TreeEmpty())
    assert (world.view.state, world.view.reason.code) == (State.FAILED, "gave_up")
    world.happen(Wish(world.spec))
    assert world.actions == ()
    world.wish()
    assert world.did(Launch)
    assert world.view.restarts == 0


@pytest.mark.parametrize(
    ("policy", "code", "state"),
    [
        ("on-failure", 0, State.EXITED),
        ("on-failure", 1, State.BACKOFF),
        ("always", 0, State.BACKOFF),
        ("never", 0, State.EXITED),
        ("never", 1, State.FAILED),
    ],
)
def test_the_policy_judges_an_end(policy, code, state):
    world = World(make_spec(restart=RestartRules(policy=policy))).to_running().happen(Exited(code), TreeEmpty())
    assert world.view.state is state


def test_a_stop_is_polite_then_not():
    world = World(make_spec(stop=StopRules(timeout_s=4))).to_running().wish(Desired.STOPPED)
    assert world.did(StopPolitely)
    assert world.did(StopProbe)
    assert world.timer(Timer.GRACE) == 4
    world.happen(TimerFired(Timer.GRACE))
    assert world.did(KillTree)
    world.happen(TreeAlive((5, 6)))
    assert (world.view.state, world.view.reason.code) == (State.STOPPING, "cannot_kill")
    world.happen(TreeAlive((5, 6)))
    assert not world.did(Emit)
    world.happen(TreeEmpty())
    assert (world.view.state, world.view.reason.code) == (State.STOPPED, "stopped")


def test_a_stop_while_launching_waits_for_the_pid_or_the_failure():
    world = World().happen(Wish(make_spec()), PrepareDone()).wish(Desired.STOPPED)
    assert world.did(CancelLaunch)
    assert (
        World().happen(Wish(make_spec()), PrepareDone()).wish(Desired.STOPPED).happen(Spawned(3, AT)).did(StopPolitely)
    )
    world.happen(LaunchError(WHY), TreeEmpty())
    assert world.view.state is State.STOPPED


def test_a_stop_while_preparing_is_at_once():
    world = World().happen(Wish(make_spec())).wish(Desired.STOPPED)
    assert world.did(CancelPrepare)
    assert world.view.state is State.STOPPED
    assert world.happen(PrepareDone()).actions == ()


def test_running_wished_while_stopping_starts_when_the_tree_is_empty():
    world = World().to_running().wish(Desired.STOPPED).wish(Desired.RUNNING)
    assert world.view.stage is Stage.STOPPING
    world.happen(Exited(0), TreeEmpty())
    assert world.did(Launch)


def test_a_restart_wish_is_not_judged_by_the_policy():
    world = World(make_spec(restart=RestartRules(policy="never"))).to_running().wish(restart_seq=1)
    assert world.did(StopPolitely)
    world.happen(Exited(signal="SIGTERM"), TreeEmpty())
    assert world.did(Launch)
    assert world.view.restarts == 0


def test_health_for_a_minute_forgets_earlier_restarts():
    world = World().to_starting().happen(Exited(1), TreeEmpty(), TimerFired(Timer.BACKOFF), Spawned(2, AT))
    world.happen(TimerFired(Timer.PROVEN))
    assert world.timer(Timer.RESET) == 60
    assert world.view.history.in_a_row == 1
    world.happen(TimerFired(Timer.RESET))
    assert world.view.history.in_a_row == 0


def test_failed_preparation_retries_or_ends():
    world = World().happen(Wish(make_spec()), PrepareError(WHY, retry=True))
    assert (world.view.state, world.timer(Timer.BACKOFF)) == (State.BACKOFF, 1.0)
    world.happen(TimerFired(Timer.BACKOFF))
    assert world.did(Prepare)
    world.happen(PrepareError(WHY, retry=False))
    assert world.view.state is State.FAILED


def test_absent_removes_and_retries_the_removal():
    world = World().to_running().wish(Desired.ABSENT).happen(Exited(0), TreeEmpty())
    assert world.did(RemoveFiles)
    world.happen(RemoveError(WHY))
    assert world.timer(Timer.REMOVE) == 5
    world.happen(TimerFired(Timer.REMOVE))
    assert world.did(RemoveFiles)
    world.happen(FilesRemoved())
    assert report_of(world.view, AT).removed


def test_an_older_generation_changes_nothing():
    world = World(make_spec(generation=5)).to_running()
    assert world.happen(Wish(make_spec(generation=4, desired=Desired.STOPPED))).actions == ()
    assert world.view.spec.generation == 5


def test_an_adopted_process_is_proven_already():
    world = World().happen(Adopted(7, AT, is_proven=True), Wish(make_spec()))
    assert (world.view.state, world.view.pid) == (State.RUNNING, 7)
    assert world.actions == ()


def test_what_had_failed_stays_failed_after_a_restart_of_the_supervisor():
    world = World().happen(Restored(State.FAILED, WHY, 7, None), Wish(make_spec()))
    assert (world.view.state, world.view.exit_code) == (State.FAILED, 7)
    assert world.actions == ()


class Model:
    """What the outside world would be like: used to send only events that can happen, and some that come late."""

    def __init__(self):
        self.tree_is_empty = True
        self.is_launching = False
        self.is_killing = False
        self.is_preparing = False
        self.is_removing = False
        self.launches = 0

    def follow(self, actions):
        for action in actions:
            match action:
                case Prepare():
                    assert self.tree_is_empty
                    self.is_preparing = True
                case CancelPrepare():
                    self.is_preparing = False
                case Launch():
                    assert self.tree_is_empty, "a second start beside living processes"
                    assert not self.is_launching
                    assert not self.is_removing
                    self.is_launching, self.tree_is_empty = True, False
                    self.launches += 1
                case KillTree():
                    self.is_killing = True
                case RemoveFiles():
                    assert self.tree_is_empty, "files taken from under living processes"
                    self.is_removing = True


STEPS = st.lists(st.tuples(st.integers(0, 59), st.integers(0, 9), st.floats(0, 0.99)), max_size=60)


def choose(model, pick, number, wish):
    """Return one of the events that can happen now; a wish is as likely as all others together."""
    can = [
        (model.is_preparing, PrepareDone()),
        (model.is_preparing, PrepareError(WHY, retry=number % 2 == 0)),
        (model.is_launching, Spawned(100 + number, AT)),
        (model.is_launching, LaunchError(WHY)),
        (not model.tree_is_empty, Exited(number % 3)),
        (model.is_killing, TreeEmpty()),
        (model.is_killing, TreeAlive((1,))),
        (model.is_removing, FilesRemoved()),
        (model.is_removing, RemoveError(WHY)),
        (True, ProbePassed() if number % 2 else ProbeFailed("no")),
        (True, TimerFired(list(Timer)[number % len(Timer)])),
    ]
    events = [event for is_possible, event in can if is_possible]
    return wish if pick % 2 else events[pick // 2 % len(events)]


def settle(model, event):
    match event:
        case PrepareDone() | PrepareError():
            model.is_preparing = False
        case Spawned() | LaunchError() | Exited():
            model.is_launching = False
        case TreeEmpty():
            model.is_killing, model.tree_is_empty, model.is_launching = False, True, False
        case FilesRemoved() | RemoveError():
            model.is_removing = False


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from(["on-failure", "always", "never"]), st.sampled_from(["process", "tcp"]))
def test_no_history_starts_twice_or_removes_under_the_living(steps, policy, probe):
    rules = {"restart": RestartRules(policy=policy, max_restarts=2), "probe": replace(TCP, type=probe)}
    spec = make_spec(**rules)
    model, view, now_s = Model(), View(spec), 0.0
    for pick, number, dice in [(1, 0, 0.5), *steps]:
        desired = list(Desired)[number % 3]
        seq = spec.source.restart_seq + number // 8
        event = choose(model, pick, number, Wish(rewish(spec, desired, restart_seq=seq, stop_now=number == 5)))
        spec = event.spec if isinstance(event, Wish) else spec
        now_s += 1.0
        settle(model, event)
        view, actions = decide(view, event, now_s, dice)
        model.follow(actions)
        assert view.spec.generation == spec.generation
        if view.stage in {Stage.IDLE, Stage.BACKOFF, Stage.PREPARING, Stage.REMOVING, Stage.REMOVED}:
            assert model.tree_is_empty
            assert view.pid is None
        if view.stage is Stage.REMOVED:
            assert spec.desired is not Desired.RUNNING
        if view.state in {State.STOPPED, State.EXITED, State.FAILED}:
            assert model.tree_is_empty
    finish(model, view, rewish(spec, Desired.ABSENT), now_s)


def finish(model, view, spec, now_s):
    """From wherever it stands, `absent` ends with `removed`."""
    event = Wish(spec)
    for _ in range(10):
        view, actions = decide(view, event, now_s, 0.5)
        model.follow(actions)
        if view.stage is Stage.REMOVED:
            assert report_of(view, AT).removed
            return
        match view.stage:
            case Stage.LAUNCHING:
                event = LaunchError(WHY)
            case Stage.STOPPING:
                event = Exited(0)
            case Stage.KILLING:
                event = TreeEmpty()
            case _:
                event = FilesRemoved()
        settle(model, event)
    raise AssertionError(f"stuck in {view.stage}")


def test_what_a_start_waits_for_is_shown_once_and_only_while_it_prepares():
    world = World()
    world.happen(PrepareWaits(WHY))
    assert (world.view.reason, world.actions) == (None, ())
    world.happen(Wish(world.spec), PrepareWaits(WHY))
    assert (world.view.state, world.view.reason) == (State.PREPARING, WHY)
    assert world.actions == (Emit("prepare", WHY),)
    world.happen(PrepareWaits(WHY))
    assert world.actions == ()
    world.happen(PrepareWaits(None))
    assert (world.view.reason, world.actions) == (None, ())
    world.happen(PrepareDone())
    assert world.view.stage is Stage.LAUNCHING


def test_a_back_off_tells_how_many_restarts_count_and_when_the_next_try_is():
    world = World(make_spec(restart=RestartRules(policy="always", delay_s=8, window_s=120)))
    for _ in range(3):
        if world.view.stage is Stage.BACKOFF:
            world.happen(TimerFired(Timer.BACKOFF), Spawned(10, AT), TimerFired(Timer.PROVEN))
        else:
            world.to_running()
        world.now_s += 10
        world.happen(Exited(7), TreeEmpty())
    told = next(action.reason for action in world.did(Emit) if action.kind == "restart")
    assert told.params == {"delay_s": 32.0, "restarts": 3, "restarts_in_window": 3, "window_s": 120}
    report = report_of(world.view, AT, next_try_at=AT)
    assert (report.restarts_in_window, report.next_try_at, report.reason.params) == (3, AT, {"exit_code": 7})
    world.happen(TimerFired(Timer.BACKOFF))
    assert report_of(world.view, AT, next_try_at=AT).next_try_at is None
