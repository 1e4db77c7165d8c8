"""What the supervisor asks of an operating system: one Protocol, implemented by `posix` and `windows`.

A `Launch` is one start of one instance; a `Handle` is the running thing. An `Identity` survives restarts of the
supervisor and tells a process from another that got its number later.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from ops_system.model.ids import InstanceId
from ops_system.processes.spec import LimitRules
from ops_system.processes.states import Oom

MARKER = "OPS_INSTANCE"
ADOPTED_MARKER = "OPS_ADOPTED"  # what the start command of a taken-over service leaves behind
INHERITED = ("PATH", "HOME", "LANG", "TZ")
INHERITED_ON_WINDOWS = (  # without these, system libraries and cmd.exe do not start
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "TEMP", "TMP", "USERPROFILE", "USERNAME"),
    *("APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE"),
)
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Identity(msgspec.Struct, frozen=True):
    """A process, unmistakably: numbers come back, boot id + number + start time do not."""

    boot_id: str
    pid: int
    start_time: int  # in the system's own unit: clock ticks since boot on Linux


class Launch(msgspec.Struct, frozen=True):
    """One start. `env` is complete but for the marker; `run_dir` is private to the instance and survives us."""

    instance_id: InstanceId
    number: int  # rises with each start of the instance, also across a lost state folder
    argv: tuple[str, ...]
    env: dict[str, str]
    dir: str
    run_dir: str
    stdout_path: str
    stderr_path: str
    limits: LimitRules = LimitRules()
    user: str = ""

    def __repr__(self) -> str:  # env and argv may be secret
        return f"Launch({self.instance_id}, number={self.number})"


class Handle(msgspec.Struct, frozen=True):
    """A start that was made. `keeper` is its parent, which notes its exit code; the entrypoint where there is none."""

    instance_id: InstanceId
    number: int
    keeper: Identity
    leader: Identity | None = None  # the entrypoint; None until its pid is known
    is_child: bool = True  # of a process this one started; False after re-adoption
    is_adopted: bool = False  # others started it: no keeper, no marker; `keeper` is the leader itself


class Member(msgspec.Struct, frozen=True):
    """A process that belongs to an instance."""

    identity: Identity
    is_leader: bool = False  # surely an entrypoint: it leads its session and a keeper started it


class Exit(msgspec.Struct, frozen=True):
    """How the entrypoint ended. Both None: it was lost.

    `oom`: the kernel killed it for memory, at the instance's own limit or because the system had none left.
    """

    code: int | None = None
    signal: str | None = None
    oom: Oom = ""


OnPid = Callable[[Handle], None]
OnExit = Callable[[Exit], None]


class Platform(Protocol):
    """The operating system, as far as supervision needs it. Everything here is quick and does not wait."""

    def open(self, state_dir: Path) -> None:
        """Begin: needs a running loop. Takes in orphans where the system can, and up what an earlier one left."""
        ...

    def close(self) -> None:
        """End watching; processes go on."""
        ...

    def make_ready(self) -> None:
        """Do now what the first start would wait for. Never fails: that start would tell."""
        ...

    def spawn(self, launch: Launch, on_pid: OnPid, on_exit: OnExit) -> Handle:
        """Start; `on_pid` tells the entrypoint's pid, `on_exit` its end (maybe without `on_pid` before).

        Raises OSError, or Invalid when the user or a needed tool does not exist.
        """
        ...

    def readopt(self, handle: Handle, run_dir: str, on_exit: OnExit) -> bool:
        """Watch a start made by an earlier supervisor. False: it has ended; `read_exit` may know how."""
        ...

    def read_exit(self, run_dir: str, number: int) -> Exit | None:
        """Return the noted exit of start `number`, None when nothing complete was noted."""
        ...

    def release(self, instance_id: InstanceId) -> None:
        """Forget the handle of an instance whose tree is empty."""
        ...

    def identity(self, pid: int) -> Identity | None:
        """Return who `pid` is now, None when there is no such live process."""
        ...

    def is_alive(self, identity: Identity) -> bool:
        """True while exactly this process lives; a zombie does not."""
        ...

    def signal(self, identity: Identity, name: str) -> bool:
        """Send a signal by name after re-checking the identity; False: the process is gone. Raises PermissionError."""
        ...

    def members(self, handle: Handle) -> tuple[Member, ...]:
        """Return the living processes of the instance: session, group, descendants, marker."""
        ...

    def kill_at_once(self, handle: Handle) -> None:
        """Kill the whole tree in one stroke where the system can; `members` and `signal` do the rest."""
        ...

    def trees(self, handles: Mapping[InstanceId, Handle]) -> dict[InstanceId, tuple[Identity, ...]]:
        """Return the living processes of many instances in one pass. For measuring."""
        ...

    def is_surely_empty(self, handle: Handle) -> bool:
        """True when a cheap look already proves that nothing is left; False means `members` must tell."""
        ...

    def find_marked(self) -> dict[InstanceId, tuple[Member, ...]]:
        """Return all living processes that carry a marker, by instance: the way back when the state folder is lost."""
        ...

    def find_start(self, instance_id: InstanceId, members: tuple[Member, ...]) -> Handle:
        """Tell from living marked processes which start they are; number 0 when nobody knows."""
        ...

    def unenforced_limits(self, limits: LimitRules) -> tuple[str, ...]:
        """Return the names of the given limits this system does not enforce here."""
        ...

    def user_prefix(self, user: str) -> tuple[str, ...]:
        """Return what to put before a command to run it as `user` (empty: as ourselves). Raises Invalid."""
        ...

    def boot_id(self) -> str:
        """Return what changes with each boot."""
        ...


def child_env(given: dict[str, str], inherited: dict[str, str], instance_id: InstanceId) -> dict[str, str]:
    """Return the environment of an instance: what it was given, PATH HOME LANG TZ, and the marker. Nothing else."""
    names = (*INHERITED, *INHERITED_ON_WINDOWS) if sys.platform == "win32" else INHERITED
    env = {name: inherited[name] for name in names if name in inherited}
    if sys.platform != "win32":
        env.setdefault("PATH", DEFAULT_PATH)
    return {**env, **given, MARKER: instance_id}
