"""Reading what a takeover wants to know of processes: /proc on Linux, psutil elsewhere. Used by `adopt_find` and lists.

One process costs about seven small reads; all ports of the machine one pass over the open files. Blocks.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from ops_system.processes import procfs
from ops_system.processes.adopt import Facts, parse_cgroup
from ops_system.processes.base import MARKER

_WINDOWS_EPOCH_S = 11_644_473_600  # from 1601 to 1970
MAX_CMDLINE_BYTES = 256 * 1024
_LISTEN = "0A"
_UDP_BOUND = "07"
_Protocol = Literal["tcp", "udp"]


class Port(msgspec.Struct, frozen=True, order=True):
    """A port somebody listens on."""

    protocol: _Protocol
    address: str
    port: int


def read_facts(pid: int) -> Facts | None:
    """Return one process, None when there is none."""
    if sys.platform == "linux":
        return _read_linux(pid)
    else:  # noqa: RET505 - mypy takes code behind an early return for unreachable on one system
        row = procfs.read_row(pid)
        return None if row is None else _read_psutil(row)


def read_all() -> dict[int, Facts]:
    """Return all processes by pid."""
    if sys.platform == "linux":
        return {pid: facts for pid in _pids() if (facts := _read_linux(pid)) is not None}
    else:  # noqa: RET505 - see above
        return {pid: _read_psutil(row) for pid, row in procfs.read_table().items()}


def read_ancestors(pid: int) -> frozenset[int]:
    """Return the parents of `pid`, their parents and so on."""
    found: set[int] = set()
    row = procfs.read_row(pid)
    while row is not None and row.ppid > 0 and row.ppid not in found:
        found.add(row.ppid)
        row = procfs.read_row(row.ppid)
    return frozenset(found)


def read_boot_time_s() -> float:
    """Return when this machine was started, in Unix seconds by the clock as it is set now."""
    if sys.platform == "linux":
        with open("/proc/stat", "rb") as file:  # noqa: PTH123 - /proc
            for line in file:
                if line.startswith(b"btime "):
                    return float(line.split()[1])
    import psutil

    return float(psutil.boot_time())


def read_started_at(facts: Facts) -> datetime | None:
    """Return when a process began, None where that cannot be told."""
    if sys.platform == "linux":
        since_boot_s = facts.start_time / os.sysconf("SC_CLK_TCK")
        return datetime.fromtimestamp(read_boot_time_s() + since_boot_s, UTC)
    elif sys.platform == "win32":  # noqa: RET505 - mypy takes code behind an early return for unreachable
        return datetime.fromtimestamp(facts.start_time / 10_000_000 - _WINDOWS_EPOCH_S, UTC)
    else:
        return datetime.fromtimestamp(facts.start_time / 1_000_000, UTC)


# --- Linux -----------------------------------------------------------------------------------------------------------
def _read_linux(pid: int) -> Facts | None:
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return None
    row = procfs.parse_stat(stat)
    cmdline = _read(f"/proc/{pid}/cmdline", MAX_CMDLINE_BYTES)
    return Facts(
        pid=pid,
        ppid=row.ppid,
        start_time=row.start_time,
        name=stat[stat.index(b"(") + 1 : stat.rindex(b")")].decode(errors="replace"),
        cmdline=_split(cmdline),
        executable=_link(f"/proc/{pid}/exe"),
        work_dir=_link(f"/proc/{pid}/cwd"),
        uid=_uid(pid),
        cgroup=parse_cgroup(_read(f"/proc/{pid}/cgroup").decode(errors="replace")),
        marker=None if row.is_dead else procfs.read_marker(pid),
        is_dead=row.is_dead,
        pgrp=row.pgrp,
        sid=row.sid,
    )


def _split(cmdline: bytes) -> tuple[str, ...]:
    return tuple(part.decode(errors="replace") for part in cmdline.rstrip(b"\0").split(b"\0")) if cmdline else ()


def _uid(pid: int) -> int | None:
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith(b"Uid:"):
            return int(line.split()[2])  # real, effective, saved, file system
    return None


def _link(path: str) -> str:
    try:
        return os.readlink(path).encode(errors="replace").decode()  # noqa: PTH115 - a hot path
    except OSError:
        return ""


def _read(path: str, most: int = 65536) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a hot path
            return file.read(most)
    except OSError:
        return b""


def _pids() -> Iterable[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - a hot path


# --- ports -----------------------------------------------------------------------------------------------------------
def read_ports(pids: Iterable[int]) -> Mapping[int, tuple[Port, ...]]:
    """Return the ports these processes listen on, as far as we may look into them."""
    return _ports_linux(pids) if sys.platform == "linux" else _ports_psutil(pids)


def _ports_linux(pids: Iterable[int]) -> dict[int, tuple[Port, ...]]:
    sockets = _read_sockets()
    found: dict[int, tuple[Port, ...]] = {}
    for pid in pids:
        ports = {sockets[inode] for inode in _socket_inodes(pid) if inode in sockets}
        if ports:
            found[pid] = tuple(sorted(ports))
    return found


def _read_sockets() -> dict[str, Port]:
    """Return the listening sockets of this network namespace by inode (proc(5), /proc/net/tcp)."""
    found: dict[str, Port] = {}
    tables: tuple[tuple[_Protocol, str], ...] = (("tcp", "tcp"), ("tcp", "tcp6"), ("udp", "udp"), ("udp", "udp6"))
    for protocol, table in tables:
        wanted = _LISTEN if protocol == "tcp" else _UDP_BOUND
        for line in _read(f"/proc/net/{table}", 64 * 1024 * 1024).decode().splitlines()[1:]:
            fields = line.split()
            if fields[3] == wanted:
                address, _, port = fields[1].partition(":")
                found[fields[9]] = Port(protocol, _spell_address(address), int(port, 16))
    return found


def _spell_address(text: str) -> str:
    """Read an address of /proc/net: 32-bit words in the machine's own byte order."""
    import socket

    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    packed = b"".join(words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)  # noqa: PLR2004 - bytes


def _socket_inodes(pid: int) -> list[str]:
    found: list[str] = []
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - a hot path
            target = _link(f"/proc/{pid}/fd/{name}")
            if target.startswith("socket:["):
                found.append(target[8:-1])
    return found


def _ports_psutil(pids: Iterable[int]) -> dict[int, tuple[Port, ...]]:
    import psutil

    found: dict[int, tuple[Port, ...]] = {}
    for pid in pids:
        try:
            seen = psutil.Process(pid).net_connections("inet")
        except (psutil.Error, OSError):
            continue
        ports = {
            Port("udp" if one.status == psutil.CONN_NONE else "tcp", one.laddr.ip, one.laddr.port)
            for one in seen
            if one.status in {psutil.CONN_LISTEN, psutil.CONN_NONE}
        }
        if ports:
            found[pid] = tuple(sorted(ports))
    return found


# --- elsewhere -------------------------------------------------------------------------------------------------------
def _read_psutil(row: procfs.Row) -> Facts:
    """Ask field by field: where one cannot be told, the others still can."""
    import psutil

    def ask(name: str) -> Any:
        with contextlib.suppress(psutil.Error, OSError, AttributeError):
            return getattr(psutil.Process(row.pid), name)()
        return None

    uids = ask("uids")
    return Facts(
        pid=row.pid,
        ppid=row.ppid,
        start_time=row.start_time,
        name=ask("name") or "",
        cmdline=tuple(ask("cmdline") or ()),
        executable=ask("exe") or "",
        work_dir=ask("cwd") or "",
        uid=uids.effective if uids else None,
        marker=(ask("environ") or {}).get(MARKER),
        is_dead=row.is_dead,
        pgrp=row.pgrp,
        sid=row.sid,
    )
