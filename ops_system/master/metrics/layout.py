"""Which tier answers for which time: the stretches of each series of one question, old and coarse ones first. Pure.

    |-- minutes (files) --|-- ten seconds (files) --|-- ten seconds (memory) --|-- seconds (memory) --|

Memory wins over files, where it begins. For steps of a minute and more only those ten-second files speak that have no
minutes yet; for finer steps all of them, and minutes only where there is none. Steps of whole quarters of an hour have
a tier of their own in the place of minutes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ops_system.master.metrics.charts import Point, draw
from ops_system.master.metrics.rules import Span, check_size, choose_series
from ops_system.master.metrics.segments import Block
from ops_system.master.metrics.tiers import COARSE, FINE, Tier, names_of, read_rows
from ops_system.master.metrics.windows import TICK_S, Rings, Rows

Files = Sequence[tuple[int, Sequence[Block]]]
"""Segments of one tier by where they begin, oldest first."""


class Memory(NamedTuple):
    """What memory holds of one series."""

    ticks: Rows
    seconds: Rows

    @property
    def start_s(self) -> float:
        """Where memory begins to answer."""
        if not self.seconds.means:
            return math.inf
        return min(self.seconds.first, self.ticks.first * TICK_S if self.ticks.means else math.inf)

    def stretches(self) -> list[Rows]:
        """Return ten-second rows up to the first second that is known, then the seconds."""
        first_s = self.seconds.first
        return [self.ticks.clip(-math.inf, first_s - first_s % TICK_S), self.seconds] if self.seconds.means else []


class Asked(NamedTuple):
    """A question about one subject."""

    span: Span
    wanted: str
    fixed: Sequence[str]
    is_top: bool


def remember(rings: Rings, names: Iterable[str]) -> dict[str, Memory]:
    """Return a copy of what memory holds of these series."""
    return {name: Memory(rings.ticks(name), rings.seconds(name)) for name in names if name in rings}


def reaches_back(memory: Mapping[str, Memory], names: Iterable[str], from_s: int) -> bool:
    """Whether memory alone answers for these series from `from_s` on."""
    return all(name in memory and memory[name].start_s <= from_s for name in names)


class Answer(NamedTuple):
    """Points by series, and the series that the files of the span hold."""

    series: dict[str, list[Point]]
    in_files: list[str]


def answer(
    asked: Asked, memory: Mapping[str, Memory], fine: Files = (), coarse: Files = (), tier: Tier = COARSE
) -> Answer:
    """Return the points of every series asked for; `tier` is that of `coarse`. Raises `Invalid` for too many."""
    span = asked.span
    in_files = names_of(block for _, blocks in (*coarse, *fine) for block in blocks)
    names = choose_series(asked.wanted, asked.fixed, [*memory, *in_files])
    check_size(span, len(names))
    fine_rows = [read_segment(FINE, start_s, blocks, names, span) for start_s, blocks in fine]
    coarse_rows = [read_segment(tier, start_s, blocks, names, span) for start_s, blocks in coarse]
    gaps = gaps_between(start_s for start_s, _ in fine)
    series: dict[str, list[Point]] = {}
    for name in names:
        files = [rows[name] for rows in fine_rows if name in rows]
        files += [rows[name].clip(*gap) for rows in coarse_rows if name in rows for gap in gaps]
        series[name] = draw(_lay_out(span, memory.get(name), files), span.step_s, is_top=asked.is_top)
    return Answer(series, in_files)


def read_segment(
    tier: Tier, start_s: int, blocks: Sequence[Block], names: Iterable[str], span: Span
) -> dict[str, Rows]:
    """Return what one file holds of a span, by series."""
    low_s = max(start_s, span.first_s - span.first_s % tier.step_s)
    high_s = min(start_s + tier.segment_s, span.last_s + 1)
    return read_rows(blocks, names, tier.step_s, -(-low_s // tier.step_s), -(-high_s // tier.step_s))


def gaps_between(starts: Iterable[int]) -> list[tuple[float, float]]:
    """Return the times that no ten-second file covers."""
    gaps: list[tuple[float, float]] = []
    low: float = -math.inf
    for start_s in sorted(set(starts)):
        gaps.append((low, start_s))
        low = start_s + FINE.segment_s
    return [*(gap for gap in gaps if gap[0] < gap[1]), (low, math.inf)]


def _lay_out(span: Span, memory: Memory | None, files: Iterable[Rows]) -> list[Rows]:
    seam_s = memory.start_s if memory is not None else math.inf
    seam_s -= seam_s % TICK_S if seam_s < math.inf else 0
    old = sorted((rows.clip(-math.inf, seam_s) for rows in files), key=lambda rows: rows.first * rows.step_s)
    new = memory.stretches() if memory is not None else []
    return [rows for rows in (_within(span, one) for one in (*old, *new)) if rows.means]


def _within(span: Span, rows: Rows) -> Rows:
    """Leave the rows of a span; of those wider than the step also the one that `from` falls into."""
    first_s = span.first_s - span.first_s % rows.step_s if rows.step_s > span.step_s else span.first_s
    return rows.clip(first_s, span.last_s + 1)
