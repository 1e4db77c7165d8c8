"""The moves of an instance from stage to stage: what is noted and what must be done. Pure; chosen by `lifecycle`."""

from msgspec.structs import replace

from ops_system.model.instances import Desired, HealthState, State
from ops_system.model.reasons import Reason
from ops_system.processes import restarts
from ops_system.processes.states import (
    Action,
    CancelTimers,
    Emit,
    Exited,
    KillTree,
    Launch,
    LetGo,
    Look,
    Prepare,
    RemoveFiles,
    SetTimer,
    Stage,
    StartProbe,
    StopPolitely,
    StopProbe,
    Timer,
    View,
)

PROVEN_AFTER_S = 3.0

Decision = tuple[View, tuple[Action, ...]]

STOP_REQUESTED = Reason("stop_requested", "a stop was asked for")
EXIT_UNKNOWN = Reason("exit_unknown", "ended; its exit code is not known: it was not our child")


def restart_reason(view: View) -> Reason:
    """Say that a restart was asked for, and which."""
    return Reason("restart_requested", "a restart was asked for", {"restart_seq": view.spec.source.restart_seq})


def begin(view: View, *first: Action) -> Decision:
    """Prepare, or launch at once when the files are in place. Only ever called with the tree empty."""
    view = replace(
        view,
        pid=None,
        started_at=None,
        health=HealthState.UNKNOWN,
        is_restart_wanted=False,
        ended=None,
        probe_failures=0,
    )
    if view.is_prepared:
        return launch(view, *first)
    view = replace(view, stage=Stage.PREPARING, state=State.PREPARING, reason=None)
    return view, (*first, Emit("prepare"), Prepare())


def launch(view: View, *first: Action) -> Decision:
    """Start, with the files in place and the tree empty."""
    view = replace(
        view,
        stage=Stage.LAUNCHING,
        state=State.STARTING,
        health=HealthState.STARTING,
        reason=Reason("starting", "starting"),
        exit_code=None,
        exit_signal=None,
    )
    deadline = SetTimer(Timer.START_TIMEOUT, view.spec.probe.start_timeout_s)
    return view, (*first, Emit("state", view.reason), deadline, Launch())


def prove(view: View, *first: Action) -> Decision:
    """The process is there: wait for the proof that it works."""
    view = replace(view, stage=Stage.STARTING, state=State.STARTING, health=HealthState.STARTING)
    if view.spec.probe.type == "process":
        return view, (*first, CancelTimers(), SetTimer(Timer.PROVEN, PROVEN_AFTER_S))
    return view, (*first, StartProbe())


def run(view: View, reason: Reason, *more: Action) -> Decision:
    """It is proven to work."""
    view = replace(
        view, stage=Stage.RUNNING, state=State.RUNNING, health=HealthState.HEALTHY, reason=reason, probe_failures=0
    )
    reset = SetTimer(Timer.RESET, restarts.RESET_AFTER_S)
    return view, (CancelTimers(), Emit("state", reason), reset, *more)


def stop(view: View, reason: Reason) -> Decision:
    """Ask it to end and give it its grace; at once when the wish says so."""
    if view.spec.source.stop_now and view.spec.desired is not Desired.RUNNING:
        return kill(replace(view, reason=reason))
    view = replace(view, stage=Stage.STOPPING, state=State.STOPPING, reason=reason)
    grace = SetTimer(Timer.GRACE, grace_s(view))
    return view, (CancelTimers(), StopProbe(), Emit("stop", reason), StopPolitely(), grace)


def grace_s(view: View) -> float:
    """Return how long a stop may take; a restart by command takes a stop and a start."""
    takeover = view.spec.takeover
    if view.is_restart_wanted and takeover is not None and takeover.restart_command:
        return view.spec.stop.timeout_s + view.spec.probe.start_timeout_s
    return view.spec.stop.timeout_s


def let_go(view: View) -> Decision:
    """Forget it; its process runs on."""
    reason = Reason("releasing", "being let go; the process is left as it is")
    view = replace(view, stage=Stage.REMOVING, reason=reason, ended=None, is_prepared=False)
    return view, (CancelTimers(), StopProbe(), LetGo(), RemoveFiles())


def kill(view: View) -> Decision:
    """Empty the tree. The only way out of this stage is the proof that it is empty."""
    is_rest = view.spec.desired is not Desired.RUNNING
    view = replace(view, stage=Stage.KILLING, state=State.STOPPING)
    return view, (CancelTimers(), StopProbe(), KillTree(post_stop=is_rest and bool(view.spec.post_stop)))


def exit_reason(event: Exited, memory: str | None = None) -> Reason:
    """Put an end into words. `memory` is the limit as service.json has it."""
    if event.oom == "system":
        return Reason("system_oom_killed", "killed because the node ran out of memory")
    if event.oom == "limit":
        return Reason("oom_killed", f"killed at its memory limit of {memory}", {"memory": memory or ""})
    if event.signal is not None:
        return Reason("killed_by_signal", f"killed by {event.signal}", {"signal": event.signal})
    if event.code is None:
        return Reason("exit_lost", "ended; nobody could learn its exit code")
    return Reason("exited", f"exited with code {event.code}", {"exit_code": event.code})


def rest(view: View, *first: Action) -> Decision:
    """Nothing runs and nothing shall: stopped, or on the way out."""
    view = replace(view, pid=None, started_at=None, health=HealthState.UNKNOWN, ended=None)
    if view.spec.desired is Desired.ABSENT:
        reason = Reason("removing", "being removed")
        view = replace(view, stage=Stage.REMOVING, state=State.STOPPING, reason=reason, is_prepared=False)
        return view, (*first, RemoveFiles())
    if view.stage is Stage.IDLE and view.state is State.STOPPED:
        return view, ()
    stopped, actions = come_to_rest(view, State.STOPPED, Reason("stopped", "stopped"))
    return stopped, (*first, *actions)


def come_to_rest(view: View, state: State, reason: Reason) -> Decision:
    """Nothing runs until there is a new wish."""
    view = replace(view, stage=Stage.IDLE, state=state, reason=reason, started_at=None, ended=None)
    return view, (CancelTimers(), Emit("state", reason), *looks(view))


def looks(view: View) -> tuple[Action, ...]:
    """What is due at rest: others may start again what they started before."""
    return (Look(),) if view.spec.takeover is not None and view.spec.desired is Desired.RUNNING else ()
