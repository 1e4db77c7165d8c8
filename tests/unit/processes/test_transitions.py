"""Every event at every stage of an instance's life: what it does, or that it changes nothing."""

import re
from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import replace

from ops_system.model.instances import Desired, State
from ops_system.model.reasons import Reason
from ops_system.model.stamps import from_ms
from ops_system.processes import lifecycle
from ops_system.processes.lifecycle import decide
from ops_system.processes.restarts import History
from ops_system.processes.spec import ProbeRules
from ops_system.processes.states import (
    Adopted,
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
    Restored,
    SetTimer,
    Spawned,
    Stage,
    Timer,
    TimerFired,
    TreeAlive,
    TreeEmpty,
    View,
    Wish,
)
from tests.fakes.processes import make_spec, rewish

AT = from_ms(0)
MANUAL = Path(__file__).parents[3] / "docs/supervision.md"
WHY = Reason("test", "test")
SPEC = make_spec(probe=ProbeRules(failures=1))
GONE = rewish(SPEC, Desired.ABSENT)


def view_at(stage):
    """A usual view at this stage: the instance shall run, or is on its way out."""
    pid = 10 if stage in {Stage.STARTING, Stage.RUNNING, Stage.STOPPING} else None
    view = View(SPEC, stage, STATES[stage][0], pid=pid, is_prepared=True, history=History(in_a_row=1))
    if stage in {Stage.REMOVING, Stage.REMOVED}:
        return replace(view, spec=GONE)
    return replace(view, ended=Ended(WHY, is_success=False)) if stage is Stage.KILLING else view


STATES = {  # what people see of each stage
    Stage.IDLE: (State.FAILED, State.PENDING, State.STOPPED, State.EXITED),
    Stage.PREPARING: (State.PREPARING,),
    Stage.LAUNCHING: (State.STARTING, State.STOPPING),
    Stage.STARTING: (State.STARTING,),
    Stage.RUNNING: (State.RUNNING,),
    Stage.STOPPING: (State.STOPPING,),
    Stage.KILLING: (State.STOPPING,),
    Stage.BACKOFF: (State.BACKOFF,),
    Stage.REMOVING: (State.STOPPING,),
    Stage.REMOVED: (State.STOPPED,),
}


def wishing(desired=None, **changes):
    return lambda stage: Wish(rewish(view_at(stage).spec, desired, **changes))


def always(event):
    return lambda _stage: event


EVENTS = {
    "the same wish": lambda stage: Wish(view_at(stage).spec),
    "an older wish": wishing(Desired.STOPPED, generation=0),
    "a new wish": wishing(Desired.RUNNING),
    "a wish to restart": wishing(Desired.RUNNING, restart_seq=1),
    "a wish for other files": lambda _stage: Wish(replace(rewish(GONE, Desired.RUNNING), args=("-v",))),
    "a wish for another probe": lambda _stage: Wish(replace(rewish(GONE, Desired.RUNNING), probe=ProbeRules("tcp"))),
    "a wish to stop": wishing(Desired.STOPPED),
    "a wish to stop at once": wishing(Desired.STOPPED, stop_now=True),
    "a wish to remove": wishing(Desired.ABSENT),
    "a wish to let go": wishing(Desired.ABSENT, lets_go=True),
    "prepared": always(PrepareDone()),
    "not prepared, for now": always(PrepareError(WHY, retry=True)),
    "not prepared, for good": always(PrepareError(WHY, retry=False)),
    "preparing waits": always(PrepareWaits(WHY)),
    "spawned": always(Spawned(11, AT)),
    "found running": always(Spawned(11, AT, is_found=True)),
    "runs again": always(Reappeared()),
    "not launched": always(LaunchError(WHY)),
    "exited": always(Exited(7)),
    "adopted": always(Adopted(11, AT, is_proven=True)),
    "adopted unproven": always(Adopted(11, AT, is_proven=False)),
    "adopted dead": always(Adopted(11, AT, is_proven=True, is_alive=False)),
    "restored": always(Restored(State.EXITED, WHY, 0, None)),
    "probe passed": always(ProbePassed()),
    "probe failed": always(ProbeFailed("test")),
    **{f"timer {timer}": always(TimerFired(timer)) for timer in Timer},
    "tree empty": always(TreeEmpty()),
    "tree alive": always(TreeAlive((11,))),
    "files removed": always(FilesRemoved()),
    "files not removed": always(RemoveError(WHY)),
}


def word(action):
    match action:
        case SetTimer(timer, _):
            return f"SetTimer({timer})"
        case Emit(kind, _):
            return f"Emit({kind})"
        case _:
            return type(action).__name__


def outcome(stage, event):
    """`STAGE: ACTIONS`, `noted` for none of them, empty when nothing changes at all."""
    before = view_at(stage)
    view, actions = decide(before, event, 1000.0, 0.5)
    if (view, actions) == (before, ()):
        return ""
    is_let_go = view.stage is Stage.REMOVING and view.state is before.state  # its process is left as it is
    assert view.state in STATES[view.stage] or is_let_go
    return f"{view.stage}: {' '.join(map(word, actions)) or 'noted'}"


TABLE = {  # what is not listed changes nothing
    # idle
    "idle, a new wish": "launching: CancelTimers Emit(state) SetTimer(start_timeout) Launch",
    "idle, a wish to restart": "launching: CancelTimers Emit(state) SetTimer(start_timeout) Launch",
    "idle, a wish for other files": "preparing: CancelTimers Emit(prepare) Prepare",
    "idle, a wish for another probe": "launching: CancelTimers Emit(state) SetTimer(start_timeout) Launch",
    "idle, a wish to stop": "idle: CancelTimers CancelTimers Emit(state)",
    "idle, a wish to stop at once": "idle: CancelTimers CancelTimers Emit(state)",
    "idle, a wish to remove": "removing: CancelTimers RemoveFiles",
    "idle, a wish to let go": "removing: CancelTimers StopProbe LetGo RemoveFiles",
    "idle, runs again": "launching: Emit(state) SetTimer(start_timeout) Launch",
    "idle, adopted": "running: CancelTimers Emit(state) SetTimer(reset)",
    "idle, adopted unproven": "starting: Emit(state) SetTimer(start_timeout) CancelTimers SetTimer(proven)",
    "idle, adopted dead": "running: noted",
    "idle, restored": "idle: noted",
    # preparing
    "preparing, a new wish": "preparing: noted",
    "preparing, a wish to restart": "preparing: noted",
    "preparing, a wish for other files": "preparing: Prepare",
    "preparing, a wish for another probe": "preparing: noted",
    "preparing, a wish to stop": "idle: CancelPrepare CancelTimers Emit(state)",
    "preparing, a wish to stop at once": "idle: CancelPrepare CancelTimers Emit(state)",
    "preparing, a wish to remove": "removing: CancelPrepare RemoveFiles",
    "preparing, a wish to let go": "removing: CancelTimers StopProbe LetGo RemoveFiles",
    "preparing, prepared": "launching: Emit(state) SetTimer(start_timeout) Launch",
    "preparing, not prepared, for now": "backoff: Emit(prepare) SetTimer(backoff)",
    "preparing, not prepared, for good": "idle: CancelTimers Emit(state)",
    "preparing, preparing waits": "preparing: Emit(prepare)",
    # launching
    "launching, a new wish": "launching: noted",
    "launching, a wish to restart": "launching: noted",
    "launching, a wish for other files": "launching: noted",
    "launching, a wish for another probe": "launching: noted",
    "launching, a wish to stop": "launching: CancelLaunch",
    "launching, a wish to stop at once": "launching: CancelLaunch",
    "launching, a wish to remove": "launching: CancelLaunch",
    "launching, a wish to let go": "removing: CancelTimers StopProbe LetGo RemoveFiles",
    "launching, spawned": "starting: Emit(state) CancelTimers SetTimer(proven)",
    "launching, found running": "starting: Emit(state) CancelTimers SetTimer(proven)",
    "launching, not launched": "killing: Emit(state) CancelTimers StopProbe KillTree",
    "launching, exited": "killing: Emit(exit) CancelTimers StopProbe KillTree",
    "launching, timer start_timeout": "killing: CancelLaunch Emit(health) CancelTimers StopProbe KillTree",
    # starting
    "starting, a new wish": "starting: noted",
    "starting, a wish to restart": "stopping: CancelTimers StopProbe Emit(stop) StopPolitely SetTimer(grace)",
    "starting, a wish for other files": "stopping: CancelTimers StopProbe Emit(stop) StopPolitely SetTimer(grace)",
    "starting, a wish for another probe": "starting: StopProbe CancelTimers StartProbe SetTimer(start_timeout)",
    "starting, a wish to stop": "stopping: CancelTimers StopProbe Emit(stop) StopPolitely SetTimer(grace)",
    "starting, a wish to stop at once": "killing: CancelTimers StopProbe KillTree",
    "starting, a wish to remove": "stopping: CancelTimers StopProbe Emit(stop) StopPolitely SetTimer(grace)",
    "starting, a wish to let go": "removing: CancelTimers StopProbe LetGo RemoveFiles",
    "starting, spawned": "starting: noted",
    "starting, found running": "starting: Emit(state)",
    "starting, exited": "killing: Emit(exit) CancelTimers StopProbe KillTree",
    "starting, probe passed": "running: CancelTimers Emit(state) SetTimer(reset)",
    "starting, probe failed": "starting: noted",
    "starting, timer proven": "running: CancelTimers Emit(state) SetTimer(reset)",
    "starting, timer start_timeout": "killing: CancelLaunch Emit(health) CancelTimers StopProbe KillTree",
    # running
    "running, a new wish": "running: noted",
    "running, a wish to restart": "stopping: CancelTimers StopProbe Emit(stop) StopPolitely SetTimer(grace)",
    "running, a wish for other files": "stopping: CancelTimers StopProbe Emit(stop) StopPolitely SetTimer(grace)",
    "running, a wish for another probe": "running: StopProbe StartProbe",
    "running, a wish to stop": "stopping: CancelTimers StopProbe Emit(stop) StopPolitely SetTimer(grace)",
    "running, a wish to stop at once": "killing: CancelTimers StopProbe KillTree",
    "running, a wish to remove": "stopping: CancelTimers StopProbe Emit(stop) StopPolitely SetTimer(grace)",
    "running, a wish to let go": "removing: CancelTimers StopProbe LetGo RemoveFiles",
    "running, spawned": "running: noted",
    "running, found running": "running: Emit(state)",
    "running, exited": "killing: Emit(exit) CancelTimers StopProbe KillTree",
    "running, probe failed": "stopping: Emit(health) CancelTimers StopProbe Emit(stop) StopPolitely SetTimer(grace)",
    "running, timer reset": "running: noted",
    # stopping
    "stopping, a new wish": "stopping: noted",
    "stopping, a wish to restart": "stopping: noted",
    "stopping, a wish for other files": "stopping: noted",
    "stopping, a wish for another probe": "stopping: noted",
    "stopping, a wish to stop": "stopping: noted",
    "stopping, a wish to stop at once": "killing: CancelTimers StopProbe KillTree",
    "stopping, a wish to remove": "stopping: noted",
    "stopping, a wish to let go": "removing: CancelTimers StopProbe LetGo RemoveFiles",
    "stopping, spawned": "stopping: noted",
    "stopping, found running": "stopping: Emit(state)",
    "stopping, exited": "killing: Emit(exit) CancelTimers StopProbe KillTree",
    "stopping, timer grace": "killing: CancelTimers StopProbe KillTree",
    # killing
    "killing, a new wish": "killing: noted",
    "killing, a wish to restart": "killing: noted",
    "killing, a wish for other files": "killing: noted",
    "killing, a wish for another probe": "killing: noted",
    "killing, a wish to stop": "killing: noted",
    "killing, a wish to stop at once": "killing: noted",
    "killing, a wish to remove": "killing: noted",
    "killing, a wish to let go": "removing: CancelTimers StopProbe LetGo RemoveFiles",
    "killing, spawned": "killing: noted",
    "killing, found running": "killing: Emit(state)",
    "killing, exited": "killing: noted",
    "killing, tree empty": "backoff: Emit(restart) SetTimer(backoff)",
    "killing, tree alive": "killing: Emit(stop)",
    # backoff
    "backoff, a new wish": "launching: CancelTimers Emit(state) SetTimer(start_timeout) Launch",
    "backoff, a wish to restart": "launching: CancelTimers Emit(state) SetTimer(start_timeout) Launch",
    "backoff, a wish for other files": "preparing: CancelTimers Emit(prepare) Prepare",
    "backoff, a wish for another probe": "launching: CancelTimers Emit(state) SetTimer(start_timeout) Launch",
    "backoff, a wish to stop": "idle: CancelTimers CancelTimers Emit(state)",
    "backoff, a wish to stop at once": "idle: CancelTimers CancelTimers Emit(state)",
    "backoff, a wish to remove": "removing: CancelTimers RemoveFiles",
    "backoff, a wish to let go": "removing: CancelTimers StopProbe LetGo RemoveFiles",
    "backoff, timer backoff": "launching: Emit(state) SetTimer(start_timeout) Launch",
    # removing
    "removing, a new wish": "removing: noted",
    "removing, a wish to restart": "removing: noted",
    "removing, a wish for other files": "removing: noted",
    "removing, a wish for another probe": "removing: noted",
    "removing, a wish to stop": "removing: noted",
    "removing, a wish to stop at once": "removing: noted",
    "removing, a wish to remove": "removing: noted",
    "removing, a wish to let go": "removing: noted",
    "removing, timer remove": "removing: RemoveFiles",
    "removing, files removed": "removed: Emit(remove)",
    "removing, files not removed": "removing: Emit(remove) SetTimer(remove)",
    # removed
    "removed, a new wish": "preparing: Emit(prepare) Prepare",
    "removed, a wish to restart": "preparing: Emit(prepare) Prepare",
    "removed, a wish for other files": "preparing: Emit(prepare) Prepare",
    "removed, a wish for another probe": "preparing: Emit(prepare) Prepare",
    "removed, a wish to stop": "removed: noted",
    "removed, a wish to stop at once": "removed: noted",
    "removed, a wish to remove": "removed: noted",
    "removed, a wish to let go": "removed: noted",
}


@pytest.mark.parametrize("stage", Stage)
def test_every_event_does_at_every_stage_what_the_table_says(stage):
    expected = {name: TABLE.get(f"{stage}, {name}", "") for name in EVENTS}
    assert {name: outcome(stage, make(stage)) for name, make in EVENTS.items()} == expected


def test_the_table_knows_every_event_and_every_stage_and_nothing_else():
    assert {type(make(stage)) for make in EVENTS.values() for stage in Stage} == set(get_args(Event))
    assert set(STATES) == set(Stage)
    assert set(TABLE) <= {f"{stage}, {name}" for stage in Stage for name in EVENTS}
    assert {row.partition(",")[0] for row in TABLE} == set(Stage)


def test_the_diagram_names_every_stage_and_stands_in_the_manual_too():
    diagram = lifecycle.__doc__.split("\n\n")[1]
    assert {word.lower() for word in re.findall(r"\b[A-Z]{4,}\b", diagram)} == set(Stage)
    manual = MANUAL.read_text()
    assert "\n".join(line.removeprefix("    ").rstrip() for line in diagram.splitlines()) in manual
    rows = re.findall(r"^\| ([A-Z]+) \| ([^|]+) \|", manual, re.MULTILINE)
    told = {Stage(stage.lower()): set(re.findall("`([a-z]+)`", states)) for stage, states in rows}
    assert told == {stage: {state.value for state in states} for stage, states in STATES.items()}
