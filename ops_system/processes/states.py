"""The words of the life cycle: what is known of an instance, what may happen to it, and what is to be done about it."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from ops_system.model.instances import HealthState, InstanceReport, State
from ops_system.model.reasons import Reason
from ops_system.processes.restarts import History
from ops_system.processes.spec import RunSpec

Oom = Literal["", "limit", "system"]


class Stage(StrEnum):
    """Where the machine stands; finer than `State`, which is what people see."""

    IDLE = "idle"
    PREPARING = "preparing"
    LAUNCHING = "launching"  # ports, hook and spawn are under way; the pid is not known yet
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"  # asked politely
    KILLING = "killing"  # the tree is being emptied
    BACKOFF = "backoff"
    REMOVING = "removing"
    REMOVED = "removed"


class Timer(StrEnum):
    """The clocks of one instance; setting one again replaces it."""

    PROVEN = "proven"
    START_TIMEOUT = "start_timeout"
    GRACE = "grace"
    BACKOFF = "backoff"
    RESET = "reset"
    REMOVE = "remove"


class Ended(msgspec.Struct, frozen=True):
    """An end nobody asked for, to be judged by the restart policy."""

    reason: Reason
    is_success: bool


class View(msgspec.Struct, frozen=True):
    """All that is known of one instance."""

    spec: RunSpec
    stage: Stage = Stage.IDLE
    state: State = State.PENDING
    health: HealthState = HealthState.UNKNOWN
    reason: Reason | None = None
    pid: int | None = None
    started_at: datetime | None = None
    exit_code: int | None = None
    exit_signal: str | None = None
    restarts: int = 0
    history: History = History()
    probe_failures: int = 0
    is_prepared: bool = False
    is_restart_wanted: bool = False
    ended: Ended | None = None


def report_of(view: View, at: datetime, next_try_at: datetime | None = None) -> InstanceReport:
    """Return what the master is told. `next_try_at`: when the clock of a back-off runs out."""
    return InstanceReport(
        instance_id=view.spec.instance_id,
        generation=view.spec.generation,
        state=view.state,
        health=view.health,
        at=at,
        restart_seq=view.spec.source.restart_seq,
        pid=view.pid,
        started_at=view.started_at,
        exit_code=view.exit_code,
        exit_signal=view.exit_signal,
        restarts=view.restarts,
        reason=view.reason,
        version=view.spec.source.service.version,
        removed=view.stage is Stage.REMOVED,
        restarts_in_window=len(view.history.times_s),
        next_try_at=next_try_at if view.stage is Stage.BACKOFF else None,
    )


# --- what happens --------------------------------------------------------------------------------------------------
class Wish(msgspec.Struct, frozen=True):
    """The master's (or the disk's) wish; may repeat."""

    spec: RunSpec


class PrepareDone(msgspec.Struct, frozen=True):
    """The files are in place."""


class PrepareError(msgspec.Struct, frozen=True):
    """They are not."""

    reason: Reason
    retry: bool


class PrepareWaits(msgspec.Struct, frozen=True):
    """Preparing waits for something else, `reason` says for what; None: it waits no more."""

    reason: Reason | None


class Spawned(msgspec.Struct, frozen=True):
    """The entrypoint has a pid. `is_found`: others had started it, or put it in the place of the former one."""

    pid: int
    at: datetime
    is_found: bool = False


class Reappeared(msgspec.Struct, frozen=True):
    """A process that others start, and that had come to rest, runs again."""


class LaunchError(msgspec.Struct, frozen=True):
    """A port is taken, a hook failed, or nothing could be spawned."""

    reason: Reason


class Exited(msgspec.Struct, frozen=True):
    """The entrypoint ended. Both None: nobody could learn how. `oom`: whose memory limit the kernel killed it for."""

    code: int | None = None
    signal: str | None = None
    oom: Oom = ""


class Adopted(msgspec.Struct, frozen=True):
    """After a restart of the supervisor: the instance's process was found (or its end is about to be told)."""

    pid: int
    at: datetime
    is_proven: bool
    is_alive: bool = True


class Restored(msgspec.Struct, frozen=True):
    """After a restart of the supervisor: the instance had come to rest (`exited`, `failed`) and shall stay so."""

    state: State
    reason: Reason | None
    exit_code: int | None
    exit_signal: str | None


class ProbePassed(msgspec.Struct, frozen=True):
    """One probe succeeded."""


class ProbeFailed(msgspec.Struct, frozen=True):
    """One probe failed."""

    detail: str


class TimerFired(msgspec.Struct, frozen=True):
    """A clock set by `SetTimer` ran out."""

    timer: Timer


class TreeEmpty(msgspec.Struct, frozen=True):
    """No process of the instance is left (and the post-stop hook has run, when it was asked for)."""


class TreeAlive(msgspec.Struct, frozen=True):
    """Processes are left that do not die; killing goes on."""

    pids: tuple[int, ...]


class FilesRemoved(msgspec.Struct, frozen=True):
    """The instance's files are gone."""


class RemoveError(msgspec.Struct, frozen=True):
    """They are not."""

    reason: Reason


Event = (
    Wish
    | PrepareDone
    | PrepareError
    | PrepareWaits
    | Spawned
    | Reappeared
    | LaunchError
    | Exited
    | Adopted
    | Restored
    | ProbePassed
    | ProbeFailed
    | TimerFired
    | TreeEmpty
    | TreeAlive
    | FilesRemoved
    | RemoveError
)


# --- what is to be done --------------------------------------------------------------------------------------------
class Prepare(msgspec.Struct, frozen=True):
    """Put the files in place; a preparation under way is replaced."""


class CancelPrepare(msgspec.Struct, frozen=True):
    """Stop preparing; nothing is heard of it any more."""


class Launch(msgspec.Struct, frozen=True):
    """Check ports, run the hook, spawn. Answered by Spawned or LaunchError, or by Exited when it was that quick."""


class CancelLaunch(msgspec.Struct, frozen=True):
    """Give up a launch that has not spawned yet; it answers with LaunchError. One that has is answered as usual."""


class StopPolitely(msgspec.Struct, frozen=True):
    """Run the stop command, or send the stop signal."""


class KillTree(msgspec.Struct, frozen=True):
    """Kill what is left until nothing is; then the post-stop hook when asked. Answered by TreeEmpty."""

    post_stop: bool = False


class StartProbe(msgspec.Struct, frozen=True):
    """Probe until told otherwise."""


class StopProbe(msgspec.Struct, frozen=True):
    """No more probes; nothing is heard of the one under way."""


class SetTimer(msgspec.Struct, frozen=True):
    """Wake me after `delay_s`."""

    timer: Timer
    delay_s: float


class CancelTimers(msgspec.Struct, frozen=True):
    """All clocks off."""


class Emit(msgspec.Struct, frozen=True):
    """A line for the timeline; `kind` as in `InstanceEvent`."""

    kind: str
    reason: Reason | None = None


class Look(msgspec.Struct, frozen=True):
    """Look now and then whether others have started it again. Answered by Reappeared."""


class LetGo(msgspec.Struct, frozen=True):
    """Stop watching and whatever is under way; no process hears of it."""


class RemoveFiles(msgspec.Struct, frozen=True):
    """Remove the instance's files. Answered by FilesRemoved or RemoveError."""


Action = (
    Prepare
    | CancelPrepare
    | Launch
    | CancelLaunch
    | StopPolitely
    | KillTree
    | StartProbe
    | StopProbe
    | SetTimer
    | CancelTimers
    | Emit
    | Look
    | LetGo
    | RemoveFiles
)
