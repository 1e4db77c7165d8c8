"""An instance: a module's package on one node. It keeps its id through upgrade and rollback.

    pending -> preparing -> starting -> running -> stopping -> stopped
                               |           |           ^
                               v           v           |
                            backoff <---> exited    (desired = stopped)
                               |
                               v
                            failed                unknown: the node is silent

`desired` is the wish, `state` what is observed, `health` what the probe says; the three never overwrite each other.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from ops_system.model.formats import Format
from ops_system.model.ids import InstanceId, ModuleId, SystemId
from ops_system.model.manifest import Manifest
from ops_system.model.packages import PackageRef
from ops_system.model.reasons import Reason
from ops_system.model.takeover import Takeover


class Desired(StrEnum):
    """The wish."""

    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"


class State(StrEnum):
    """What is observed."""

    PENDING = "pending"
    PREPARING = "preparing"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    BACKOFF = "backoff"
    EXITED = "exited"
    FAILED = "failed"
    UNKNOWN = "unknown"


class HealthState(StrEnum):
    """What the probe says."""

    UNKNOWN = "unknown"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Origin(StrEnum):
    """Whether we started it or took it over."""

    MANAGED = "managed"
    ADOPTED = "adopted"


class ConfigFile(msgspec.Struct, frozen=True):
    """A rendered-on-the-worker file mounted into the instance: placeholders in `content` are expanded there.

    What comes out must be of this `format`. `${secret.NAME}` is filled in on the way to the worker.
    """

    path: str  # relative to ${instance.dir}
    content: str
    mode: int = 0o640
    format: Format = Format.TEXT


class InstanceSpec(msgspec.Struct, frozen=True):
    """Everything a worker needs to run one instance for ever without the master. Absolute, so re-sending is harmless.

    `service` is the package's manifest with the module's overrides already merged; placeholders are not yet expanded.
    A higher `generation` replaces a lower one; a lower one is ignored. `restart_seq` counts wishes for a restart:
    a worker that sees it rise restarts once. `stop_now` skips the grace. `secret_env` names the values of
    `service.env` that are secret: the master keeps them elsewhere and fills them in on the way to the worker.
    """

    instance_id: InstanceId
    generation: int
    desired: Desired
    system_id: SystemId
    module_id: ModuleId
    name: str  # the module's name, for people and log lines
    package: PackageRef | None  # None: adopted
    service: Manifest
    origin: Origin = Origin.MANAGED
    restart_seq: int = 0
    stop_now: bool = False
    start_order: int = 0
    depends_on: tuple[InstanceId, ...] = ()
    config_files: tuple[ConfigFile, ...] = ()
    secret_env: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"InstanceSpec({self.instance_id}, generation={self.generation}, desired={self.desired})"

    takeover: Takeover | None = None  # how to find and steer it when others started it
    lets_go: bool = False  # with `absent`: forget it and leave the process as it is


class InstanceReport(msgspec.Struct, frozen=True):
    """What a worker observes of one instance, for the generation and restart wish it has seen.

    `removed` is the last report of an instance whose desired state was `absent`: tree empty, files gone.
    `restarts_in_window`: those that still count towards giving up; `next_try_at`: only while it backs off.
    """

    instance_id: InstanceId
    generation: int
    state: State
    health: HealthState
    at: datetime
    restart_seq: int = 0
    pid: int | None = None
    started_at: datetime | None = None
    exit_code: int | None = None
    exit_signal: str | None = None
    restarts: int = 0
    reason: Reason | None = None
    version: str = ""
    removed: bool = False
    restarts_in_window: int = 0
    next_try_at: datetime | None = None


class InstanceEvent(msgspec.Struct, frozen=True):
    """One line of an instance's timeline. `seq` rises by one per worker and survives its restarts."""

    seq: int
    instance_id: InstanceId
    generation: int
    at: datetime
    kind: str  # "state", "health", "exit", "restart", "prepare", "stop", "remove"
    state: State
    health: HealthState
    reason: Reason | None = None
    pid: int | None = None
    exit_code: int | None = None


class PrepareProgress(msgspec.Struct, frozen=True):
    """How far an instance's preparation is. `step`: download, verify, unpack, activate, start, prove."""

    instance_id: InstanceId
    generation: int
    step: str
    bytes_done: int = 0
    bytes_total: int = 0
