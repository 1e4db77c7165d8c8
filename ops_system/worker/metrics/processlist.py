"""All processes of the node, for the console's list and for takeover. Answers the request `processes.list`.

Read from /proc on Linux, through psutil elsewhere; what may be taken over is told by the rules of `processes.adopt`.
"""

import functools
import os
import sys
import time
from collections.abc import Iterable, Mapping

import msgspec

from ops_system.model.ids import InstanceId
from ops_system.processes.adopt import Facts, Guard, find_obstacle, printable, unit_of
from ops_system.processes.adopt_facts import Port, read_all, read_ports, read_started_at
from ops_system.protocol.requests import ListeningPort, Processes, ProcessInfo

MAX_BYTES = 900_000  # one answer is one frame of at most 1 MiB
MAX_PORTS = 50  # of one process
_MAX_ARGUMENTS, _MAX_ARGUMENT_CHARS = 16, 80
_MAX_PATH_CHARS = 400
_MEASURE_S = 0.2
_UTIME, _STIME, _RSS = 11, 12, 21  # of proc(5) `stat`, counted behind the name


class Use(msgspec.Struct, frozen=True):
    """What a process has used since its start."""

    cpu_s: float
    mem_bytes: int


Key = tuple[int, int]


def list_processes(guard: Guard) -> Processes:
    """Return every process with its use of the CPU over a fifth of a second. Blocks for that long."""
    started_s = time.monotonic()
    before = _read_uses(read_all().values())
    time.sleep(_MEASURE_S)
    table = read_all()
    elapsed_s = time.monotonic() - started_s
    uses, ports = _read_uses(table.values()), read_ports(table)
    found = []
    for facts in table.values():
        use = uses.get(_key(facts), Use(0.0, 0))
        used_s = use.cpu_s - before.get(_key(facts), use).cpu_s
        cpu_percent = round(100.0 * max(0.0, used_s) / elapsed_s, 1)
        found.append(info_of(facts, guard, ports, cpu_percent=cpu_percent, mem_bytes=use.mem_bytes))
    found.sort(key=lambda info: (-info.cpu_percent, -info.mem_bytes))
    return Processes(fit(found))


def describe_some(some: Iterable[Facts], guard: Guard) -> tuple[ProcessInfo, ...]:
    """Return these processes as the list shows them, without their use of the CPU."""
    wanted = list(some)
    ports, uses = read_ports([facts.pid for facts in wanted]), _read_uses(wanted)
    none = Use(0.0, 0)
    infos = [info_of(facts, guard, ports, mem_bytes=uses.get(_key(facts), none).mem_bytes) for facts in wanted]
    return fit(infos, MAX_BYTES // 3)


def fit(found: list[ProcessInfo], max_bytes: int = MAX_BYTES) -> tuple[ProcessInfo, ...]:
    """Return the first of them that go into one answer."""
    kept: list[ProcessInfo] = []
    for info in found:
        max_bytes -= len(msgspec.msgpack.encode(info))
        if max_bytes < 0:
            break
        kept.append(info)
    return tuple(kept)


def info_of(
    facts: Facts, guard: Guard, ports: Mapping[int, tuple[Port, ...]], *, cpu_percent: float = 0.0, mem_bytes: int = 0
) -> ProcessInfo:
    """Return one process as the list shows it."""
    obstacle = find_obstacle(facts, guard)
    owner = guard.in_care.get(facts.pid) or facts.marker
    return ProcessInfo(
        pid=facts.pid,
        ppid=facts.ppid,
        name=printable(facts.name),
        cmdline=tuple(_short(word) for word in facts.cmdline[:_MAX_ARGUMENTS]),
        user=_user_name(facts.uid),
        cpu_percent=cpu_percent,
        mem_bytes=mem_bytes,
        started_at=read_started_at(facts),
        instance_id=InstanceId(owner) if owner else None,
        uid=facts.uid,
        exe=printable(facts.executable)[:_MAX_PATH_CHARS],
        cwd=printable(facts.work_dir)[:_MAX_PATH_CHARS],
        cgroup=printable(facts.cgroup)[:_MAX_PATH_CHARS],
        unit=printable(unit_of(facts.cgroup)),
        ports=tuple(
            ListeningPort(port.protocol, port.address, port.port) for port in ports.get(facts.pid, ())[:MAX_PORTS]
        ),
        is_adoptable=obstacle is None,
        why_not=obstacle.code if obstacle else "",
    )


def _short(word: str) -> str:
    """Arguments may hold any byte; what is not UTF-8 must not break the answer."""
    return word[:_MAX_ARGUMENT_CHARS].encode(errors="replace").decode()


def _key(facts: Facts) -> Key:
    return facts.pid, facts.start_time


@functools.lru_cache(maxsize=1024)
def _user_name(uid: int | None) -> str:
    if uid is None or sys.platform == "win32":
        return ""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _read_uses(some: Iterable[Facts]) -> dict[Key, Use]:
    return {_key(facts): use for facts in some if (use := _read_use(facts.pid)) is not None}


def _read_use(pid: int) -> Use | None:
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - a hot path
                fields = file.read(4096).rpartition(b") ")[2].split()
        except OSError:
            return None
        ticks = int(fields[_UTIME]) + int(fields[_STIME])
        return Use(ticks / os.sysconf("SC_CLK_TCK"), int(fields[_RSS]) * os.sysconf("SC_PAGE_SIZE"))
    else:  # noqa: RET505 - mypy takes code behind an early return for unreachable on one system
        import psutil

        try:
            process = psutil.Process(pid)
            times, memory = process.cpu_times(), process.memory_info()
        except (psutil.Error, OSError):
            return None
        return Use(times.user + times.system, memory.rss)
