"""Metric gates of a rollout: what an upgraded instance may use while it is watched. Pure.

A gate looks at the mean of the last `window_s` seconds of one live series of an instance that runs the new version. It
is judged from `window_s` after the watch began, once a second. What cannot be seen by the end of the watch does not
pass: a gate without data holds.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ops_system.model.metrics import INSTANCE_SERIES
from ops_system.model.reasons import Reason

MAX_GATES = 10
MAX_WINDOW_S = 900  # what memory holds of every second
BASELINE_S = 60
MAX_LEVEL = 1e15
MAX_GROWTH = 1000.0


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One limit; one of `above`, `below` (the series' unit) or `growth` is given.

    `growth`: times the mean of the last minute before this instance was touched; 1.5 is half as much again.
    """

    series: str
    above: float | None = None
    below: float | None = None
    growth: float | None = None
    window_s: int = 10


def find_gate_problems(gates: Sequence[Gate], bake_s: float) -> Iterable[str]:
    """Yield every fault, with its path."""
    if len(gates) > MAX_GATES:
        yield f"$.strategy.gates: at most {MAX_GATES} gates"
    for number, gate in enumerate(gates[:MAX_GATES]):
        yield from _problems_of(f"$.strategy.gates[{number}]", gate, bake_s)


def _problems_of(path: str, gate: Gate, bake_s: float) -> Iterable[str]:
    if gate.series not in INSTANCE_SERIES:
        near = difflib.get_close_matches(gate.series, INSTANCE_SERIES, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(INSTANCE_SERIES)}"
        yield f"{path}.series: an instance has no series {gate.series[:64]!r}{hint}"
    limits = {"above": gate.above, "below": gate.below, "growth": gate.growth}
    given = [name for name, value in limits.items() if value is not None]
    if len(given) != 1:
        yield f"{path}: give one of above, below, growth"
    for name in given:
        high = MAX_GROWTH if name == "growth" else MAX_LEVEL
        if not 0 <= (limits[name] or 0.0) <= high:
            yield f"{path}.{name}: must be from 0 to {high:g}"
    if not 1 <= gate.window_s <= MAX_WINDOW_S:
        yield f"{path}.window_s: must be from 1 to {MAX_WINDOW_S}"
    elif gate.window_s > bake_s:
        yield f"{path}.window_s: {gate.window_s} s are longer than the watch of {bake_s:g} s (bake_s)"


def mean_of(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def limit_of(gate: Gate, baseline: Mapping[str, float]) -> float | None:
    """Return the level that must not be crossed; None where `growth` has nothing to grow from."""
    if gate.growth is None:
        return gate.below if gate.above is None else gate.above
    return baseline.get(gate.series, 0.0) * gate.growth or None


def judge(
    gate: Gate, values: Sequence[float | None], baseline: Mapping[str, float], *, is_last: bool = False
) -> Reason | None:
    """Return why this gate does not let an instance pass; None while it does.

    `values`: its last `window_s` seconds on the new version. `is_last`: the watch ends with this look.
    """
    now, limit = mean_of(values), limit_of(gate, baseline)
    if now is None or limit is None:
        return _unseen(gate, now) if is_last else None
    is_crossed = now < limit if gate.below is not None else now > limit
    return _crossed(gate, now, limit) if is_crossed else None


def _crossed(gate: Gate, now: float, limit: float) -> Reason:
    was = f"{gate.series} was {now:.6g} on average over {gate.window_s} s"
    seen: dict[str, str | int | float] = {
        "series": gate.series,
        "value": f"{now:.6g}",
        "limit": f"{limit:.6g}",
        "window_s": gate.window_s,
    }
    if gate.below is not None:
        return Reason("gate_below", f"{was}, below the gate of {limit:.6g}", seen)
    return Reason("gate_above", f"{was}, above the gate of {limit:.6g}", seen)


def _unseen(gate: Gate, now: float | None) -> Reason:
    if now is None:
        text = f"no value of {gate.series} came while it was watched: its gate has nothing to judge"
        return Reason("gate_without_data", text, {"series": gate.series})
    text = f"{gate.series} was unknown or 0 before the rollout: growth has nothing to grow from; give the gate `above`"
    return Reason("gate_without_baseline", text, {"series": gate.series})
