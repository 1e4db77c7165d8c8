"""Drives open rollouts from what is on disk. Each look is one transaction: read the phases, decide, write, then send.

A rollout is looked at when its operation or one of its instances changed, when a package has arrived on a node, and
when a bake time is over. Killed anywhere, the driver goes on from the last commit.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from ops_system.master.bus import Bus, Changed
from ops_system.master.instances.aftermath import TOPIC as INSTANCES_TOPIC
from ops_system.master.instances.aftermath import Aftermath
from ops_system.master.instances.rules import Action, Record
from ops_system.master.instances.service import Instances
from ops_system.master.nodes.scope import reaches
from ops_system.master.nodes.service import Nodes
from ops_system.master.operations.rounds import RETRY_S, Rounds
from ops_system.master.operations.rules import TargetEnd, find_target
from ops_system.master.operations.service import TOPIC as OPERATIONS_TOPIC
from ops_system.master.operations.service import Operations
from ops_system.master.packages.service import Packages
from ops_system.master.systems.service import Systems
from ops_system.master.upgrades import store
from ops_system.master.upgrades.meter import Meter
from ops_system.master.upgrades.rules import Move, Outcome, Phase, Target, Upgrade, next_move, regress_of
from ops_system.model.errors import NodeOffline, NotFound, OpsError, TimedOut
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.instances import PrepareProgress
from ops_system.model.operations import ENDED, Operation, OperationState
from ops_system.model.reasons import Reason
from ops_system.model.stamps import to_ms
from ops_system.protocol.requests import FetchedPackage, FetchPackage
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import spawn
from ops_system.storage.database import Database, Transaction

_log = logging.getLogger(__name__)

T = TypeVar("T")

KIND = "module.rollout"
STEPS = ("fetch", "upgrade", "bake")
FETCH_WITHIN_S = 900.0
PATIENCE_S = 60.0  # so long a node may be away while its package is fetched (trust R19)
_STEP_OF = {  # on its way back an instance stays in the step that failed
    Phase.FETCHING: "fetch",
    Phase.READY: "fetch",
    Phase.UPGRADING: "upgrade",
    Phase.PROVEN: "bake",
    Phase.DONE: "bake",
}
_SUPERSEDED = Reason("superseded", "something newer was asked of this instance")
_GONE = Reason("gone", "the instance does not exist any more")
_SILENT = Reason("node_offline", "its node fell silent")
_WILL_RETURN = Reason("node_offline", "its node is silent; the instance goes back when the node is heard again")
_BACK = Reason("returned", "the rollout failed elsewhere; this instance went back")
_NOT_BEGUN = Reason("earlier_wave_failed", "the rollout ended before it came to this instance")


class Asker(Protocol):
    """The part of the links that a rollout needs."""

    async def request(
        self, node_id: str, kind: str, body: msgspec.Struct, reply_type: type[T], timeout_s: float = ...
    ) -> T:
        """Ask a node. Raises `NodeOffline`, `TimedOut`, or what the worker answers."""
        ...


class Driver:
    """The one driver. `run` ends only by cancellation."""

    def __init__(
        self,
        *,
        database: Database,
        nodes: Nodes,
        packages: Packages,
        systems: Systems,
        instances: Instances,
        operations: Operations,
        links: Asker,
        meter: Meter,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._packages = packages
        self._systems = systems
        self._instances = instances
        self._operations = operations
        self._links = links
        self._meter = meter
        self._clock = clock
        self._rounds = Rounds(self._look, "rollout")
        self._watched: dict[str, str] = {}  # instance -> the open rollout it belongs to
        self._fetching: dict[tuple[str, str], str] = {}  # rollout and instance -> its node
        self._begin_fetch: Callable[[Target, Upgrade], object] = lambda _target, _upgrade: None
        bus.subscribe(Changed, self._on_changed)

    def _on_changed(self, event: Changed) -> None:
        if event.topic == INSTANCES_TOPIC:
            operation_id = self._watched.get(event.key)
            if operation_id is not None:
                self.look_at(operation_id)
        elif event.topic == OPERATIONS_TOPIC and _is_open_rollout(event.data):
            self.look_at(event.key)

    def look_at(self, operation_id: str) -> None:
        """Look at this rollout soon."""
        self._rounds.look_at(operation_id)

    async def run(self) -> None:
        """Drive every open rollout until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._begin_fetch = lambda target, upgrade: spawn(
                group, self._fetch(target, upgrade), f"fetch for {upgrade.operation_id} on {target.node_id}"
            )
            for upgrade in await store.list_open(self._database):
                self.look_at(upgrade.operation_id)
            await self._rounds.run()

    # --- one look -------------------------------------------------------------------------------------------------
    async def _look(self, operation_id: str) -> None:
        after = Aftermath()
        async with self._database.transaction() as tx:
            upgrade = await store.find(tx, operation_id)
            if upgrade is None:
                return
            operation = await self._operations.read(tx, operation_id)
            if operation.state in ENDED:
                return
            targets = await store.list_targets(tx, operation_id)
            self._watched |= {target.instance_id: operation_id for target in targets}
            upgrade, targets = await self._observe(tx, upgrade, targets)
            is_paused = operation.is_paused
            move = next_move(upgrade, targets, to_ms(self._clock.now()), is_paused=is_paused)
            module = await self._do(tx, upgrade, targets, move, after)
        self._instances.release(after)
        if module is not None:
            await self._systems.publish(await self._systems.get_module(module))
        self._follow_up(upgrade, targets, move)

    async def _observe(self, tx: Transaction, upgrade: Upgrade, targets: list[Target]) -> tuple[Upgrade, list[Target]]:
        """Note what has become of the instances: gone, in other hands, no longer well."""
        seen: list[Target] = []
        for target in targets:
            record = await self._find(tx, target)
            fresh = self._seen(upgrade, target, record)
            if fresh != target:
                await store.save_target(tx, upgrade.operation_id, fresh)
            seen.append(fresh)
            if fresh.phase is Phase.FAILED and upgrade.failure is None:
                upgrade = msgspec.structs.replace(upgrade, failure=fresh.reason or Reason("failed", "it failed"))
                await store.save(tx, upgrade)
        return upgrade, seen

    async def _find(self, tx: Transaction, target: Target) -> Record | None:
        try:
            return await self._instances.find_record(tx, target.instance_id)
        except NotFound:
            return None

    def _seen(self, upgrade: Upgrade, target: Target, record: Record | None) -> Target:
        if target.phase in {Phase.SKIPPED, Phase.FAILED, Phase.STUCK, Phase.RETURNED}:
            return target
        if record is None:
            return msgspec.structs.replace(target, phase=Phase.SKIPPED, reason=_GONE)
        if target.phase in {Phase.UPGRADING, Phase.RETURNING} and record.operation_id != upgrade.operation_id:
            return msgspec.structs.replace(target, phase=Phase.SKIPPED, reason=_SUPERSEDED)
        is_heard = self._instances.is_reachable(record.node_id) is not False
        if target.phase is Phase.UPGRADING and not is_heard:
            return msgspec.structs.replace(target, phase=Phase.FAILED, reason=_SILENT)
        if target.phase is Phase.RETURNING and not is_heard:
            return msgspec.structs.replace(target, phase=Phase.STUCK, reason=target.reason or _WILL_RETURN)
        fault = regress_of(target, record, is_heard=is_heard) or self._meter.fault(upgrade, target, record)
        return target if fault is None else msgspec.structs.replace(target, phase=Phase.FAILED, reason=fault)

    async def _do(
        self, tx: Transaction, upgrade: Upgrade, targets: list[Target], move: Move, after: Aftermath
    ) -> str | None:
        """Carry out a move inside `tx`; return the id of a module that plans the new version from now on."""
        for target in move.fetch:
            await self._set(tx, upgrade, target, Phase.FETCHING, after)
        for target in move.upgrade:
            await self._upgrade(tx, upgrade, target, after)
        for target in move.back:
            await self._return(tx, upgrade, target, after)
        for target in move.settle:
            await self._set(tx, upgrade, target, Phase.DONE, after)
        for target in move.watch:
            await self._set(tx, upgrade, target, target.phase, after)
        if move.watch or move.settle:
            until_ms = to_ms(self._clock.now()) + int(upgrade.strategy.bake_s * 1000) if move.watch else None
            await store.save(tx, msgspec.structs.replace(upgrade, bake_until_ms=until_ms))
        if move.outcome is None:
            return None
        return await self._finish(tx, upgrade, targets, move.outcome, after)

    def _follow_up(self, upgrade: Upgrade, targets: list[Target], move: Move) -> None:
        for target in (*move.fetch, *(one for one in targets if one.phase is Phase.FETCHING)):
            key = (upgrade.operation_id, target.instance_id)
            if key not in self._fetching and upgrade.failure is None:
                self._fetching[key] = target.node_id
                self._begin_fetch(target, upgrade)
        if move.outcome is not None:
            for target in targets:
                self._watched.pop(target.instance_id, None)
        elif move.wait_ms is not None:
            self._rounds.look_later(upgrade.operation_id, move.wait_ms / 1000)
        elif move.watch or move.settle or move.back or move.upgrade:
            self.look_at(upgrade.operation_id)

    async def _set(
        self, tx: Transaction, upgrade: Upgrade, target: Target, phase: Phase, after: Aftermath, **changes: object
    ) -> Target:
        moved = msgspec.structs.replace(target, phase=phase, **changes)
        await store.save_target(tx, upgrade.operation_id, moved)
        step = _STEP_OF.get(phase)
        if step is not None:
            await after.begin_target(self._operations, tx, upgrade.operation_id, target.instance_id, step)
        return moved

    async def _upgrade(self, tx: Transaction, upgrade: Upgrade, target: Target, after: Aftermath) -> None:
        """Tell one instance its new definition."""
        record = await self._instances.find_record(tx, target.instance_id)
        try:
            self._check_node(upgrade, record)
            module = await self._systems.get_module(upgrade.module_id, tx)
            planned = msgspec.structs.replace(module, version=upgrade.to_version)
            on_node = await self._instances.list_on_node(tx, record.node_id)
            fresh, problems = await self._instances.foresee(tx, record, planned, on_node)
            if problems or fresh is None:
                raise problems[0]
            await self._instances.begin(tx, record, Action.UPGRADE, upgrade.operation_id, after, fresh)
        except OpsError as problem:
            reason = Reason(problem.code, problem.message)
            await self._set(tx, upgrade, target, Phase.FAILED, after, reason=reason)
            self.look_at(upgrade.operation_id)
            return
        baseline = self._meter.baseline(upgrade, target.instance_id)
        await self._set(tx, upgrade, target, Phase.UPGRADING, after, is_touched=True, baseline=baseline)

    def _check_node(self, upgrade: Upgrade, record: Record) -> None:
        if not reaches(self._nodes, upgrade.scope, record.node_id):
            raise NotFound("the node has left the scope of the person who began this", node=record.node_id)
        if self._instances.is_reachable(record.node_id) is False:
            raise NodeOffline("the node is silent", node=record.node_id)

    async def _return(self, tx: Transaction, upgrade: Upgrade, target: Target, after: Aftermath) -> None:
        """Tell one instance the definition it had before; its target stays in the step that failed."""
        record = await self._instances.find_record(tx, target.instance_id)
        step = await self._step_of(tx, upgrade, target, after)
        try:
            await self._instances.begin(tx, record, Action.UPGRADE, upgrade.operation_id, after, target.before)
        except OpsError as problem:
            reason = target.reason or Reason(problem.code, problem.message)
            await self._set(tx, upgrade, target, Phase.STUCK, after, reason=reason)
            self.look_at(upgrade.operation_id)
            return
        await self._set(tx, upgrade, target, Phase.RETURNING, after)
        await after.begin_target(self._operations, tx, upgrade.operation_id, target.instance_id, step)

    async def _step_of(self, tx: Transaction, upgrade: Upgrade, target: Target, after: Aftermath) -> str:
        operation = after.operations.get(upgrade.operation_id) or await self._operations.read(tx, upgrade.operation_id)
        found = find_target(operation, target.instance_id)
        return found.step if found is not None and found.step in STEPS else STEPS[0]

    # --- ends -----------------------------------------------------------------------------------------------------
    async def _finish(
        self, tx: Transaction, upgrade: Upgrade, targets: list[Target], outcome: Outcome, after: Aftermath
    ) -> str | None:
        operation = after.operations.get(upgrade.operation_id) or await self._operations.read(tx, upgrade.operation_id)
        is_back = outcome is Outcome.RETURNED and any(target.is_touched for target in targets)
        after.note(await self._operations.mark(tx, operation, is_paused=False, is_reverted=is_back))
        for target in targets:
            end = _end_of(upgrade, target, outcome)
            await after.end_target(self._operations, tx, upgrade.operation_id, target.instance_id, end)
        if outcome is not Outcome.SUCCEEDED:
            return None
        await self._systems.plan_version(tx, upgrade.module_id, upgrade.to_version)
        return upgrade.module_id

    async def on_upgraded(self, tx: Transaction, record: Record, verdict: TargetEnd) -> None:
        """Take the verdict on one instance, inside the transaction that stores its report."""
        operation_id = record.operation_id
        assert operation_id is not None
        target = await store.find_target(tx, operation_id, record.spec.instance_id)
        if target is None:
            return
        is_well = verdict.state is OperationState.SUCCEEDED
        pid = record.observed.pid if record.observed is not None else None
        if target.phase is Phase.UPGRADING:
            phase = Phase.PROVEN if is_well else Phase.FAILED
            moved = msgspec.structs.replace(target, phase=phase, pid=pid, reason=verdict.reason)
        elif target.phase is Phase.RETURNING:
            phase = Phase.RETURNED if is_well else Phase.STUCK
            moved = msgspec.structs.replace(target, phase=phase, reason=target.reason or verdict.reason)
        else:
            return
        await store.save_target(tx, operation_id, moved)

    # --- the package, ahead of the upgrade ------------------------------------------------------------------------
    async def _fetch(self, target: Target, upgrade: Upgrade) -> None:
        """Have the package unpacked on the node before its instance stops for it."""
        try:
            reason = await self._try_fetch(target, upgrade)
            await self._note_fetched(target, upgrade, reason)
        except OpsError as problem:
            _log.warning("rollout %s: %s", upgrade.operation_id, problem.message)
            self._rounds.look_again(upgrade.operation_id)
        finally:
            self._fetching.pop((upgrade.operation_id, target.instance_id), None)
        self.look_at(upgrade.operation_id)

    def on_progress(self, node_id: NodeId, progress: PrepareProgress) -> None:
        """Show how far a fetch is that is under way on that node; any other is not shown."""
        found = [
            operation_id
            for (operation_id, instance_id), at in self._fetching.items()
            if instance_id == progress.instance_id and at == node_id
        ]
        for operation_id in found:
            done, total = progress.bytes_done, progress.bytes_total
            self._operations.advance(operation_id, progress.instance_id, "fetch", done, total)

    async def _try_fetch(self, target: Target, upgrade: Upgrade) -> Reason | None:
        module = await self._systems.get_module(upgrade.module_id)
        ref = await self._packages.get_ref(module.package, upgrade.to_version)
        body = FetchPackage(ref, InstanceId(target.instance_id))
        until_s = self._clock.monotonic_s() + PATIENCE_S
        while True:
            try:
                await self._links.request(target.node_id, "packages.fetch", body, FetchedPackage, FETCH_WITHIN_S)
            except NodeOffline as away:
                if self._clock.monotonic_s() > until_s:
                    return Reason(away.code, away.message)
                await asyncio.sleep(RETRY_S)
            except TimedOut as slow:
                return Reason(slow.code, slow.message)
            except OpsError as problem:
                return Reason(str(problem.details.get("reason", problem.code)), problem.message)
            else:
                return None

    async def _note_fetched(self, target: Target, upgrade: Upgrade, reason: Reason | None) -> None:
        async with self._database.transaction() as tx:
            now = await store.find_target(tx, upgrade.operation_id, target.instance_id)
            if now is not None and now.phase is Phase.FETCHING:
                phase = Phase.READY if reason is None else Phase.FAILED
                await store.save_target(
                    tx, upgrade.operation_id, msgspec.structs.replace(now, phase=phase, reason=reason)
                )


def _end_of(upgrade: Upgrade, target: Target, outcome: Outcome) -> TargetEnd:
    """Return how one instance's part ends."""
    is_kept = target.phase is Phase.DONE or (target.phase is Phase.PROVEN and outcome is Outcome.FAILED)
    if is_kept:
        return TargetEnd(OperationState.SUCCEEDED)
    if target.phase is Phase.SKIPPED:
        return TargetEnd(OperationState.CANCELLED, target.reason)
    if target.reason is not None:
        return TargetEnd(OperationState.FAILED, target.reason)
    if upgrade.failure is not None and upgrade.failure.code == "cancelled":
        return TargetEnd(OperationState.CANCELLED, upgrade.failure)
    return TargetEnd(OperationState.CANCELLED, _BACK if target.phase is Phase.RETURNED else _NOT_BEGUN)


def _is_open_rollout(data: object) -> bool:
    return isinstance(data, Operation) and data.kind == KIND and data.state not in ENDED
