"""What workers say about instances: snapshots, reports, timelines, progress. `app` connects it to the links.

    Snapshot -> each report judged -> wishes the worker does not know are sent again
    Report   -> queued, in order -> judged: older than the wish (dropped), newer (outbid), or taken -> may end an
                operation; what came meanwhile shares one transaction
    Events   -> stored once each -> acknowledged after the commit

What was destroyed stays destroyed (trust R8): a report of it is answered with its tombstone's wish. An instance nobody
here knows is left alone and recorded.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.instances import store
from ops_system.master.instances.aftermath import Aftermath, Announcer
from ops_system.master.instances.claims import MAX_NUMBER, MAX_TEXT, MAX_WORD, bound_event, bound_report, check_progress
from ops_system.master.instances.events import InstanceFailed
from ops_system.master.instances.rules import (
    Action,
    Record,
    Take,
    has_failed,
    is_same_picture,
    judge_action,
    judge_report,
    mark_at_link,
    needs_apply,
    outbid,
)
from ops_system.master.instances.views import TimelineEvent
from ops_system.master.nodes.events import FalseClaim
from ops_system.master.operations.rules import TargetEnd
from ops_system.master.operations.service import Operations
from ops_system.master.web.route import Principal
from ops_system.model.errors import Invalid, StorageFull, Unavailable
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.instances import InstanceEvent, InstanceReport, PrepareProgress
from ops_system.model.stamps import to_ms
from ops_system.protocol.frames import Events, EventsAck, Forget, Progress, Report, Snapshot
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Transaction

_log = logging.getLogger(__name__)

MAX_CLAIMS = 50  # false claims of one node that are recorded; more would only fill the audit log
MAX_BATCH = 100  # reports in one transaction
MAX_REFUSALS = 1000  # by its own policy, of one node, that are recorded until the next start
MAX_WAITING = 2000
POLICY_REFUSED = "policy_refused"
RETRY_S = 1.0
_FRAMES = frozenset({"report", "events", "progress", "metrics"})  # faults that are looked at once more

T = TypeVar("T", InstanceReport, InstanceEvent)

OnUpgraded = Callable[[Transaction, Record, TargetEnd], Awaitable[None]]
"""Hears how the upgrade of an instance went: proven, or why not."""

OnFetch = Callable[[NodeId, PrepareProgress], object]
"""Hears how far a package is that is fetched ahead of a start."""


class Observer:
    """The one reader of workers' words about instances."""

    def __init__(
        self, *, database: Database, operations: Operations, audit: Audit, announcer: Announcer, clock: Clock
    ) -> None:
        self._database = database
        self._operations = operations
        self._audit = audit
        self._announcer = announcer
        self._clock = clock
        self._on_upgraded: OnUpgraded = _nobody_upgrades
        self._on_fetch: OnFetch = lambda _node_id, _progress: None
        self._under_way: dict[InstanceId, tuple[NodeId, str]] = {}  # an instance's node and open operation
        self._claims: defaultdict[NodeId, set[str]] = defaultdict(set)  # what was recorded of each node
        self._refusals: Counter[NodeId] = Counter()
        self._new_claims: list[FalseClaim] = []
        self._waiting: list[tuple[NodeId, InstanceReport]] = []
        self._draining = asyncio.Lock()
        self._news = asyncio.Event()

    def show_fetches(self, on_fetch: OnFetch) -> None:
        """Tell this of packages that are fetched ahead of a start (`packages.fetch`)."""
        self._on_fetch = on_fetch

    def judge_upgrades(self, on_upgraded: OnUpgraded) -> None:
        """Hand the verdict on an upgrade to whoever drives it, inside the transaction: it goes on from there."""
        self._on_upgraded = on_upgraded

    async def load(self) -> None:
        """Take up what was waited for when the master stopped."""
        self._under_way = await store.list_waiting(self._database)

    async def run(self) -> None:
        """Work through the reports as they come. While the database cannot be written they wait in memory."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self.drain()
            except (StorageFull, Unavailable) as problem:
                _log.warning("reports of instances wait: %s", problem.message)
                await asyncio.sleep(RETRY_S)
                self._news.set()

    async def drain(self) -> None:
        """Take every report that waits. Raises `StorageFull`, `Unavailable`; they wait on then."""
        async with self._draining:
            while batch := self._waiting[:MAX_BATCH]:
                await self._take_batch(batch)
                del self._waiting[: len(batch)]
            await self._record_claims()

    async def _take_batch(self, batch: list[tuple[NodeId, InstanceReport]]) -> None:
        after = Aftermath()
        try:
            async with self._database.transaction() as tx:
                for node_id, report in batch:
                    await self._take(tx, node_id, await store.find(tx, report.instance_id), report, after)
        except (StorageFull, Unavailable):
            raise
        except Exception:  # noqa: BLE001 - one worker's nonsense must not end the master
            if len(batch) == 1:
                _log.exception("a report of node %s is dropped: it cannot be taken", batch[0][0])
                return
            for one in batch:  # find the bad one; the others must not suffer
                await self._take_batch([one])
        else:
            self._release(after)

    def watch(self, record: Record) -> None:
        """Remember which operation the progress of this instance belongs to."""
        if record.operation_id is None:
            self._under_way.pop(record.spec.instance_id, None)
        else:
            self._under_way[record.spec.instance_id] = (record.node_id, record.operation_id)

    # --- frames ---------------------------------------------------------------------------------------------------
    async def on_snapshot(self, node_id: NodeId, frame: Snapshot) -> None:
        """Take the whole picture of a node, and tell it what it does not know."""
        await self.drain()
        after = Aftermath()
        reports = {report.instance_id: report for report in self._sound(node_id, frame.reports, bound_report)}
        async with self._database.transaction() as tx:
            records = {record.spec.instance_id: record for record in await store.list_by_node(tx, node_id)}
            for report in reports.values():
                await self._take(tx, node_id, records.get(report.instance_id), report, after)
            for record in records.values():
                await self._tell_again(tx, record, reports, after)
            mark = await store.find_mark(tx, node_id)
            newest_seq = min(max(frame.last_event_seq, 0), MAX_NUMBER)
            await store.save_mark(tx, node_id, mark_at_link(mark, newest_seq))
        self._announcer.heard.add(node_id)
        self._release(after)

    async def _tell_again(
        self, tx: Transaction, record: Record, reports: Mapping[InstanceId, InstanceReport], after: Aftermath
    ) -> None:
        report = reports.get(record.spec.instance_id)
        latest = after.records.get(record.spec.instance_id, record)
        if report is None and latest.observed is not None:
            latest = msgspec.structs.replace(latest, observed=None)
            await store.save_observed(tx, latest)
        if latest.spec.instance_id in after.gone:
            return
        after.show(latest)
        if latest.spec.generation > 0 and needs_apply(latest.spec, report):
            after.tell(latest)

    async def on_report(self, node_id: NodeId, frame: Report) -> None:
        """Queue the newest picture of one instance; waits while too many wait, which slows the worker down."""
        if len(self._waiting) >= MAX_WAITING:
            await self.drain()
        self._waiting += [(node_id, report) for report in self._sound(node_id, (frame.report,), bound_report)]
        self._news.set()

    async def on_events(self, node_id: NodeId, frame: Events) -> None:
        """Store timeline lines, each once, then acknowledge them."""
        events = self._sound(node_id, frame.events, bound_event)
        if not events:
            return
        after = Aftermath()
        last_seq = events[-1].seq
        async with self._database.transaction() as tx:
            mark = await store.find_mark(tx, node_id)
            added = await store.add_events(tx, node_id, mark.era, events)
            after.lines += [(event.instance_id, TimelineEvent.of(row_id, event)) for row_id, event in added]
            await self._record_refusals(tx, node_id, [event for _, event in added])
            newest = msgspec.structs.replace(mark, last_seq=max(mark.last_seq, last_seq))
            await store.save_mark(tx, node_id, newest)
        after.frames.append((node_id, EventsAck(seq=last_seq)))
        self._release(after)
        shown = {instance_id for instance_id, _line in after.lines}
        for instance_id in {event.instance_id for event in events} - shown:
            self.on_claim(FalseClaim(node_id, instance_id, "events"))

    def on_progress(self, node_id: NodeId, frame: Progress) -> None:
        """Show how far a preparation is."""
        progress = frame.progress
        owner, operation_id = self._under_way.get(progress.instance_id, (node_id, None))
        try:
            check_progress(progress)
        except Invalid as problem:
            self.on_claim(FalseClaim(node_id, progress.instance_id, problem.message))
            return
        if owner != node_id:
            self.on_claim(FalseClaim(node_id, progress.instance_id, "progress"))
        elif progress.generation == 0:
            self._on_fetch(node_id, progress)
        elif operation_id is not None:
            self._operations.advance(
                operation_id, progress.instance_id, progress.step, progress.bytes_done, progress.bytes_total
            )

    # --- false claims ---------------------------------------------------------------------------------------------
    def on_claim(self, claim: FalseClaim) -> None:
        """Note that a worker spoke of what is not its own; `drain` looks closer and records it, once each."""
        kept = self._claims[claim.node_id]
        claim = msgspec.structs.replace(claim, instance_id=claim.instance_id[:MAX_WORD])
        if claim.instance_id not in kept and len(kept) < MAX_CLAIMS and len(self._new_claims) < MAX_WAITING:
            self._new_claims.append(claim)
            self._news.set()

    def _sound(self, node_id: NodeId, claims: Iterable[T], bound: Callable[[T], T]) -> list[T]:
        """Return what can be believed, with its words cut; note the rest."""
        sound = []
        for claim in claims:
            try:
                sound.append(bound(claim))
            except Invalid as problem:
                self.on_claim(FalseClaim(node_id, claim.instance_id, problem.message))
        return sound

    async def _record_claims(self) -> None:
        claims = tuple(self._new_claims)
        if not claims:
            return
        async with self._database.transaction() as tx:
            for claim in claims:
                if claim.fault not in _FRAMES or not await self._may_speak_of(tx, claim):
                    await self._record_claim(tx, claim)
        del self._new_claims[: len(claims)]

    async def _may_speak_of(self, tx: Transaction, claim: FalseClaim) -> bool:
        """Whether the instance is, or was, on this node: late words about what is gone are no offence."""
        instance_id = InstanceId(claim.instance_id)
        record = await store.find(tx, instance_id)
        if record is not None:
            return record.node_id == claim.node_id
        return await store.find_tombstone(tx, claim.node_id, instance_id) is not None

    async def _record_claim(self, tx: Transaction, claim: FalseClaim) -> None:
        kept = self._claims[claim.node_id]
        if claim.instance_id in kept or len(kept) >= MAX_CLAIMS:
            return
        kept.add(claim.instance_id)
        _log.warning("node %s speaks of instance %s: %s; dropped", claim.node_id, claim.instance_id, claim.fault)
        await self._audit.record(
            tx,
            Principal(kind="node", id=claim.node_id, name=claim.node_id),
            "instance.report",
            f"instance:{claim.instance_id}",
            "denied",
            {"reason": "not on record for this node" if claim.fault in _FRAMES else claim.fault[:MAX_TEXT]},
        )

    async def _record_refusals(self, tx: Transaction, node_id: NodeId, events: Iterable[InstanceEvent]) -> None:
        """Put on record what a node refused by its own policy (trust S21)."""
        for event in events:
            reason = event.reason
            if reason is None or reason.code != POLICY_REFUSED or self._refusals[node_id] >= MAX_REFUSALS:
                continue
            self._refusals[node_id] += 1
            details = {**reason.params, "reason": reason.message, "generation": event.generation}
            actor, target = Principal(kind="node", id=node_id, name=node_id), f"instance:{event.instance_id}"
            await self._audit.record(tx, actor, "policy.refuse", target, "denied", details)

    # --- one report -----------------------------------------------------------------------------------------------
    async def _take(
        self, tx: Transaction, node_id: NodeId, record: Record | None, report: InstanceReport, after: Aftermath
    ) -> None:
        if record is None or record.node_id != node_id:
            await self._answer_stranger(tx, node_id, report, after)
            return
        match judge_report(record.spec, report):
            case Take.DROP:
                return
            case Take.OUTBID:
                await self._outbid(tx, record, report, after)
            case Take.ACCEPT:
                await self._accept(tx, record, report, after)

    async def _outbid(self, tx: Transaction, record: Record, report: InstanceReport, after: Aftermath) -> None:
        _log.warning(
            "node %s reports generation %d of instance %s, ours is %d: the wish is sent again above it",
            record.node_id,
            report.generation,
            report.instance_id,
            record.spec.generation,
        )
        newer = msgspec.structs.replace(record, spec=outbid(record.spec, report))
        await store.save_wish(tx, newer)
        after.tell(newer)

    async def _accept(self, tx: Transaction, record: Record, report: InstanceReport, after: Aftermath) -> None:
        verdict = judge_action(record, report)
        seen = msgspec.structs.replace(record, observed=report)
        if has_failed(record, report):
            instance_id, name = report.instance_id, record.spec.name
            after.failed.append(InstanceFailed(instance_id, record.node_id, name, report.reason))
        if verdict is not None and record.operation_id is not None:
            if record.action is Action.UPGRADE:
                await self._on_upgraded(tx, seen, verdict)
            else:
                await after.end_target(self._operations, tx, record.operation_id, report.instance_id, verdict)
            seen = msgspec.structs.replace(seen, action=None, operation_id=None, action_at=None)
        if report.removed:
            await self._bury(tx, seen, after)
        elif verdict is not None or not is_same_picture(record.observed, report):
            await store.save_observed(tx, seen)
            after.show(seen)

    async def _bury(self, tx: Transaction, record: Record, after: Aftermath) -> None:
        await store.bury(tx, record, to_ms(self._clock.now()))
        after.records.pop(record.spec.instance_id, None)
        after.gone.append(record.spec.instance_id)
        after.frames.append((record.node_id, Forget(instance_id=record.spec.instance_id)))

    async def _answer_stranger(
        self, tx: Transaction, node_id: NodeId, report: InstanceReport, after: Aftermath
    ) -> None:
        spec = await store.find_tombstone(tx, node_id, report.instance_id)
        if report.removed:
            after.frames.append((node_id, Forget(instance_id=report.instance_id)))
        elif spec is None:
            await self._record_claim(tx, FalseClaim(node_id, report.instance_id, "report"))
        elif report.generation >= spec.generation or needs_apply(spec, report):
            if report.generation > spec.generation:
                spec = outbid(spec, report)
                await store.save_tombstone(tx, node_id, spec, to_ms(self._clock.now()))
            after.frames.append((node_id, self._announcer.apply_frame(node_id, spec)))

    def _release(self, after: Aftermath) -> None:
        for record in after.records.values():
            self.watch(record)
        for instance_id in after.gone:
            self._under_way.pop(instance_id, None)
        self._announcer.release(after)


async def _nobody_upgrades(_tx: Transaction, _record: Record, _verdict: TargetEnd) -> None:
    """Until somebody drives upgrades there are none."""
