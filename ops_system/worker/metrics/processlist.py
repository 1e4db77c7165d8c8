"""All processes of the node, for the console's list. Answers the request `processes.list`."""

import time
from datetime import UTC, datetime

import msgspec
import psutil

from ops_system.model.ids import InstanceId
from ops_system.processes.procfs import read_marker
from ops_system.protocol.requests import Processes, ProcessInfo

MAX_BYTES = 900_000  # one answer is one frame of at most 1 MiB
_MAX_ARGUMENTS, _MAX_ARGUMENT_CHARS = 16, 80
_MEASURE_S = 0.2
_FIELDS = ["pid", "ppid", "name", "cmdline", "username", "memory_info", "create_time", "cpu_times"]


def list_processes() -> Processes:
    """Return every process with its use of the CPU over a fifth of a second. Blocks for that long."""
    started_s = time.monotonic()
    before = {_key(process): _cpu_s(process) for process in psutil.process_iter(["pid", "create_time", "cpu_times"])}
    time.sleep(_MEASURE_S)
    elapsed_s = time.monotonic() - started_s
    found = [_info(process, before, elapsed_s) for process in psutil.process_iter(_FIELDS)]
    found.sort(key=lambda info: (-info.cpu_percent, -info.mem_bytes))
    return Processes(fit(found))


def fit(found: list[ProcessInfo], max_bytes: int = MAX_BYTES) -> tuple[ProcessInfo, ...]:
    """Return the first of them that go into one answer."""
    kept: list[ProcessInfo] = []
    for info in found:
        max_bytes -= len(msgspec.msgpack.encode(info))
        if max_bytes < 0:
            break
        kept.append(info)
    return tuple(kept)


def _info(process: psutil.Process, before: dict[tuple[int, float], float], elapsed_s: float) -> ProcessInfo:
    info = process.info
    used_s = _cpu_s(process) - before.get(_key(process), _cpu_s(process))
    marker = read_marker(process.pid)
    return ProcessInfo(
        pid=process.pid,
        ppid=info["ppid"] or 0,
        name=info["name"] or "",
        cmdline=tuple(_clean(word) for word in (info["cmdline"] or [])[:_MAX_ARGUMENTS]),
        user=info["username"] or "",
        cpu_percent=round(100.0 * max(0.0, used_s) / elapsed_s, 1),
        mem_bytes=info["memory_info"].rss if info["memory_info"] else 0,
        started_at=datetime.fromtimestamp(info["create_time"], UTC) if info["create_time"] else None,
        instance_id=InstanceId(marker) if marker else None,
    )


def _key(process: psutil.Process) -> tuple[int, float]:
    return process.pid, process.info["create_time"] or 0.0


def _cpu_s(process: psutil.Process) -> float:
    times = process.info["cpu_times"]
    return float(times.user + times.system) if times else 0.0


def _clean(word: str) -> str:
    """Arguments may hold any byte; what is not UTF-8 must not break the answer."""
    return word[:_MAX_ARGUMENT_CHARS].encode(errors="replace").decode()
