"""The cases on the table: moves them by what `watch` finds, writes them, tells of them, shows them. Used by `service`.

Nothing here may run twice at a time; `service` sees to that.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from ops_system.master.alerts import store
from ops_system.master.alerts.cases import Case, Outcome, outcome_of, revive
from ops_system.master.alerts.fleet import Fleet
from ops_system.master.alerts.rulebook import Rulebook
from ops_system.master.alerts.rules import FLAP_WINDOW_S, Reading, Timing, Track, step
from ops_system.master.alerts.silences import Silences
from ops_system.master.alerts.telling import Telling, due, notice_of
from ops_system.master.alerts.watch import Finding, Watch
from ops_system.master.bus import Bus, Changed
from ops_system.master.channels.rules import Notice
from ops_system.model.alerts import Alert, AlertState, ConditionKind, Transition
from ops_system.model.ids import spell_id
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Transaction

TOPIC = "alerts"
RECENT = 50  # ended alerts that a first look shows
REMEMBERED = 2000  # ended alerts whose node is known without asking the database
BEAT_S = 15.0
KEPT_FOR = timedelta(days=90)
KEPT_ALERTS = 20_000


class Outbox(Protocol):
    """The way to the channels."""

    def writing(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction in which `enqueue` may be called."""
        ...

    async def enqueue(self, tx: Transaction, notices: Iterable[Notice]) -> None:
        """Write messages in the caller's transaction."""
        ...

    def wake(self) -> None:
        """Look now whether something is due."""
        ...


class Desk:
    """All cases, by rule and subject."""

    def __init__(
        self,
        *,
        database: Database,
        bus: Bus,
        clock: Clock,
        rulebook: Rulebook,
        silences: Silences,
        fleet: Fleet,
        watch: Watch,
        outbox: Outbox,
    ) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._rulebook = rulebook
        self._silences = silences
        self._fleet = fleet
        self._watch = watch
        self._outbox = outbox
        self._cases: dict[str, dict[str, Case]] = {}
        self._by_id: dict[str, Case] = {}
        self._ended: OrderedDict[str, Alert] = OrderedDict()
        self._closed: list[Case] = []  # ended; not yet written, or its end not yet told
        self._dropped: list[str] = []  # pending alerts that did not come to fire
        self._planned_for = -1
        self._quiet: dict[str, tuple[tuple[str, ...], bool]] = {}
        self._quieted_for: object = None
        self._beat_s = 0.0

    async def load(self) -> None:
        """Take up what was going on when the master stopped."""
        now, now_s = self._clock.now(), self._clock.monotonic_s()
        beat_ms = await store.find_beat(self._database)
        since = now - timedelta(seconds=FLAP_WINDOW_S)
        for stored in await store.list_cases(self._database, since):
            case = revive(stored, now_s, beat_ms)
            if stored.alert.state is not AlertState.RESOLVED:
                self._keep(case)
                continue
            self._remember(stored.alert)
            if case.told:
                self._closed.append(case)
            if case.track.fires and case.subject not in self._cases.get(case.rule_id, {}):
                self._keep(Case(case.rule_id, case.subject, Track(fires=case.track.fires)))

    # --- what the API asks ----------------------------------------------------------------------------------------
    def on_rule(self, _rule_id: str) -> None:
        """A rule is different or gone: the plan is made anew at the next look."""
        self._planned_for = -1

    def wake(self) -> None:
        """Silences are different: what is shown of alerts is looked at anew."""
        self._quieted_for = None

    def case_of(self, alert_id: str) -> Case | None:
        """Return the case of an open alert."""
        return self._by_id.get(alert_id)

    def node_of(self, alert_id: str) -> str | None:
        """Return the node of an alert that is open or ended lately; None: not known."""
        case = self._by_id.get(alert_id)
        alert = case.alert if case else self._ended.get(alert_id)
        return None if alert is None else alert.node_id

    def states_of(self, rule_id: str) -> list[AlertState]:
        """Return the states of a rule's open alerts."""
        return [case.alert.state for case in self._cases.get(rule_id, {}).values() if case.alert is not None]

    def quieted_by(self, silence_id: str) -> int:
        """Return how many open alerts a silence quiets."""
        return sum(silence_id in self._silences.matching(alert) for alert in self._open())

    def shown(self) -> list[Alert]:
        """Return what is open, and what ended last."""
        return [self.current(alert) for alert in self._open()] + list(self._ended.values())[-RECENT:]

    def current(self, alert: Alert) -> Alert:
        """Return the alert with what is true of it only now."""
        if alert.state is AlertState.RESOLVED:
            return alert
        ids, is_muted = self._quiet_of(alert)
        return msgspec.structs.replace(alert, silenced_by=ids, muted=is_muted)

    def publish(self, case: Case) -> Alert:
        """Show browsers an alert as it is now; return it."""
        assert case.alert is not None
        shown = self.current(case.alert)
        self._bus.publish(Changed(TOPIC, shown.id, shown))
        return shown

    def _open(self) -> list[Alert]:
        return [case.alert for case in self._by_id.values() if case.alert is not None]

    def _all(self) -> Iterator[Case]:
        yield from self._by_id.values()
        yield from self._closed

    # --- one look -------------------------------------------------------------------------------------------------
    async def tick(self) -> None:
        """Look once. Raises `StorageFull` or `Unavailable`; what moved is then written by a later tick."""
        now, now_s = self._clock.now(), self._clock.monotonic_s()
        self._replan(now)
        for findings in self._watch.look(self._cases, now_s):
            for finding in findings:
                if self._rulebook.find(finding.rule.id) is finding.rule:  # else it changed between two pieces
                    self._move(finding, now, now_s)
            await asyncio.sleep(0)
        tellings = self._due(now_s)
        changed = {id(case): case for case in (*self._all(), *(one.case for one in tellings)) if case.is_dirty}
        changed |= {id(one.case): one.case for one in tellings}
        if changed or self._dropped:
            await self._write(list(changed.values()), tellings, now, now_s)
        elif self._by_id and now_s - self._beat_s >= BEAT_S:
            async with self._database.transaction() as tx:
                await store.save_beat(tx, now)
            self._beat_s = now_s
        self._show_quiet()

    def _replan(self, now: datetime) -> None:
        """Make the plan anew when rules or the fleet changed; end what no rule is about any more."""
        if self._planned_for == self._fleet.roster:
            return
        self._planned_for = self._fleet.roster
        wanted = {plan.rule.id: frozenset(plan.subjects) for plan in self._watch.plan(self._rulebook.list_all())}
        for by_subject in list(self._cases.values()):
            for case in list(by_subject.values()):
                if case.subject not in wanted.get(case.rule_id, ()):
                    self._give_up(case, now)

    def _give_up(self, case: Case, now: datetime) -> None:
        """The rule, or the subject, is gone: what was open ends, and nobody is told."""
        case.told, case.track = "", Track()
        if case.alert is not None and case.alert.state is AlertState.PENDING:
            self._drop(case)
        elif case.alert is not None:
            self._end(case, now, "gone")
        else:
            self._forget(case)

    def _move(self, finding: Finding, now: datetime, now_s: float) -> None:
        rule, body = finding.rule, finding.rule.body
        case = self._cases.get(rule.id, {}).get(finding.subject)
        if case is None:
            if finding.reading not in {Reading.BREACH, Reading.NO_DATA}:
                return
            case = Case(rule.id, finding.subject)
        before, reading = case.track, finding.reading
        is_dead = reading is Reading.UNKNOWN and before.state is AlertState.PENDING
        if is_dead and case.alert is not None and self._fleet.is_muted(case.alert):
            reading = Reading.CLEAR  # what was only about to fire is not known any more
        case.track = step(before, reading, now_s, Timing(body.for_s, body.keep_firing_for_s, body.no_data))
        if case.track is before:
            if before.is_idle(now_s) and case.alert is None and finding.subject in self._cases.get(rule.id, {}):
                self._forget(case)
            return
        self._keep(case)
        case.is_dirty = True
        self._follow(case, before, finding, now, now_s)

    def _follow(self, case: Case, before: Track, finding: Finding, now: datetime, now_s: float) -> None:
        """Bring the alert to where the track has come."""
        state = case.track.state
        if state is before.state:
            self._note_flapping(case, now, now_s)
        elif state is None and before.state is AlertState.PENDING:
            self._drop(case)
        elif state is None:
            self._end(case, now, "")
        else:
            self._begin(case, finding, state, now)

    def _begin(self, case: Case, finding: Finding, state: AlertState, now: datetime) -> None:
        """Make the alert, or bring it from one open state to another."""
        alert = case.alert or self._new_alert(finding, now)
        fired_at = None if state is AlertState.PENDING else alert.fired_at or now
        changes = {"state": state, "fired_at": fired_at, "value": finding.value, "reason": finding.reason}
        case.alert = msgspec.structs.replace(alert, **changes)
        self._by_id[alert.id] = case
        note = finding.reason.message if finding.reason else ""
        case.lines.append(Transition(now, state, finding.value, note=note))

    def _new_alert(self, finding: Finding, now: datetime) -> Alert:
        names, rule = self._fleet.names(finding.subject), finding.rule
        return Alert(
            id=spell_id("alt", secrets.token_bytes(10)),
            rule_id=rule.id,
            rule_name=rule.body.name,
            name_key=rule.name_key,
            severity=rule.body.severity,
            state=AlertState.PENDING,
            subject=finding.subject,
            subject_name=names.name,
            node_id=names.node_id,
            node_name=names.node_name,
            instance_id=names.instance_id,
            system_id=names.system_id,
            module_id=names.module_id,
            labels=names.labels,
            value=finding.value,
            reason=finding.reason,
            texts=rule.body.texts,
            started_at=now,
        )

    def _note_flapping(self, case: Case, now: datetime, now_s: float) -> None:
        is_flapping = case.track.is_flapping(now_s)
        if case.alert is not None and is_flapping is not case.alert.flapping:
            case.alert = msgspec.structs.replace(case.alert, flapping=is_flapping)
            if is_flapping:
                case.lines.append(Transition(now, "held", note="it fires and ends too often; its end is held back"))

    def _end(self, case: Case, now: datetime, note: str) -> None:
        """Close the alert: what is left to write and to tell of it goes on by itself."""
        assert case.alert is not None
        ended = msgspec.structs.replace(case.alert, state=AlertState.RESOLVED, resolved_at=now)
        line = Transition(now, AlertState.RESOLVED, note=note)
        closed = Case(case.rule_id, case.subject, Track(fires=case.track.fires), ended, case.told, case.told_s)
        closed.lines, closed.is_dirty = [*case.lines, line], True
        self._closed.append(closed)
        self._remember(ended)
        self._clear(case)

    def _drop(self, case: Case) -> None:
        """Forget an alert that did not come to fire."""
        assert case.alert is not None
        self._dropped.append(case.alert.id)
        self._clear(case)

    def _clear(self, case: Case) -> None:
        assert case.alert is not None
        self._by_id.pop(case.alert.id, None)
        self._quiet.pop(case.alert.id, None)
        case.alert, case.told, case.told_s, case.is_dirty, case.lines = None, "", None, False, []
        if not case.track.fires:
            self._forget(case)

    def _keep(self, case: Case) -> None:
        self._cases.setdefault(case.rule_id, {})[case.subject] = case
        if case.alert is not None:
            self._by_id[case.alert.id] = case

    def _forget(self, case: Case) -> None:
        by_subject = self._cases.get(case.rule_id, {})
        by_subject.pop(case.subject, None)
        if not by_subject:
            self._cases.pop(case.rule_id, None)

    def _remember(self, alert: Alert) -> None:
        self._ended[alert.id] = alert
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    # --- telling --------------------------------------------------------------------------------------------------
    def _due(self, now_s: float) -> list[Telling]:
        by_rule: dict[str, list[Case]] = {}
        for case in self._all():
            by_rule.setdefault(case.rule_id, []).append(case)
        found: list[Telling] = []
        for rule_id, cases in by_rule.items():
            rule = self._rulebook.find(rule_id)
            if rule is not None:
                found += due(cases, rule.body.group, now_s, self._is_quiet)
        return found

    def _is_quiet(self, alert: Alert) -> bool:
        ids, is_muted = self._quiet_of(alert)
        return bool(ids) or is_muted

    def _quiet_of(self, alert: Alert) -> tuple[tuple[str, ...], bool]:
        """Return the silences that match, and whether a silent node mutes it; what tells of that silence is not."""
        rule = self._rulebook.find(alert.rule_id)
        tells_of_silence = rule is not None and rule.body.condition.kind is ConditionKind.NODE_STATUS
        return self._silences.matching(alert), not tells_of_silence and self._fleet.is_muted(alert)

    async def _write(self, changed: list[Case], tellings: list[Telling], now: datetime, now_s: float) -> None:
        """Write what moved and the messages that tell of it: whole, or not at all."""
        news = {id(one.case): one.news for one in tellings}
        outcomes = [outcome_of(case, news.get(id(case)), now, now_s) for case in changed]
        notices = [
            notice_of(rule, one.case.alert, one.news, now)
            for one in tellings
            if one.case.alert is not None and (rule := self._rulebook.find(one.case.rule_id)) is not None
        ]
        async with self._outbox.writing() as tx:
            await store.delete_alerts(tx, self._dropped)
            await store.save_alerts(tx, [(one.alert, one.timers) for one in outcomes], now)
            await store.add_lines(tx, [(one.alert.id, line) for one in outcomes for line in one.lines])
            await store.save_beat(tx, now)
            if notices:
                await self._outbox.enqueue(tx, notices)
        self._beat_s = now_s
        self._settle(outcomes, now_s)
        if notices:
            self._outbox.wake()

    def _settle(self, outcomes: list[Outcome], now_s: float) -> None:
        """What is written is true: show it."""
        for alert_id in self._dropped:
            self._bus.publish(Changed(TOPIC, alert_id, None))
        self._dropped = []
        for one in outcomes:
            case = one.case
            case.alert, case.told, case.is_dirty, case.lines = one.alert, one.timers.told, False, []
            case.told_s = None if one.timers.told_s is None else one.timers.told_s + now_s
            self.publish(case)
        self._closed = [case for case in self._closed if case.told or case.is_dirty]

    def _show_quiet(self) -> None:
        """Show again what is silenced or muted otherwise than browsers last saw."""
        seen = (self._fleet.version, tuple(silence.id for silence in self._silences.active()))
        if seen == self._quieted_for:
            return
        self._quieted_for = seen
        for alert_id, case in self._by_id.items():
            assert case.alert is not None
            quiet = self._quiet_of(case.alert)
            if quiet != self._quiet.get(alert_id, ((), False)):
                self._quiet[alert_id] = quiet
                self.publish(case)

    async def sweep(self) -> None:
        """Forget old alerts. Raises when the database cannot be written."""
        async with self._database.transaction() as tx:
            await store.sweep_alerts(tx, self._clock.now() - KEPT_FOR, KEPT_ALERTS)
