"""Updates of workers (trust S14, S17, S21): one operation, one target a node, a few nodes at a time.

The worker does it all and keeps the outcome on its disk; the master orders, asks how far it is, and believes an end
only by the order's own id. So a link that breaks at the handover, or a master that is restarted, loses nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Protocol, TypeVar

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.nodes.notes import NoteKind, update_ended
from ops_system.master.nodes.rules import Node
from ops_system.master.nodes.service import Nodes
from ops_system.master.operations.rules import TargetEnd, find_target
from ops_system.master.operations.service import Operations
from ops_system.master.packages.service import Packages
from ops_system.master.updates.rules import (
    PROVE_WITHIN_S,
    STEPS,
    ManyWorkerUpdate,
    WorkerUpdate,
    check_order,
    find_obstacle,
    title_of,
    unended,
)
from ops_system.master.web.route import Principal
from ops_system.model.errors import (
    Forbidden,
    Invalid,
    NodeOffline,
    NotAllowed,
    OpsError,
    StorageFull,
    TimedOut,
    Unavailable,
)
from ops_system.model.ids import NodeId, OperationId
from ops_system.model.manifest import Manifest
from ops_system.model.nodes import NodeStatus
from ops_system.model.operations import ENDED, Operation, OperationState, OperationTarget
from ops_system.model.packages import PackageRef
from ops_system.model.reasons import Reason
from ops_system.protocol.requests import ReadUpdate, UpdateState, UpdateWorker
from ops_system.runtime.tasks import spawn
from ops_system.storage.database import Database

_log = logging.getLogger(__name__)

KIND = "worker.update"
ASK_EVERY_S = 0.5
RETRY_WRITE_S = 5.0
SILENT_FOR_S = 120.0  # beyond the time a new program has to prove itself, twice: it, and the one that returns
_AWAY = (NodeOffline, TimedOut, Unavailable)
_CANCELLED = Reason("cancelled", "cancelled by a person before it began")
_MASTER = Principal(kind="local", id="master", name="master")

T = TypeVar("T")


class Asker(Protocol):
    """The part of the links that updates need."""

    async def request(
        self, node_id: str, kind: str, body: msgspec.Struct, reply_type: type[T], timeout_s: float = 10.0
    ) -> T:
        """Ask a node. Raises `NodeOffline`, `TimedOut`, or what the worker answers."""
        ...


class _Job(msgspec.Struct, frozen=True):
    """An open operation's work. Without `order` it was begun by a master that has been stopped since."""

    operation_id: OperationId
    node_ids: tuple[str, ...]
    actor: Principal
    order: UpdateWorker | None = None
    max_parallel: int = 1


class Updates:
    """The one desk for updates of workers."""

    def __init__(
        self,
        *,
        database: Database,
        audit: Audit,
        nodes: Nodes,
        packages: Packages,
        links: Asker,
        operations: Operations,
    ) -> None:
        self._database = database
        self._audit = audit
        self._nodes = nodes
        self._packages = packages
        self._links = links
        self._operations = operations
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        operations.control(KIND, self)

    # --- orders ---------------------------------------------------------------------------------------------------
    async def update_one(self, node_id: str, order: WorkerUpdate, actor: Principal) -> Operation:
        """Begin the update of one worker. Raises `Invalid`, `NotFound`, `NotAllowed` when it is not newer."""
        check_order(order)
        node = self._nodes.get(node_id, actor)
        obstacle = find_obstacle(order.version, node.worker_version, node.name)
        if obstacle:
            raise NotAllowed(obstacle)
        return await self._begin(order, [node.id], 1, actor)

    async def update_many(self, order: ManyWorkerUpdate, actor: Principal) -> Operation:
        """Begin the update of the chosen workers. Raises `Invalid`, `NotFound`; nothing has begun then."""
        check_order(order)
        if order.node_ids:
            chosen = [self._nodes.get(node_id, actor).id for node_id in dict.fromkeys(order.node_ids)]
        else:
            wanted = order.labels.items()
            known = self._nodes.list_all(actor)
            chosen = [node.id for node in known if wanted <= node.labels.items() and _is_reachable(node)]
        if not chosen:
            raise Invalid("no node carries these labels", problems=["$.labels: no node carries all of them"])
        return await self._begin(order, chosen, order.max_parallel, actor)

    async def _begin(
        self, order: WorkerUpdate, node_ids: Iterable[str], max_parallel: int, actor: Principal
    ) -> Operation:
        manifest = (await self._packages.get(order.package, order.version)).manifest
        ref = await self._packages.get_ref(order.package, order.version)
        pending = OperationState.PENDING
        targets = [OperationTarget("node", one, self._nodes.record(one).name, one, pending) for one in node_ids]
        async with self._database.transaction() as tx:
            operation = await self._operations.create(
                tx, KIND, title=title_of(order), actor=actor, targets=targets, steps=STEPS
            )
            details = {"package": order.package, "version": order.version, "sha256": ref.sha256}
            for target in targets:
                about = details | {"operation": operation.id}
                await self._audit.record(tx, actor, KIND, f"node:{target.id}", "begun", about)
        self._operations.publish(operation)
        words = _request(operation.id, ref, manifest, order.prove_within_s)
        self._jobs.put_nowait(
            _Job(operation.id, tuple(target.id for target in targets), actor, words, max_parallel=max_parallel)
        )
        return operation

    # --- work -----------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """See orders to their end until cancelled; first those that a stopped master left."""
        for operation in self._operations.list_open():
            if operation.kind == KIND:
                self._jobs.put_nowait(_Job(operation.id, tuple(unended(operation)), _MASTER, max_parallel=50))
        async with asyncio.TaskGroup() as group:
            while True:
                job = await self._jobs.get()
                spawn(group, self._carry_out(job), f"update {job.operation_id}")

    async def _carry_out(self, job: _Job) -> None:
        slots = asyncio.Semaphore(job.max_parallel)

        async def one(node_id: str) -> None:
            async with slots:
                await self._update(job, node_id)

        async with asyncio.TaskGroup() as group:
            for node_id in job.node_ids:
                spawn(group, one(node_id), f"update of {node_id}")

    async def _update(self, job: _Job, node_id: str) -> None:
        """See one node's part to its end, whatever that is."""
        reason: Reason | None
        outcome = "failed"
        try:
            if not await self._begin_target(job, node_id):
                return
            if job.order is not None:
                await self._order(node_id, job.order, job.actor)
            reason = await self._follow(job, node_id)
        except Forbidden as problem:
            reason, outcome = Reason("policy_refused", problem.message), "denied"
        except OpsError as problem:
            reason = Reason(problem.code, problem.message)
        await self._finish(job, node_id, reason, "done" if reason is None else outcome)

    async def _begin_target(self, job: _Job, node_id: str) -> bool:
        """Set the node's part to work. False: it was cancelled. Raises `NotFound` when the node has left the scope."""
        async with self._database.transaction() as tx:
            operation = await self._operations.read(tx, job.operation_id)
            target = find_target(operation, node_id)
            if target is None or target.state in ENDED:
                return False
            if target.state is OperationState.PENDING and job.order is None:
                raise Unavailable("the master was stopped before this node was asked; order the update again")
            self._nodes.get(node_id, job.actor)
            operation = await self._operations.begin_target(tx, job.operation_id, node_id, STEPS[0], known=operation)
        self._operations.publish(operation)
        return True

    async def _order(self, node_id: str, order: UpdateWorker, actor: Principal) -> None:
        node = self._nodes.get(node_id, actor)
        obstacle = find_obstacle(order.package.version, node.worker_version, node.name)
        if obstacle:
            raise NotAllowed(obstacle)
        await self._links.request(node_id, "update.state", ReadUpdate(), UpdateState)
        with contextlib.suppress(*_AWAY):  # it may have arrived all the same: what follows will tell
            await self._links.request(node_id, "update.begin", order, UpdateState)

    async def _follow(self, job: _Job, node_id: str) -> Reason | None:
        """Ask until the order has ended; return why it failed, or that nobody knows when the node stays silent."""
        within_s = job.order.prove_within_s if job.order else PROVE_WITHIN_S[1]
        patience_s = 2 * within_s + SILENT_FOR_S
        heard_s = asyncio.get_running_loop().time()
        while True:
            try:
                state = await self._links.request(node_id, "update.state", ReadUpdate(), UpdateState)
            except _AWAY:
                silent_s = asyncio.get_running_loop().time() - heard_s
                if silent_s > patience_s:
                    words = f"the node said nothing for {silent_s:.0f} s; how the update ended is not known"
                    return Reason("result_unknown", words)
            else:
                heard_s = asyncio.get_running_loop().time()
                if state.order_id != job.operation_id:
                    return Reason("update_failed", "the worker was stopped before it had handed over; order it again")
                if state.is_ended:
                    return state.reason
                self._operations.advance(job.operation_id, node_id, state.step, state.bytes_done, state.bytes_total)
            await asyncio.sleep(ASK_EVERY_S)

    async def _finish(self, job: _Job, node_id: str, reason: Reason | None, outcome: str) -> None:
        """Write the end down, however long the disk is full."""
        while True:
            try:
                return await self._write_end(job, node_id, reason, outcome)
            except (StorageFull, Unavailable) as problem:
                _log.warning("the end of the update of node %s waits: %s", node_id, problem.message)
                await asyncio.sleep(RETRY_WRITE_S)

    async def _write_end(self, job: _Job, node_id: str, reason: Reason | None, outcome: str) -> None:
        state = OperationState.SUCCEEDED if reason is None else OperationState.FAILED
        async with self._database.transaction() as tx:
            operation = await self._operations.finish_target(tx, job.operation_id, node_id, TargetEnd(state, reason))
            details = {"operation": job.operation_id} | ({} if reason is None else {"reason": reason.message})
            await self._audit.record(tx, job.actor, KIND, f"node:{node_id}", outcome, details)
        self._operations.publish(operation)
        self._nodes.note(NodeId(node_id), NoteKind.UPDATE, update_ended(operation.title, reason), actor=job.actor.name)

    # --- operations' controller -----------------------------------------------------------------------------------
    async def cancel(self, operation: Operation, actor: Principal) -> Operation:
        """Begin no further node; those at work go on to their end. Raises `NotAllowed` when all are at work."""
        waiting = [target.id for target in operation.targets if target.state is OperationState.PENDING]
        if not waiting:
            raise NotAllowed("every worker of this operation is at work; an update ends by itself, well or not")
        end = TargetEnd(OperationState.CANCELLED, _CANCELLED)
        async with self._database.transaction() as tx:
            operation = await self._operations.read(tx, operation.id)
            for node_id in waiting:
                target = find_target(operation, node_id)
                if target is not None and target.state is OperationState.PENDING:
                    operation = await self._operations.finish_target(tx, operation.id, node_id, end, known=operation)
            await self._audit.record(tx, actor, "operation.cancel", f"operation:{operation.id}")
        self._operations.publish(operation)
        return operation

    async def retry(self, operation: Operation, actor: Principal) -> Operation:  # noqa: ARG002 - the operations' Protocol
        """Raise `NotAllowed`: why an update failed is to be looked at before it is ordered again."""
        raise NotAllowed(f"an update is not retried blindly: order {operation.title} again once its cause is mended")


def _is_reachable(node: Node) -> bool:
    return not node.revoked and node.status is not NodeStatus.PLANNED


def _request(order_id: str, ref: PackageRef, manifest: Manifest, prove_within_s: float) -> UpdateWorker:
    return UpdateWorker(
        order_id=order_id,
        package=ref,
        entrypoint=manifest.entrypoint,
        os=manifest.os,
        arch=manifest.arch,
        prove_within_s=prove_within_s,
    )
