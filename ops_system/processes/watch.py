"""Being told when a process ends, children or not, without a tick: pidfd on Linux, kqueue on macOS. Used by `posix`."""

import asyncio
import os
import select
import sys
from collections.abc import Callable
from typing import Protocol

OnEnd = Callable[[], None]


class Watch(Protocol):
    """Calls back once when a process has ended."""

    def add(self, pid: int, on_end: OnEnd) -> None:
        """Watch `pid`. Raises ProcessLookupError when there is no such process."""
        ...

    def discard(self, pid: int) -> None:
        """Stop watching `pid`; unknown ones are fine."""
        ...

    def close(self) -> None:
        """Stop watching everything."""
        ...


def make_watch() -> Watch:
    """Return the watch of this system. Needs a running loop."""
    return KqueueWatch() if sys.platform == "darwin" else PidfdWatch()


class PidfdWatch:
    """One descriptor per process; readable means ended (pidfd_open(2), Linux 5.3)."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._fds: dict[int, int] = {}

    def add(self, pid: int, on_end: OnEnd) -> None:
        """Watch `pid`. Raises ProcessLookupError."""
        fd = os.pidfd_open(pid)
        self._fds[pid] = fd

        def ended() -> None:
            self.discard(pid)
            on_end()

        self._loop.add_reader(fd, ended)

    def discard(self, pid: int) -> None:
        """Stop watching `pid`."""
        fd = self._fds.pop(pid, None)
        if fd is not None:
            self._loop.remove_reader(fd)
            os.close(fd)

    def close(self) -> None:
        """Stop watching everything."""
        for pid in tuple(self._fds):
            self.discard(pid)


if sys.platform == "darwin":

    class KqueueWatch:
        """One kqueue for all, itself watched by the loop (kqueue(2), NOTE_EXIT). Unproven: no macOS here."""

        def __init__(self) -> None:
            self._loop = asyncio.get_running_loop()
            self._queue = select.kqueue()
            self._on_end: dict[int, OnEnd] = {}
            self._loop.add_reader(self._queue.fileno(), self._ready)

        def add(self, pid: int, on_end: OnEnd) -> None:
            """Watch `pid`. Raises ProcessLookupError."""
            flags = select.KQ_EV_ADD | select.KQ_EV_ONESHOT
            event = select.kevent(pid, select.KQ_FILTER_PROC, flags, select.KQ_NOTE_EXIT)
            self._queue.control([event], 0)
            self._on_end[pid] = on_end

        def discard(self, pid: int) -> None:
            """Stop watching `pid`."""
            self._on_end.pop(pid, None)

        def close(self) -> None:
            """Stop watching everything."""
            self._on_end.clear()
            self._loop.remove_reader(self._queue.fileno())
            self._queue.close()

        def _ready(self) -> None:
            for event in self._queue.control(None, 64, 0):
                on_end = self._on_end.pop(event.ident, None)
                if on_end is not None:
                    on_end()

else:
    KqueueWatch = PidfdWatch
