"""What keeps the sampler cheap: how often its expensive parts run, and a thread for those that may hang.

A pass is one reading of the machine, once a second. Its expensive parts (asking mounted file systems for their size,
counting processes, reading sensors) have intervals of their own. A pass over `SLOW_PASS_S` doubles these, up to eight
times; a minute of quick passes halves them again. Every slow pass is counted.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

SLOW_PASS_S = 0.05
MAX_STRETCH = 8
QUICK_PASSES = 60
STUCK_S = 10.0


class Pace:
    """By what factor expensive parts are read less often. Time is an argument."""

    def __init__(self) -> None:
        self.stretch = 1
        self.slow_passes = 0
        self.last_pass_s = 0.0
        self._quick = 0

    def note(self, pass_s: float) -> None:
        """Take in how long a pass was."""
        self.last_pass_s = pass_s
        if pass_s > SLOW_PASS_S:
            self.slow_passes += 1
            self.stretch = min(MAX_STRETCH, 2 * self.stretch)
            self._quick = 0
        else:
            self._quick += 1
            if self._quick >= QUICK_PASSES:
                self.stretch = max(1, self.stretch // 2)
                self._quick = 0


class Aside(Generic[T]):
    """A reading that may hang, taken in a thread; who asks never waits for it.

    While one reading has not come back no other is begun. After `STUCK_S` its last answer counts no more: `value` is
    `nothing`, a gap in the chart, until it comes back.
    """

    def __init__(self, read: Callable[[], T], nothing: T, name: str, *, stuck_s: float = STUCK_S) -> None:
        self._read = read
        self._nothing = nothing
        self._name = name
        self._stuck_s = stuck_s
        self._answer = nothing
        self._thread: threading.Thread | None = None
        self._began_s = 0.0

    @property
    def is_stuck(self) -> bool:
        """Whether the reading under way has taken too long."""
        return self._is_busy() and time.monotonic() - self._began_s > self._stuck_s

    @property
    def value(self) -> T:
        """The newest answer."""
        return self._nothing if self.is_stuck else self._answer

    def refresh(self, wait_s: float = 0.0) -> None:
        """Begin a reading unless one is under way; wait so long for it at most."""
        if self._is_busy():
            return
        self._began_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()
        if wait_s > 0:
            self._thread.join(wait_s)

    def _is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._answer = self._read()
        except OSError:
            self._answer = self._nothing
