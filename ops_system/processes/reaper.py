"""Taking in orphans: this process becomes the reaper of what its children leave behind (Linux), and leaves no zombies.

Children that others started here (asyncio's subprocesses, a terminal) are theirs to wait for. A dead child nobody
registered is reaped at once when it belongs to a session we keep, else only after it stayed a zombie for
`STRANGER_GRACE_S`: whoever started it would have waited by then.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from ops_system.processes.procfs import read_children, read_row

_log = logging.getLogger(__name__)

STRANGER_GRACE_S = 5.0
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def become_subreaper() -> bool:
    """Ask the kernel to hand orphaned descendants to this process (prctl(2)). False where that does not exist."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


class Reaper:
    """Collects dead orphans on SIGCHLD."""

    def __init__(self, is_ours: Callable[[int], bool], is_our_session: Callable[[int], bool]) -> None:
        self._is_ours = is_ours  # a pid whose owner inside `processes` waits for it
        self._is_our_session = is_our_session
        self._strangers: dict[int, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._has_signal = False

    def open(self) -> None:
        """Begin. Without the main thread there is no SIGCHLD; orphans then wait for the next look."""
        if threading.current_thread() is threading.main_thread():
            self._loop.add_signal_handler(signal.SIGCHLD, self._soon, 0.05)
            self._has_signal = True

    def close(self) -> None:
        """Stop."""
        if self._has_signal:
            self._loop.remove_signal_handler(signal.SIGCHLD)
        if self._timer is not None:
            self._timer.cancel()

    def reap(self) -> None:
        """Look once."""
        self._timer = None
        now_s = self._loop.time()
        dead = [pid for pid in read_children(os.getpid()) or () if not self._is_ours(pid) and self._is_zombie(pid)]
        self._strangers = {pid: self._strangers.get(pid, now_s) for pid in dead}
        for pid, since_s in tuple(self._strangers.items()):
            if now_s - since_s >= STRANGER_GRACE_S or self._is_session_member(pid):
                self._wait(pid)
        if self._strangers:
            self._soon(STRANGER_GRACE_S)

    def _soon(self, delay_s: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(delay_s, self.reap)
        elif self._timer.when() > self._loop.time() + delay_s:
            self._timer.cancel()
            self._timer = self._loop.call_later(delay_s, self.reap)

    @staticmethod
    def _is_zombie(pid: int) -> bool:
        row = read_row(pid)
        return row is not None and row.is_dead

    def _is_session_member(self, pid: int) -> bool:
        row = read_row(pid)
        return row is not None and self._is_our_session(row.sid)

    def _wait(self, pid: int) -> None:
        del self._strangers[pid]
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
            _log.debug("reaped orphan %d", pid)
