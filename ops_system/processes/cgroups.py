"""Control groups of Linux: one per instance, named after its id. Used by `posix`.

With a limit it has one in each hierarchy that holds some, and v2's; without, a plain group in the last of them. By it a
process is known that left its session and wiped its environment, and where it is v2's all are killed at once.

    v1   OWN GROUP/ops-HASH/INSTANCE in each hierarchy of memory, cpu, pids
    v2   PARENT/ops-HASH/INSTANCE when the parent of our own group was delegated and holds no process itself
         (Delegate=yes and DelegateSubgroup= of systemd), else TOP/ops-HASH/INSTANCE where we may; controllers are
         switched on there. Else OWN GROUP/ops-HASH/INSTANCE, with no controllers but cgroup.kill (a hybrid system)

The group we were started in is never moved, limited or given controllers: systemd could not start us in it again.
HASH stands for the state folder, so two workers do not meet. STATE/cgroups names every such folder ever used, for a
worker that is started from elsewhere. A group is empty before it is removed: the kernel refuses else, and
that is how stale ones are told from those in use.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId
from ops_system.processes.limits import (
    CONTROLLERS,
    Control,
    Mount,
    Version,
    controls,
    given,
    own_folder,
    parse_mounts,
    parse_oom_kills,
    parse_own,
)
from ops_system.processes.spec import LimitRules
from ops_system.runtime.files import write_atomic

_log = logging.getLogger(__name__)

PROCS, KILL, SUBTREE = "cgroup.procs", "cgroup.kill", "cgroup.subtree_control"
_OOM_FILES = ("memory.events", "memory.oom_control")


class Hierarchy(msgspec.Struct, frozen=True):
    """A place for our groups. `controllers` are those that work below `root`."""

    version: Version
    root: Path
    controllers: frozenset[str]


class Groups:
    """The groups of one worker. Nothing is made before an instance needs it; every call is a few file operations."""

    def __init__(self, state_dir: Path, hierarchies: tuple[Hierarchy, ...]) -> None:
        self._note = state_dir / "cgroups"
        self._hierarchies = hierarchies
        self._known: dict[InstanceId, list[Path]] = {}
        self._plain: dict[InstanceId, str] = {}
        self._idle: set[InstanceId] = set()
        self._oom_before: set[InstanceId] = set()  # while no worker looked
        self._roots = {Path(line) for line in _read(self._note).splitlines() if line.startswith("/")}
        self._sweep(self._roots | {item.root for item in hierarchies})

    def unenforced(self, limits: LimitRules) -> tuple[str, ...]:
        """Return the names of the given limits that no hierarchy here can hold."""
        here = frozenset[str]().union(*(item.controllers for item in self._hierarchies))
        return tuple(name for name in given(limits) if CONTROLLERS[name] not in here)

    def make(self, instance_id: InstanceId, limits: LimitRules) -> tuple[str, ...]:
        """Make the instance's groups and return the files a process must write itself into; see `plain` for no limit.

        Raises Invalid when the system refuses a limit; then nothing is left.
        """
        self._oom_before.discard(instance_id)
        self._idle.discard(instance_id)
        if not given(limits) and instance_id in self._plain:
            return ()
        self.remove(instance_id)
        if not given(limits):
            self._make_plain(instance_id)
            return ()
        made = self._known.setdefault(instance_id, [])
        try:
            for hierarchy in self._hierarchies:
                wanted = [item for item in controls(limits, hierarchy.version) if _holds(hierarchy, item)]
                if wanted or hierarchy.version == 2:  # noqa: PLR2004 - v2 kills
                    made.append(hierarchy.root / instance_id)
                    self._make_one(hierarchy, made[-1], wanted)
        except BaseException:
            self.remove(instance_id)
            raise
        return tuple(str(group / PROCS) for group in made)

    def _make_plain(self, instance_id: InstanceId) -> None:
        """Make a group for membership alone; nothing is said where that cannot be had."""
        for hierarchy in self._hierarchies[-1:]:
            group = hierarchy.root / instance_id
            try:
                self._remember(hierarchy.root)
                try:
                    os.mkdir(group)  # noqa: PTH102 - a hot path
                except FileNotFoundError:
                    group.mkdir(parents=True, exist_ok=True)
            except FileExistsError:  # somebody is left in it
                pass
            except OSError as error:
                _log.debug("%s cannot be made (%s); its members are told by session and marker", group, error)
                return
            self._known[instance_id] = [group]
            self._plain[instance_id] = f"{group}/{PROCS}"

    def make_ready(self) -> None:
        """Note where plain groups will be, so that the first start need not wait for the disk."""
        for hierarchy in self._hierarchies[-1:]:
            with contextlib.suppress(OSError):
                self._remember(hierarchy.root)

    def left(self) -> dict[InstanceId, set[int]]:
        """Return who is in each instance's group."""
        return {instance_id: pids for instance_id in self._known if (pids := self.pids(instance_id))}

    def plain(self, instance_id: InstanceId) -> str:
        """Return the file to write the pid of an instance without limits into; empty for others."""
        return self._plain.get(instance_id, "")

    def _make_one(self, hierarchy: Hierarchy, group: Path, wanted: list[Control]) -> None:
        try:
            self._remember(hierarchy.root)
            _prepare(hierarchy)
            group.mkdir(exist_ok=True)
        except OSError as error:
            raise Invalid(f"limits cannot be set on this node: {group}: {error.strerror}") from error
        for control in wanted:
            _write_control(group, control)

    def _remember(self, root: Path) -> None:
        if root not in self._roots:
            self._roots.add(root)
            write_atomic(self._note, "".join(f"{path}\n" for path in sorted(self._roots)).encode())

    def pids(self, instance_id: InstanceId) -> set[int]:
        """Return who is in the instance's group; empty without one."""
        for group in self._known.get(instance_id, ())[-1:]:
            words = _read_quickly(self._plain.get(instance_id) or str(group / PROCS)).split()
            return {int(word) for word in words} - {0}
        return set()

    def kill(self, instance_id: InstanceId) -> None:
        """Kill all members at once, also those being forked, where the kernel can (5.14)."""
        for group in self._known.get(instance_id, ()):
            with contextlib.suppress(OSError):
                if (group / KILL).exists():
                    (group / KILL).write_text("1")

    def has_oom_kill(self, instance_id: InstanceId) -> bool:
        """True when the kernel killed a process of the instance at its memory limit."""
        return instance_id in self._oom_before or any(map(_had_oom, self._known.get(instance_id, ())))

    def release(self, instance_id: InstanceId) -> bool:
        """Give up the groups of an instance whose tree is empty. False: call `remove_idle` soon.

        A plain group is kept a moment: most are wanted again at once, and making one is the dearest part of a start.
        """
        if instance_id in self._plain:
            self._idle.add(instance_id)
            return False
        self.remove(instance_id)
        return True

    def remove_idle(self) -> None:
        """Remove what `release` kept and nobody wanted again."""
        for instance_id in tuple(self._idle):
            self.remove(instance_id)

    def remove(self, instance_id: InstanceId) -> None:
        """Remove the groups of an instance whose tree is empty; one that is not stays, and is tried again later."""
        self._plain.pop(instance_id, None)
        self._idle.discard(instance_id)
        groups = self._known.pop(instance_id, ())
        left = [group for group in groups if not _remove(group)]
        if left:
            self._known[instance_id] = left
        elif groups and not self._known:
            for hierarchy in self._hierarchies:
                _remove(hierarchy.root)

    def _sweep(self, roots: set[Path]) -> None:
        """Remove what an earlier worker left empty, and know the rest again."""
        for root in sorted(roots):
            for group in _folders(root):
                if _had_oom(group):
                    self._oom_before.add(InstanceId(group.name))
                if not _remove(group):
                    self._known.setdefault(InstanceId(group.name), []).append(group)
            _remove(root)


def find_hierarchies(state_dir: Path, proc: Path = Path("/proc")) -> tuple[Hierarchy, ...]:
    """Return where this process may make groups; none on a system without. v2 comes last."""
    name = f"ops-{hashlib.sha256(str(state_dir.absolute()).encode()).hexdigest()[:12]}"
    own = parse_own(_read(proc / "self/cgroup"))
    mounts = sorted(parse_mounts(_read(proc / "self/mountinfo")), key=lambda mount: mount.version)
    found: list[Hierarchy] = []
    for mount in mounts:
        hierarchy = next((item for item in _candidates(mount, own, name) if _is_usable(item)), None)
        if hierarchy is not None:
            found.append(hierarchy)
    return tuple(found)


def _candidates(mount: Mount, own: dict[str, str], name: str) -> Iterator[Hierarchy]:
    here = Path(own_folder(mount, own))
    if mount.version == 1:
        yield Hierarchy(1, here / name, mount.controllers)
        return
    wanted = frozenset(CONTROLLERS.values())
    is_top = here == Path(mount.point)
    if not is_top and not _read(here.parent / PROCS).strip():
        yield Hierarchy(2, here.parent / name, wanted & _words(here.parent / "cgroup.controllers"))
    yield Hierarchy(2, Path(mount.point) / name, wanted & _words(Path(mount.point) / "cgroup.controllers"))
    yield Hierarchy(2, here / name, frozenset())


def _is_usable(hierarchy: Hierarchy) -> bool:
    """Try it, and leave nothing: a group without the controllers it promised is no place for limits."""
    is_last_resort = not hierarchy.controllers
    try:
        _prepare(hierarchy)
        is_fine = hierarchy.version == 1 or hierarchy.controllers <= _words(hierarchy.root / SUBTREE)
        if is_last_resort:
            is_fine = hierarchy.root.joinpath(KILL).exists()
    except OSError:
        is_fine = False
    _remove(hierarchy.root)
    return is_fine


def _prepare(hierarchy: Hierarchy) -> None:
    """Make the folder of our groups and switch the controllers on, above it where that is missing. Raises OSError."""
    hierarchy.root.mkdir(exist_ok=True)
    if hierarchy.version == 1 or not hierarchy.controllers:
        return
    for folder in (hierarchy.root.parent, hierarchy.root):
        missing = hierarchy.controllers - _words(folder / SUBTREE)
        if missing:
            (folder / SUBTREE).write_text(" ".join(f"+{name}" for name in sorted(missing)))


def _holds(hierarchy: Hierarchy, control: Control) -> bool:
    return control.controller in hierarchy.controllers


def _write_control(group: Path, control: Control) -> None:
    file = group / control.file
    if control.is_optional and not file.exists():
        return
    try:
        file.write_text(control.value)
    except OSError as error:
        if control.is_optional:
            return
        message = f"limits.{control.limit} is refused by this node's kernel: {control.file} = {control.value}"
        raise Invalid(f"{message}: {error.strerror}; change the limit") from error


def _had_oom(group: Path) -> bool:
    if _read(group / "memory.max").strip() == "max":
        return False  # no limit of its own: the kernel counts kills for the memory of all here, too
    return any(parse_oom_kills(_read(group / name)) > 0 for name in _OOM_FILES)


def _remove(folder: Path) -> bool:
    """Remove a group that has neither processes nor groups; False when it has."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:
        return []


def _words(path: Path) -> frozenset[str]:
    return frozenset(_read(path).split())


def _read_quickly(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        data = b""
        while part := os.read(fd, 65536):
            data += part
    except OSError:  # the group was removed
        return b""
    finally:
        os.close(fd)
    return data


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
