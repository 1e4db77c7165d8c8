"""The counters of a machine through psutil, for systems without /proc (macOS, Windows). Used by the sampler."""

import contextlib
import time

import psutil

from ops_system.worker.metrics.pace import Aside, Pace
from ops_system.worker.metrics.rates import NAN, CpuTimes, MountUse, NodeCounters, Traffic

_SLOW_EVERY_S = 10.0
_FIRST_WAIT_S = 0.5


class PortableCounters:
    """Reads what psutil knows here; what a system does not tell stays NaN or absent."""

    def __init__(self) -> None:
        self._mounts: Aside[dict[str, MountUse]] = Aside(_mounts, {}, "mounts")
        self._wait_s = _FIRST_WAIT_S
        self.pace = Pace()
        self._processes = NAN
        self._due_s = 0.0

    def read(self) -> NodeCounters:
        """Return one reading."""
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + _SLOW_EVERY_S * self.pace.stretch
            self._mounts.refresh(self._wait_s)
            self._wait_s = 0.0
            self._processes = float(len(psutil.pids()))
        memory, swap = psutil.virtual_memory(), _swap()
        disks, nics = _disk_io(), _net_io()
        counters = NodeCounters(
            at_s=now_s,
            cpu=_cpu(),
            load=_load(),
            mem_total_bytes=memory.total,
            mem_used_bytes=memory.total - memory.available,
            swap_total_bytes=swap[0],
            swap_used_bytes=swap[1],
            processes=self._processes,
            uptime_s=time.time() - psutil.boot_time(),
            mounts=self._mounts.value,
            disk_io=disks,
            net_io=nics,
            physical_disks=frozenset(disks),
            physical_nics=frozenset(nics),
        )
        self.pace.note(time.monotonic() - now_s)
        return counters

    def close(self) -> None:
        """Nothing is kept open."""


def _cpu() -> tuple[CpuTimes, ...]:
    rows = [psutil.cpu_times(), *psutil.cpu_times(percpu=True)]
    busy = [row.user + row.system + getattr(row, "nice", 0.0) for row in rows]  # Windows counts the rest in `system`
    return tuple(CpuTimes(busy=one, total=one + row.idle) for one, row in zip(busy, rows, strict=True))


def _load() -> tuple[float, float, float]:
    """Return the load averages; NaN where Windows' performance counters are switched off."""
    try:
        return psutil.getloadavg()
    except (OSError, RuntimeError):
        return NAN, NAN, NAN


def _swap() -> tuple[int, int]:
    with contextlib.suppress(OSError, RuntimeError):
        swap = psutil.swap_memory()
        return swap.total, swap.used
    return 0, 0


def _mounts() -> dict[str, MountUse]:
    uses: dict[str, MountUse] = {}
    for part in psutil.disk_partitions(all=False):
        with contextlib.suppress(OSError):  # an empty drive, or one that went away
            use = psutil.disk_usage(part.mountpoint)
            uses[part.mountpoint] = MountUse(used_bytes=use.used, size_bytes=use.used + use.free)
    return uses


def _disk_io() -> dict[str, Traffic]:
    try:
        counters = psutil.disk_io_counters(perdisk=True)
    except (OSError, RuntimeError):  # not told on this system
        return {}
    return {name: (io.read_bytes, io.write_bytes) for name, io in (counters or {}).items()}


def _net_io() -> dict[str, Traffic]:
    try:
        counters = psutil.net_io_counters(pernic=True)
    except (OSError, RuntimeError):  # Windows: an interface came or went while they were listed
        return {}
    return {
        name: (io.bytes_recv, io.bytes_sent, io.errin, io.errout)
        for name, io in counters.items()
        if not name.startswith("lo")
    }
