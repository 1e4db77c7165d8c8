"""The counters of a Linux machine out of /proc, cheaply: descriptors stay open and are read again from the start.

Used by the sampler. Sources: proc(5), Documentation/admin-guide/iostats.rst. The `parse_` functions are pure.
"""

import os
import time
from pathlib import Path

from ops_system.worker.metrics.pace import Aside, Pace
from ops_system.worker.metrics.rates import CpuTimes, MountUse, NodeCounters, Traffic
from ops_system.worker.metrics.sensors import read_temperatures

_SECTOR_BYTES = 512  # /proc/diskstats counts in these whatever the device's own sector is
_MOUNTS_EVERY_S = 10.0
_PROCESSES_EVERY_S = 5.0
_FIRST_WAIT_S = 0.5  # so that the first sample knows its disks, on a machine where nothing hangs
_READ_BYTES = 64 * 1024
_MAX_SERIES = 32  # of one kind: a host with 500 veth pairs must not send 500 series a second
_NIC_NOISE = ("lo", "veth", "ifb", "cali", "tap", "docker", "br-", "virbr", "dummy")
_DISK_NOISE = ("loop", "ram", "zram", "fd", "sr")
_FILE_SYSTEMS = {
    *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs"),
    *("f2fs", "bcachefs", "vfat", "exfat", "ntfs", "ntfs3"),
}
_DISK_COLUMNS, _NIC_COLUMNS, _MOUNT_COLUMNS = 13, 11, 3  # the fewest that hold what is read


class LinuxCounters:
    """Reads everything the sampler needs in one pass. `close` gives the descriptors back.

    File systems and sensors are asked in threads of their own, so that one that hangs leaves a gap and stops nothing;
    `pace` has them and the count of processes done less often on a machine where a pass is slow.
    """

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._proc = proc
        self._sys = sys
        self._files: dict[str, int] = {}
        self._physical: dict[str, bool] = {}
        self._mounts: Aside[dict[str, MountUse]] = Aside(self._read_mounts, {}, "mounts")
        self._sensors: Aside[dict[str, float]] = Aside(lambda: read_temperatures(sys), {}, "sensors")
        self._asides_due_s = 0.0
        self._wait_s = _FIRST_WAIT_S
        self._has_pressure = True
        self.pace = Pace()
        self._processes = 0
        self._processes_due_s = 0.0

    def read(self) -> NodeCounters:
        """Return one reading. Raises OSError when /proc itself cannot be read."""
        now_s = time.monotonic()
        self._refresh(now_s)
        memory = parse_meminfo(self._text("meminfo"))
        disks = _keep(parse_diskstats(self._text("diskstats")), _DISK_NOISE)
        nics = _keep(parse_net_dev(self._text("net/dev")), _NIC_NOISE)
        counters = NodeCounters(
            at_s=now_s,
            cpu=parse_stat(self._text("stat")),
            load=parse_loadavg(self._text("loadavg")),
            mem_total_bytes=memory.get("MemTotal", 0),
            mem_used_bytes=memory.get("MemTotal", 0) - memory.get("MemAvailable", 0),
            swap_total_bytes=memory.get("SwapTotal", 0),
            swap_used_bytes=memory.get("SwapTotal", 0) - memory.get("SwapFree", 0),
            processes=float(self._processes),
            file_descriptors=float(self._text("sys/fs/file-nr").split()[0]),
            uptime_s=float(self._text("uptime").split()[0]),
            mounts=self._mounts.value,
            disk_io=disks,
            net_io=nics,
            physical_disks=self._physical_of("block", disks),
            temperatures=self._sensors.value,
            pressure=self._read_pressure(),
            physical_nics=self._physical_of("class/net", nics),
        )
        self.pace.note(time.monotonic() - now_s)
        return counters

    def close(self) -> None:
        """Close the kept descriptors."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _text(self, name: str) -> str:
        descriptor = self._files.get(name)
        if descriptor is None:
            descriptor = os.open(self._proc / name, os.O_RDONLY | os.O_CLOEXEC)
            self._files[name] = descriptor
        return os.pread(descriptor, _READ_BYTES, 0).decode(errors="replace")

    def _refresh(self, now_s: float) -> None:
        if now_s >= self._asides_due_s:
            self._asides_due_s = now_s + _MOUNTS_EVERY_S * self.pace.stretch
            self._mounts.refresh(self._wait_s)
            self._sensors.refresh(self._wait_s)
            self._wait_s = 0.0
        if now_s >= self._processes_due_s:
            self._processes_due_s = now_s + _PROCESSES_EVERY_S * self.pace.stretch
            self._processes = sum(1 for name in os.listdir(self._proc) if name.isdigit())  # noqa: PTH208 - a hot path

    def _read_mounts(self) -> dict[str, MountUse]:
        return _use_of(parse_mounts((self._proc / "self/mounts").read_text(encoding="utf-8", errors="replace")))

    def _read_pressure(self) -> dict[str, float]:
        """Return how long tasks waited (PSI, kernel 4.20 and later); nothing where the kernel does not tell."""
        if self._has_pressure:
            try:
                return {name: parse_pressure(self._text(f"pressure/{name}")) for name in ("cpu", "memory", "io")}
            except OSError:
                self._has_pressure = False
        return {}

    def _physical_of(self, kind: str, names: dict[str, Traffic]) -> frozenset[str]:
        """Return those with hardware behind them, so that a disk and its partitions do not count twice.

        Where nothing has hardware behind it (a container), all of them are returned.
        """
        for name in names:
            if name not in self._physical:
                self._physical[name] = (self._sys / kind / name.replace("/", "!") / "device").exists()
        found = frozenset(name for name in names if self._physical[name])
        return found or frozenset(names)


def parse_stat(text: str) -> tuple[CpuTimes, ...]:
    """Return the `cpu` lines of /proc/stat. Guest time is already inside user time; waiting for I/O is not busy."""
    return tuple(_cpu_times(line) for line in text.splitlines() if line.startswith("cpu"))


def _cpu_times(line: str) -> CpuTimes:
    ticks = [float(word) for word in line.split()[1:9]]
    idle = sum(ticks[3:5])
    total = sum(ticks)
    return CpuTimes(busy=total - idle, total=total)


def parse_meminfo(text: str) -> dict[str, int]:
    """Return the fields of /proc/meminfo in bytes."""
    fields: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words:
            fields[name] = int(words[0]) * (1024 if words[-1] == "kB" else 1)
    return fields


def parse_loadavg(text: str) -> tuple[float, float, float]:
    """Return the three load averages."""
    one, five, fifteen = (float(word) for word in text.split()[:3])
    return one, five, fifteen


def parse_pressure(text: str) -> float:
    """Return the share of the last 10 s in which some task waited, from a file of /proc/pressure; in percent."""
    return float(text.partition("avg10=")[2].split(" ", 1)[0])


def parse_diskstats(text: str) -> dict[str, Traffic]:
    """Return the traffic of each device; those that never moved a byte are left out."""
    devices: dict[str, Traffic] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= _DISK_COLUMNS:
            traffic = (int(words[5]) * _SECTOR_BYTES, int(words[9]) * _SECTOR_BYTES, int(words[12]))
            if any(traffic):
                devices[words[2]] = traffic
    return devices


def parse_net_dev(text: str) -> dict[str, Traffic]:
    """Return the traffic of each interface."""
    interfaces: dict[str, Traffic] = {}
    for line in text.splitlines()[2:]:
        name, _, counters = line.rpartition(":")
        words = counters.split()
        if len(words) >= _NIC_COLUMNS:
            interfaces[name.strip()] = (int(words[0]), int(words[8]), int(words[2]), int(words[10]))
    return interfaces


def parse_mounts(text: str) -> list[str]:
    """Return the mount points of real local file systems, each device once, shortest path first.

    A network file system is left out: asking a server that is away for its size blocks without end. The root counts
    whatever it is (a container's is an overlay).
    """
    points: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split(" ")
        if len(words) < _MOUNT_COLUMNS:
            continue
        device, point, fs_type = words[0], _unescape(words[1]), words[2]
        is_shorter = device not in points or len(point) < len(points[device])
        if (point == "/" or fs_type in _FILE_SYSTEMS) and is_shorter:
            points[device] = point
    return sorted(points.values(), key=lambda point: (len(point), point))[:_MAX_SERIES]


def _unescape(point: str) -> str:
    """Undo the octal escapes of proc(5)'s mounts: space, tab, newline, backslash."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, character)
    return point


def _use_of(points: list[str]) -> dict[str, MountUse]:
    uses: dict[str, MountUse] = {}
    for point in points:
        try:
            found = os.statvfs(point)
        except OSError:
            continue  # unmounted since the table was read, or not ours to see
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        size = used + found.f_bavail * found.f_frsize
        uses[point] = MountUse(used, size, found.f_files - found.f_ffree, found.f_files)
    return uses


def _keep(traffic: dict[str, Traffic], noise: tuple[str, ...]) -> dict[str, Traffic]:
    names = [name for name in traffic if not name.startswith(noise)]
    return {name: traffic[name] for name in names[:_MAX_SERIES]}
