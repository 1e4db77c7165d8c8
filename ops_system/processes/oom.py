"""Which ends by SIGKILL were the kernel's, because memory ran out. Used by `posix`.

The instance's own limit is told by its control group; the whole machine's, or that of a container around the worker, by
the kernel's log (Linux, /dev/kmsg, Documentation/ABI/testing/dev-kmsg).
"""

import contextlib
import os
import re
from collections.abc import Callable

from ops_system.model.ids import InstanceId
from ops_system.processes.base import Exit, Identity

_RECORD = re.compile(rb"\d+,\d+,(\d+),[^;]*;.*?\b[Oo]ut of memory: Killed process (\d+) ")
_MAX_RECORD_BYTES = 8192
_LATE_S = 1.0  # start times are rounded to ticks
_MOST = 1000
_SHELL_SIGKILL = 128 + 9  # what a shell exits with whose command was killed


def parse_kill(record: bytes) -> tuple[int, float] | None:
    """Return pid and time (seconds since boot) when a record of the kernel's log tells of a kill for memory."""
    found = _RECORD.match(record)
    return None if found is None else (int(found[2]), int(found[1]) / 1e6)


class OomLog:
    """Reads what is new each time it is asked; the first time all that the kernel still has (some milliseconds)."""

    def __init__(self, path: str = "/dev/kmsg") -> None:
        self._path = path
        self._fd: int | None = None
        self._killed_s: dict[int, float] = {}

    def close(self) -> None:
        """Let go of the log."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def has_killed(self, pid: int, started_s: float) -> bool:
        """True when the process that got this number at `started_s` (seconds since boot) was killed for memory."""
        self._read_new()
        killed_s = self._killed_s.get(pid)
        return killed_s is not None and killed_s >= started_s - _LATE_S

    def _read_new(self) -> None:
        with contextlib.suppress(OSError):  # no such log here, no right to it, or (EAGAIN) its end
            if self._fd is None:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            while record := self._read(self._fd):
                if kill := parse_kill(record):
                    self._killed_s.pop(kill[0], None)
                    self._killed_s[kill[0]] = kill[1]
        while len(self._killed_s) > _MOST:
            del self._killed_s[next(iter(self._killed_s))]

    @staticmethod
    def _read(fd: int) -> bytes:
        """Read one record; EPIPE says that some were lost to newer ones."""
        try:
            return os.read(fd, _MAX_RECORD_BYTES)
        except BrokenPipeError:
            return os.read(fd, _MAX_RECORD_BYTES)


class Explainer:
    """Names ends. `is_at_limit` tells whether something of an instance was killed at the instance's own limit."""

    def __init__(self, is_at_limit: Callable[[InstanceId], bool], log: OomLog | None = None) -> None:
        self._is_at_limit = is_at_limit
        self._log = log or OomLog()

    def close(self) -> None:
        """Let go of the kernel's log."""
        self._log.close()

    def explain(self, instance_id: InstanceId, end: Exit, leader: Identity | None = None) -> Exit:
        """Return the end with what is known about memory; `leader` is the process that ended."""
        is_killed = end.signal == "SIGKILL" or end.code == _SHELL_SIGKILL
        if is_killed and self._is_at_limit(instance_id):
            return Exit(end.code, end.signal, "limit")
        if end.signal == "SIGKILL" and leader is not None:
            started_s = leader.start_time / os.sysconf("SC_CLK_TCK")
            if self._log.has_killed(leader.pid, started_s):
                return Exit(end.code, end.signal, "system")
        return end
