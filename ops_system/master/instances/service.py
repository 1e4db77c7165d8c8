"""Instances: acts of people and rollouts. Each act is one transaction: check, raise the generation, operation, audit.

    act -> wish stored (generation + 1), operation open -> Apply when the node is linked, else at its next snapshot
        -> reports (`observer`) end the operation; a newer act cancels it as superseded

`begin` and `place` are for rollouts, which act on many instances inside one transaction of their own.
"""

import asyncio
import secrets
from datetime import timedelta

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus
from ops_system.master.instances import placing, store
from ops_system.master.instances.aftermath import Aftermath, Announcer, MetricsOf
from ops_system.master.instances.definitions import Definitions
from ops_system.master.instances.observer import Observer, OnFetch, OnUpgraded
from ops_system.master.instances.rules import (
    STEPS,
    Action,
    Record,
    after_cancel,
    check_destroy,
    next_wish,
    redelivered,
    takes_fresh,
    wants_start,
)
from ops_system.master.instances.views import Instance, InstanceQuery, TimelineEvent
from ops_system.master.nodes.events import NodeRemoved, NodeStatusChanged
from ops_system.master.nodes.scope import reached_nodes, reaches
from ops_system.master.nodes.service import Nodes
from ops_system.master.operations.rules import TargetEnd
from ops_system.master.operations.service import Operations
from ops_system.master.packages.service import Packages
from ops_system.master.systems.service import Systems
from ops_system.master.web.route import ListQuery, Page, Principal
from ops_system.model.errors import Conflict, NotAllowed, NotFound, OpsError
from ops_system.model.ids import InstanceId, NodeId, spell_id
from ops_system.model.instances import InstanceSpec, Origin
from ops_system.model.nodes import NodeStatus
from ops_system.model.operations import ENDED, Operation, OperationState, OperationTarget
from ops_system.model.reasons import Reason
from ops_system.model.stamps import to_ms
from ops_system.model.systems import Module
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import spawn
from ops_system.storage.database import Database, Queries, Transaction

KEEP_TOMBSTONES = timedelta(days=90)
RETURN_WITHIN_S = 60.0  # so long workers may take to come back after a master's start (trust R10)
VIEWS_AT_ONCE = 200  # about 10 ms: other work gets its turn in between
_SILENT = frozenset({NodeStatus.OFFLINE, NodeStatus.QUARANTINED})
_CANCELLED = TargetEnd(OperationState.CANCELLED, Reason("cancelled", "cancelled by a person"))


class Instances:
    """The one book of instances."""

    def __init__(
        self,
        *,
        database: Database,
        nodes: Nodes,
        packages: Packages,
        systems: Systems,
        operations: Operations,
        announcer: Announcer,
        observer: Observer,
        audit: Audit,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._systems = systems
        self._definitions = Definitions(nodes, packages, systems)
        self._operations = operations
        self._announcer = announcer
        self._observer = observer
        self._audit = audit
        self._clock = clock
        self._loaded_s = clock.monotonic_s()
        self._changed_nodes: set[NodeId] = set()
        self._wake = asyncio.Event()
        announcer.secrets_of = systems.layers.secrets_of
        packages.usage.ask_before_delete(store.list_package_users)
        systems.ask_before_delete(store.list_names_by_modules)
        nodes.guard_removal(self.names_on_node)
        operations.control("instance.", self)
        operations.limit(lambda scope: reached_nodes(nodes, scope))
        bus.subscribe(NodeStatusChanged, self._on_node_status)
        bus.subscribe(NodeRemoved, lambda event: self._lose(event.node_id))

    def show_metrics(self, metrics_of: MetricsOf) -> None:
        """Fill `Instance.metrics` from here."""
        self._announcer.metrics_of = metrics_of

    def show_fetches(self, on_fetch: OnFetch) -> None:
        """Tell this how far packages are that are fetched ahead of a start."""
        self._observer.show_fetches(on_fetch)

    def judge_upgrades(self, on_upgraded: OnUpgraded) -> None:
        """Hand the verdict on each upgrade to whoever drives it."""
        self._observer.judge_upgrades(on_upgraded)

    async def load(self) -> None:
        """Take up open operations, forget very old tombstones. No node has reported yet: every state is unknown."""
        self._loaded_s = self._clock.monotonic_s()
        await self._observer.load()
        async with self._database.transaction() as tx:
            await store.sweep_tombstones(tx, to_ms(self._clock.now() - KEEP_TOMBSTONES))

    async def run(self) -> None:
        """Take reports as they come, and show the instances of nodes that fell silent."""
        async with asyncio.TaskGroup() as group:
            spawn(group, self._observer.run(), "instance reports")
            spawn(group, self._show_silent(), "silent instances")

    async def _show_silent(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed_nodes = self._changed_nodes, set()
            for node_id in changed:
                after = Aftermath()
                for record in await store.list_by_node(self._database, node_id):
                    after.show(record)
                self._announcer.release(after)

    def _on_node_status(self, event: NodeStatusChanged) -> None:
        if event.status in _SILENT:
            self._lose(event.node_id)

    def _lose(self, node_id: NodeId) -> None:
        self._announcer.heard.discard(node_id)
        self._changed_nodes.add(node_id)
        self._wake.set()

    # --- reading --------------------------------------------------------------------------------------------------
    async def list_page(self, query: InstanceQuery, actor: Principal | None = None) -> Page[Instance]:
        """Return one page within the actor's scope, by name unless sorted otherwise."""
        reached = reached_nodes(self._nodes, actor.scope) if actor is not None else None
        records, total = await store.list_page(self._database, query, self._announcer.heard, reached)
        return Page(items=[self._announcer.view(record) for record in records], total=total)

    async def list_views(self) -> list[Instance]:
        """Return every instance as it is shown: the snapshot of the live topic."""
        views: list[Instance] = []
        while records := await store.list_after(self._database, views[-1].id if views else "", VIEWS_AT_ONCE):
            views += [self._announcer.view(record) for record in records]
        return views

    async def get(self, instance_id: str, actor: Principal | None = None) -> Instance:
        """Return one instance. Raises `NotFound`, also beyond the actor's scope."""
        return self._announcer.view(await self.find_record(self._database, instance_id, actor))

    async def list_events(
        self, instance_id: str, query: ListQuery, actor: Principal | None = None
    ) -> Page[TimelineEvent]:
        """Return one page of the timeline, the newest first unless `sort=at`. Raises `NotFound` as `get`."""
        await self.find_record(self._database, instance_id, actor)
        items, total = await store.list_events(self._database, instance_id, query)
        return Page(items=items, total=total)

    async def find_record(self, reader: Queries, instance_id: str, actor: Principal | None = None) -> Record:
        """Return one instance as it is stored. Raises `NotFound`, also beyond the actor's scope."""
        record = await store.find(reader, instance_id)
        if record is None or (actor is not None and not reaches(self._nodes, actor.scope, record.node_id)):
            raise NotFound(f"there is no instance {instance_id}", id=instance_id)
        return record

    async def list_records(self, reader: Queries, system_id: str) -> list[Record]:
        """Return a system's instances as they are stored."""
        return await store.list_by_system(reader, system_id)

    async def ports_taken(self, reader: Queries) -> dict[NodeId, dict[int, str]]:
        """Return by node each port that an instance declares, and the name of that instance."""
        return await store.list_ports(reader)

    async def list_on_node(self, reader: Queries, node_id: str) -> list[Record]:
        """Return a node's instances as they are stored."""
        return await store.list_by_node(reader, node_id)

    async def node_of(self, instance_id: str) -> NodeId:
        """Return where an instance is. Raises `NotFound`."""
        return (await self.find_record(self._database, instance_id)).node_id

    def is_reachable(self, node_id: NodeId) -> bool | None:
        """Whether the node has reported and is not silent; None while it may still come after a master's start."""
        if node_id in self._announcer.heard:
            return True
        return None if self._clock.monotonic_s() - self._loaded_s < RETURN_WITHIN_S else False

    async def names_on_node(self, node_id: NodeId) -> list[str]:
        """Return the names of a node's instances: what stands in the way of removing it."""
        return [record.spec.name for record in await store.list_by_node(self._database, node_id)]

    # --- acts of people -------------------------------------------------------------------------------------------
    async def create(self, module_id: str, node_id: str, actor: Principal) -> tuple[Instance, Operation]:
        """Deploy a module to a node.

        Raises `NotFound`, `NotAllowed` (wrong OS or architecture, node not ready), `Conflict` (the module is there
        already, a port is taken), `Invalid` (a placeholder without value).
        """
        after = Aftermath()
        async with self._database.transaction() as tx:
            module = await self._systems.get_module(module_id, tx, actor)
            node = placing.facts_of(self._nodes.get(node_id, actor))
            record = await self.place(tx, module, node)
            record, operation = await self._act(tx, record, Action.DEPLOY, actor, after)
        self.release(after)
        return self._announcer.view(record), operation

    async def act(self, instance_id: str, action: Action, actor: Principal) -> tuple[Instance, Operation]:
        """Start, stop, restart, kill or deploy again. Raises `NotFound`, `NotAllowed`."""
        after = Aftermath()
        async with self._database.transaction() as tx:
            record = await self.find_record(tx, instance_id, actor)
            record, operation = await self._act(tx, record, action, actor, after)
        self.release(after)
        return self._announcer.view(record), operation

    async def destroy(
        self, instance_id: str, actor: Principal, *, may_stop: bool, is_forced: bool
    ) -> tuple[Instance, Operation]:
        """Remove an instance: the worker proves the tree empty, removes the files and says so; then it is gone.

        `may_stop` stops what runs first; what was taken over is let go without it.
        `is_forced` forgets the instance at once, for a node that is lost: refused
        while the node is online; should the node come back, it is told to remove it. Asking again while a removal is
        under way answers with that one. Raises `NotFound`, `NotAllowed`.
        """
        after = Aftermath()
        async with self._database.transaction() as tx:
            record = await self.find_record(tx, instance_id, actor)
            known = await self._removal_under_way(record)
            if known is not None and not is_forced:
                return self._announcer.view(record), known
            if is_forced:
                self._check_lost(record)
            elif record.spec.origin is not Origin.ADOPTED:
                check_destroy(record.spec, self._announcer.view(record).state, may_stop=may_stop)
            is_released = record.spec.origin is Origin.ADOPTED and not may_stop
            action = Action.RELEASE if is_released else Action.DESTROY
            record, operation = await self._act(tx, record, action, actor, after)
            if is_forced:
                operation = await self._forget(tx, record, operation, after)
        self.release(after)
        return self._announcer.view(record), operation

    async def let_go(self, instance_id: str, actor: Principal) -> tuple[Instance, Operation]:
        """Forget an instance that was taken over; its process hears nothing of it. Raises `NotFound`, `NotAllowed`."""
        return await self.act(instance_id, Action.RELEASE, actor)

    async def take_in(
        self, tx: Transaction, spec: InstanceSpec, node: placing.NodeFacts, actor: Principal, after: Aftermath
    ) -> tuple[Record, Operation]:
        """Write an instance of what runs on a node already, and begin its takeover.

        Raises `Conflict` (the module is there already, a port is taken), `NotAllowed` (node not ready).
        """
        await self._check_place(tx, spec.module_id, spec.name, node)
        placing.check_ports(spec, [record.spec for record in await store.list_by_node(tx, node.id)], node)
        record = await self._insert(tx, spec, node)
        return await self._act(tx, record, Action.ADOPT, actor, after)

    def view(self, record: Record) -> Instance:
        """Return the instance as it is shown now."""
        return self._announcer.view(record)

    async def _removal_under_way(self, record: Record) -> Operation | None:
        if record.action not in {Action.DESTROY, Action.RELEASE} or record.operation_id is None:
            return None
        operation = await self._operations.get(record.operation_id)
        return None if operation.state in ENDED else operation

    def _check_lost(self, record: Record) -> None:
        node = self._nodes.find(record.node_id)
        if node is not None and placing.facts_of(self._nodes.get(record.node_id)).is_online:
            raise NotAllowed(
                f"node {node.name} is online and can remove the instance itself: delete without force, with ?stop=1",
                node=record.node_id,
            )

    async def _forget(self, tx: Transaction, record: Record, operation: Operation, after: Aftermath) -> Operation:
        instance_id = record.spec.instance_id
        reason = Reason("forced", "forgotten without proof: the node is lost; it is told when it comes back")
        end = TargetEnd(OperationState.SUCCEEDED, reason)
        await after.end_target(self._operations, tx, operation.id, instance_id, end)
        await store.bury(tx, record, to_ms(self._clock.now()))
        after.records.pop(instance_id, None)
        after.wishes.pop(instance_id, None)
        after.gone.append(instance_id)
        return after.operations[operation.id]

    async def _act(
        self, tx: Transaction, record: Record, action: Action, actor: Principal, after: Aftermath
    ) -> tuple[Record, Operation]:
        is_known = self._nodes.find(record.node_id) is not None
        name = f"{record.spec.name} on {self._nodes.get(record.node_id, actor).name if is_known else record.node_id}"
        operation = await self._operations.create(
            tx,
            f"instance.{action}",
            title=f"{action.capitalize()} {name}",
            actor=actor,
            targets=[self.target_of(record)],
            steps=STEPS[action],
        )
        record = await self.begin(tx, record, action, operation.id, after)
        details = {"name": name, "module": record.spec.module_id, "generation": record.spec.generation}
        if action is Action.RELEASE:  # its timeline goes with it: this row tells what was let go
            details |= {"node": record.node_id, "pid": self._announcer.view(record).pid or 0}
        await self._audit.record(
            tx, actor, f"instance.{action}", f"instance:{record.spec.instance_id}", "done", details
        )
        return record, after.operations[operation.id]

    # --- for rollouts, inside their transaction -------------------------------------------------------------------
    def target_of(self, record: Record) -> OperationTarget:
        """Return the instance as a target of an operation that has not begun."""
        return OperationTarget(
            kind="instance",
            id=record.spec.instance_id,
            name=record.spec.name,
            node_id=record.node_id,
            state=OperationState.PENDING,
        )

    async def place(self, tx: Transaction, module: Module, node: placing.NodeFacts) -> Record:
        """Write a new instance that nothing is wished of yet. Raises as `create`."""
        await self._check_place(tx, module.id, module.name, node)
        instance_id = InstanceId(spell_id("ins", secrets.token_bytes(10)))
        neighbours = [record.spec for record in await store.list_by_node(tx, node.id)]
        spec = await self._definitions.define(tx, module, neighbours, instance_id)
        placing.check_node(spec.service, node)
        placing.check_placeholders(spec.service, spec.config_files)
        placing.check_ports(spec, neighbours, node)
        self._definitions.check_files(spec, node)
        return await self._insert(tx, spec, node)

    async def _check_place(self, tx: Transaction, module_id: str, name: str, node: placing.NodeFacts) -> None:
        existing = await store.find_on_node(tx, module_id, node.id)
        if existing is not None:
            raise Conflict(
                f"module {name} has an instance on node {node.name} already; start or destroy that one",
                instance_id=existing.spec.instance_id,
            )

    async def _insert(self, tx: Transaction, spec: InstanceSpec, node: placing.NodeFacts) -> Record:
        record = Record(
            node_id=node.id,
            spec=spec,
            observed=None,
            action=None,
            operation_id=None,
            action_at=None,
            created_at=self._clock.now(),
        )
        await store.insert(tx, record)
        return record

    async def foresee(
        self, tx: Transaction, record: Record, module: Module, on_node: list[Record]
    ) -> tuple[InstanceSpec | None, list[OpsError]]:
        """Return what the instance would be by `module` beside `on_node`, and what stands in the way."""
        return await self._definitions.foresee(tx, record, module, (one.spec for one in on_node))

    async def begin(  # noqa: PLR0917 - what a wish is made of
        self,
        tx: Transaction,
        record: Record,
        action: Action,
        operation_id: str,
        after: Aftermath,
        definition: InstanceSpec | None = None,
    ) -> Record:
        """Raise the wish for `action` on behalf of an operation that has the instance as a target.

        `definition`: what the instance shall be from now on, for an upgrade. Whatever it raises (`NotAllowed`,
        `Conflict`, `Invalid`), nothing was written before.
        """
        if wants_start(action) and self._nodes.find(record.node_id) is not None:
            placing.check_takes_starts(placing.facts_of(self._nodes.get(record.node_id)))
        fresh = definition
        if fresh is None and takes_fresh(record.spec, action):
            fresh = await self._definitions.redefine(tx, record)
        begun = msgspec.structs.replace(
            record,
            spec=next_wish(record.spec, action, fresh),
            action=action,
            operation_id=operation_id,
            action_at=self._clock.now(),
            is_drained=action is Action.DRAIN,
        )
        await self._supersede(tx, record, operation_id, after)
        await store.save_wish(tx, begun)
        await after.begin_target(self._operations, tx, operation_id, record.spec.instance_id, STEPS[action][0])
        after.tell(begun)
        return begun

    async def redeliver(self, tx: Transaction, record: Record, definition: InstanceSpec, after: Aftermath) -> Record:
        """Give an instance another definition beside what runs: nothing is started anew, and nobody waits for it."""
        changed = msgspec.structs.replace(record, spec=redelivered(record.spec, definition))
        await store.save_wish(tx, changed)
        after.tell(changed)
        return changed

    async def _supersede(self, tx: Transaction, record: Record, operation_id: str, after: Aftermath) -> None:
        if record.operation_id in {None, operation_id}:
            return
        assert record.operation_id is not None
        reason = Reason("superseded", "something newer was asked of this instance", {"by": operation_id})
        end = TargetEnd(OperationState.CANCELLED, reason)
        await after.end_target(self._operations, tx, record.operation_id, record.spec.instance_id, end)

    async def withdraw(self, tx: Transaction, instance_id: str, operation_id: str, after: Aftermath) -> None:
        """Cancel what an operation waits for on one instance: a deploy or start becomes a stop.

        Raises `NotAllowed` for stops and removals. An instance that waits for something else is left alone.
        """
        record = await store.find(tx, instance_id)
        if record is None or record.operation_id != operation_id or record.action is None:
            return
        undo = after_cancel(record.action)
        spec = record.spec if undo is None else next_wish(record.spec, undo)
        await after.end_target(self._operations, tx, operation_id, instance_id, _CANCELLED)
        is_drained = record.is_drained if undo is None else undo is Action.DRAIN
        calm = msgspec.structs.replace(
            record, spec=spec, action=None, operation_id=None, action_at=None, is_drained=is_drained
        )
        await store.save_wish(tx, calm)
        after.tell(calm)

    def release(self, after: Aftermath) -> None:
        """Send and publish what a committed transaction led to."""
        for record in after.records.values():
            self._observer.watch(record)
        self._announcer.release(after)

    # --- operations' controller -----------------------------------------------------------------------------------
    async def cancel(self, operation: Operation, actor: Principal) -> Operation:
        """Cancel a deploy or start (the instance is stopped) or a restart (only the waiting ends)."""
        after = Aftermath()
        async with self._database.transaction() as tx:
            for target in operation.targets:
                await self.withdraw(tx, target.id, operation.id, after)
            await self._audit.record(tx, actor, "operation.cancel", f"operation:{operation.id}", "done", {})
        self.release(after)
        return await self._operations.get(operation.id)

    async def retry(self, operation: Operation, actor: Principal) -> Operation:
        """Ask the same of the instance again, as a new operation."""
        action = Action(operation.kind.removeprefix("instance."))
        instance_id = operation.targets[0].id
        if action is Action.DESTROY:
            return (await self.destroy(instance_id, actor, may_stop=True, is_forced=False))[1]
        return (await self.act(instance_id, action, actor))[1]
