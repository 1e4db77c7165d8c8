"""The nodes on record: enrolment, changes, removal, status. `links` tells it who is heard; the API asks it.

All records are kept in memory (a node is about 2 KB) and written through; one lock per node keeps a read-change-write
whole. Status is computed from the monotonic clock and published when it changes.
"""

import asyncio
import itertools
import logging
import secrets
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Protocol

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.master.nodes import notes, store
from ops_system.master.nodes.claims import bound_fingerprint, bound_word
from ops_system.master.nodes.events import NodeDraining, NodeEnrolled, NodeRemoved, NodeStatusChanged
from ops_system.master.nodes.keys import read_public_key
from ops_system.master.nodes.notes import NodeNoted, NoteKind
from ops_system.master.nodes.presence import Presence
from ops_system.master.nodes.rules import (
    Enrolled,
    Enrolment,
    MasterFacts,
    Node,
    NodeChange,
    NodeQuery,
    NodeRecord,
    PlannedNode,
    check_change,
    check_labels,
    check_name,
    free_name,
    is_in_scope,
    needs_names_alone,
    patience_of,
    principal_of,
    select,
    select_named,
    sorts_by_metric,
    status_of,
    view_of,
)
from ops_system.master.web.route import Page, Permission, Principal
from ops_system.model.errors import Conflict, Forbidden, NotAllowed, NotFound, OpsError, StorageFull, Unavailable
from ops_system.model.ids import NodeId, spell_id
from ops_system.model.nodes import NodeStatus
from ops_system.model.reasons import Reason
from ops_system.protocol.frames import HEARTBEAT_S, Proof
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import every
from ops_system.storage.database import Database, Transaction

_log = logging.getLogger(__name__)

TICK_S = 1.0
SAVE_LAST_SEEN_EVERY_S = 30.0
SEEN_AT_ONCE = 500  # rows of one transaction
TOPIC = "nodes"
MAX_CLONES = 8  # of one node


class JoinTokens(Protocol):
    """What enrolment needs of the join tokens."""

    async def redeem(self, tx: Transaction, token_id: str, secret: str, macs: Collection[str] = ()) -> dict[str, str]:
        """Use a token once and return its labels. Raises `Unauthenticated` or `Forbidden` with the reason."""
        ...


class Nodes:
    """The one book of nodes."""

    def __init__(
        self,
        *,
        database: Database,
        audit: Audit,
        bus: Bus,
        clock: Clock,
        join_tokens: JoinTokens,
        facts: MasterFacts,
        offline_after_s: float,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._database = database
        self._audit = audit
        self._bus = bus
        self._clock = clock
        self._join_tokens = join_tokens
        self.facts = facts
        self._patience = patience_of(heartbeat_s, offline_after_s)
        self._records: dict[NodeId, NodeRecord] = {}
        self._clones: dict[NodeId, None] = {}  # the records of copies: few, and asked for at each new link
        self.presence = Presence(clock)
        self._statuses: dict[NodeId, NodeStatus] = {}
        self._locks: defaultdict[NodeId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._enrolling = asyncio.Lock()
        self._metrics_of: Callable[[NodeId], Mapping[str, float]] = lambda _node_id: {}
        self._names_in_use: Callable[[NodeId], Awaitable[list[str]]] = _nothing_in_use

    def show_metrics(self, metrics_of: Callable[[NodeId], Mapping[str, float]]) -> None:
        """Fill `Node.metrics` from here."""
        self._metrics_of = metrics_of

    def guard_removal(self, names_in_use: Callable[[NodeId], Awaitable[list[str]]]) -> None:
        """Ask here which instances stand in the way of removing a node: their names."""
        self._names_in_use = names_in_use

    # --- life -----------------------------------------------------------------------------------------------------
    async def load(self) -> None:
        """Read the records. No node has been heard yet."""
        self._records = {record.id: record for record in await store.list_all(self._database)}
        self._clones = {record.id: None for record in self._records.values() if record.clone_of}
        self._statuses = {node_id: self.status(node_id) for node_id in self._records}

    async def run(self) -> None:
        """Watch the silence of every node, and write down now and then when each was last heard."""
        ticks_a_save = round(SAVE_LAST_SEEN_EVERY_S / TICK_S)
        tick = 0

        async def watch() -> None:
            nonlocal tick
            self.check_statuses()
            tick += 1
            if tick % ticks_a_save == 0:
                await self.save_last_seen()

        await every(TICK_S, watch, "node status")

    def check_statuses(self) -> None:
        """Publish every status that is no longer what it was."""
        for node_id in self.presence.silent_for(self._patience.suspect_after_s):
            if self._statuses.get(node_id) is not NodeStatus.OFFLINE:  # time alone takes nobody out of that
                self._check_status(node_id)

    async def save_last_seen(self) -> None:
        """Write when each node was heard that was heard since the last time; not now when the disk does not take it."""
        heard = iter(self.presence.heard_within(2 * SAVE_LAST_SEEN_EVERY_S).items())
        try:
            while some := dict(itertools.islice(heard, SEEN_AT_ONCE)):  # the writer's thread holds the loop up
                async with self._database.transaction() as tx:
                    await store.save_last_seen(tx, some)
        except OpsError as problem:
            _log.warning("when nodes were last heard is not written: %s", problem.message)

    def _check_status(self, node_id: NodeId, silent_s: float | None = None) -> None:
        """Publish the status when it is another; `silent_s`: how long the node was silent before it was heard now."""
        status = self.status(node_id)
        if self._statuses.get(node_id) is not status:
            self._statuses[node_id] = status
            if status is not NodeStatus.ONLINE:
                silent_s = self.presence.silence_s(node_id)
            self.note(node_id, NoteKind.STATUS, notes.status_reason(status, silent_s), status=status)
            self._bus.publish(NodeStatusChanged(node_id, status))
            self._show(node_id)

    def note(
        self,
        node_id: NodeId,
        kind: NoteKind,
        reason: Reason | None,
        *,
        actor: str = "",
        status: NodeStatus | None = None,
    ) -> None:
        """Add a line to the timeline of a node. Features above tell here what they did to it, after the commit."""
        self._bus.publish(NodeNoted(node_id, self._clock.now(), kind, status, reason, actor))

    # --- questions ------------------------------------------------------------------------------------------------
    def find(self, node_id: str) -> NodeRecord | None:
        """Return the record, or None."""
        return self._records.get(NodeId(node_id))

    def record(self, node_id: str) -> NodeRecord:
        """Return the record. Raises `NotFound`."""
        record = self.find(node_id)
        if record is None:
            raise NotFound(f"there is no node {node_id}", id=node_id)
        return record

    def status(self, node_id: str) -> NodeStatus:
        """Return the status now. Raises `NotFound`."""
        record = self.record(node_id)
        return status_of(record, self.presence.of(record.id), self._patience)

    def get(self, node_id: str, principal: Principal | None = None) -> Node:
        """Return the node as the API shows it. Raises `NotFound`, also for what is out of the principal's scope."""
        record = self.record(node_id)
        if principal is not None and not is_in_scope(record.labels, principal.scope):
            raise NotFound(f"there is no node {node_id}", id=node_id)
        return self._view(record, self._metrics_of(record.id))

    def list_all(self, principal: Principal | None = None) -> list[Node]:
        """Return every node, or those in the principal's scope."""
        return [self._view(record, self._metrics_of(record.id)) for record in self._within(principal)]

    def list_records(self, principal: Principal | None = None) -> list[NodeRecord]:
        """Return what is kept of every node, or of those in the principal's scope."""
        return list(self._within(principal))

    def list_page(self, query: NodeQuery, principal: Principal) -> Page[Node]:
        """Return one page of what the principal may see. The numbers of those on other pages are not looked up."""
        if needs_names_alone(query):
            records, total = select_named(self._within(principal), query)
            return Page(items=[self._view(record, self._metrics_of(record.id)) for record in records], total=total)
        if sorts_by_metric(query):
            items, total = select(self.list_all(principal), query)
            return Page(items=items, total=total)
        items, total = select([self._view(record, {}) for record in self._within(principal)], query)
        return Page(items=[self.get(item.id) for item in items], total=total)

    def count_statuses(self) -> Counter[NodeStatus]:
        """Return how many nodes are in each status, as last published."""
        return Counter(self._statuses.values())

    def _copies(self) -> list[NodeRecord]:
        return [self._records[node_id] for node_id in self._clones]

    def _within(self, principal: Principal | None) -> Iterator[NodeRecord]:
        scope = principal.scope if principal is not None else {}
        return (record for record in self._records.values() if is_in_scope(record.labels, scope))

    def _view(self, record: NodeRecord, metrics: Mapping[str, float]) -> Node:
        heard = self.presence.of(record.id)
        return view_of(record, heard, status_of(record, heard, self._patience), metrics)

    # --- what the links tell --------------------------------------------------------------------------------------
    def hear(self, node_id: NodeId) -> None:
        """A frame has come: the node is alive."""
        if self._statuses.get(node_id) is NodeStatus.ONLINE:
            self.presence.hear(node_id)
        elif node_id in self._records:
            silent_s = self.presence.silence_s(node_id)
            self.presence.hear(node_id)
            self._check_status(node_id, silent_s)

    async def link_up(self, node_id: NodeId, proof: Proof, address: str) -> NodeRecord:
        """A worker has proven itself: write what it is now, and raise its connection epoch. Raises `NotFound`.

        A disk that is full keeps no worker out.
        """
        async with self._locks[node_id]:
            record = msgspec.structs.replace(
                self.record(node_id),
                fingerprint=bound_fingerprint(proof.fingerprint),
                worker_version=bound_word(proof.worker_version),
                address=address,
                connection_epoch=self.record(node_id).connection_epoch + 1,
                last_seen=self._clock.now(),
            )
            try:
                async with self._database.transaction() as tx:
                    await store.save(tx, record)
            except (StorageFull, Unavailable) as problem:
                _log.warning("node %s links, but that is not written: %s", record.name, problem.message)
            self._records[node_id] = record
        self.note(node_id, NoteKind.LINK, notes.linked(address, record.worker_version))
        self.presence.link(node_id)
        self.hear(node_id)
        self._show(node_id)
        return record

    def link_down(self, node_id: NodeId) -> None:
        """The link of a node is gone."""
        self.presence.unlink(node_id)
        if node_id in self._records:
            self._show(node_id)

    async def quarantine(self, original: NodeRecord, proof: Proof, address: str) -> NodeRecord:
        """Put a second machine with the same identity on record, beside the one it copies.

        One that claims another boot each time takes its own earlier place once `MAX_CLONES` are on record.
        """
        async with self._enrolling:
            clones = [record for record in self._copies() if record.clone_of == original.id]
            known = self.find_clone(original.id, proof) or (clones[-1] if len(clones) >= MAX_CLONES else None)
            record = NodeRecord(
                id=known.id if known else _new_id(),
                name=known.name if known else free_name(f"{original.name}-clone", self._names()),
                created_at=known.created_at if known else self._clock.now(),
                created_by=original.name,
                clone_of=original.id,
                labels=original.labels,
                fingerprint=bound_fingerprint(proof.fingerprint),
                worker_version=bound_word(proof.worker_version),
                address=address,
                last_seen=self._clock.now(),
            )
            async with self._database.transaction() as tx:
                await store.save(tx, record)
                if known is None:
                    details = {"quarantined": record.id, "address": address, "boot_id": bound_word(proof.boot_id)}
                    await self._audit.record(
                        tx, principal_of(original), "node.link", f"node:{original.id}", "denied", details
                    )
            self._keep(record)
        if known is None:
            self.note(original.id, NoteKind.IDENTITY, notes.copied(record.name, address))
            self.note(record.id, NoteKind.STATUS, None, status=NodeStatus.QUARANTINED)
            self._bus.publish(NodeStatusChanged(record.id, NodeStatus.QUARANTINED))
        return record

    def find_clone(self, node_id: NodeId, proof: Proof) -> NodeRecord | None:
        """Return the quarantined copy with this identity, boot and key file, if it is on record."""
        shown = (bound_word(proof.boot_id), bound_word(proof.fingerprint.key_place))
        for record in self._copies():
            seen = record.fingerprint
            if record.clone_of == node_id and seen and (seen.boot_id, seen.key_place) == shown:
                return record
        return None

    # --- acts -----------------------------------------------------------------------------------------------------
    async def enrol(self, body: Enrolment, address: str) -> Enrolled:
        """Take a worker in by its join token. The same worker may repeat the call when the answer was lost.

        Raises `Unauthenticated`/`Forbidden` (token), `Invalid` (key, labels), `Forbidden` (revoked key).
        """
        public_key = read_public_key(body.public_key)
        labels = check_labels(body.labels)
        async with self._enrolling:
            known = next((one for one in self._records.values() if one.public_key == public_key), None)
            if known is not None and known.is_revoked:
                raise Forbidden(f"the key of node {known.name} is revoked; ops-worker leave, then join anew")
            if known is None or known.join_token_id != body.token_id:
                known = await self._take_in(body, known or self._planned(body.name), public_key, labels, address)
        return Enrolled(
            node_id=known.id,
            node_name=known.name,
            ca_pem=self.facts.ca_pem,
            signing_public_key=self.facts.signing_public_key,
            epoch=self.facts.epoch,
        )

    async def _take_in(
        self, body: Enrolment, known: NodeRecord | None, public_key: bytes, labels: dict[str, str], address: str
    ) -> NodeRecord:
        node_id = known.id if known else _new_id()
        async with self._locks[node_id], self._database.transaction() as tx:
            macs = body.fingerprint.macs
            granted = await self._join_tokens.redeem(tx, body.token_id, body.token_secret, macs)
            record = NodeRecord(
                id=node_id,
                name=known.name if known else free_name(body.name or body.fingerprint.hostname, self._names()),
                created_at=known.created_at if known else self._clock.now(),
                created_by=f"join-token:{body.token_id}",
                public_key=public_key,
                join_token_id=body.token_id,
                is_paused=known.is_paused if known else False,
                is_draining=known.is_draining if known else False,
                labels={**(known.labels if known else {}), **labels, **granted},
                fingerprint=bound_fingerprint(body.fingerprint),
                worker_version=bound_word(body.worker_version),
                address=address,
                connection_epoch=known.connection_epoch if known else 0,
                last_seen=self._clock.now(),
            )
            await store.save(tx, record)
            details = {"name": record.name, "join_token": body.token_id, "address": address}
            await self._audit.record(tx, principal_of(record), "node.enrol", f"node:{node_id}", "done", details)
        self._keep(record)
        self.note(node_id, NoteKind.IDENTITY, notes.joined(address, body.token_id))
        self._bus.publish(NodeEnrolled(node_id, body.token_id, dict(record.labels)))
        return record

    async def plan(self, body: PlannedNode, actor: Principal) -> Node:
        """Put a node on record before its machine exists. Raises `Invalid`, `Conflict`."""
        name, labels = check_name(body.name), check_labels(body.labels)
        async with self._enrolling:
            self._check_free(name, None)
            record = NodeRecord(
                id=_new_id(), name=name, created_at=self._clock.now(), created_by=actor.name, labels=labels
            )
            async with self._database.transaction() as tx:
                await store.save(tx, record)
                await self._audit.record(tx, actor, "node.plan", f"node:{record.id}", "done", {"name": name})
            self._keep(record)
        self.note(record.id, NoteKind.IDENTITY, notes.PLANNED, actor=actor.name)
        return self.get(record.id)

    async def change(self, node_id: str, body: NodeChange, actor: Principal) -> Node:
        """Change what `body` names. Raises `NotFound`, `Invalid`, `Conflict`, `Forbidden`, `NotAllowed`."""
        node_id = self.get(node_id, actor).id
        wanted = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not msgspec.UNSET}
        check_change(self.record(node_id), wanted, is_admin=Permission.ADMIN in actor.permissions)
        fields = {_COLUMNS.get(name, name): value for name, value in wanted.items()}
        async with self._enrolling, self._locks[NodeId(node_id)]:
            if "name" in wanted:
                self._check_free(wanted["name"], node_id)
            before = self.record(node_id)
            record = msgspec.structs.replace(before, **fields)
            async with self._database.transaction() as tx:
                await store.save(tx, record)
                await self._audit.record(tx, actor, "node.change", f"node:{node_id}", "done", wanted)
            self._keep(record)
        for kind, reason in notes.changes(before, record):
            self.note(record.id, kind, reason, actor=actor.name)
        if record.is_draining is not before.is_draining:
            self._bus.publish(NodeDraining(record.id, record.is_draining, actor))
        return self.get(node_id)

    async def retire(self, node_id: NodeId) -> None:
        """The node has left by its own wish: its key is worth nothing from now on. What is on record of it stays."""
        async with self._locks[node_id]:
            record = self._records.get(node_id)
            if record is None or record.is_revoked:
                return
            record = msgspec.structs.replace(record, is_revoked=True)
            async with self._database.transaction() as tx:
                await store.save(tx, record)
                await self._audit.record(tx, principal_of(record), "node.leave", f"node:{node_id}", "done", {})
            self._keep(record)
        self.note(node_id, NoteKind.IDENTITY, notes.LEFT)

    async def remove(self, node_id: str, actor: Principal, *, is_forced: bool) -> None:
        """Take a node off the record; its key is worth nothing from then on.

        Raises `NotFound`, and `NotAllowed` while instances are on it, unless forced: what runs there then goes on
        running, unattended.
        """
        node_id = self.get(node_id, actor).id
        in_use = [] if is_forced else await self._names_in_use(NodeId(node_id))
        if in_use:
            raise NotAllowed(
                f"{len(in_use)} instances are on this node: {', '.join(in_use[:5])}; destroy them first, or repeat "
                "with ?force=1 to leave them unattended",
                instances=in_use,
            )
        async with self._locks[NodeId(node_id)]:
            record = self.record(node_id)
            async with self._database.transaction() as tx:
                await store.delete(tx, record.id)
                details = {"name": record.name, "forced": is_forced}
                await self._audit.record(tx, actor, "node.remove", f"node:{record.id}", "done", details)
            gone = [one.id for one in self._records.values() if record.id in (one.id, one.clone_of)]
        for one in gone:
            self._drop(one)

    # --- parts ----------------------------------------------------------------------------------------------------
    def _check_free(self, name: str, own_id: str | None) -> None:
        for record in self._records.values():
            if record.name.casefold() == name.casefold() and record.id != own_id:
                raise Conflict(f"another node is called {record.name}", name=record.name, id=record.id)

    def _planned(self, name: str) -> NodeRecord | None:
        """Return the planned node whose place a worker of this name takes."""
        for record in self._records.values():
            if record.public_key is None and not record.clone_of and record.name.casefold() == name.casefold():
                return record
        return None

    def _names(self) -> list[str]:
        return [record.name for record in self._records.values()]

    def _keep(self, record: NodeRecord) -> None:
        self._records[record.id] = record
        if record.clone_of:
            self._clones[record.id] = None
        self._statuses.setdefault(record.id, self.status(record.id))
        self._check_status(record.id)
        self._show(record.id)

    def _drop(self, node_id: NodeId) -> None:
        self._records.pop(node_id, None)
        self._clones.pop(node_id, None)
        self._statuses.pop(node_id, None)
        self._locks.pop(node_id, None)
        self.presence.forget(node_id)
        self._bus.publish(NodeRemoved(node_id))
        self._bus.publish(Changed(TOPIC, node_id, None))

    def _show(self, node_id: NodeId) -> None:
        self._bus.publish(Changed(TOPIC, node_id, self.get(node_id)))


_COLUMNS = {"paused": "is_paused", "draining": "is_draining", "revoked": "is_revoked"}


def _new_id() -> NodeId:
    return NodeId(spell_id("node", secrets.token_bytes(10)))


async def _nothing_in_use(_node_id: NodeId) -> list[str]:
    return []
