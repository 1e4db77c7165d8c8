"""The maths of the window: rings by second, buckets of a query, one time base per node. Pure.

A ring holds `WINDOW_S` float32 values; the second `s` stands in slot `s % WINDOW_S`, so times cost nothing. Seconds
without a sample are NaN. Float32 is for gauges and rates (24 bits: 1 byte/s in 16 MB/s), never for counters.
"""

import math
from array import array
from collections.abc import Iterable

import msgspec

from ops_system.model.errors import Invalid

WINDOW_S = 900
RING_BYTES = 4 * WINDOW_S
MAX_DRIFT_S = 2.0

Point = tuple[int, float, float]
"""(Unix second where the bucket begins, mean, largest)."""

_EMPTY = array("f", [math.nan]) * WINDOW_S


class Rings:
    """Several series that share one clock: those of one node, or of one instance."""

    def __init__(self) -> None:
        self._rings: dict[str, array[float]] = {}
        self.newest_s: int | None = None

    def __len__(self) -> int:
        return len(self._rings)

    def __contains__(self, name: str) -> bool:
        return name in self._rings

    def names(self) -> list[str]:
        """Return the series that exist."""
        return list(self._rings)

    def add(self, name: str) -> None:
        """Make an empty series."""
        self._rings[name] = array("f", _EMPTY)

    def put(self, second: int, values: Iterable[tuple[str, float]]) -> None:
        """Write one second; series that do not exist are ignored. A second older than the window starts all anew."""
        self._advance(second)
        slot = second % WINDOW_S
        for name, value in values:
            ring = self._rings.get(name)
            if ring is not None:
                ring[slot] = value if -_FLOAT32_MAX < value < _FLOAT32_MAX else math.nan

    def at(self, name: str, second: int) -> float:
        """Return the value of one second; NaN where it is not known."""
        newest_s, ring = self.newest_s, self._rings.get(name)
        if ring is None or newest_s is None or not newest_s - WINDOW_S < second <= newest_s:
            return math.nan
        return ring[second % WINDOW_S]

    def drop_silent(self) -> int:
        """Forget the series without a single value; return how many."""
        silent = [name for name, ring in self._rings.items() if all(value != value for value in ring)]  # noqa: PLR0124 - only NaN differs from itself
        for name in silent:
            del self._rings[name]
        return len(silent)

    def points(self, name: str, first_s: int, last_s: int, step_s: int) -> list[Point]:
        """Return the buckets of `step_s` seconds (aligned to its multiples) that hold a value, oldest first."""
        newest_s, ring = self.newest_s, self._rings.get(name)
        if ring is None or newest_s is None:
            return []
        found: list[Point] = []
        start_s, count, total, largest = -1, 0, 0.0, -math.inf
        for second in range(max(first_s, newest_s - WINDOW_S + 1), min(last_s, newest_s) + 1):
            value = ring[second % WINDOW_S]
            if value != value:  # noqa: PLR0124 - only NaN differs from itself
                continue
            bucket_s = second - second % step_s
            if bucket_s != start_s:
                _close(found, start_s, count, total, largest)
                start_s, count, total, largest = bucket_s, 0, 0.0, -math.inf
            count, total, largest = count + 1, total + value, max(largest, value)
        _close(found, start_s, count, total, largest)
        return found

    def _advance(self, second: int) -> None:
        """Make `second` part of the window; what was skipped becomes a gap."""
        newest_s = self.newest_s
        if newest_s is None or second <= newest_s - WINDOW_S or second >= newest_s + WINDOW_S:
            for name in self._rings:
                self._rings[name] = array("f", _EMPTY)
            self.newest_s = second
        elif second > newest_s:
            for skipped in range(newest_s + 1, second + 1):
                for ring in self._rings.values():
                    ring[skipped % WINDOW_S] = math.nan
            self.newest_s = second


_FLOAT32_MAX = 3.4e38


def _close(found: list[Point], start_s: int, count: int, total: float, largest: float) -> None:
    if count:
        found.append((start_s, _short(total / count), _short(largest)))


def _short(value: float) -> float:
    """Keep what a float32 knows, about seven digits: `12.3` instead of `12.300000190734863`."""
    return float(f"{value:.7g}")


def short_values(values: Iterable[float], count: int) -> list[float | None]:
    """Return the first `count` values for JSON: rounded, None where unknown or missing."""
    known = [_short(value) if math.isfinite(value) else None for value in values][:count]
    return known + [None] * (count - len(known))


class TimeBase:
    """Maps a worker's wall clock to ours, so that its seconds stay evenly spaced however late a frame comes.

    The offset is kept until it is off by more than `MAX_DRIFT_S`; then somebody's clock was set.
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def second(self, at_s: float, now_s: float) -> int:
        """Return our Unix second of a sample taken at the worker's `at_s` and received at our `now_s`."""
        if self._offset_s is None or abs(at_s + self._offset_s - now_s) > MAX_DRIFT_S:
            self._offset_s = now_s - at_s
        return math.floor(at_s + self._offset_s)


class MetricsQuery(msgspec.Struct, frozen=True):
    """`?series=a,b&from=&to=&step_s=`; times are Unix seconds. `series` may end in `*`; empty: the fixed series."""

    series: str = ""
    from_s: float | None = msgspec.field(default=None, name="from")
    to_s: float | None = msgspec.field(default=None, name="to")
    step_s: int | None = None


class Metrics(msgspec.Struct, frozen=True):
    """Points `[t, mean, largest]` by series; a gap is absent. `names` lists every series that exists."""

    series: dict[str, list[Point]]
    step_s: int
    from_s: int = msgspec.field(name="from")
    to_s: int = msgspec.field(name="to")
    names: list[str]


class Span(msgspec.Struct, frozen=True):
    """What a query asks for, checked."""

    first_s: int
    last_s: int
    step_s: int


def span_of(query: MetricsQuery, now_s: float) -> Span:
    """Return the span of a query; the default is the last 15 minutes. Raises `Invalid`."""
    to_s = math.floor(now_s) if query.to_s is None else _whole("to", query.to_s)
    from_s = to_s - WINDOW_S + 1 if query.from_s is None else _whole("from", query.from_s)
    if from_s > to_s:
        raise Invalid("from lies after to", problems=["from: lies after to"])
    step_s = query.step_s if query.step_s is not None else max(1, math.ceil((to_s - from_s + 1) / WINDOW_S))
    if not 1 <= step_s <= _MAX_STEP_S:
        message = f"step_s: must be from 1 to {_MAX_STEP_S}"
        raise Invalid(message, problems=[message])
    return Span(from_s, to_s, step_s)


def choose_series(wanted: str, fixed: Iterable[str], existing: Iterable[str]) -> list[str]:
    """Return the names asked for: the fixed ones, which may have no points yet, then those that exist; no others."""
    known = list(dict.fromkeys([*fixed, *existing]))
    patterns = [word.strip() for word in wanted.split(",") if word.strip()] or list(fixed)
    exact = {word for word in patterns if not word.endswith("*")}
    prefixes = tuple(word[:-1] for word in patterns if word.endswith("*"))
    return [name for name in known if name in exact or name.startswith(prefixes)]


_MAX_STEP_S = 86_400
_YEAR_3000_S = 32_503_680_000


def _whole(name: str, value: float) -> int:
    if not math.isfinite(value) or not 0 <= value <= _YEAR_3000_S:
        message = f"{name}: {value} is no Unix time in seconds"
        raise Invalid(message, problems=[message])
    return math.floor(value)
