"""The master's time as a worker knows it, and how long to stay away after a link broke. Used by `uplink`."""

import time
from datetime import UTC, datetime, timedelta

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 10.0
REFUSED_RETRY_S = 600.0


class ServerClock:
    """The master's time as last heard, carried on by the monotonic clock: a moved wall clock here changes nothing."""

    def __init__(self) -> None:
        self._heard: datetime | None = None
        self._at_s = 0.0

    def hear(self, server_time: datetime) -> None:
        """Take the master's time from a frame that has just come in."""
        self._heard = server_time
        self._at_s = time.monotonic()

    def now(self) -> datetime:
        """Return the master's time; our own before the first word."""
        if self._heard is None:
            return datetime.now(UTC)
        return self._heard + timedelta(seconds=time.monotonic() - self._at_s)


def retry_wait_s(attempt: int, asked_s: float, dice: float) -> float:
    """Return how long to stay away: full jitter below a doubling bound, never less than the master asked for."""
    bound_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(attempt, 8))
    return max(0.0, asked_s) + dice * bound_s
