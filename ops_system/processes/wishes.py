"""What a wish of the master does to an instance, stage by stage. Pure; used by `lifecycle`."""

from typing import assert_never

from msgspec.structs import replace

from ops_system.model.instances import Desired, State
from ops_system.processes.moves import STOP_REQUESTED, Decision, begin, kill, let_go, prove, rest, restart_reason, stop
from ops_system.processes.restarts import History
from ops_system.processes.spec import RunSpec, needs_new_files, needs_new_start
from ops_system.processes.states import (
    CancelLaunch,
    CancelPrepare,
    CancelTimers,
    Prepare,
    SetTimer,
    Stage,
    StartProbe,
    StopProbe,
    Timer,
    View,
)


def on_wish(view: View, spec: RunSpec) -> Decision:
    """Take a wish; one of a lower generation changes nothing."""
    old = view.spec
    if spec.generation < old.generation:
        return view, ()
    is_changed = needs_new_start(old, spec)
    is_again = is_changed or spec.source.restart_seq > old.source.restart_seq
    is_fresh = spec.generation > old.generation
    is_stale = is_changed or needs_new_files(old, spec)
    view = replace(view, spec=spec, is_prepared=view.is_prepared and not is_stale)
    if spec.desired is not Desired.RUNNING:
        return _want_rest(view)
    if spec.probe != old.probe and not is_again:
        return _change_probe(view)
    return _want_running(view, is_again=is_again, is_fresh=is_fresh, is_stale=is_stale)


def _want_running(  # noqa: PLR0911 - one answer a stage
    view: View, *, is_again: bool, is_fresh: bool, is_stale: bool
) -> Decision:
    match view.stage:
        case Stage.IDLE | Stage.BACKOFF:
            if not (is_again or is_fresh or view.state is State.PENDING):
                return view, ()
            if is_again or is_fresh:
                view = replace(view, history=History(), restarts=0)
            return begin(view, CancelTimers())
        case Stage.REMOVED:
            return begin(View(view.spec)) if is_fresh else (view, ())
        case Stage.PREPARING:
            return view, ((Prepare(),) if is_stale else ())
        case Stage.STARTING | Stage.RUNNING:
            if not is_again:
                return view, ()
            return stop(replace(view, is_restart_wanted=True), restart_reason(view))
        case Stage.LAUNCHING | Stage.STOPPING | Stage.KILLING | Stage.REMOVING:
            wanted = view.is_restart_wanted or is_again or (is_fresh and view.stage is not Stage.LAUNCHING)
            return replace(view, is_restart_wanted=wanted), ()
        case _:
            assert_never(view.stage)


def _want_rest(view: View) -> Decision:  # noqa: PLR0911 - one answer a stage
    view = replace(view, is_restart_wanted=False)
    if view.spec.source.lets_go and view.stage not in {Stage.REMOVING, Stage.REMOVED}:
        return let_go(view)
    match view.stage:
        case Stage.IDLE | Stage.BACKOFF:
            return rest(view, CancelTimers())
        case Stage.PREPARING:
            return rest(view, CancelPrepare())
        case Stage.LAUNCHING:
            return replace(view, state=State.STOPPING, reason=STOP_REQUESTED, ended=None), (CancelLaunch(),)
        case Stage.STARTING | Stage.RUNNING:
            return stop(replace(view, ended=None), STOP_REQUESTED)
        case Stage.STOPPING if view.spec.source.stop_now:
            return kill(replace(view, ended=None))
        case Stage.STOPPING | Stage.KILLING:
            return replace(view, ended=None), ()
        case Stage.REMOVING | Stage.REMOVED:
            return view, ()
        case _:
            assert_never(view.stage)


def _change_probe(view: View) -> Decision:
    """Another question to what already runs; no reason to restart it."""
    match view.stage:
        case Stage.STARTING:
            proving, actions = prove(view)
            deadline = SetTimer(Timer.START_TIMEOUT, view.spec.probe.start_timeout_s)
            return proving, (StopProbe(), CancelTimers(), *actions, deadline)
        case Stage.RUNNING:
            start = () if view.spec.probe.type == "process" else (StartProbe(),)
            return replace(view, probe_failures=0), (StopProbe(), *start)
        case _:
            return _want_running(view, is_again=False, is_fresh=True, is_stale=False)
