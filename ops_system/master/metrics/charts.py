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
        elif rows.step_s == step_s and (last := len(rows.means) - 1) > 0:  # its ends may share a bucket with others
            points += _points(rest + _buckets(rows.part(0, 1), step_s))
            points += _as_they_are(rows.part(1, last))
            rest = _buckets(rows.part(last, last + 1), step_s)
        else:
            rest += _buckets(rows, step_s)
    points += _points(rest)
    return [(at_s, top, top) for at_s, _, top in points] if is_top else points


def _plain(rows: Rows) -> list[Point]:
    """Seconds as they are: the mean is the largest."""
    first = rows.first
    known = [(first + place, one) for place, one in enumerate(rows.means) if one == one]  # noqa: PLR0124 - only NaN differs from itself
    values = _round([one for _, one in known])
    return [(at_s, value, value) for (at_s, _), value in zip(known, values, strict=True)]


def _as_they_are(rows: Rows) -> list[Point]:
    """Rows that are a point each."""
    count, begin_s = len(rows.means), rows.first * rows.step_s
    values = _round([*rows.means, *rows.tops])
    points = list(zip(range(begin_s, begin_s + count * rows.step_s, rows.step_s), values, values[count:], strict=False))
    if (total := sum(values)) == total:  # no NaN is among them
        return points
    return [point for point in points if point[1] == point[1]]


def _buckets(rows: Rows, step_s: int) -> list[_Bucket]:
    """Return what each bucket knows; those that begin and end with a row at once, the others one by one."""
    each, rest = divmod(step_s, rows.step_s)
    count = len(rows.means)
    if each == 1 and not rest:
        return [
            ((rows.first + place) * step_s, step_s, mean * step_s, top)
            for place, (mean, top) in enumerate(zip(rows.means, rows.tops, strict=True))
            if mean == mean  # noqa: PLR0124
        ]
    if rest or count < 2 * each:
        return _buckets_by_row(rows, step_s)
    lead = -rows.first % each
    end = count - (count - lead) % each
    return [
        *_buckets_by_row(rows.part(0, lead), step_s),
        *_whole_buckets(rows.part(lead, end), each),
        *_buckets_by_row(rows.part(end, count), step_s),
    ]


def _whole_buckets(rows: Rows, each: int) -> list[_Bucket]:
    step_s = each * rows.step_s
    means, tops = iter(rows.means), iter(rows.tops)
    totals = map(sum, zip(*[means] * each, strict=True))
    largest = map(max, zip(*[tops] * each, strict=True))
    start_s = rows.first * rows.step_s
    found: list[_Bucket] = []
    for place, (total, top) in enumerate(zip(totals, largest, strict=True)):
        if total == total:  # noqa: PLR0124
            found.append((start_s + place * step_s, step_s, total * rows.step_s, top))
        else:
            found += _buckets_by_row(rows.part(place * each, (place + 1) * each), step_s)
    return found


def _buckets_by_row(rows: Rows, step_s: int) -> list[_Bucket]:
    width, count = rows.step_s, len(rows.means)
    found: list[_Bucket] = []
    low = 0
    while low < count:
        at_s = (rows.first + low) * width
        start_s = at_s - at_s % step_s
        high = low + max(1, -((at_s - start_s - step_s) // width))
        means = [one for one in rows.means[low:high] if one == one]  # noqa: PLR0124
        if means:
            top = max(one for one in rows.tops[low:high] if one == one)  # noqa: PLR0124
            found.append((start_s, len(means) * width, sum(means) * width, top))
        low = high
    return found


def _points(buckets: list[_Bucket]) -> list[Point]:
    joined = _join(buckets)
    means = _round([total / weight for _, weight, total, _ in joined])
    tops = _round([top for _, _, _, top in joined])
    return [(bucket[0], mean, top) for bucket, mean, top in zip(joined, means, tops, strict=True)]


def _join(buckets: list[_Bucket]) -> list[_Bucket]:
    """Make one of the two halves of a bucket that lies across a seam."""
    joined: list[_Bucket] = []
    last_s = -1
    for bucket in buckets:
        if bucket[0] == last_s:
            start_s, weight, total, top = joined.pop()
            bucket = (start_s, weight + bucket[1], total + bucket[2], max(top, bucket[3]))  # noqa: PLW2901
        joined.append(bucket)
        last_s = bucket[0]
    return joined


def _round(values: list[float]) -> list[float]:
    """Keep what a float32 knows, about seven digits: `12.3` instead of `12.300000190734863`. All at once: quicker."""
    return [float(word) for word in (("%.7g " * len(values)) % tuple(values)).split()]


def short_values(values: Iterable[float], count: int) -> list[float | None]:
    """Return the first `count` values for JSON: rounded, None where unknown or missing."""
    known = [float(f"{value:.7g}") if math.isfinite(value) else None for value in values][:count]
    return known + [None] * (count - len(known))
