"""From stretches of a series, coarse and old ones first, to the points of a chart. Pure."""

import math
from collections.abc import Iterable

from ops_system.master.metrics.windows import Rows

Point = tuple[int, float, float]
"""(Unix second where the bucket begins, mean, largest)."""

_Bucket = tuple[int, float, float, float]  # begin, weight in seconds, sum of mean times weight, largest


def draw(stretches: Iterable[Rows], step_s: int, *, is_top: bool = False) -> list[Point]:
    """Return the buckets of `step_s` seconds (aligned to its multiples) that hold a value, oldest first.

    Stretches do not overlap and are in order. Where rows are wider than `step_s` each is a point of its own.
    `is_top`: the largest value stands in the place of the mean too.
    """
    points: list[Point] = []
    rest: list[_Bucket] = []
    for rows in stretches:
        if rows.step_s == step_s and rows.means is rows.tops:
            points += _points(rest)
            points += _plain(rows)
            rest = []
        else:
            rest += _buckets(rows, step_s)
    points += _points(rest)
    return [(at_s, top, top) for at_s, _, top in points] if is_top else points


def _plain(rows: Rows) -> list[Point]:
    """Seconds as they are: the mean is the largest."""
    first = rows.first
    known = [(first + place, _short(one)) for place, one in enumerate(rows.means) if one == one]  # noqa: PLR0124 - only NaN differs from itself
    return [(at_s, value, value) for at_s, value in known]


def _buckets(rows: Rows, step_s: int) -> list[_Bucket]:
    width, count = rows.step_s, len(rows.means)
    found: list[_Bucket] = []
    low = 0
    while low < count:
        at_s = (rows.first + low) * width
        start_s = at_s - at_s % step_s
        high = low + max(1, -((at_s - start_s - step_s) // width))
        means, tops = rows.means[low:high], rows.tops[low:high]
        total, top = sum(means), max(tops)
        if total != total:  # noqa: PLR0124
            means = [one for one in means if one == one]  # noqa: PLR0124
            total, top = sum(means), max((one for one in tops if one == one), default=math.nan)  # noqa: PLR0124
        if means:
            found.append((start_s, len(means) * width, total * width, top))
        low = high
    return found


def _points(buckets: list[_Bucket]) -> list[Point]:
    return [(start_s, _short(total / weight), _short(top)) for start_s, weight, total, top in _join(buckets)]


def _join(buckets: list[_Bucket]) -> list[_Bucket]:
    """Make one of the two halves of a bucket that lies across a seam."""
    joined: list[_Bucket] = []
    for bucket in buckets:
        if joined and joined[-1][0] == bucket[0]:
            start_s, weight, total, top = joined[-1]
            bucket = (start_s, weight + bucket[1], total + bucket[2], max(top, bucket[3]))  # noqa: PLW2901
            joined.pop()
        joined.append(bucket)
    return joined


def _short(value: float) -> float:
    """Keep what a float32 knows, about seven digits: `12.3` instead of `12.300000190734863`."""
    return float(f"{value:.7g}")


def short_values(values: Iterable[float], count: int) -> list[float | None]:
    """Return the first `count` values for JSON: rounded, None where unknown or missing."""
    known = [_short(value) if math.isfinite(value) else None for value in values][:count]
    return known + [None] * (count - len(known))
