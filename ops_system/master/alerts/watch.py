"""Looks at everything the rules are about, once a second. No I/O; nothing is kept of a subject that is fine.

The cost that counts is nodes times metric rules, so that path is one comparison: a subject that does not breach and is
not a case already is passed over at once. Windows of mean and share are read in turns, a part of the subjects a second.
A look is made of short pieces: links, browsers and the API wait for one piece, not for the whole fleet.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from ops_system.master.alerts.cases import Case
from ops_system.master.alerts.conditions import COMPARE, judge_value, judge_window
from ops_system.master.alerts.fleet import CERTIFICATES, Fleet, InstanceFacts, NodeFacts
from ops_system.master.alerts.rules import Reading
from ops_system.master.alerts.views import StoredRule
from ops_system.model.alerts import IDC, ConditionKind, NewRule, Scope
from ops_system.model.instances import Desired, State
from ops_system.model.nodes import NodeStatus
from ops_system.model.reasons import Reason

FRESH_S = 10.0  # a value older than this is not the newest any more
NO_DATA_AFTER_S = 30.0  # by then a node that is gone is known to be offline
SETTLE_S = 120.0  # so long workers may take to come back after a start of the master
TURNS_PER_WINDOW = 30  # a window of 60 s is read every 2 s
PIECE = 200  # subjects that are looked at in one go: a fraction of a millisecond

_FEW = frozenset({ConditionKind.CERTIFICATE, ConditionKind.IDC_STATUS})  # found anew at each look
_KINDS_OF_NODES = frozenset({ConditionKind.NODE_METRIC, ConditionKind.NODE_STATUS, ConditionKind.NO_DATA})


class Series(Protocol):
    """What rules need of the metrics."""

    def want(self, series: Iterable[str]) -> None:
        """Keep these series of every node."""
        ...

    def fresh(self, subjects: Sequence[str], series: str, within_s: float) -> list[float | None]:
        """Return the newest value of each `node:ID` or `instance:ID`; None where it is unknown or older."""
        ...

    def newest(self, subject: str) -> tuple[Mapping[str, float], float] | None:
        """Return the newest values of `node:ID` or `instance:ID` and their age in seconds; None: none came."""
        ...

    def window(self, subject: str, series: str, seconds: int) -> list[float | None]:
        """Return the last so many values, one a second, oldest first; None where unknown."""
        ...


class Lines(Protocol):
    """What rules need of the logs."""

    def watch(self, wanted: Iterable[tuple[StoredRule, InstanceFacts]]) -> None:
        """Look at these logs from now on."""
        ...

    def count(self, rule_id: str, instance_id: str) -> tuple[int, Reason | None]:
        """Return the lines that matched lately, and the newest of them."""
        ...


class Finding(msgspec.Struct, frozen=True):
    """What one look says of one subject."""

    rule: StoredRule
    subject: str
    reading: Reading
    value: float | None = None
    reason: Reason | None = None


class Plan(msgspec.Struct, frozen=True):
    """A rule that is on, and the subjects it is about, as keys."""

    rule: StoredRule
    subjects: tuple[str, ...]


Cases = Mapping[str, Mapping[str, Case]]
"""Cases by rule and subject: these are looked at in any case."""


class Watch:
    """`certificates` returns the days each has left, `idcs` which data centres had a client and whether it is heard."""

    def __init__(
        self,
        fleet: Fleet,
        series: Series,
        certificates: Callable[[], Mapping[str, float]],
        lines: Lines,
        *,
        started_s: float,
        settle_s: float = SETTLE_S,
        idcs: Callable[[], Mapping[str, bool]] = dict,
    ) -> None:
        self._fleet = fleet
        self._series = series
        self._certificates = certificates
        self._idcs = idcs
        self._lines = lines
        self._settled_s = started_s + settle_s
        self._tick = 0
        self._plans: list[Plan] = []
        self._is_settled = False
        self._silent: Collection[str] = ()  # nodes, as of this look

    def plan(self, rules: Iterable[StoredRule]) -> list[Plan]:
        """Find the subjects of the rules that are on; `look` goes by them until the next call."""
        self._plans = [Plan(rule, tuple(self.subjects_of(rule.body))) for rule in rules if rule.body.enabled]
        self._lines.watch(self.logs_of(self._plans))
        self._series.want(series_of(plan.rule.body for plan in self._plans))
        return self._plans

    def look(self, cases: Cases, now_s: float) -> Iterator[list[Finding]]:
        """Return what breaches, and every reading of a subject that is a case, piece by piece.

        Between two pieces others may run; what they change is seen by the pieces that follow, or by the next look.
        """
        self._tick += 1
        self._is_settled = now_s >= self._settled_s
        self._silent = self._fleet.silent()
        for plan in self._plans:
            if plan.rule.body.condition.kind in _FEW:
                yield list(self._look_at_few(plan, cases.get(plan.rule.id, {})))
                continue
            for first in range(0, len(plan.subjects), PIECE):
                piece = Plan(plan.rule, plan.subjects[first : first + PIECE])
                yield list(self._look_at(piece, cases.get(plan.rule.id, {})))

    def _look_at(self, plan: Plan, cases: Mapping[str, Case]) -> Iterator[Finding]:
        match plan.rule.body.condition.kind:
            case ConditionKind.NODE_METRIC | ConditionKind.INSTANCE_METRIC:
                return self._metrics(plan, cases)
            case ConditionKind.NODE_STATUS:
                return self._statuses(plan, cases)
            case ConditionKind.NO_DATA:
                return self._silences(plan, cases)
            case ConditionKind.LOG:
                return self._logs(plan, cases)
            case _:
                return self._instances(plan, cases)

    def _look_at_few(self, plan: Plan, cases: Mapping[str, Case]) -> Iterator[Finding]:
        is_certificate = plan.rule.body.condition.kind is ConditionKind.CERTIFICATE
        return self._ages(plan) if is_certificate else self._centres(plan, cases)

    # --- subjects -------------------------------------------------------------------------------------------------
    def subjects_of(self, rule: NewRule) -> Iterator[str]:
        """Yield the keys of what a rule is about now."""
        kind, scope = rule.condition.kind, rule.scope
        if kind is ConditionKind.CERTIFICATE:
            yield from CERTIFICATES
            return
        if kind is ConditionKind.IDC_STATUS:
            yield from (f"{IDC}:{idc}" for idc in self._idcs() if scope.labels.get(IDC, idc) == idc)
            return
        reached = {node.id for node in self._fleet.nodes.values() if node.is_known and _fits(scope, node)}
        if kind in _KINDS_OF_NODES:
            yield from (f"node:{node_id}" for node_id in reached)
            return
        for instance in self._fleet.instances.values():
            if instance.node_id in reached and _holds(scope, instance):
                yield f"instance:{instance.id}"

    def logs_of(self, plans: Iterable[Plan]) -> Iterator[tuple[StoredRule, InstanceFacts]]:
        """Yield what `LogLooker.watch` wants."""
        for plan in plans:
            if plan.rule.body.condition.kind is ConditionKind.LOG:
                for subject in plan.subjects:
                    yield plan.rule, self._fleet.instances[subject[9:]]

    # --- metrics --------------------------------------------------------------------------------------------------
    def _metrics(self, plan: Plan, cases: Mapping[str, Case]) -> Iterator[Finding]:
        condition, rule = plan.rule.body.condition, plan.rule
        name, fire = condition.series, condition.fire_level
        assert fire is not None
        breaches, wants_gaps = COMPARE[condition.op], rule.body.no_data == "firing"
        quick = condition.window_s == 0 or condition.mode == "every"
        turns = 1 if quick else max(1, condition.window_s // TURNS_PER_WINDOW)
        silent = self._silent if condition.kind is ConditionKind.NODE_METRIC else ()
        values = self._series.fresh(plan.subjects, name, FRESH_S)
        for number, (subject, found) in enumerate(zip(plan.subjects, values, strict=True)):
            value = None if silent and subject[5:] in silent else found  # what a silent node said last counts no more
            if value is None:
                if wants_gaps or subject in cases:
                    yield Finding(rule, subject, self._gap(subject))
            elif quick and not breaches(value, fire) and subject not in cases:
                continue
            elif condition.window_s == 0:
                yield Finding(rule, subject, judge_value(condition, value), value)
            elif (number + self._tick) % turns == 0:
                samples = self._series.window(subject, name, condition.window_s)
                yield Finding(rule, subject, *judge_window(condition, samples))

    def _gap(self, subject: str) -> Reading:
        """What it means that there is no fresh value. A silent node says nothing of its own."""
        kind, _, key = subject.partition(":")
        instance = self._fleet.instances.get(key) if kind == "instance" else None
        node_id = instance.node_id if instance else key
        if instance is not None and instance.state is not State.RUNNING:
            return Reading.CLEAR if instance.state is not State.UNKNOWN else Reading.UNKNOWN
        found = self._series.newest(subject)
        if self._fleet.is_silent(node_id) or not self._is_settled:
            return Reading.UNKNOWN
        is_young = found is not None and FRESH_S <= found[1] < NO_DATA_AFTER_S
        return Reading.UNKNOWN if is_young else Reading.NO_DATA

    def _silences(self, plan: Plan, cases: Mapping[str, Case]) -> Iterator[Finding]:
        condition = plan.rule.body.condition
        for subject in plan.subjects:
            found = self._series.newest(subject)
            is_here = (
                found is not None and found[1] < FRESH_S and (not condition.series or condition.series in found[0])
            )
            if is_here:
                if subject in cases:
                    yield Finding(plan.rule, subject, Reading.CLEAR)
            elif self._fleet.is_silent(subject[5:]) or not self._is_settled:
                if subject in cases:
                    yield Finding(plan.rule, subject, Reading.UNKNOWN)
            elif self._is_missing(subject, condition.series, condition.window_s, found):
                yield Finding(plan.rule, subject, Reading.BREACH, found[1] if found else None)

    def _is_missing(
        self, subject: str, series: str, window_s: int, found: tuple[Mapping[str, float], float] | None
    ) -> bool:
        if found is None or found[1] >= window_s:
            return True
        return bool(series) and all(value is None for value in self._series.window(subject, series, window_s))

    # --- states ---------------------------------------------------------------------------------------------------
    def _statuses(self, plan: Plan, cases: Mapping[str, Case]) -> Iterator[Finding]:
        states = plan.rule.body.condition.states
        for subject in plan.subjects:
            node = self._fleet.nodes.get(subject[5:])
            if node is None or (node.status not in states and subject not in cases):
                continue
            if not node.was_heard and not self._is_settled:
                yield Finding(plan.rule, subject, Reading.UNKNOWN)
            elif node.status is not NodeStatus.PLANNED:
                yield Finding(plan.rule, subject, Reading.BREACH if node.status in states else Reading.CLEAR)

    def _instances(self, plan: Plan, cases: Mapping[str, Case]) -> Iterator[Finding]:
        condition = plan.rule.body.condition
        for subject in plan.subjects:
            facts = self._fleet.instances.get(subject[9:])
            if facts is None:
                continue
            reading, value = Reading.UNKNOWN, None
            if facts.state is not State.UNKNOWN:
                match condition.kind:
                    case ConditionKind.INSTANCE_STATE:
                        reading = _reading(_is_in(facts, condition.states))
                    case ConditionKind.INSTANCE_HEALTH:
                        reading = _reading(facts.health in condition.states)
                    case _:
                        value = float(facts.restarts)
                        reading = judge_value(condition, value)
            if reading is Reading.BREACH or subject in cases:
                yield Finding(plan.rule, subject, reading, value, facts.reason)

    def _logs(self, plan: Plan, cases: Mapping[str, Case]) -> Iterator[Finding]:
        condition, is_silent = plan.rule.body.condition, self._fleet.is_silent
        for subject in plan.subjects:
            facts = self._fleet.instances.get(subject[9:])
            if facts is None:
                continue
            count, line = self._lines.count(plan.rule.id, facts.id)
            reading = Reading.UNKNOWN if is_silent(facts.node_id) else judge_value(condition, count)
            if reading is Reading.BREACH or subject in cases:
                yield Finding(plan.rule, subject, reading, float(count), line)

    def _ages(self, plan: Plan) -> Iterator[Finding]:
        condition = plan.rule.body.condition
        for subject, days in self._certificates().items():
            yield Finding(plan.rule, subject, judge_value(condition, days), days)

    def _centres(self, plan: Plan, cases: Mapping[str, Case]) -> Iterator[Finding]:
        """One that is gone altogether is fine: nobody asks for it any more."""
        known = self._idcs()
        for subject in dict.fromkeys((*self.subjects_of(plan.rule.body), *cases)):
            is_silent = not known.get(subject.partition(":")[2], True)
            if is_silent and not self._is_settled:
                yield Finding(plan.rule, subject, Reading.UNKNOWN)
            elif is_silent or subject in cases:
                yield Finding(plan.rule, subject, _reading(is_silent))


def series_of(rules: Iterable[NewRule]) -> set[str]:
    """Return the series of nodes of which rules read more than the newest value."""
    conditions = (rule.condition for rule in rules)
    return {
        one.series
        for one in conditions
        if one.series and one.window_s > 0 and one.kind in {ConditionKind.NODE_METRIC, ConditionKind.NO_DATA}
    }


def _reading(is_bad: bool) -> Reading:
    return Reading.BREACH if is_bad else Reading.CLEAR


def _is_in(facts: InstanceFacts, states: tuple[str, ...]) -> bool:
    """A failure of what nobody wants to run is none."""
    return facts.state in states and not (facts.state is State.FAILED and facts.desired is not Desired.RUNNING)


def _fits(scope: Scope, node: NodeFacts) -> bool:
    if scope.node_ids and node.id not in scope.node_ids:
        return False
    return all(node.labels.get(key) == value for key, value in scope.labels.items())


def _holds(scope: Scope, instance: InstanceFacts) -> bool:
    return (not scope.system_id or instance.system_id == scope.system_id) and (
        not scope.module_id or instance.module_id == scope.module_id
    )
