"""Tries a rule on stored history and timelines before it is kept: bounded, and given up when nobody waits any more."""

import asyncio
import math
from collections.abc import Callable, Collection
from typing import Protocol

from ops_system.master.alerts.backtest import (
    Point,
    count_notices,
    firings_of,
    gaps_of,
    readings_of,
    run_states,
    run_through,
    step_of,
    values_of,
)
from ops_system.master.alerts.checks import METRIC_KINDS
from ops_system.master.alerts.fleet import Fleet
from ops_system.master.alerts.past import Past
from ops_system.master.alerts.rulebook import Rulebook
from ops_system.master.alerts.watch import Watch
from ops_system.master.web.route import Principal
from ops_system.model.alerts import Backtest, BacktestOrder, BacktestSubject, ConditionKind, NewRule, Period
from ops_system.model.errors import Invalid, Unavailable
from ops_system.runtime.clock import Clock

MAX_SPAN_S = 7 * 86_400
MAX_SUBJECTS = 1000
MAX_WORK = 3_000_000  # samples judged, each as often as it stands in a window
MAX_SHOWN = 200  # subjects with something to show
MAX_POINTS_SHOWN = 20_000  # in all
ANY_SERIES = "cpu_percent"  # every worker sends it with each sample
UNTRIED = {
    ConditionKind.LOG: "lines stay on the nodes; search the log instead",
    ConditionKind.CERTIFICATE: "the past of certificates is not stored",
    ConditionKind.IDC_STATUS: "when data centres were heard is not stored",
    ConditionKind.INSTANCE_RESTARTS: "which restarts still counted when is not stored",
}


class History(Protocol):
    """What a trial needs of the metrics."""

    async def history(self, subject: str, series: str, from_s: float, to_s: float, step_s: int) -> list[Point]:
        """Return the points of one series, oldest first, gaps absent."""
        ...


class Trials:
    """One trial at a time; the next waits."""

    def __init__(
        self,
        *,
        rulebook: Rulebook,
        fleet: Fleet,
        watch: Watch,
        history: History,
        past: Past,
        clock: Clock,
        reached: Callable[[Principal], Collection[str] | None],
    ) -> None:
        self._rulebook = rulebook
        self._fleet = fleet
        self._watch = watch
        self._history = history
        self._past = past
        self._clock = clock
        self._reached = reached
        self._turn = asyncio.Lock()

    async def run(self, order: BacktestOrder, actor: Principal, is_gone: Callable[[], bool]) -> Backtest:
        """Return what the rule would have done. Raises `Invalid`: the rule, the span, or more than can be tried."""
        await self._rulebook.check(order.rule)
        now_s = self._clock.now().timestamp()
        from_s, to_s = _span(order, now_s)
        step_s = step_of(from_s, now_s)
        subjects = self._subjects(order.rule, actor)
        _check_work(order.rule, len(subjects), from_s, to_s, step_s)
        async with self._turn:
            tried = []
            for subject in subjects:
                if is_gone():
                    raise Unavailable("whoever asked for this trial is gone")
                tried.append(await self._try(order, subject, from_s, to_s, step_s))
        return self._sum_up(order, tried, from_s, to_s, step_s)

    def _subjects(self, rule: NewRule, actor: Principal) -> list[str]:
        reached = self._reached(actor)
        found = self._watch.subjects_of(rule)
        return sorted(one for one in found if reached is None or self._fleet.names(one).node_id in reached)

    async def _try(self, order: BacktestOrder, subject: str, from_s: int, to_s: int, step_s: int) -> BacktestSubject:
        if order.rule.condition.kind not in METRIC_KINDS:
            values, periods = dict[int, float](), await self._states(order.rule, subject, from_s, to_s, step_s)
        else:
            begin_s = from_s - order.rule.condition.window_s - step_s
            values = await self._values(order.rule, subject, begin_s, to_s, step_s)
            periods = run_through(order.rule, values, from_s, to_s, step_s)
        await asyncio.sleep(0)  # memory answers without a pause: others have their turn
        return BacktestSubject(
            subject=subject,
            name=self._fleet.names(subject).name,
            periods=periods,
            fired=len(firings_of(periods)),
            points=[(float(at_s), value) for at_s, value in values.items()] if order.points and periods else [],
        )

    async def _values(self, rule: NewRule, subject: str, from_s: int, to_s: int, step_s: int) -> dict[int, float]:
        series = rule.condition.series or ANY_SERIES
        return values_of(await self._history.history(subject, series, from_s, to_s, step_s), rule.condition)

    async def _states(self, rule: NewRule, subject: str, from_s: int, to_s: int, step_s: int) -> list[Period]:
        """Return the spans of a rule on states, or on samples that are missing."""
        condition, key = rule.condition, subject.partition(":")[2]
        match condition.kind:
            case ConditionKind.NODE_STATUS:
                readings = readings_of(await self._past.statuses(key), condition.states)
            case ConditionKind.NO_DATA:
                window_s = max(condition.window_s, 2 * step_s)
                known = await self._values(rule, subject, from_s - window_s, to_s, step_s)
                readings = gaps_of(known, await self._past.statuses(key), window_s, from_s - window_s, to_s)
            case _:
                readings = readings_of(await self._past.states(key, condition.kind), condition.states)
        return run_states(rule, readings, from_s, to_s)

    def _sum_up(
        self, order: BacktestOrder, tried: list[BacktestSubject], from_s: int, to_s: int, step_s: int
    ) -> Backtest:
        groups: dict[str, list[tuple[float, float]]] = {}
        for one in tried:
            key = self._group_of(order.rule.group.by, one.subject)
            groups.setdefault(key, []).extend(firings_of(one.periods))
        shown = sorted((one for one in tried if one.periods), key=lambda one: (-one.fired, one.name))[:MAX_SHOWN]
        return Backtest(
            from_s=from_s,
            to_s=to_s,
            step_s=step_s,
            subjects_tested=len(tried),
            subjects=_cut_points(shown),
            firings=sum(one.fired for one in tried),
            notices=sum(count_notices(spans, order.rule.group, to_s) for spans in groups.values()),
        )

    def _group_of(self, by: str, subject: str) -> str:
        names = self._fleet.names(subject)
        if by == "node":
            return names.node_id
        return names.system_id or subject if by == "system" else ""


def _span(order: BacktestOrder, now_s: float) -> tuple[int, int]:
    problems = []
    if not (math.isfinite(order.from_s) and math.isfinite(order.to_s) and order.from_s < order.to_s):
        problems.append("$.from: must lie before to")
    elif order.to_s > now_s + 60 or order.from_s < now_s - MAX_SPAN_S - 60:
        problems.append(f"$.from: history reaches {MAX_SPAN_S // 86_400} days back, and not into the future")
    if reason := UNTRIED.get(order.rule.condition.kind):
        problems.append(f"$.rule.condition.kind: this rule cannot be tried: {reason}")
    if problems:
        raise Invalid("; ".join(problems), problems=problems)
    return int(order.from_s), int(order.to_s)


def _check_work(rule: NewRule, subjects: int, from_s: int, to_s: int, step_s: int) -> None:
    samples = max(1, (to_s - from_s) // step_s) * max(1, rule.condition.window_s // step_s)
    if subjects <= MAX_SUBJECTS and subjects * samples <= MAX_WORK:
        return
    message = (
        f"$.rule.scope: {subjects} subjects over {to_s - from_s} s are more than one trial takes"
        f" (at most {MAX_SUBJECTS} subjects, {MAX_WORK} samples); narrow the scope or the span"
    )
    raise Invalid(message, problems=[message])


def _cut_points(shown: list[BacktestSubject]) -> list[BacktestSubject]:
    """Keep points as long as there is room for them; the first subjects have them."""
    left, found = MAX_POINTS_SHOWN, []
    for one in shown:
        points = one.points if len(one.points) <= left else []
        left -= len(points)
        found.append(BacktestSubject(one.subject, one.name, one.periods, one.fired, points))
    return found
