"""How far a backup or a restore is, told from threads to the operation; and the way to end it from outside."""

import asyncio
from collections.abc import Callable

_SHOW_BYTES = 4 << 20

Show = Callable[[str, int, int], None]
"""Hears step, bytes done, bytes in all, on the event loop."""


class Cancelled(Exception):
    """The work was called off by a person."""


class Progress:
    """One piece of work. `hear` may be called from any thread and raises `Cancelled` once it was called off."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._loop = asyncio.get_running_loop()
        self._step = ""
        self._done = self._total = self._shown = 0
        self._is_cancelled = False

    def begin(self, step: str, total_bytes: int = 0) -> None:
        """Begin a step."""
        self._step, self._done, self._total, self._shown = step, 0, total_bytes, 0
        self._tell()
        self.hear(0)

    def hear(self, size_bytes: int) -> None:
        """Count bytes done."""
        if self._is_cancelled:
            raise Cancelled
        self._done += size_bytes
        if self._done - self._shown >= _SHOW_BYTES:
            self._tell()

    def cancel(self) -> None:
        """Let the next `hear` raise."""
        self._is_cancelled = True

    def _tell(self) -> None:
        self._shown = self._done
        self._loop.call_soon_threadsafe(self._show, self._step, self._done, self._total)
