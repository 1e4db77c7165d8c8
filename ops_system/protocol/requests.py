"""Questions a master asks a worker over the link: the structs of `Request.body` and of `Reply.body`, by kind."""

from datetime import datetime
from typing import Literal

import msgspec

from ops_system.model.crashes import Crash
from ops_system.model.ids import InstanceId
from ops_system.model.packages import PackageRef
from ops_system.model.reasons import Reason
from ops_system.model.takeover import Learned, Takeover


class Alive(msgspec.Struct, frozen=True):
    """kind `link.ping`, and its answer: is anybody behind this link? Every link answers by itself."""


class ListProcesses(msgspec.Struct, frozen=True):
    """kind `processes.list`."""


class ListeningPort(msgspec.Struct, frozen=True):
    """A port a process listens on (UDP: is bound to)."""

    protocol: Literal["tcp", "udp"]
    address: str
    port: int


class ProcessInfo(msgspec.Struct, frozen=True):
    """One process of the node.

    `unit` is the systemd unit its control group belongs to. `is_adoptable`: it may be taken over; else `why_not` has
    the code: `init kernel_thread worker worker_ancestor master keeper already_in_care other_user ended`.
    """

    pid: int
    ppid: int
    name: str
    cmdline: tuple[str, ...]
    user: str
    cpu_percent: float
    mem_bytes: int
    started_at: datetime | None
    instance_id: InstanceId | None = None
    uid: int | None = None
    exe: str = ""
    cwd: str = ""
    cgroup: str = ""
    unit: str = ""
    ports: tuple[ListeningPort, ...] = ()
    is_adoptable: bool = False
    why_not: str = ""


class Processes(msgspec.Struct, frozen=True):
    """Answer of `processes.list`."""

    items: tuple[ProcessInfo, ...]


class RunCommand(msgspec.Struct, frozen=True):
    """StreamOpen kind `exec`: run one command. The stream carries `protocol.pieces`: output, at last a `CommandEnd`.

    `argv` runs as it is; where it is empty, `command` goes to the system's shell. Closing the stream ends the command
    and all it started.
    """

    argv: tuple[str, ...] = ()
    command: str = ""
    timeout_s: float = 60.0
    max_output_bytes: int = 1024 * 1024
    user: str = ""
    asked_by: str = ""


class CommandEnd(msgspec.Struct, frozen=True):
    """How a command ended; exactly one of `exit_code`, `exit_signal` and `timed_out` tells."""

    exit_code: int | None
    exit_signal: str | None
    timed_out: bool
    truncated: bool  # it said more than was asked for; the rest was thrown away
    duration_s: float


class MatchProcess(msgspec.Struct, frozen=True):
    """kind `takeover.match`: whom would this takeover take? Touches nothing."""

    takeover: Takeover


class Matched(msgspec.Struct, frozen=True):
    """Answer of `takeover.match`. Exactly one of `leader` and `refusal` is set.

    `tree`: the leader's own children and theirs, which come with it. `candidates`: those among which no choice is made.
    """

    leader: ProcessInfo | None = None
    tree: tuple[ProcessInfo, ...] = ()
    learned: Learned | None = None
    candidates: tuple[ProcessInfo, ...] = ()
    refusal: Reason | None = None


class ReloadInstance(msgspec.Struct, frozen=True):
    """kind `instances.reload`: run the instance's reload command."""

    instance_id: InstanceId


class ReconfigureInstance(msgspec.Struct, frozen=True):
    """kind `instances.reconfigure`: write the config files of the wish anew, then run the reload command.

    `generation`: the wish whose files are meant; Conflict while the worker has an older one: ask again.
    """

    instance_id: InstanceId
    generation: int


class Reloaded(msgspec.Struct, frozen=True):
    """Answer of `instances.reload` and `instances.reconfigure`. `output`: the last 4 KiB of what the command said."""

    exit_code: int
    output: str
    duration_s: float


class ListCrashes(msgspec.Struct, frozen=True):
    """kind `crashes.list`."""

    instance_id: InstanceId


class Crashes(msgspec.Struct, frozen=True):
    """Answer of `crashes.list`: the last five, the newest first."""

    items: tuple[Crash, ...]


class FetchPackage(msgspec.Struct, frozen=True):
    """kind `packages.fetch`: have this package unpacked on the node, so that a later start need not wait for it.

    `instance_id`: for whom; frames `Progress` of generation 0 tell how far it is.
    """

    package: PackageRef
    instance_id: InstanceId = InstanceId("")


class FetchedPackage(msgspec.Struct, frozen=True):
    """The package is on the node. A refusal or failure is an error whose details carry `reason`."""


class UpdateWorker(msgspec.Struct, frozen=True):
    """kind `update.begin`: become the program in this package; answered by `UpdateState`. The same order twice is one.

    The new program has `prove_within_s` to get its link; then the node returns to what ran before.
    """

    order_id: str
    package: PackageRef
    entrypoint: str
    os: str
    arch: str
    prove_within_s: float


class ReadUpdate(msgspec.Struct, frozen=True):
    """kind `update.state`."""


class UpdateState(msgspec.Struct, frozen=True):
    """How far the latest update is. `step`: `fetch verify switch prove`; `version` is of the program that answers.

    An empty `order_id`: there never was one. Ended without `reason`: the new program has proven itself.
    """

    order_id: str
    version: str
    step: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    is_ended: bool = False
    reason: Reason | None = None
