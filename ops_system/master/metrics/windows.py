"""What memory keeps of one node or instance: rings of seconds, rings of ten seconds, one time base per node. Pure.

A ring holds float32 values by slot (`second % 900`, `tick % 360`), so times cost nothing. What is not known is NaN.
Float32 is for gauges and rates (24 bits: 1 byte/s in 16 MB/s), never for counters. Rows of the minute that is open
stand together in one small buffer, and so do its ticks; they go to the rings, series by series, when the minute is over
or somebody looks. Of a large fleet nothing is in the processor's caches: a write into each of some thirty rings would
wait for memory thirty times.
"""

import math
import struct
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

WINDOW_S = 900
TICK_S = 10
TICKS = 360  # an hour
BLOCK_S = 60  # what is open; rings hold a whole number of these, so a block is one stretch of a ring
SERIES_BYTES = 4 * (WINDOW_S + 2 * TICKS)
MAX_DRIFT_S = 2.0
MAX_LATE_S = 60  # a second older than the newest by more than this means that a clock was set back

_FLOAT32_MAX = 3.4e38
_VALUE_BYTES = 4
_NONE = array("f")
_NAN = array("f", [math.nan])
_EMPTY = array("f", [math.nan]) * WINDOW_S
_EMPTY_TICKS = array("f", [math.nan]) * (2 * TICKS)


class Rows(NamedTuple):
    """A stretch of one series: row `i` begins at `(first + i) * step_s`. Means and largest values; NaN: unknown."""

    step_s: int
    first: int
    means: Sequence[float]
    tops: Sequence[float]

    def clip(self, from_s: float, to_s: float) -> "Rows":
        """Return the rows that begin in `[from_s, to_s)`."""
        count = len(self.means)
        begin_s, end_s = self.first * self.step_s, (self.first + count) * self.step_s
        low = 0 if from_s <= begin_s else min(count, math.ceil(min(from_s, end_s) / self.step_s) - self.first)
        high = count if to_s >= end_s else max(low, math.ceil(max(to_s, begin_s) / self.step_s) - self.first)
        if (low, high) == (0, count):
            return self
        return self.part(low, high)

    def part(self, low: int, high: int) -> "Rows":
        """Return rows `low` to `high`, counted from the first."""
        return Rows(self.step_s, self.first + low, self.means[low:high], self.tops[low:high])


@lru_cache(maxsize=1024)
def _packer(width: int) -> struct.Struct:
    return struct.Struct(f"={width}f")


class Rings:
    """Several series that share one clock: those of one node, or of one instance."""

    def __init__(self) -> None:
        self._rings: dict[str, array[float]] = {}
        self._ticks: dict[str, array[float]] = {}  # 360 means, then 360 largest values
        self._since: dict[str, int] = {}
        self._row_names: tuple[str, ...] = ()
        self._pack: Callable[..., None] | None = None  # writes a row into the buffer; None: `_line_up` comes first
        self._stride = 0  # bytes of a row
        self._buffer = _NONE  # the rows of the block that is open
        self._open_block = -1  # which one that is; -1: none
        self._open_from = 0  # the place in it where rows began
        self._is_spilled = True  # the rings have all of it
        self._means = self._tops = _NONE  # of the ticks that ended in it, by row
        self._columns: list[tuple[int, str]] = []  # place in the row, series
        self._others: list[str] = []  # series that the row leaves out
        self.lacks: tuple[int, ...] = ()  # places in the row without a ring
        self.newest_s: int | None = None
        self.start_s = 0  # where the rings began, or began anew

    def __len__(self) -> int:
        return len(self._rings)

    def __contains__(self, name: str) -> bool:
        return name in self._rings

    def names(self) -> list[str]:
        """Return the series that exist."""
        return list(self._rings)

    def add(self, name: str, since_s: int = 0) -> None:
        """Make an empty series that is about to begin at `since_s` (0: with the rings)."""
        self._settle()
        self._since[name] = since_s
        self._rings[name] = array("f", _EMPTY)
        self._ticks[name] = array("f", _EMPTY_TICKS)
        self._pack = None

    def drop(self, name: str) -> None:
        """Forget a series."""
        self._settle()
        del self._rings[name], self._ticks[name], self._since[name]
        self._pack = None

    def put(self, second: int, values: Iterable[tuple[str, float]]) -> None:
        """Write one second; series that do not exist are ignored. A second far from the window starts all anew."""
        self._settle()
        self._advance(second)
        slot = second % WINDOW_S
        for name, value in values:
            ring = self._rings.get(name)
            if ring is not None:
                ring[slot] = value if -_FLOAT32_MAX < value < _FLOAT32_MAX else math.nan

    def expect(self, names: tuple[str, ...]) -> None:
        """Make `put_row` ready for rows of these series, each named once."""
        self._settle()
        self._row_names, self._pack = names, None

    def put_row(self, second: int, names: tuple[str, ...], values: tuple[float, ...]) -> bool:
        """Write one second in the order of `expect`, far cheaper than by `put`; False: another row is expected.

        Thousands of these come each second, and their names hardly ever change.
        """
        if names != self._row_names:
            return False
        if not math.hypot(*values) < _FLOAT32_MAX:  # some are unknown, endless or too large
            values = tuple(one if -_FLOAT32_MAX < one < _FLOAT32_MAX else math.nan for one in values)
        newest_s = self.newest_s
        if newest_s is None or second // BLOCK_S != self._open_block:
            if not self._open(second):
                self.put(second, zip(names, values, strict=True))
                return True
        elif second > newest_s:
            if second // TICK_S != newest_s // TICK_S:
                self._end_ticks(newest_s // TICK_S, second // TICK_S)
            self.newest_s = second
        assert self._pack is not None
        self._is_spilled = False
        self._pack(self._buffer, second % BLOCK_S * self._stride, *values)
        return True

    # --- the open block -------------------------------------------------------------------------------------------
    def _open(self, second: int) -> bool:
        """Make the buffer ready for the block of `second`; False: it is over, the row is late."""
        self._settle()
        self._advance(second)
        assert self.newest_s is not None
        block = second // BLOCK_S
        if block != self.newest_s // BLOCK_S:
            return False
        if self._pack is None:
            self._line_up()
        width = self._stride // _VALUE_BYTES
        self._buffer, self._means, self._tops = _NAN * (BLOCK_S * width), array("f"), array("f")
        self._open_block, low, known = block, block * BLOCK_S % WINDOW_S, self.newest_s % BLOCK_S + 1
        self._open_from = known
        for place, name in self._columns if known > 1 else ():
            self._buffer[place : known * width : width] = self._rings[name][low : low + known]
        return True

    def _line_up(self) -> None:
        """Find the places of the series in a row."""
        rings, names = self._rings, self._row_names
        self._columns = [(place, name) for place, name in enumerate(names) if name in rings]
        self._others = [name for name in rings if name not in names]
        self.lacks = tuple(place for place, name in enumerate(names) if name not in rings)
        packer = _packer(len(names))
        self._stride, self._pack = packer.size, packer.pack_into

    def _end_ticks(self, first: int, end: int) -> None:
        """Work out ticks of the open block, `first` up to `end`, for all series of a row together."""
        width = self._stride // _VALUE_BYTES
        for tick in range(first, end):
            low = tick * TICK_S % BLOCK_S * width
            rows = self._buffer[low : low + TICK_S * width].tolist()
            columns = [rows[place::width] for place in range(width)]
            means, tops = [sum(values) / TICK_S for values in columns], [max(values) for values in columns]
            if math.isnan(sum(means)):
                means, tops = map(list, zip(*map(_sum_up, columns), strict=True))
            self._means.extend(means)
            self._tops.extend(tops)

    def _spill(self) -> None:
        """Bring the rings up to date with the buffer."""
        if self._is_spilled or self.newest_s is None:
            return
        self._is_spilled = True
        width, known = self._stride // _VALUE_BYTES, self.newest_s % BLOCK_S + 1
        low, end = self._open_block * BLOCK_S % WINDOW_S, known * width
        ended = len(self._means) // width if width else 0
        first = self.newest_s // TICK_S - ended
        slot = first % TICKS
        for place, name in self._columns:
            self._rings[name][low : low + known] = self._buffer[place:end:width]
            if ended:
                ticks = self._ticks[name]
                ticks[slot : slot + ended] = self._means[place::width]
                ticks[TICKS + slot : TICKS + slot + ended] = self._tops[place::width]
        for name in self._others:
            self._rings[name][low + self._open_from : low + known] = _NAN * (known - self._open_from)
            for tick in range(first, first + ended):
                self._close(name, tick)

    def _settle(self) -> None:
        """End the use of the buffer."""
        self._spill()
        self._open_block = -1

    def finish(self) -> None:
        """Complete the open tick: nothing more will come."""
        self._settle()
        if self.newest_s is not None:
            self._advance(self.newest_s + TICK_S - self.newest_s % TICK_S)

    def at(self, name: str, second: int) -> float:
        """Return the value of one second; NaN where it is not known."""
        newest_s, ring = self.newest_s, self._rings.get(name)
        if ring is None or newest_s is None or not newest_s - WINDOW_S < second <= newest_s:
            return math.nan
        if second // BLOCK_S == self._open_block:
            self._spill()
        return ring[second % WINDOW_S]

    def drop_silent(self) -> int:
        """Forget the series without a single second; return how many."""
        self._spill()
        silent = [name for name, ring in self._rings.items() if all(value != value for value in ring)]  # noqa: PLR0124 - only NaN differs from itself
        for name in silent:
            self.drop(name)
        return len(silent)

    # --- out ------------------------------------------------------------------------------------------------------
    @property
    def closed(self) -> int:
        """The tick that is still open: those before it are complete."""
        return 0 if self.newest_s is None else self.newest_s // TICK_S

    @property
    def first_tick(self) -> int:
        """The oldest tick that the rings can hold."""
        return max(self.start_s // TICK_S, self.closed - TICKS)

    def seconds(self, name: str) -> Rows:
        """Return a copy of what is known by second; it begins at a whole tick, or where the series began."""
        ring, newest_s = self._rings.get(name), self.newest_s
        if ring is None or newest_s is None:
            return Rows(1, 0, (), ())
        self._spill()
        oldest_s = newest_s - WINDOW_S + 1
        first_s = max(self._since_of(name), oldest_s + -oldest_s % TICK_S)
        slot = (newest_s + 1) % WINDOW_S
        values = (ring[slot:] + ring[:slot])[first_s - oldest_s :]
        return Rows(1, first_s, values, values)

    def ticks(self, name: str) -> Rows:
        """Return a copy of the complete ticks of the last hour."""
        return self.stretch(name, max(self._since_of(name) // TICK_S, self.first_tick))

    def stretch(self, name: str, first: int, end: int | None = None) -> Rows:
        """Return a copy of the complete ticks from `first` (not before `first_tick`) to `end` or the open one."""
        ring, count = self._ticks.get(name), (self.closed if end is None else end) - first
        if ring is None or count <= 0:
            return Rows(TICK_S, first, array("f"), array("f"))
        self._spill()
        low, high = first % TICKS, first % TICKS + count
        means, tops = ring[low : min(high, TICKS)], ring[TICKS + low : TICKS + min(high, TICKS)]
        if high > TICKS:
            means, tops = means + ring[: high - TICKS], tops + ring[TICKS:high]
        return Rows(TICK_S, first, means, tops)

    def _since_of(self, name: str) -> int:
        return max(self.start_s, self._since[name])

    # --- time goes on ---------------------------------------------------------------------------------------------
    def _advance(self, second: int) -> None:
        """Make `second` part of the window; what was skipped becomes a gap."""
        newest_s = self.newest_s
        if newest_s is None or second < newest_s - MAX_LATE_S or second >= newest_s + TICKS * TICK_S:
            self._start_anew(second)
        elif second > newest_s:
            for tick in range(newest_s // TICK_S, second // TICK_S):
                self._clear(newest_s + 1, (tick + 1) * TICK_S)
                for name in self._rings:
                    self._close(name, tick)
                newest_s = (tick + 1) * TICK_S - 1
            self._clear(newest_s + 1, second + 1)
            self.newest_s = second

    def _start_anew(self, second: int) -> None:
        for name in self._rings:
            self._rings[name] = array("f", _EMPTY)
            self._ticks[name] = array("f", _EMPTY_TICKS)
        self._pack = None
        self._since = dict.fromkeys(self._since, second)
        self.newest_s = self.start_s = second

    def _clear(self, from_s: int, to_s: int) -> None:
        for second in range(from_s, to_s):
            slot = second % WINDOW_S
            for ring in self._rings.values():
                ring[slot] = math.nan

    def _close(self, name: str, tick: int) -> None:
        """Work out one tick of a series."""
        low, slot, ticks = tick * TICK_S % WINDOW_S, tick % TICKS, self._ticks[name]
        ticks[slot], ticks[TICKS + slot] = _sum_up(self._rings[name][low : low + TICK_S])


def _sum_up(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the largest of what is known."""
    total = sum(values)
    if total == total:  # noqa: PLR0124 - only NaN differs from itself
        return total / len(values), max(values)
    known = [value for value in values if value == value]  # noqa: PLR0124
    return (sum(known) / len(known), max(known)) if known else (math.nan, math.nan)


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
