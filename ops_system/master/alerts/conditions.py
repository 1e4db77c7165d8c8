"""What a condition makes of values: pure, called up to some ten thousand times a second."""

import operator
from collections.abc import Callable, Mapping, Sequence

from ops_system.master.alerts.rules import Reading
from ops_system.model.alerts import Condition, Operator

COMPARE: Mapping[Operator, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def judge_value(condition: Condition, value: float) -> Reading:
    """Return what one value says; between the levels is what neither breaches the one nor has reached the other."""
    fire, clear = condition.fire_level, condition.clear_level
    assert fire is not None
    if COMPARE[condition.op](value, fire):
        return Reading.BREACH
    return Reading.CLEAR if clear is None or _is_clear(condition, value, clear) else Reading.BETWEEN


def judge_window(condition: Condition, samples: Sequence[float | None]) -> tuple[Reading, float | None]:
    """Return what a window says, and the number that decided: mean, least bad sample, or share in percent.

    Without a sample in its older half nothing is known yet.
    """
    known = [sample for sample in samples if sample is not None]
    if not known:
        return Reading.NO_DATA, None
    if all(sample is None for sample in samples[: (len(samples) + 1) // 2]):
        return Reading.UNKNOWN, None
    if condition.mode == "share":
        return _judge_share(condition, known)
    is_upward = condition.op in {">", ">="}
    value = sum(known) / len(known) if condition.mode == "mean" else (min(known) if is_upward else max(known))
    return judge_value(condition, value), value


def _judge_share(condition: Condition, known: Sequence[float]) -> tuple[Reading, float]:
    readings = [judge_value(condition, value) for value in known]
    share = 100 * readings.count(Reading.BREACH) / len(known)
    if share >= condition.share_percent:
        return Reading.BREACH, share
    kept = 100 * (len(known) - readings.count(Reading.CLEAR)) / len(known)
    return (Reading.BETWEEN if kept >= condition.share_percent else Reading.CLEAR), share


def _is_clear(condition: Condition, value: float, clear: float) -> bool:
    return value <= clear if condition.op in {">", ">="} else value >= clear
