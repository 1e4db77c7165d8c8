"""What may be asked of metrics and how it is answered. Pure."""

import math
from collections.abc import Iterable
from typing import Literal

import msgspec

from ops_system.master.metrics.charts import Point
from ops_system.master.metrics.windows import WINDOW_S
from ops_system.model.errors import Invalid

MAX_POINTS = 500_000  # of one answer
_MAX_ROWS = 15_000  # of one series, over all tiers
_MAX_STEP_S = 86_400
_YEAR_3000_S = 32_503_680_000
_STEPS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 43_200, _MAX_STEP_S)


class MetricsQuery(msgspec.Struct, frozen=True):
    """`?series=a,b&from=&to=&step_s=&agg=`; times are Unix seconds. `series` may end in `*`; empty: the fixed series.

    `agg` says what stands second in a point: the mean of its bucket, or the largest value. A smallest is not kept.
    """

    series: str = ""
    from_s: float | None = msgspec.field(default=None, name="from")
    to_s: float | None = msgspec.field(default=None, name="to")
    step_s: int | None = None
    agg: Literal["avg", "max"] = "avg"


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
    step_s = query.step_s if query.step_s is not None else _step_for(to_s - from_s + 1)
    if not 1 <= step_s <= _MAX_STEP_S:
        message = f"step_s: must be from 1 to {_MAX_STEP_S}"
        raise Invalid(message, problems=[message])
    return Span(from_s, to_s, step_s)


def _step_for(length_s: int) -> int:
    """Return the round step that makes at most 900 points of a span, or the longest there is."""
    return next((step_s for step_s in _STEPS_S if length_s <= step_s * WINDOW_S), _MAX_STEP_S)


def check_size(span: Span, series: int) -> None:
    """Raise `Invalid` for an answer that would be too large."""
    points = series * min(_MAX_ROWS, (span.last_s - span.first_s) // span.step_s + 1)
    if points > MAX_POINTS:
        message = f"series: {series} of them make up to {points} points, more than {MAX_POINTS}"
        raise Invalid(f"{message}; ask for fewer, a shorter span or a larger step_s", problems=[message])


def choose_series(wanted: str, fixed: Iterable[str], existing: Iterable[str]) -> list[str]:
    """Return the names asked for: the fixed ones, which may have no points yet, then those that exist; no others."""
    known = list(dict.fromkeys([*fixed, *existing]))
    patterns = [word.strip() for word in wanted.split(",") if word.strip()] or list(fixed)
    exact = {word for word in patterns if not word.endswith("*")}
    prefixes = tuple(word[:-1] for word in patterns if word.endswith("*"))
    return [name for name in known if name in exact or name.startswith(prefixes)]


def has_all(wanted: str, names: Iterable[str]) -> bool:
    """Whether every name that is spelled out in `wanted` is among `names`."""
    return {word.strip() for word in wanted.split(",") if word.strip() and "*" not in word} <= set(names)


def _whole(name: str, value: float) -> int:
    if not math.isfinite(value) or not 0 <= value <= _YEAR_3000_S:
        message = f"{name}: {value} is no Unix time in seconds"
        raise Invalid(message, problems=[message])
    return math.floor(value)
