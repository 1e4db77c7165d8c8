"""What the instances use: raw counters of every process of every tree, in one cheap pass. Called by the sampler.

On Linux `stat` and `io` of each process stay open and are read again in place (pread costs a third of open and read,
psutil thirteen times as much); who belongs to a tree is looked up every `TREES_EVERY_S` or a little later, and at once
when an instance was started. Rates are the caller's: counters only rise, and each process counts by its identity.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping

import msgspec

from ops_system.model.ids import InstanceId
from ops_system.processes.base import Handle, Identity, Platform

TREES_EVERY_S = 5.0
FDS_EVERY_S = 5.0
LOOK_SHARE = 5  # of the trees that are due, so many parts; the loop is never held up by all of them
LEAST_LOOKS = 20
NAN = float("nan")

Key = tuple[int, float]  # pid and start time


class ProcessCounters(msgspec.Struct, frozen=True):
    """One process. CPU seconds of its own; NaN what we may not read. Storage bytes, without the page cache."""

    cpu_s: float
    mem_bytes: int
    file_descriptors: float
    read_bytes: float
    write_bytes: float


class Meter(msgspec.Struct):
    """One process under measurement; `close` lets its descriptors go."""

    identity: Identity
    read: Callable[[], ProcessCounters | None]
    close: Callable[[], None]


class _Look(msgspec.Struct, frozen=True):
    start: tuple[int, int]
    at_s: float


class StatsReader:
    """Call `read` once per sample. Not shared between threads."""

    def __init__(self, platform: Platform, clock: Callable[[], float] = time.monotonic) -> None:
        self._platform = platform
        self._clock = clock
        self._meters: dict[InstanceId, dict[Key, Meter]] = {}
        self._looked: dict[InstanceId, _Look] = {}

    def read(self, handles: Mapping[InstanceId, Handle]) -> dict[InstanceId, dict[Key, ProcessCounters]]:
        """Return the counters of each process of each instance that runs. One that ended is left out."""
        for instance_id in self._meters.keys() - handles.keys():
            self._replace(instance_id, {})
            del self._meters[instance_id], self._looked[instance_id]
        due = self._choose(handles)
        if due:
            self._look_up({instance_id: handles[instance_id] for instance_id in due})
        return {instance_id: self._read_one(meters) for instance_id, meters in self._meters.items()}

    def close(self) -> None:
        """Let every descriptor go."""
        for meters in self._meters.values():
            for meter in meters.values():
                meter.close()
        self._meters = {}

    def _read_one(self, meters: dict[Key, Meter]) -> dict[Key, ProcessCounters]:
        found: dict[Key, ProcessCounters] = {}
        for key, meter in tuple(meters.items()):
            counters = meter.read()
            if counters is None:
                meter.close()
                del meters[key]
            else:
                found[key] = counters
        return found

    def _choose(self, handles: Mapping[InstanceId, Handle]) -> list[InstanceId]:
        """Return whose tree to look at: every new start, and of the others the longest unseen, a share at a time."""
        now_s = self._clock()
        fresh, old = list[InstanceId](), list[InstanceId]()
        for instance_id, handle in handles.items():
            look = self._looked.get(instance_id)
            if look is None or look.start != _start_of(handle):
                fresh.append(instance_id)
            elif now_s - look.at_s >= TREES_EVERY_S:
                old.append(instance_id)
        old.sort(key=lambda instance_id: self._looked[instance_id].at_s)
        due = fresh + old[: max(LEAST_LOOKS, len(handles) // LOOK_SHARE)]
        self._looked.update({instance_id: _Look(_start_of(handles[instance_id]), now_s) for instance_id in due})
        return due

    def _look_up(self, handles: Mapping[InstanceId, Handle]) -> None:
        for instance_id, identities in self._platform.trees(handles).items():
            before = self._meters.get(instance_id, {})
            meters: dict[Key, Meter] = {}
            for identity in identities:
                key = (identity.pid, float(identity.start_time))
                meter = before.pop(key, None) or _make_meter(identity)
                if meter is not None:
                    meters[key] = meter
            self._replace(instance_id, meters)

    def _replace(self, instance_id: InstanceId, meters: dict[Key, Meter]) -> None:
        for meter in self._meters.get(instance_id, {}).values():
            meter.close()
        self._meters[instance_id] = meters


def _start_of(handle: Handle) -> tuple[int, int]:
    return (handle.leader.pid if handle.leader else 0, handle.number)


def _make_meter(identity: Identity) -> Meter | None:
    return _make_linux_meter(identity) if sys.platform == "linux" else _make_psutil_meter(identity)


def _make_linux_meter(identity: Identity) -> Meter | None:
    """Open the process's files; an opened /proc file stays bound to its process, so a reused number cannot be read."""
    try:
        stat_fd = os.open(f"/proc/{identity.pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    io_fd = -1
    with contextlib.suppress(OSError):
        io_fd = os.open(f"/proc/{identity.pid}/io", os.O_RDONLY)
    fds, fds_at_s = NAN, float("-inf")

    def read() -> ProcessCounters | None:
        nonlocal fds, fds_at_s
        now_s = time.monotonic()
        if now_s - fds_at_s >= FDS_EVERY_S:
            fds, fds_at_s = _count_fds(identity.pid), now_s
        try:
            data = os.pread(stat_fd, 1024, 0)
            traffic = parse_io(os.pread(io_fd, 512, 0)) if io_fd >= 0 else (NAN, NAN)
        except OSError:
            return None
        return counters_of(data, traffic, fds)

    def close() -> None:
        os.close(stat_fd)
        if io_fd >= 0:
            os.close(io_fd)

    return Meter(identity, read, close)


def _count_fds(pid: int) -> float:
    try:
        return float(len(os.listdir(f"/proc/{pid}/fd")))  # noqa: PTH208 - a hot path
    except OSError:
        return NAN


def _ticks_per_s() -> int:
    return os.sysconf("SC_CLK_TCK") if sys.platform == "linux" else 100


def _page_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") if sys.platform == "linux" else 4096


_TICKS_PER_S = _ticks_per_s()
_PAGE_BYTES = _page_bytes()


def counters_of(stat: bytes, traffic: tuple[float, float], fds: float) -> ProcessCounters | None:
    """Read proc(5) `/proc/PID/stat`; None when the process has ended (zombies use nothing any more)."""
    if not stat:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split(b" ", 23)
    if fields[0] in {b"Z", b"X"}:
        return None
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return ProcessCounters(cpu_s, int(fields[21]) * _PAGE_BYTES, fds, *traffic)


def parse_io(data: bytes) -> tuple[float, float]:
    """Read proc(5) `/proc/PID/io`: bytes that went to and came from storage; NaN when there is nothing."""
    values = dict(line.split(b": ", 1) for line in data.splitlines() if b": " in line)
    try:
        return float(values[b"read_bytes"]), float(values[b"write_bytes"])
    except KeyError:
        return NAN, NAN


def _make_psutil_meter(identity: Identity) -> Meter | None:
    import psutil

    try:
        process = psutil.Process(identity.pid)
    except psutil.Error:
        return None

    def read() -> ProcessCounters | None:
        try:
            with process.oneshot():
                times = process.cpu_times()
                mem_bytes = process.memory_info().rss
                return ProcessCounters(times.user + times.system, mem_bytes, _psutil_fds(process), *_psutil_io(process))
        except psutil.Error:
            return None

    return Meter(identity, read, lambda: None)


def _psutil_fds(process: object) -> float:
    import psutil

    count = getattr(process, "num_fds", None) or getattr(process, "num_handles", None)
    try:
        return NAN if count is None else float(count())
    except (psutil.Error, OSError):
        return NAN


def _psutil_io(process: object) -> tuple[float, float]:
    import psutil

    read = getattr(process, "io_counters", None)
    try:
        found = None if read is None else read()
    except (psutil.Error, OSError):
        found = None
    return (NAN, NAN) if found is None else (float(found.read_bytes), float(found.write_bytes))
