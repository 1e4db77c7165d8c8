"""Reading /proc (Linux) and, through psutil, the process table of other POSIX systems. Used by `posix` and `stats`."""

import os
import sys
from collections.abc import Iterable, Mapping

import msgspec

from ops_system.processes.base import MARKER

_DEAD = frozenset("ZX")
_MARKER = f"{MARKER}=".encode()
_READ_BYTES = 64 * 1024


class Row(msgspec.Struct, frozen=True):
    """One process. On Windows, which knows neither, `pgrp` and `sid` are 0.

    `start_time` is in clock ticks since boot (macOS: microseconds since the epoch; Windows: 100 ns since 1601).
    """

    pid: int
    ppid: int
    pgrp: int
    sid: int
    start_time: int
    is_dead: bool


Table = dict[int, Row]


def parse_stat(data: bytes) -> Row:
    """Read proc(5) `/proc/PID/stat`; the name in parentheses may hold anything, so look for the last `)`."""
    pid, _, rest = data.partition(b" (")
    fields = rest[rest.rindex(b")") + 2 :].split(b" ", 20)
    return Row(
        pid=int(pid),
        ppid=int(fields[1]),
        pgrp=int(fields[2]),
        sid=int(fields[3]),
        start_time=int(fields[19]),
        is_dead=chr(fields[0][0]) in _DEAD,
    )


def read_row(pid: int) -> Row | None:
    """Return the process `pid`, dead ones included; None when there is none."""
    if sys.platform == "win32":
        from ops_system.processes import windows_api

        return windows_api.read_row(pid)
    if sys.platform != "linux":
        return _read_row_psutil(pid)
    data = _read(f"/proc/{pid}/stat")
    return parse_stat(data) if data else None


def read_table() -> Table:
    """Return all processes. They come and go while it is read: prove absence by two tables."""
    if sys.platform == "win32":
        from ops_system.processes import windows_api

        return windows_api.read_table()
    return {row.pid: row for pid in _pids() if (row := read_row(pid)) is not None}


def read_marker(pid: int, name: str = MARKER) -> str | None:
    """Return the instance id in the environment that `pid` was started with; None without one or without the right."""
    if sys.platform != "linux":
        return _read_marker_psutil(pid, name)
    data = _read(f"/proc/{pid}/environ")
    return find_marker(data, f"{name}=".encode()) if data else None


def find_marker(environ: bytes, marker: bytes = _MARKER) -> str | None:
    """Return the marker's value in a NUL-separated environment."""
    at = 0 if environ.startswith(marker) else environ.find(b"\0" + marker) + 1
    if at == 0 and not environ.startswith(marker):
        return None
    value = environ[at + len(marker) :].partition(b"\0")[0]
    return value.decode(errors="replace")


def read_argv(pid: int) -> tuple[str, ...]:
    """Return the command line; empty for zombies and strangers."""
    if sys.platform != "linux":
        return _read_argv_psutil(pid)
    data = _read(f"/proc/{pid}/cmdline")
    return tuple(part.decode(errors="replace") for part in data.rstrip(b"\0").split(b"\0")) if data else ()


def read_children(pid: int) -> tuple[int, ...] | None:
    """Return the child processes of `pid` over all its threads; None where the kernel does not tell."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - a hot path
    except OSError:
        return None
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123 - a hot path
                found.extend(int(word) for word in file.read().split())
        except ProcessLookupError:
            continue
        except OSError:
            return None
    return tuple(found)


def descendants(table: Table, roots: Iterable[int]) -> set[int]:
    """Return `roots` and everything below them."""
    below: dict[int, list[int]] = {}
    for row in table.values():
        below.setdefault(row.ppid, []).append(row.pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo.extend(below.get(pid, ()))
    return found


def owners(table: Table, markers: Mapping[int, str], sessions: Mapping[int, str]) -> dict[int, str]:
    """Return who each process belongs to, in one pass: by its marker, its session or group, else by its parent."""
    known: dict[int, str | None] = {}

    def own(row: Row) -> str | None:
        return markers.get(row.pid) or sessions.get(row.sid) or sessions.get(row.pgrp)

    def resolve(pid: int) -> str | None:
        trail: list[int] = []
        owner: str | None = None
        while pid not in known and pid in table and pid not in trail:
            trail.append(pid)
            owner = own(table[pid])
            if owner is not None:
                break
            pid = table[pid].ppid
        owner = owner or known.get(pid)
        known.update(dict.fromkeys(trail, owner))
        return owner

    return {pid: owner for pid, row in table.items() if not row.is_dead and (owner := resolve(pid)) is not None}


def read_boot_id() -> str:
    """Return the kernel's boot id; the boot time where there is none."""
    data = _read("/proc/sys/kernel/random/boot_id")
    if data:
        return data.decode().strip()
    import psutil

    return f"boot-{int(psutil.boot_time())}"


def _pids() -> list[int]:
    if sys.platform != "linux":
        import psutil

        return list(psutil.pids())
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - a hot path


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    data = b""
    try:
        while part := os.read(fd, _READ_BYTES):
            data += part
    except OSError:
        return b""
    finally:
        os.close(fd)
    return data


def _read_row_psutil(pid: int) -> Row | None:
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return Row(
                pid=pid,
                ppid=process.ppid(),
                pgrp=os.getpgid(pid),
                sid=os.getsid(pid),
                start_time=int(process.create_time() * 1_000_000),
                is_dead=process.status() == psutil.STATUS_ZOMBIE,
            )
    except (psutil.Error, OSError):
        return None


def _read_marker_psutil(pid: int, name: str) -> str | None:
    import psutil

    try:
        return psutil.Process(pid).environ().get(name)
    except (psutil.Error, OSError):
        return None


def _read_argv_psutil(pid: int) -> tuple[str, ...]:
    import psutil

    try:
        return tuple(psutil.Process(pid).cmdline())
    except (psutil.Error, OSError):
        return ()
