"""Days of metrics on disk as a master leaves them, written by the product's own writer; for charts of hours and days."""

import math
import random
from array import array
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from ops_system.master.metrics.store import SegmentStore
from ops_system.master.metrics.tiers import FINE, Batch, Group, group_names

DAY_S = 86_400
Shape = Callable[[str, int], float]
"""(series, Unix second) -> its mean over ten seconds; NaN: not known."""


def machine(series: str, at_s: int) -> float:
    """Return what a machine with busy days and quiet nights shows."""
    day = 0.5 - 0.5 * math.cos(2 * math.pi * (at_s % DAY_S) / DAY_S)
    wave = 15 + 55 * day + random.gauss(0, 3)
    if series.endswith("percent"):
        return max(0.0, min(100.0, wave))
    return max(0.0, wave * (40_000 if "bytes" in series else 0.05))


def write_history(
    root: Path, subject: str, names: Sequence[str], span_s: tuple[int, int], shape: Shape = machine
) -> int:
    """Write ten-second rows of `subject` below `root` (the folder `metrics`), and what is made of them.

    `span_s` is from where to where, in Unix seconds. Returns the bytes written.
    """
    store, groups = SegmentStore(root), group_names(names)
    first_s, end_s = (at_s - at_s % FINE.step_s for at_s in span_s)
    for start_s in range(first_s - first_s % FINE.segment_s, end_s, FINE.segment_s):
        times = range(max(first_s, start_s), min(end_s, start_s + FINE.segment_s), FINE.step_s)
        packed = [Group(number, some, _columns(some, times, shape)) for number, some in enumerate(groups)]
        store.append(subject, Batch(times.start // FINE.step_s, packed))
        store.roll_up(1)
    return sum(path.stat().st_size for path in root.rglob("*.seg"))


def without(shape: Shape, gaps: Collection[range]) -> Shape:
    """Return the shape with nothing known in these seconds."""
    return lambda series, at_s: math.nan if any(at_s in gap for gap in gaps) else shape(series, at_s)


def _columns(names: Sequence[str], times: range, shape: Shape) -> "array[float]":
    columns = array("f")
    for name in names:
        means = [shape(name, at_s) for at_s in times]
        columns.extend(means)
        columns.extend(mean * 1.2 for mean in means)
    return columns
