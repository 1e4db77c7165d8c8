"""What a rule would have done on the history of one series, or on what a timeline tells: pure. Used by `trials`."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from ops_system.master.alerts.conditions import judge_value, judge_window
from ops_system.master.alerts.rules import FLAP_HOLD_S, Reading, Timing, Track, step
from ops_system.model.alerts import AlertState, Condition, Grouping, NewRule, Period

FINE_S, MIDDLE_S = 900, 6 * 3600  # how far back a second, and ten seconds, are kept
GRID_S = 60  # between two looks at a state that does not change
MAX_GAP_S = 30.0  # a longer one counts as no data

Point = tuple[int, float, float]
"""(Unix second where the bucket begins, mean, largest)."""


def step_of(from_s: float, now_s: float) -> int:
    """Return the finest step that the history still has at `from_s`."""
    age_s = now_s - from_s
    if age_s <= FINE_S:
        return 1
    return 10 if age_s <= MIDDLE_S else 60


def values_of(points: Iterable[Point], condition: Condition) -> dict[int, float]:
    """Return the value of each bucket that a rule judges: the largest where it looks upwards, else the mean."""
    place = 2 if condition.op in {">", ">="} and not condition.window_s else 1
    return {point[0]: point[place] for point in points}


def run_through(rule: NewRule, values: Mapping[int, float], from_s: int, to_s: int, step_s: int) -> list[Period]:
    """Return the spans in which the rule would have been pending, firing, or without data."""
    timing = Timing(rule.for_s, rule.keep_firing_for_s, rule.no_data)
    track, periods, known_s = Track(), list[Period](), float(from_s)
    window: deque[float | None] = deque(maxlen=max(1, rule.condition.window_s // step_s))
    first_s = from_s - from_s % step_s
    for at_s in range(first_s - rule.condition.window_s, to_s + 1, step_s):
        value = values.get(at_s)
        window.append(value)
        if at_s < first_s:
            continue
        known_s = at_s if value is not None else known_s
        reading = _read(rule.condition, value, window, gap_s=at_s - known_s)
        after = step(track, reading, at_s, timing)
        if after.state is not track.state:
            _turn(periods, after.state, at_s)
        track = after
    if track.state is not None:
        _turn(periods, None, to_s)
    return periods


Readings = list[tuple[float, Reading]]
"""From when on (Unix seconds) a subject read so, oldest first."""


def run_states(rule: NewRule, readings: Readings, from_s: int, to_s: int) -> list[Period]:
    """Return the spans like `run_through` for what changes at known moments; before the first it is not known."""
    timing = Timing(rule.for_s, rule.keep_firing_for_s, rule.no_data)
    waits = (0.0, timing.for_s, timing.keep_firing_for_s, FLAP_HOLD_S)
    changes = [at_s for at_s, _ in readings]
    moments = {at_s + wait for at_s in [*changes, float(from_s)] for wait in waits}
    moments |= {float(at_s) for at_s in range(from_s, to_s + 1, GRID_S)}
    track, periods = Track(), list[Period]()
    for at_s in sorted(moment for moment in moments if from_s <= moment <= to_s):
        place = bisect_right(changes, at_s)
        after = step(track, readings[place - 1][1] if place else Reading.UNKNOWN, at_s, timing)
        if after.state is not track.state:
            _turn(periods, after.state, at_s)
        track = after
    if track.state is not None:
        _turn(periods, None, to_s)
    return periods


def readings_of(words: Iterable[tuple[float, str]], bad: Sequence[str]) -> Readings:
    """Return what states say to a rule that fires in those that are `bad`; one that is not known keeps all as it is."""
    return [
        (at_s, Reading.UNKNOWN if word == "unknown" else Reading.BREACH if word in bad else Reading.CLEAR)
        for at_s, word in words
    ]


def gaps_of(
    known_s: Iterable[int], heard: Sequence[tuple[float, str]], window_s: float, from_s: int, to_s: int
) -> Readings:
    """Return what the moments samples came at say to a rule on their absence; only an online node can be missed."""
    found: Readings = []
    last_s = float(from_s)
    for at_s in [*sorted(known_s), to_s]:
        if at_s - last_s > window_s:
            found += [(last_s + window_s, Reading.BREACH)]
        found += [(float(at_s), Reading.CLEAR)] if at_s < to_s else []
        last_s = max(last_s, float(at_s))
    edges = sorted({*(at_s for at_s, _ in found), *(at_s for at_s, _ in heard)})
    moments, statuses = [at_s for at_s, _ in found], [at_s for at_s, _ in heard]
    merged: Readings = []
    for edge_s in edges:
        place, status = bisect_right(moments, edge_s), bisect_right(statuses, edge_s)
        reading = found[place - 1][1] if place else Reading.UNKNOWN
        is_online = status > 0 and heard[status - 1][1] == "online"
        merged.append((edge_s, reading if reading is Reading.CLEAR or is_online else Reading.UNKNOWN))
    return merged


def _read(condition: Condition, value: float | None, window: Sequence[float | None], gap_s: float) -> Reading:
    if value is None:
        return Reading.NO_DATA if gap_s > MAX_GAP_S else Reading.UNKNOWN
    if condition.window_s:
        return judge_window(condition, list(window))[0]
    return judge_value(condition, value)


def _turn(periods: list[Period], state: AlertState | None, at_s: float) -> None:
    """End the span that is open, and begin one in this state."""
    if periods and periods[-1].to_s < periods[-1].from_s:
        periods[-1] = Period(periods[-1].state, periods[-1].from_s, at_s)
    if state is not None:
        periods.append(Period(state, at_s, -1.0))


def firings_of(periods: Sequence[Period]) -> list[tuple[float, float]]:
    """Return the spans in which it would have fired, with or without data: (from, to)."""
    spans: list[tuple[float, float]] = []
    for period in periods:
        if period.state is AlertState.PENDING:
            continue
        if spans and spans[-1][1] == period.from_s:
            spans[-1] = (spans[-1][0], period.to_s)
        else:
            spans.append((period.from_s, period.to_s))
    return spans


def count_notices(spans: Iterable[tuple[float, float]], grouping: Grouping, to_s: float) -> int:
    """Return how many messages one group would have been told in: beginnings, ends, reminders."""
    found = list(spans)
    moments = sorted([begin for begin, _ in found] + [end for _, end in found if end < to_s])
    told: list[float] = []
    for moment in moments:
        if told and moment <= told[-1]:
            continue  # it was told with the others
        told.append(moment + grouping.wait_s if not told else max(moment, told[-1] + grouping.interval_s))
    if not grouping.repeat_s:
        return len(told)
    reminders = 0
    for before, after in pairwise([*told, to_s]):
        fires = any(begin <= before and end >= after for begin, end in found)
        reminders += int((after - before) // grouping.repeat_s) if fires else 0
    return len(told) + reminders
