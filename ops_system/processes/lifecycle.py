"""The life of one instance as a pure state machine: `decide(view, event) -> (view, actions)`. Called by the supervisor.

    IDLE --wish running--> PREPARING --done--> LAUNCHING --spawned--> STARTING --proven--> RUNNING
     ^  ^                      |                   |                     |                   |
     |  |                      | failed            | failed       exit,  |     exit, probe   | wish stopped,
     |  |                      v                   v       start timeout v     failures      v restart, new files
     |  +---- timer ------- BACKOFF <--+        KILLING <----------------+--> KILLING <-- STOPPING (grace over, exit)
     |                                 |           |
     |                     again ------+           | tree proven empty
     +-- wish stopped, finished, gave up <---------+--> REMOVING (wish absent) --> REMOVED

Three laws, kept by every path: a start happens only from a tree proven empty (KILLING ends by TreeEmpty alone); an end
that somebody asked for is never judged by the restart policy; a stale timer or probe cannot act, because leaving a
stage switches the clocks and the probe off. `now_s` is monotonic, `dice` uniform in [0, 1).
"""

from typing import assert_never

from msgspec.structs import replace

from ops_system.model.instances import Desired, HealthState, State
from ops_system.model.reasons import Reason
from ops_system.processes import restarts
from ops_system.processes.moves import (
    EXIT_UNKNOWN,
    PROVEN_AFTER_S,
    STOP_REQUESTED,
    Decision,
    begin,
    come_to_rest,
    exit_reason,
    kill,
    launch,
    looks,
    prove,
    rest,
    restart_reason,
    run,
    stop,
)
from ops_system.processes.restarts import History
from ops_system.processes.states import (
    Adopted,
    CancelLaunch,
    CancelTimers,
    Emit,
    Ended,
    Event,
    Exited,
    FilesRemoved,
    LaunchError,
    PrepareDone,
    PrepareError,
    PrepareWaits,
    ProbeFailed,
    ProbePassed,
    Reappeared,
    RemoveError,
    RemoveFiles,
    Restored,
    SetTimer,
    Spawned,
    Stage,
    StartProbe,
    Timer,
    TimerFired,
    TreeAlive,
    TreeEmpty,
    View,
    Wish,
)
from ops_system.processes.wishes import on_wish

REMOVE_RETRY_S = 5.0

_WITH_PROCESS = (Stage.LAUNCHING, Stage.STARTING, Stage.RUNNING, Stage.STOPPING)


def decide(  # noqa: PLR0911, PLR0912, C901 - one line an event
    view: View, event: Event, now_s: float, dice: float = 0.5
) -> Decision:
    """Return the instance's next view and what must be done, in order. An event that no longer fits changes nothing."""
    match event:
        case Wish(spec):
            return on_wish(view, spec)
        case PrepareDone():
            return launch(replace(view, is_prepared=True)) if view.stage is Stage.PREPARING else (view, ())
        case PrepareError(reason, retry):
            return _on_prepare_error(view, reason, retry, dice)
        case PrepareWaits(reason):
            return _on_prepare_waits(view, reason)
        case Spawned():
            return _on_spawned(view, event)
        case Reappeared():
            return _on_reappeared(view)
        case LaunchError(reason):
            return _on_launch_error(view, reason)
        case Exited():
            return _on_exited(view, event)
        case Adopted():
            return _on_adopted(view, event)
        case Restored():
            return _on_restored(view, event)
        case ProbePassed():
            return _on_probe_passed(view)
        case ProbeFailed(detail):
            return _on_probe_failed(view, detail)
        case TimerFired(timer):
            return _on_timer(view, timer)
        case TreeEmpty():
            return _on_tree_empty(view, now_s, dice) if view.stage is Stage.KILLING else (view, ())
        case TreeAlive(pids):
            return _on_tree_alive(view, pids)
        case FilesRemoved():
            return _on_removed(view)
        case RemoveError(reason):
            return _on_remove_error(view, reason)
        case _:
            assert_never(event)


# --- towards running -------------------------------------------------------------------------------------------------
def _on_prepare_error(view: View, reason: Reason, retry: bool, dice: float) -> Decision:
    if view.stage is not Stage.PREPARING:
        return view, ()
    if not retry:
        return come_to_rest(view, State.FAILED, reason)
    rules = view.spec.restart
    delay_s = restarts.delay_after(max(rules.delay_s, 1.0), rules.max_delay_s, view.history.in_a_row, dice)
    history = replace(view.history, in_a_row=view.history.in_a_row + 1)
    view = replace(view, stage=Stage.BACKOFF, state=State.BACKOFF, reason=reason, history=history)
    return view, (Emit("prepare", reason), SetTimer(Timer.BACKOFF, delay_s))


def _on_prepare_waits(view: View, reason: Reason | None) -> Decision:
    if view.stage is not Stage.PREPARING or view.reason == reason:
        return view, ()
    return replace(view, reason=reason), ((Emit("prepare", reason),) if reason else ())


def _on_spawned(view: View, event: Spawned) -> Decision:
    if view.stage not in _WITH_PROCESS and view.stage is not Stage.KILLING:
        return view, ()
    view = replace(view, pid=event.pid, started_at=event.at)
    if event.is_found and view.stage is not Stage.LAUNCHING:
        return _on_successor(view)
    if view.stage is not Stage.LAUNCHING:
        return view, ()
    if view.spec.desired is not Desired.RUNNING:
        return stop(view, STOP_REQUESTED)
    if view.is_restart_wanted:
        return stop(view, restart_reason(view))
    reason = Reason("started", f"started as pid {event.pid}", {"pid": event.pid})
    if event.is_found:
        reason = Reason("taken_over", f"pid {event.pid} was found running and is in care", {"pid": event.pid})
    return prove(replace(view, reason=reason), Emit("state", reason))


def _on_successor(view: View) -> Decision:
    """Another process has taken the leader's place: by the restart command, or because others replaced it."""
    assert view.pid is not None
    if view.stage is Stage.STOPPING and view.is_restart_wanted:
        reason = Reason("restarted", f"the restart command left pid {view.pid} running", {"pid": view.pid})
        deadline = SetTimer(Timer.START_TIMEOUT, view.spec.probe.start_timeout_s)
        fresh = replace(view, is_restart_wanted=False, ended=None, reason=reason, probe_failures=0)
        return prove(fresh, CancelTimers(), deadline, Emit("restart", reason))
    reason = Reason("leader_changed", f"others put pid {view.pid} in its place", {"pid": view.pid})
    return view, (Emit("state", reason),)


def _on_reappeared(view: View) -> Decision:
    if view.stage is not Stage.IDLE or view.spec.desired is not Desired.RUNNING:
        return view, ()
    return begin(replace(view, history=History()))


def _on_adopted(view: View, event: Adopted) -> Decision:
    if view.stage is not Stage.IDLE:
        return view, ()
    view = replace(view, pid=event.pid, started_at=event.at)
    if not event.is_alive:
        return replace(view, stage=Stage.RUNNING, state=State.RUNNING), ()
    reason = Reason("readopted", f"pid {event.pid} was found running", {"pid": event.pid})
    if not event.is_proven:
        deadline = SetTimer(Timer.START_TIMEOUT, view.spec.probe.start_timeout_s)
        return prove(replace(view, reason=reason), Emit("state", reason), deadline)
    return run(view, reason, *(() if view.spec.probe.type == "process" else (StartProbe(),)))


def _on_restored(view: View, event: Restored) -> Decision:
    if view.stage is not Stage.IDLE:
        return view, ()
    restored = replace(
        view, state=event.state, reason=event.reason, exit_code=event.exit_code, exit_signal=event.exit_signal
    )
    return restored, looks(restored)


# --- while it runs ---------------------------------------------------------------------------------------------------
def _on_probe_passed(view: View) -> Decision:
    if view.stage is Stage.STARTING:
        return run(view, Reason("probe_passed", "the probe passed"))
    if view.stage is not Stage.RUNNING:
        return view, ()
    if view.health is HealthState.UNHEALTHY:
        reason = Reason("probe_passed", "the probe passed")
        return replace(view, probe_failures=0, health=HealthState.HEALTHY, reason=reason), (Emit("health", reason),)
    return replace(view, probe_failures=0), ()


def _on_probe_failed(view: View, detail: str) -> Decision:
    reason = Reason("probe_failed", f"the probe failed: {detail}", {"detail": detail})
    if view.stage is Stage.STARTING:
        return replace(view, reason=reason), ()
    if view.stage is not Stage.RUNNING:
        return view, ()
    view = replace(view, probe_failures=view.probe_failures + 1)
    if view.probe_failures < view.spec.probe.failures:
        return view, ()
    if view.spec.is_watched_only:
        is_news = view.health is not HealthState.UNHEALTHY
        ill = replace(view, health=HealthState.UNHEALTHY, reason=reason)
        return ill, ((Emit("health", reason),) if is_news else ())
    view = replace(view, health=HealthState.UNHEALTHY, ended=Ended(reason, is_success=False))
    stopping, actions = stop(view, reason)
    return stopping, (Emit("health", reason), *actions)


def _on_timer(view: View, timer: Timer) -> Decision:  # noqa: PLR0911 - one answer a clock
    match timer, view.stage:
        case Timer.PROVEN, Stage.STARTING if view.spec.probe.type == "process":
            return run(view, Reason("alive_proven", f"alive for {PROVEN_AFTER_S:.0f} s"))
        case Timer.START_TIMEOUT, Stage.LAUNCHING | Stage.STARTING:
            return _on_start_timeout(view)
        case Timer.GRACE, Stage.STOPPING:
            return kill(view)
        case Timer.BACKOFF, Stage.BACKOFF:
            return begin(view)
        case Timer.RESET, Stage.RUNNING:
            return _on_reset(view)
        case Timer.REMOVE, Stage.REMOVING:
            return view, (RemoveFiles(),)
        case _:
            return view, ()


def _on_start_timeout(view: View) -> Decision:
    limit_s = view.spec.probe.start_timeout_s
    last = f"; last: {view.reason.message}" if view.reason and view.reason.code == "probe_failed" else ""
    reason = Reason("start_timeout", f"not proven within {limit_s:g} s{last}", {"start_timeout_s": limit_s})
    if view.spec.is_watched_only and view.stage is Stage.STARTING and view.spec.desired is Desired.RUNNING:
        ill, actions = run(view, reason)
        return replace(ill, health=HealthState.UNHEALTHY), actions
    if view.spec.desired is Desired.RUNNING and not view.is_restart_wanted:
        view = replace(view, ended=Ended(reason, is_success=False))
    killing, actions = kill(replace(view, reason=reason))
    return killing, (CancelLaunch(), Emit("health", reason), *actions)


def _on_reset(view: View) -> Decision:
    if view.probe_failures:
        return view, (SetTimer(Timer.RESET, restarts.RESET_AFTER_S),)
    return replace(view, history=History()), ()


# --- towards the end -------------------------------------------------------------------------------------------------
def _on_launch_error(view: View, reason: Reason) -> Decision:
    if view.stage is not Stage.LAUNCHING:
        return view, ()
    if view.spec.desired is Desired.RUNNING and not view.is_restart_wanted:
        view = replace(view, ended=Ended(reason, is_success=False), reason=reason)
    killing, actions = kill(view)
    return killing, (Emit("state", reason), *actions)


def _on_exited(view: View, event: Exited) -> Decision:
    if view.stage is Stage.KILLING:
        return replace(view, exit_code=event.code, exit_signal=event.signal, pid=None), ()
    if view.stage not in _WITH_PROCESS:
        return view, ()
    reason = exit_reason(event, view.spec.source.service.limits.memory)
    is_unasked = view.stage is not Stage.STOPPING and view.spec.desired is Desired.RUNNING
    if view.spec.takeover is not None and event == Exited():
        reason = EXIT_UNKNOWN
    if is_unasked and not view.is_restart_wanted:
        is_success = event.code is not None and event.code in view.spec.restart.success_codes
        view = replace(view, ended=Ended(reason, is_success), reason=reason)
    view = replace(view, exit_code=event.code, exit_signal=event.signal, pid=None, health=HealthState.UNKNOWN)
    killing, actions = kill(view)
    return killing, (Emit("exit", reason), *actions)


def _on_tree_alive(view: View, pids: tuple[int, ...]) -> Decision:
    if view.stage is not Stage.KILLING:
        return view, ()
    names = " ".join(str(pid) for pid in pids[:10])
    reason = Reason("cannot_kill", f"{len(pids)} processes do not die: {names}", {"pids": names, "count": len(pids)})
    is_news = view.reason != reason
    return replace(view, reason=reason), ((Emit("stop", reason),) if is_news else ())


def _on_tree_empty(view: View, now_s: float, dice: float) -> Decision:
    view = replace(view, pid=None, health=HealthState.UNKNOWN)
    if view.spec.desired is not Desired.RUNNING:
        return rest(view)
    if view.is_restart_wanted or view.ended is None:
        return begin(view)
    return _judge(view, view.ended, now_s, dice)


def _judge(view: View, ended: Ended, now_s: float, dice: float) -> Decision:
    rules = view.spec.restart
    match restarts.judge(rules, view.history, is_success=ended.is_success, now_s=now_s, dice=dice):
        case restarts.Finished():
            return come_to_rest(view, State.EXITED if ended.is_success else State.FAILED, ended.reason)
        case restarts.GaveUp(count):
            message = f"gave up after {count} restarts within {rules.window_s:g} s; last: {ended.reason.message}"
            return come_to_rest(view, State.FAILED, Reason("gave_up", message, {"restarts": count}))
        case restarts.Again(delay_s, history):
            view = replace(view, history=history, restarts=view.restarts + 1)
            return _back_off(view, ended.reason, delay_s)


def _back_off(view: View, reason: Reason, delay_s: float) -> Decision:
    again = Reason(
        "backoff",
        f"restart {view.restarts} in {delay_s:.1f} s",
        {
            "delay_s": round(delay_s, 3),
            "restarts": view.restarts,
            "restarts_in_window": len(view.history.times_s),
            "window_s": view.spec.restart.window_s,
        },
    )
    if delay_s <= 0:
        return begin(view, Emit("restart", again))
    view = replace(view, stage=Stage.BACKOFF, state=State.BACKOFF, reason=reason)
    return view, (Emit("restart", again), SetTimer(Timer.BACKOFF, delay_s))


def _on_removed(view: View) -> Decision:
    if view.stage is not Stage.REMOVING:
        return view, ()
    if view.spec.desired is Desired.RUNNING:
        return begin(View(view.spec))
    reason = Reason("removed", "removed")
    if view.spec.source.lets_go:
        reason = Reason("released", "let go; the process was left as it is")
    view = replace(view, stage=Stage.REMOVED, state=State.STOPPED, reason=reason)
    return view, (Emit("remove", reason),)


def _on_remove_error(view: View, reason: Reason) -> Decision:
    if view.stage is not Stage.REMOVING:
        return view, ()
    is_news = view.reason != reason
    retry = SetTimer(Timer.REMOVE, REMOVE_RETRY_S)
    return replace(view, reason=reason), (*((Emit("remove", reason),) if is_news else ()), retry)
