"""What a limit means to the kernel: the control files of cgroup v1 and v2 and their values. Pure; used by `cgroups`.

See cgroups(7), admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1/{memory,pids}.rst of the kernel.
"""

from typing import Literal, assert_never

import msgspec

from ops_system.processes.spec import LimitRules

Version = Literal[1, 2]

CPU_PERIOD_US = 100_000
CONTROLLERS = {"memory": "memory", "cpu_percent": "cpu", "pids": "pids"}  # by the name of the limit


class Control(msgspec.Struct, frozen=True):
    """One value to write. `is_optional`: some kernels do not have the file, and the limit holds without."""

    limit: str
    file: str
    value: str
    is_optional: bool = False

    @property
    def controller(self) -> str:
        """The controller the file belongs to."""
        return CONTROLLERS[self.limit]


def controls(limits: LimitRules, version: Version) -> list[Control]:
    """Return what to write, in this order, into a fresh group. Memory counts without swap."""
    quota_us = str((limits.cpu_percent or 0) * CPU_PERIOD_US // 100)
    memory = str(limits.memory_bytes)
    match version:
        case 1:
            found = [
                Control("memory", "memory.limit_in_bytes", memory),
                Control("memory", "memory.memsw.limit_in_bytes", memory, is_optional=True),
                Control("cpu_percent", "cpu.cfs_period_us", str(CPU_PERIOD_US)),
                Control("cpu_percent", "cpu.cfs_quota_us", quota_us),
                Control("pids", "pids.max", str(limits.pids)),
            ]
        case 2:
            found = [
                Control("memory", "memory.max", memory),
                Control("memory", "memory.swap.max", "0", is_optional=True),
                Control("cpu_percent", "cpu.max", f"{quota_us} {CPU_PERIOD_US}"),
                Control("pids", "pids.max", str(limits.pids)),
            ]
        case _:
            assert_never(version)
    names = given(limits)
    return [control for control in found if control.limit in names]


def given(limits: LimitRules) -> tuple[str, ...]:
    """Return the names of the limits that need a group."""
    values = {"memory": limits.memory_bytes, "cpu_percent": limits.cpu_percent, "pids": limits.pids}
    return tuple(name for name, value in values.items() if value is not None)


def parse_oom_kills(text: str) -> int:
    """Read `oom_kill N` of memory.events (v2) or memory.oom_control (v1); 0 where a kernel does not count."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdigit():
            return int(value)
    return 0


# --- where groups may be ---------------------------------------------------------------------------------------------
class Mount(msgspec.Struct, frozen=True):
    """A mounted hierarchy. `root` is the group that appears at `point`; `controllers` are v1's, v2 tells its own."""

    version: Version
    point: str
    root: str
    controllers: frozenset[str] = frozenset()


def parse_mounts(text: str) -> list[Mount]:
    """Read proc(5) /proc/PID/mountinfo; only hierarchies that can limit or kill."""
    found: list[Mount] = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, *rest) = before.split(" "), after.split(" ")
        root, point = _unescape(fields[3]), _unescape(fields[4])
        if kind == "cgroup2":
            found.append(Mount(2, point, root))
        elif kind == "cgroup":
            controllers = frozenset(rest[-1].split(",")) & frozenset(CONTROLLERS.values())
            if controllers:
                found.append(Mount(1, point, root, controllers))
    return found


def parse_own(text: str) -> dict[str, str]:
    """Read /proc/self/cgroup: our group by controller, that of v2 under ""."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        found.update(dict.fromkeys(names.split(","), path))
    return found


def own_folder(mount: Mount, own: dict[str, str]) -> str:
    """Return the folder of our own group; the mount's point where it cannot be seen from here."""
    path = own.get("" if mount.version == 2 else min(mount.controllers), "/")  # noqa: PLR2004 - cgroup v2
    if mount.root != "/":
        if not (path + "/").startswith(mount.root + "/"):
            return mount.point
        path = path[len(mount.root) :]
    return (mount.point + path).rstrip("/")


def _unescape(text: str) -> str:
    """Undo mountinfo's octal escapes of blanks."""
    for code, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, plain)
    return text
