"""The tiers of history: what goes into a segment, what comes out of its blocks, minutes from ten seconds. Pure."""

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ops_system.master.metrics.segments import Block
from ops_system.master.metrics.windows import Rings, Rows
from ops_system.model.metrics import INSTANCE_SERIES, NODE_SERIES

FIXED = tuple(dict.fromkeys((*NODE_SERIES, *INSTANCE_SERIES)))
GROUP = 32  # extra series that are packed together: a chart unpacks only the groups it draws
_NAN = array("f", [math.nan])


class Tier(NamedTuple):
    """One resolution: rows of `step_s`, files of `segment_s`, of which the newest `keep` stay."""

    name: str
    step_s: int
    segment_s: int
    keep: int

    def segment_of(self, tick: int) -> int:
        """Return the Unix second where the segment of a row begins."""
        at_s = tick * self.step_s
        return at_s - at_s % self.segment_s


FINE = Tier("10s", 10, 2 * 3600, 4)
"""Six hours at least."""

COARSE = Tier("1m", 60, 24 * 3600, 8)
"""Seven days at least."""

WIDE = Tier("15m", 900, 7 * 24 * 3600, 3)
"""Two weeks at least; so that a chart of days reads hundreds of rows and not ten thousand."""

TIERS = (FINE, COARSE, WIDE)


class Group(NamedTuple):
    """Series that are written together: for each its means, then its largest values."""

    number: int
    names: tuple[str, ...]
    columns: "array[float]"


class Batch(NamedTuple):
    """Rows from tick `first` on, equally many in every group."""

    first: int
    groups: Sequence[Group]


def group_names(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the names by group: the fixed ones first, the others by name."""
    known = set(names)
    first = tuple(name for name in FIXED if name in known)
    rest = sorted(known.difference(FIXED))
    return [first] * bool(first) + [tuple(rest[at : at + GROUP]) for at in range(0, len(rest), GROUP)]


def cut_batches(rings: Rings, groups: Sequence[tuple[str, ...]], first: int) -> list[Batch]:
    """Return the complete ticks from `first` on, cut where segments end."""
    batches: list[Batch] = []
    while first < rings.closed:
        start_s = FINE.segment_of(first)
        end = min(rings.closed, (start_s + FINE.segment_s) // FINE.step_s)
        batches.append(Batch(first, [_pack(rings, number, names, first, end) for number, names in enumerate(groups)]))
        first = end
    return batches


def _pack(rings: Rings, number: int, names: tuple[str, ...], first: int, end: int) -> Group:
    columns = array("f")
    for name in names:
        rows = rings.stretch(name, first, end)
        columns.extend(rows.means)
        columns.extend(rows.tops)
    return Group(number, names, columns)


def read_rows(blocks: Iterable[Block], names: Iterable[str], step_s: int, first: int, end: int) -> dict[str, Rows]:
    """Return ticks `[first, end)` of the named series that the blocks hold; a later block wins. Raises `Damaged`."""
    wanted = set(names)
    empty = _NAN * max(0, end - first)
    means: dict[str, array[float]] = {}
    tops: dict[str, array[float]] = {}
    for block in blocks:
        low, high = max(first, block.first), min(end, block.first + block.rows)
        here = wanted.intersection(block.names) if low < high else ()
        values = block.values() if here else empty
        for place, name in enumerate(block.names):
            if name in here:
                at, count = 2 * place * block.rows + low - block.first, high - low
                means.setdefault(name, empty[:])[low - first : high - first] = values[at : at + count]
                at += block.rows
                tops.setdefault(name, empty[:])[low - first : high - first] = values[at : at + count]
    return {name: Rows(step_s, first, means[name], tops[name]) for name in means}


def names_of(blocks: Iterable[Block]) -> list[str]:
    """Return the series that the blocks hold, in their order."""
    return list(dict.fromkeys(name for names in dict.fromkeys(block.names for block in blocks) for name in names))


def roll_up(blocks: Sequence[Block], start_s: int) -> list[tuple[Tier, Batch]]:
    """Return the coarser rows of a ten-second segment, none of one that holds nothing. Raises `Damaged`."""
    first, end = start_s // FINE.step_s, (start_s + FINE.segment_s) // FINE.step_s
    rows = read_rows(blocks, names_of(blocks), FINE.step_s, first, end)
    return [(tier, _coarsen(rows, start_s, tier)) for tier in (COARSE, WIDE)] if rows else []


def _coarsen(rows: Mapping[str, Rows], start_s: int, tier: Tier) -> Batch:
    each = tier.step_s // FINE.step_s
    packed: list[Group] = []
    for number, names in enumerate(group_names(rows)):
        columns = array("f")
        for name in names:
            means, tops = _fold(rows[name], each)
            columns.extend(means)
            columns.extend(tops)
        packed.append(Group(number, names, columns))
    return Batch(start_s // tier.step_s, packed)


def _fold(rows: Rows, each: int) -> tuple[list[float], list[float]]:
    """Return the mean and the largest of each so many rows, of those that are known."""
    means = [total / each for total in map(sum, zip(*[iter(rows.means)] * each, strict=True))]
    tops = list(map(max, zip(*[iter(rows.tops)] * each, strict=True)))
    for place, mean in enumerate(means):
        if mean != mean:  # noqa: PLR0124 - only NaN differs from itself
            part = rows.part(place * each, (place + 1) * each)
            known = [one for one in part.means if one == one]  # noqa: PLR0124
            means[place] = sum(known) / len(known) if known else math.nan
            tops[place] = max((one for one in part.tops if one == one), default=math.nan)  # noqa: PLR0124
    return means, tops
