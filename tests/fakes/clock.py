"""A clock that moves only when told."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """Stands where a `runtime.clock.Clock` is wanted."""

    def __init__(self, at: datetime = datetime(2026, 1, 31, 12, 0, tzinfo=UTC), monotonic_s: float = 1000.0) -> None:
        self._now = at
        self._monotonic_s = monotonic_s

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._monotonic_s += seconds
        self._now += timedelta(seconds=seconds)

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as NTP or a person does; no time passes."""
        self._now += timedelta(seconds=seconds)
