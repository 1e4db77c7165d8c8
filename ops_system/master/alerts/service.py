"""Alerts: what fires and what did, kept over restarts, shown live, acknowledged, and told to channels.

Once a second: `watch` looks, `cases` move, what changed is written in one transaction together with the messages that
tell of it (the outbox of `channels`), then browsers see it. So a master that dies in between neither repeats nor loses
a message.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection

import msgspec

from ops_system.master.alerts import store
from ops_system.master.alerts.cases import Case
from ops_system.master.alerts.checks import check_note
from ops_system.master.alerts.desk import Desk
from ops_system.master.alerts.rulebook import Rulebook
from ops_system.master.alerts.silences import Silences
from ops_system.master.alerts.views import AlertQuery, check_query
from ops_system.master.audit.service import Audit
from ops_system.master.web.route import Page, Principal
from ops_system.model.alerts import Acknowledgement, Alert, AlertDetails, AlertState, Rule, Silence, Transition
from ops_system.model.errors import NotAllowed, NotFound, StorageFull, Unavailable
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database

_log = logging.getLogger(__name__)

TICK_S = 1.0
PAUSE_S = 0.2  # between two looks, however much happens
SWEEP_EVERY = 3600  # ticks


class Alerts:
    """The story of alerts. `reached` tells which nodes a principal with a scope reaches; None: all."""

    def __init__(
        self,
        *,
        database: Database,
        audit: Audit,
        clock: Clock,
        rulebook: Rulebook,
        silences: Silences,
        desk: Desk,
        reached: Callable[[Principal], Collection[str] | None],
    ) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self.rulebook = rulebook
        self.silences = silences
        self._desk = desk
        self._reached = reached
        self._early = asyncio.Event()
        self._turn = asyncio.Lock()  # one tick or one act at a time
        rulebook.on_change = desk.on_rule
        silences.on_change = desk.wake

    # --- life -----------------------------------------------------------------------------------------------------
    async def load(self) -> None:
        """Read rules, silences, and what was going on when the master stopped."""
        await self.rulebook.load()
        await self.silences.load()
        await self._desk.load()

    async def run(self) -> None:
        """Look once a second, and soon when the state of something is different."""
        ticks = 0
        while True:
            self._early.clear()
            await self.tick()
            ticks += 1
            if ticks % SWEEP_EVERY == 0:
                await self._sweep()
            await asyncio.sleep(PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S - PAUSE_S):
                    await self._early.wait()

    async def tick(self) -> None:
        """Look at everything once, write what changed, tell whom it concerns."""
        async with self._turn:
            try:
                await self._desk.tick()
            except (StorageFull, Unavailable) as problem:
                _log.warning("alerts wait: %s", problem.message)

    async def _sweep(self) -> None:
        try:
            await self._desk.sweep()
            await self.silences.sweep()
        except (StorageFull, Unavailable) as problem:
            _log.warning("old alerts stay: %s", problem.message)

    # --- questions ------------------------------------------------------------------------------------------------
    async def list_page(self, query: AlertQuery, actor: Principal) -> Page[Alert]:
        """Return one page of what the actor may see. Raises `Invalid`."""
        check_query(query)
        items, total = await store.list_alerts(self._database, query, self._reached(actor))
        return Page(items=[self._desk.current(alert) for alert in items], total=total)

    async def get(self, alert_id: str, actor: Principal) -> AlertDetails:
        """Return one alert with its history. Raises `NotFound`, also beyond the actor's scope."""
        alert = await self._find(alert_id, actor)
        return AlertDetails(alert, await store.list_lines(self._database, alert_id))

    def snapshot(self, actor: Principal) -> list[tuple[str, Alert]]:
        """Return what is open now, and what ended last: the first look of the live topic."""
        reached = self._reached(actor)
        return [(alert.id, alert) for alert in self._desk.shown() if reached is None or alert.node_id in reached]

    def look_soon(self) -> None:
        """Something is different: look before the second is over."""
        self._early.set()

    def node_of(self, alert_id: str) -> str | None:
        """Return the node of an alert that is open or ended lately; empty: it is of no node; None: not known."""
        return self._desk.node_of(alert_id)

    def shown_rule(self, rule_id: str) -> Rule:
        """Return a rule with the counts of its alerts. Raises `NotFound`."""
        return self.rulebook.get(rule_id).shown(self._desk.states_of(rule_id))

    def shown_rules(self) -> list[Rule]:
        """Return every rule, by name."""
        return [rule.shown(self._desk.states_of(rule.id)) for rule in self.rulebook.list_all()]

    def shown_silence(self, silence_id: str, actor: Principal) -> Silence:
        """Return a silence with what it quiets now. Raises `NotFound`."""
        silence = self.silences.get(silence_id, actor)
        return silence.shown(self._clock.now(), self._desk.quieted_by(silence_id))

    def shown_silences(self, actor: Principal) -> list[Silence]:
        """Return every silence the actor may see, the newest first."""
        return [self.shown_silence(silence.id, actor) for silence in self.silences.list_all(actor)]

    async def _find(self, alert_id: str, actor: Principal) -> Alert:
        alert = await store.find_alert(self._database, alert_id)
        reached = self._reached(actor)
        if alert is None or (reached is not None and alert.node_id not in reached):
            raise NotFound(f"there is no alert {alert_id}", id=alert_id)
        return self._desk.current(alert)

    # --- acts -----------------------------------------------------------------------------------------------------
    async def acknowledge(self, alert_id: str, note: str, actor: Principal) -> Alert:
        """Note that somebody has seen it: no more reminders. Raises `NotFound`, `NotAllowed` once it has ended."""
        check_note(note)
        return await self._act(alert_id, Acknowledgement(actor.name, self._clock.now(), note), actor)

    async def withdraw(self, alert_id: str, actor: Principal) -> Alert:
        """Take an acknowledgement back. Raises `NotFound`, `NotAllowed` when there is none."""
        return await self._act(alert_id, None, actor)

    async def _act(self, alert_id: str, ack: Acknowledgement | None, actor: Principal) -> Alert:
        async with self._turn:
            alert = await self._find(alert_id, actor)
            case = self._desk.case_of(alert_id)
            if case is None or case.alert is None or alert.state is AlertState.RESOLVED:
                raise NotAllowed("this alert has ended", id=alert_id)
            if ack is None and alert.ack is None:
                raise NotAllowed("nobody has acknowledged this alert", id=alert_id)
            await self._write_ack(case, alert, ack, actor)
            return self._desk.publish(case)

    async def _write_ack(self, case: Case, alert: Alert, ack: Acknowledgement | None, actor: Principal) -> None:
        kind, verb = ("unacknowledged", "unack") if ack is None else ("acknowledged", "ack")
        changed = msgspec.structs.replace(alert, ack=ack)
        now, note = self._clock.now(), ack.note if ack else ""
        async with self._database.transaction() as tx:
            await store.save_alerts(tx, [(changed, case.timers(self._clock.monotonic_s()))], now)
            await store.add_lines(tx, [(alert.id, Transition(now, kind, actor=actor.name, note=note))])
            details = {"rule": alert.rule_name, "subject": alert.subject_name, "note": note}
            await self._audit.record(tx, actor, f"alert.{verb}", f"alert:{alert.id}", "done", details)
        case.alert = changed
