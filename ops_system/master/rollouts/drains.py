"""Draining a node and taking it back into service, as operations over its instances.

    drain    the node takes no new starts; what runs is stopped, the last to start first; each wish is kept
    undrain  the node takes starts again; what the drain stopped is started, in start order

`PATCH draining` of a node leads to the same by way of the bus. A master that was killed goes on where it stood.
"""

import asyncio
import logging
from collections import defaultdict
from itertools import zip_longest

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus
from ops_system.master.instances.aftermath import Aftermath
from ops_system.master.instances.rules import STEPS, Action, Record, is_watched_only
from ops_system.master.instances.service import Instances
from ops_system.master.nodes.events import NodeDraining
from ops_system.master.nodes.rules import Node, NodeChange
from ops_system.master.nodes.service import Nodes
from ops_system.master.operations.rules import TargetEnd
from ops_system.master.operations.service import Operations
from ops_system.master.rollouts import store
from ops_system.master.rollouts.rules import Rollout, Waves, plan_waves
from ops_system.master.systems.service import Systems
from ops_system.master.web.route import Principal
from ops_system.model.errors import NotAllowed, NotFound, OpsError
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.instances import Desired
from ops_system.model.operations import ENDED, Operation, OperationState
from ops_system.model.reasons import Reason
from ops_system.storage.database import Database, Transaction

_log = logging.getLogger(__name__)

RETRY_S = 1.0
KINDS = {Action.DRAIN: "node.drain", Action.UNDRAIN: "node.undrain"}
_MASTER = Principal(kind="local", id="master", name="master")
_CANCELLED = Reason("cancelled", "cancelled by a person")


class Drains:
    """The one book of drains."""

    def __init__(
        self,
        *,
        database: Database,
        nodes: Nodes,
        systems: Systems,
        instances: Instances,
        operations: Operations,
        audit: Audit,
        bus: Bus,
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._systems = systems
        self._instances = instances
        self._operations = operations
        self._audit = audit
        self._due: dict[NodeId, tuple[Action, Principal]] = {}
        self._wake = asyncio.Event()
        for kind in KINDS.values():
            operations.control(kind, self)
        bus.subscribe(NodeDraining, self._on_draining)

    # --- what PATCH asked for, and what a killed master left --------------------------------------------------------
    def _on_draining(self, event: NodeDraining) -> None:
        self._due[event.node_id] = (Action.DRAIN if event.is_draining else Action.UNDRAIN, event.actor)
        self._wake.set()

    async def run(self) -> None:
        """Begin what was asked for, until cancelled."""
        await self._take_up()
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, {}
            for node_id, (action, actor) in due.items():
                await self._begin_later(node_id, action, actor)

    async def _take_up(self) -> None:
        """Begin the drain of a node whose master was killed between the node's change and the operation."""
        for node in self._nodes.list_all():
            latest = await store.find_latest(self._database, node.id) if node.draining else None
            if node.draining and (latest is None or latest.action is not Action.DRAIN):
                self._on_draining(NodeDraining(node.id, is_draining=True, actor=_MASTER))

    async def _begin_later(self, node_id: NodeId, action: Action, actor: Principal) -> None:
        try:
            await self._begin(self._nodes.get(node_id), action, actor, needs_target=True)
        except NotFound:
            return
        except OpsError as problem:
            _log.warning("%s of node %s waits: %s", action, node_id, problem.message)
            self._due.setdefault(node_id, (action, actor))
            asyncio.get_running_loop().call_later(RETRY_S, self._wake.set)

    # --- acts of people -------------------------------------------------------------------------------------------
    async def drain(self, node_id: str, actor: Principal) -> Operation:
        """Stop what runs on a node and let nothing start there. Raises `NotFound`."""
        return await self._ask(node_id, Action.DRAIN, actor)

    async def undrain(self, node_id: str, actor: Principal) -> Operation:
        """Let the node take starts again, and start what the drain stopped. Raises `NotFound`."""
        return await self._ask(node_id, Action.UNDRAIN, actor)

    async def _ask(self, node_id: str, action: Action, actor: Principal) -> Operation:
        node = await self._nodes.change(node_id, NodeChange(draining=action is Action.DRAIN), actor)
        self._due.pop(node.id, None)
        operation = await self._begin(node, action, actor, needs_target=False)
        assert operation is not None
        return operation

    async def _begin(self, node: Node, action: Action, actor: Principal, *, needs_target: bool) -> Operation | None:
        """Open the operation, or return the one under way; without a target only when it was asked for by name."""
        after = Aftermath()
        async with self._database.transaction() as tx:
            known = await self._make_way(tx, node, action, after)
            if known is not None:
                return known
            records = [
                record for record in await self._instances.list_on_node(tx, node.id) if _is_concerned(record, action)
            ]
            if records or not needs_target:
                operation = await self._open(tx, node, action, actor, records)
                after.note(operation)
        self._instances.release(after)
        return operation if records or not needs_target else None

    async def _make_way(self, tx: Transaction, node: Node, action: Action, after: Aftermath) -> Operation | None:
        """Return the same act under way; what the opposite one has not begun does not begin any more."""
        for rollout in await store.list_open(tx):
            if rollout.subject_id != node.id:
                continue
            if rollout.action is action:
                return await self._operations.read(tx, rollout.operation_id)
            reason = Reason("superseded", f"a node.{action} was asked for")
            await self._cancel_pending(tx, rollout.operation_id, reason, after)
        return None

    async def _cancel_pending(self, tx: Transaction, operation_id: str, reason: Reason, after: Aftermath) -> None:
        for target in (await self._operations.read(tx, operation_id)).targets:
            if target.state is OperationState.PENDING:
                end = TargetEnd(OperationState.CANCELLED, reason)
                await after.end_target(self._operations, tx, operation_id, target.id, end)

    async def _open(
        self, tx: Transaction, node: Node, action: Action, actor: Principal, records: list[Record]
    ) -> Operation:
        waves = await self._plan(tx, records, action)
        by_id = {record.spec.instance_id: record for record in records}
        operation = await self._operations.create(
            tx,
            KINDS[action],
            title=f"{action.capitalize()} {node.name}",
            actor=actor,
            targets=[self._instances.target_of(by_id[instance_id]) for wave in waves for instance_id in wave],
            steps=STEPS[action],
        )
        await store.insert(tx, Rollout(operation.id, node.id, action, waves, actor.scope))
        details = {"name": node.name, "instances": len(records), "operation": operation.id}
        await self._audit.record(tx, actor, KINDS[action], f"node:{node.id}", "done", details)
        return operation

    async def _plan(self, tx: Transaction, records: list[Record], action: Action) -> Waves:
        """Return the waves of every system side by side."""
        by_system: defaultdict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_system[record.spec.system_id].append(record)
        plans = [
            plan_waves(await self._systems.list_modules(system_id, tx), members, action)
            for system_id, members in by_system.items()
        ]
        return tuple(_joined(wave) for wave in zip_longest(*plans, fillvalue=()))

    # --- operations' controller -----------------------------------------------------------------------------------
    async def cancel(self, operation: Operation, actor: Principal) -> Operation:
        """Begin nothing more. A cancelled drain is taken back: what it stopped starts again; a start becomes a stop."""
        after = Aftermath()
        async with self._database.transaction() as tx:
            rollout = await self._rollout_of(tx, operation)
            await self._cancel_pending(tx, operation.id, _CANCELLED, after)
            if rollout.action is Action.UNDRAIN:
                for target in operation.targets:
                    if target.state not in ENDED:
                        await self._instances.withdraw(tx, target.id, operation.id, after)
            await self._audit.record(tx, actor, "operation.cancel", f"operation:{operation.id}", "done", {})
        self._instances.release(after)
        if rollout.action is Action.DRAIN:
            await self.undrain(rollout.subject_id, actor)
        return await self._operations.get(operation.id)

    async def retry(self, operation: Operation, actor: Principal) -> Operation:
        """Do the same again with what is left to do. Raises `NotAllowed` when the node is gone."""
        async with self._database.transaction() as tx:
            rollout = await self._rollout_of(tx, operation)
        if self._nodes.find(rollout.subject_id) is None:
            raise NotAllowed(f"node {rollout.subject_id} is no longer on record; there is nothing to retry")
        return await self._ask(rollout.subject_id, rollout.action, actor)

    @staticmethod
    async def _rollout_of(tx: Transaction, operation: Operation) -> Rollout:
        rollout = await store.find(tx, operation.id)
        if rollout is None:
            raise NotFound(f"operation {operation.id} has no rollout", id=operation.id)
        return rollout


def _is_concerned(record: Record, action: Action) -> bool:
    if action is Action.UNDRAIN:
        return record.is_drained
    return record.spec.desired is Desired.RUNNING and not is_watched_only(
        record.spec
    )  # nobody here could start it again


def _joined(waves: tuple[tuple[InstanceId, ...], ...]) -> tuple[InstanceId, ...]:
    return tuple(instance_id for wave in waves for instance_id in wave)
