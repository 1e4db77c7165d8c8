"""Whether this agent may still write: its lease, its fence, a wish to cancel (trust P4). Asked before every write.

renewed in time, same fence ──> may write
not renewed for the lease's life ──> lost, for good            a higher fence, or a refusal ──> lost, for good
"""

import threading
import time
from collections.abc import Callable
from typing import Literal

EndStatus = Literal["failed", "cancelled", "needs_operator"]
RENEWALS_A_LEASE = 3


class Halt(Exception):
    """The installation ends here, and how: a stable code and words for a person."""

    def __init__(self, code: str, message: str, status: EndStatus = "failed") -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class Guard:
    """Shared by the thread that renews the lease and those that write."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._good_until_s = self._due_at_s = 0.0
        self._fence = 0
        self._lost: Halt | None = None
        self._is_cancel_asked = False

    @property
    def fence(self) -> int:
        """Return the fence this agent holds."""
        return self._fence

    def begin(self, fence: int) -> None:
        """A new installation under this fence; what stopped an earlier one is over. The lease goes on as it is."""
        with self._lock:
            self._fence, self._lost, self._is_cancel_asked = fence, None, False

    def renew(self, asked_at_s: float, ttl_s: float, fence: int, *, is_cancel_asked: bool = False) -> None:
        """The region answered: the lease is good for `ttl_s` from when it was asked, by the monotonic clock."""
        with self._lock:
            self._good_until_s = max(self._good_until_s, asked_at_s + ttl_s)
            self._due_at_s = max(self._due_at_s, asked_at_s + ttl_s / RENEWALS_A_LEASE)
            self._is_cancel_asked = self._is_cancel_asked or is_cancel_asked
            if self._fence and fence > self._fence and self._lost is None:
                self._lost = Halt("stale_fence", f"fence {fence} counts now, this agent holds {self._fence}")

    def due_in_s(self) -> float:
        """Return in how many seconds the lease is to be renewed again; not above 0: now."""
        with self._lock:
            return self._due_at_s - self._monotonic_s()

    def lose(self, code: str, message: str) -> None:
        """The region refused: nothing more is written."""
        with self._lock:
            self._lost = self._lost or Halt(code, message, "needs_operator")

    def check(self) -> None:
        """Raise Halt when nothing may be written any more. Once lost is lost for this installation."""
        with self._lock:
            if self._lost is None and self._monotonic_s() >= self._good_until_s:
                words = "the lease ran out: the regional client was not heard in time"
                self._lost = Halt("lease_lost", words, "needs_operator")
            if self._lost is not None:
                raise self._lost

    def check_step(self) -> None:
        """Raise Halt when no further step may begin: `check`, and a cancel that was asked for."""
        self.check()
        if self._is_cancel_asked:
            raise Halt("cancelled", "somebody asked to cancel", "cancelled")

    def now_s(self) -> float:
        """Return the monotonic clock, seconds."""
        return self._monotonic_s()
