"""From two readings of the machine's counters to the rows of one sample. Pure; the sampler calls it once a second.

A rate needs two readings of the same counter. Where there is no earlier one, where the counter fell (a reset, a
replaced device) or where the machine slept, the value is NaN: a gap in the chart, never a spike and never a zero.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from ops_system.model.metrics import INSTANCE_SERIES, NODE_SERIES

NAN = math.nan
MAX_GAP_S = 10.0  # readings further apart say nothing about the last second
_RESYNC_S = 1.5  # the wall clock may lead or lag the planned second by this much before stamps follow it

Traffic = tuple[int, ...]
"""Since boot. Of a disk: bytes read, bytes written, milliseconds busy. Of an interface: bytes received, bytes sent,
errors received, errors sent. A system that does not tell the later ones leaves them out."""
Rates = tuple[float, float]  # the first two, per second
DISK_RATES = ("read_bytes_per_s", "write_bytes_per_s", "busy_ms_per_s")
NIC_RATES = ("rx_bytes_per_s", "tx_bytes_per_s", "rx_errors_per_s", "tx_errors_per_s")


class CpuTimes(msgspec.Struct, frozen=True):
    """Ticks of one core, or of all together, since boot; the unit cancels out."""

    busy: float
    total: float


class MountUse(msgspec.Struct, frozen=True):
    """One mounted file system. Without the blocks reserved for root, as `df` counts."""

    used_bytes: int
    size_bytes: int
    inodes_used: int = 0
    inodes: int = 0  # 0: this file system has no fixed number of them


class NodeCounters(msgspec.Struct, frozen=True):
    """One reading of the machine. `at_s` is on the monotonic clock; `cpu[0]` is all cores, then each core."""

    at_s: float
    cpu: tuple[CpuTimes, ...] = ()
    load: tuple[float, float, float] = (NAN, NAN, NAN)
    mem_total_bytes: int = 0
    mem_used_bytes: int = 0
    swap_total_bytes: int = 0
    swap_used_bytes: int = 0
    processes: float = NAN
    file_descriptors: float = NAN
    uptime_s: float = NAN
    mounts: dict[str, MountUse] = {}
    disk_io: dict[str, Traffic] = {}  # by block device
    net_io: dict[str, Traffic] = {}  # by interface
    temperatures: dict[str, float] = {}  # Celsius by `chip:sensor`
    pressure: dict[str, float] = {}  # percent of the last 10 s by `cpu`, `memory`, `io`
    physical_disks: frozenset[str] = frozenset()  # those whose traffic makes up the node's sum
    physical_nics: frozenset[str] = frozenset()


class ProcessUse(Protocol):
    """One reading of one process of an instance's tree; `processes.stats` makes them. NaN: not told."""

    @property
    def cpu_s(self) -> float:
        """CPU seconds of its own since its birth."""

    @property
    def mem_bytes(self) -> int:
        """Resident memory."""

    @property
    def file_descriptors(self) -> float:
        """Open descriptors."""

    @property
    def read_bytes(self) -> float:
        """Bytes fetched from storage since its birth."""

    @property
    def write_bytes(self) -> float:
        """Bytes sent to storage since its birth."""


InstanceUse = Mapping[tuple[int, float], ProcessUse]
"""An instance's tree by process identity (pid, start time): a child that ends takes no rate below zero."""


def rate(before: float, now: float, elapsed_s: float) -> float:
    """Return the growth per second, or NaN where the counter fell or the time between says nothing."""
    if not 0 < elapsed_s <= MAX_GAP_S or now < before:
        return NAN
    return (now - before) / elapsed_s


def share_percent(part: float, whole: float) -> float:
    """Return `part` of `whole` in percent, 0 where there is no whole (a machine without swap)."""
    return 100.0 * part / whole if whole > 0 else 0.0


def cpu_percent(before: CpuTimes, now: CpuTimes) -> float:
    """Return how busy the core was between two readings, 0 … 100."""
    total = now.total - before.total
    busy = now.busy - before.busy
    if total <= 0 or busy < 0:
        return NAN
    return min(100.0, 100.0 * busy / total)


def node_row(before: NodeCounters | None, now: NodeCounters) -> tuple[float, ...]:
    """Return the values of `NODE_SERIES` in order; rates are NaN without an earlier reading."""
    rx, tx = _sum_rates(before, now, "net_io", now.physical_nics)
    read, write = _sum_rates(before, now, "disk_io", now.physical_disks)
    values = {
        "cpu_percent": _cpu_at(before, now, 0),
        "mem_percent": share_percent(now.mem_used_bytes, now.mem_total_bytes),
        "disk_percent": max((_mount_percent(use) for use in now.mounts.values()), default=NAN),
        "load1": now.load[0],
        "net_rx_bytes_per_s": rx,
        "net_tx_bytes_per_s": tx,
        "disk_read_bytes_per_s": read,
        "disk_write_bytes_per_s": write,
        "swap_percent": share_percent(now.swap_used_bytes, now.swap_total_bytes),
        "load5": now.load[1],
        "load15": now.load[2],
        "mem_used_bytes": float(now.mem_used_bytes),
        "swap_used_bytes": float(now.swap_used_bytes),
        "processes": now.processes,
        "file_descriptors": now.file_descriptors,
        "uptime_s": now.uptime_s,
    }
    return tuple(values[name] for name in NODE_SERIES)


def extra_row(before: NodeCounters | None, now: NodeCounters) -> dict[str, float]:
    """Return the series that vary by machine, named as in `model.metrics`. NaN values are left out."""
    extra = {f"cpu{core - 1}_percent": _cpu_at(before, now, core) for core in range(1, len(now.cpu))}
    for mount, use in now.mounts.items():
        extra |= _mount_row(f"disk:{mount}:", use)
    elapsed_s = now.at_s - before.at_s if before is not None else 0.0
    for name, traffic in now.disk_io.items():
        old = before.disk_io.get(name, ()) if before is not None else ()
        extra |= _rates(f"diskio:{name}:", DISK_RATES, old, traffic, elapsed_s)
    for name, traffic in now.net_io.items():
        old = before.net_io.get(name, ()) if before is not None else ()
        extra |= _rates(f"net:{name}:", NIC_RATES, old, traffic, elapsed_s)
    extra |= {f"temp:{name}:celsius": value for name, value in now.temperatures.items()}
    extra |= {f"pressure:{name}:percent": value for name, value in now.pressure.items()}
    return {name: value for name, value in extra.items() if not math.isnan(value)}


def _mount_row(prefix: str, use: MountUse) -> dict[str, float]:
    row = {
        f"{prefix}used_percent": _mount_percent(use),
        f"{prefix}used_bytes": float(use.used_bytes),
        f"{prefix}size_bytes": float(use.size_bytes),
    }
    if use.inodes:
        row[f"{prefix}inodes_percent"] = share_percent(use.inodes_used, use.inodes)
    return row


def _rates(prefix: str, names: Sequence[str], old: Traffic, new: Traffic, elapsed_s: float) -> dict[str, float]:
    row = {f"{prefix}{name}": rate(first, last, elapsed_s) for name, first, last in zip(names, old, new, strict=False)}
    busy = row.pop(f"{prefix}busy_ms_per_s", NAN)
    if not math.isnan(busy):
        row[f"{prefix}busy_percent"] = min(100.0, busy / 10)
    return row


def instance_row(before: InstanceUse, now: InstanceUse, elapsed_s: float) -> tuple[float, ...]:
    """Return the values of `INSTANCE_SERIES` in order.

    Rates are over the processes that both readings know: a new child may be older than a second when the tree is
    looked up, and its whole past would be a spike.
    """
    pairs = [(before[key], use) for key, use in now.items() if key in before]
    values = {
        "cpu_percent": 100.0 * _sum(rate(old.cpu_s, new.cpu_s, elapsed_s) for old, new in pairs),
        "mem_bytes": float(sum(use.mem_bytes for use in now.values())),
        "processes": float(len(now)),
        "file_descriptors": _sum(use.file_descriptors for use in now.values()),
        "disk_read_bytes_per_s": _sum(rate(old.read_bytes, new.read_bytes, elapsed_s) for old, new in pairs),
        "disk_write_bytes_per_s": _sum(rate(old.write_bytes, new.write_bytes, elapsed_s) for old, new in pairs),
    }
    return tuple(values[name] for name in INSTANCE_SERIES)


def stamp_s(previous_s: float | None, wall_s: float, interval_s: float) -> float:
    """Return the Unix time to put on a sample: whole intervals without doubles or holes while the wall clock is near.

    The tick may fall a little before or after the second it belongs to; only a clock that was moved re-anchors.
    """
    if previous_s is not None and abs(wall_s - (previous_s + interval_s)) <= _RESYNC_S * interval_s:
        return previous_s + interval_s
    return math.floor(wall_s / interval_s) * interval_s


def _cpu_at(before: NodeCounters | None, now: NodeCounters, core: int) -> float:
    if before is None or core >= len(before.cpu) or core >= len(now.cpu):
        return NAN
    return cpu_percent(before.cpu[core], now.cpu[core])


def _mount_percent(use: MountUse) -> float:
    return share_percent(use.used_bytes, use.size_bytes)


def _sum_rates(before: NodeCounters | None, now: NodeCounters, field: str, names: frozenset[str]) -> Rates:
    """Return the summed rates of `names`; a device that is new in this reading adds nothing yet."""
    if before is None:
        return NAN, NAN
    old: dict[str, Traffic] = getattr(before, field)
    new: dict[str, Traffic] = getattr(now, field)
    both = [name for name in names if name in old and name in new]
    elapsed_s = now.at_s - before.at_s
    first = _sum(rate(old[name][0], new[name][0], elapsed_s) for name in both)
    second = _sum(rate(old[name][1], new[name][1], elapsed_s) for name in both)
    return first, second


def _sum(values: Iterable[float]) -> float:
    """Return the sum of what is known, NaN when nothing is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) if known else NAN
