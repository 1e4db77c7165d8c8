"""The two clocks: what the wall shows, and how much time passed. Long-lived parts take a `Clock`; tests give a fake."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Stamps come from `now`; every measured span and deadline from `monotonic_s`, which no clock jump moves."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds since some fixed moment; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()
