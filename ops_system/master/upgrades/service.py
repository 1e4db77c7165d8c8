"""Rollouts of modules: the plan, the acts of people, the history. The driver carries them out.

plan     reads alone: per instance what would change, and what stands in the way
begin    the same look inside the transaction that writes the rollout; nothing in the way, or nothing is written
"""

from datetime import datetime

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.instances.rules import Record
from ops_system.master.instances.service import Instances
from ops_system.master.nodes.scope import reaches
from ops_system.master.nodes.service import Nodes
from ops_system.master.operations.service import Operations
from ops_system.master.packages.usage import Usage
from ops_system.master.rollouts.service import Rollouts
from ops_system.master.systems.service import Systems
from ops_system.master.upgrades import store
from ops_system.master.upgrades.driver import KIND, STEPS, Driver
from ops_system.master.upgrades.rules import (
    MAX_NOTE,
    Change,
    Phase,
    Strategy,
    Target,
    Upgrade,
    changes_of,
    check_strategy,
    plan_waves,
)
from ops_system.master.web.route import ListQuery, Page, Principal
from ops_system.model.errors import Conflict, Invalid, NodeOffline, NotAllowed, NotFound, OpsError
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.instances import Desired, InstanceSpec
from ops_system.model.operations import ENDED, Operation, OperationState
from ops_system.model.reasons import Reason
from ops_system.model.stamps import from_ms, from_ms_or_none
from ops_system.model.systems import Module
from ops_system.storage.database import Database, Row, Transaction

_CANCELLED = Reason("cancelled", "cancelled by a person")


class PlanItem(msgspec.Struct, frozen=True):
    """One instance of a plan. `hindrances`: what stands in the way; `restarts`: its process is started anew."""

    instance_id: InstanceId
    node_id: NodeId
    node_name: str
    wave: int
    from_version: str
    to_version: str
    changes: list[Change]
    restarts: bool
    hindrances: list[Reason]


class Plan(msgspec.Struct, frozen=True):
    """What a rollout would do. `unchanged`: how many instances are as they would be already."""

    module_id: str
    package: str
    from_version: str
    to_version: str
    strategy: Strategy
    is_possible: bool
    waves: int
    unchanged: int
    items: list[PlanItem]


class ModuleRollout(msgspec.Struct, frozen=True):
    """One rollout of the history."""

    operation_id: str
    from_version: str
    to_version: str
    strategy: Strategy
    note: str
    state: OperationState
    reverted: bool
    failure: Reason | None
    created_by: str
    created_at: datetime
    ended_at: datetime | None


class _Look(msgspec.Struct, frozen=True):
    """What was found of one instance inside a transaction."""

    record: Record
    item: PlanItem


class Upgrades:
    """The one book of rollouts."""

    def __init__(
        self,
        *,
        database: Database,
        nodes: Nodes,
        systems: Systems,
        instances: Instances,
        operations: Operations,
        rollouts: Rollouts,
        driver: Driver,
        audit: Audit,
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._systems = systems
        self._instances = instances
        self._operations = operations
        self._rollouts = rollouts
        self._driver = driver
        self._audit = audit
        operations.control(KIND, self)
        rollouts.ask_before_act(self._open_in_system)

    def guard(self, usage: Usage) -> None:
        """Keep the versions that rollouts under way need, and from retention those that an ended one came from."""
        usage.ask_before_delete(store.list_package_rollouts)
        usage.ask_before_retention(store.list_package_returns)

    # --- reading --------------------------------------------------------------------------------------------------
    async def plan(self, module_id: str, version: str, strategy: Strategy, actor: Principal) -> Plan:
        """Return what a rollout would do; nothing is written. Raises `NotFound`, `Invalid` (strategy)."""
        check_strategy(strategy)
        async with self._database.transaction() as tx:
            module = await self._systems.get_module(module_id, tx, actor)
            looks, unchanged = await self._look(tx, module, version, strategy, actor)
        items = [look.item for look in looks]
        return Plan(
            module_id=module.id,
            package=module.package,
            from_version=module.version,
            to_version=version,
            strategy=strategy,
            is_possible=bool(items) and not any(item.hindrances for item in items),
            waves=len({item.wave for item in items}),
            unchanged=unchanged,
            items=items,
        )

    async def list_page(self, module_id: str, query: ListQuery, actor: Principal) -> Page[ModuleRollout]:
        """Return one page of a module's rollouts, the newest first. Raises `NotFound`."""
        await self._systems.get_module(module_id, None, actor)
        rows, total = await store.list_of_module(self._database, module_id, query.limit, query.offset)
        return Page(items=[_history_of(row) for row in rows], total=total)

    # --- acts -----------------------------------------------------------------------------------------------------
    async def begin(self, module_id: str, version: str, strategy: Strategy, note: str, actor: Principal) -> Operation:
        """Begin a rollout.

        Raises `NotFound`, `Invalid`, `Conflict` (another one, or an action on the system, is under way), `NotAllowed`
        (nothing to change, or something stands in the way: `details.hindrances`); nothing has changed then.
        """
        check_strategy(strategy)
        if len(note) > MAX_NOTE:
            raise Invalid(f"the note is longer than {MAX_NOTE} characters", problems=["$.note: too long"])
        async with self._database.transaction() as tx:
            module = await self._systems.get_module(module_id, tx, actor)
            await self._check_free(tx, module)
            looks, unchanged = await self._look(tx, module, version, strategy, actor)
            _check_possible(module, version, [look.item for look in looks], unchanged)
            operation = await self._create(tx, module, version, strategy, note, looks, actor)
        self._operations.publish(operation)
        self._driver.look_at(operation.id)
        return operation

    async def _create(  # noqa: PLR0917 - one row of the book, written in one place
        self,
        tx: Transaction,
        module: Module,
        version: str,
        strategy: Strategy,
        note: str,
        looks: list[_Look],
        actor: Principal,
    ) -> Operation:
        operation = await self._operations.create(
            tx,
            KIND,
            title=f"Roll out {module.name} {version}",
            actor=actor,
            targets=[self._instances.target_of(look.record) for look in looks],
            steps=STEPS,
        )
        upgrade = Upgrade(
            operation_id=operation.id,
            module_id=module.id,
            system_id=module.system_id,
            from_version=module.version,
            to_version=version,
            strategy=strategy,
            note=note,
            scope=actor.scope,
        )
        targets = [
            Target(
                instance_id=look.item.instance_id,
                node_id=look.item.node_id,
                wave=look.item.wave,
                phase=Phase.WAITING,
                before=look.record.spec,
            )
            for look in looks
        ]
        await store.insert(tx, upgrade, targets)
        details = {
            "name": module.name,
            "from": module.version,
            "to": version,
            "instances": len(targets),
            "note": note,
            "operation": operation.id,
        }
        await self._audit.record(tx, actor, KIND, f"module:{module.id}", "done", details)
        return operation

    async def _check_free(self, tx: Transaction, module: Module) -> None:
        for upgrade in await store.list_open(tx):
            if upgrade.module_id == module.id:
                raise Conflict(
                    f"a rollout of {module.name} {upgrade.to_version} is under way ({upgrade.operation_id}):"
                    " wait, or cancel it",
                    operation_id=upgrade.operation_id,
                )
        await self._rollouts.check_free(tx, module.system_id)

    async def _open_in_system(self, tx: Transaction, system_id: str) -> str | None:
        """Return the operation of an open rollout in this system: actions on the system wait for it."""
        found = (one.operation_id for one in await store.list_open(tx) if one.system_id == system_id)
        return next(found, None)

    # --- looking --------------------------------------------------------------------------------------------------
    async def _look(
        self, tx: Transaction, module: Module, version: str, strategy: Strategy, actor: Principal
    ) -> tuple[list[_Look], int]:
        """Return what would change, in the order it would, and how many instances are so already."""
        if not module.package:
            raise NotAllowed(f"module {module.name} has no package: it stands for what was taken over")
        planned = msgspec.structs.replace(module, version=version)
        records = [
            record
            for record in await self._instances.list_records(tx, module.system_id)
            if record.spec.module_id == module.id
            and record.spec.desired is not Desired.ABSENT
            and reaches(self._nodes, actor.scope, record.node_id)
        ]
        records.sort(key=lambda record: (self._name_of(record.node_id), record.spec.instance_id))
        on_nodes: dict[NodeId, list[Record]] = {}
        found: list[tuple[Record, list[Change], list[Reason]]] = []
        for record in records:
            if record.node_id not in on_nodes:
                on_nodes[record.node_id] = await self._instances.list_on_node(tx, record.node_id)
            fresh, problems = await self._instances.foresee(tx, record, planned, on_nodes[record.node_id])
            if fresh is None and isinstance(problems[0], NotFound):
                raise problems[0]
            changes = [] if fresh is None else changes_of(record.spec, fresh)
            if changes or problems:
                found.append((record, changes, self._hindrances(record, problems)))
        waves = plan_waves(len(found), strategy.canary)
        looks = [self._item(one, wave, version) for one, wave in zip(found, waves, strict=True)]
        return looks, len(records) - len(found)

    def _item(self, found: tuple[Record, list[Change], list[Reason]], wave: int, version: str) -> _Look:
        record, changes, hindrances = found
        spec = record.spec
        item = PlanItem(
            instance_id=spec.instance_id,
            node_id=record.node_id,
            node_name=self._name_of(record.node_id),
            wave=wave,
            from_version=_version_of(spec),
            to_version=version,
            changes=changes,
            restarts=spec.desired is Desired.RUNNING,
            hindrances=hindrances,
        )
        return _Look(record, item)

    def _hindrances(self, record: Record, problems: list[OpsError]) -> list[Reason]:
        found = [Reason(str(problem.details.get("reason", problem.code)), problem.message) for problem in problems]
        if self._instances.is_reachable(record.node_id) is False:
            silent = NodeOffline(f"node {self._name_of(record.node_id)} is silent; wait until it is back")
            found.append(Reason(silent.code, silent.message))
        if record.action is not None:
            found.append(Reason("busy", f"a {record.action} of this instance is under way; wait for it"))
        return found

    def _name_of(self, node_id: NodeId) -> str:
        node = self._nodes.find(node_id)
        return node.name if node is not None else node_id

    # --- operations' controller -----------------------------------------------------------------------------------
    async def cancel(self, operation: Operation, actor: Principal) -> Operation:
        """Begin nothing more; by `auto_revert` what was upgraded goes back, else it stays as it is."""
        async with self._database.transaction() as tx:
            upgrade = await self._find(tx, operation)
            if upgrade.failure is not None:
                raise NotAllowed(f"the rollout ends already: {upgrade.failure.message}")
            await store.save(tx, msgspec.structs.replace(upgrade, failure=_CANCELLED))
            await self._audit.record(tx, actor, "operation.cancel", f"operation:{operation.id}", "done", {})
        self._driver.look_at(operation.id)
        return await self._operations.get(operation.id)

    async def retry(self, operation: Operation, actor: Principal) -> Operation:
        """Begin the same rollout anew, as a new operation."""
        upgrade = await self._find(self._database, operation)
        return await self.begin(upgrade.module_id, upgrade.to_version, upgrade.strategy, upgrade.note, actor)

    async def pause(self, operation: Operation, actor: Principal) -> Operation:
        """Begin nothing new; what is under way goes on, and a regress still leads back."""
        return await self._mark(operation, actor, is_paused=True)

    async def resume(self, operation: Operation, actor: Principal) -> Operation:
        """Go on."""
        return await self._mark(operation, actor, is_paused=False)

    async def _mark(self, operation: Operation, actor: Principal, *, is_paused: bool) -> Operation:
        async with self._database.transaction() as tx:
            now = await self._operations.read(tx, operation.id)
            if now.state in ENDED:
                raise NotAllowed(f"operation {operation.id} has ended ({now.state})")
            marked = await self._operations.mark(tx, now, is_paused=is_paused)
            verb = "pause" if is_paused else "resume"
            await self._audit.record(tx, actor, f"operation.{verb}", f"operation:{operation.id}", "done", {})
        self._operations.publish(marked)
        return marked

    async def _find(self, reader: Transaction | Database, operation: Operation) -> Upgrade:
        upgrade = await store.find(reader, operation.id)
        if upgrade is None:
            raise NotFound(f"operation {operation.id} has no rollout", id=operation.id)
        return upgrade


def _version_of(spec: InstanceSpec) -> str:
    return spec.package.version if spec.package is not None else spec.service.version


def _check_possible(module: Module, version: str, items: list[PlanItem], unchanged: int) -> None:
    if not items:
        why = f"all {unchanged} instances are so already" if unchanged else "it has no instances; deploy it first"
        raise NotAllowed(f"module {module.name} {version}: {why}", reason="nothing_to_do")
    held = [f"{item.node_name}: {reason.message}" for item in items for reason in item.hindrances]
    if held:
        shown = "; ".join(held[:3]) + (f"; and {len(held) - 3} more" if len(held) > 3 else "")  # noqa: PLR2004 - enough for a line
        raise NotAllowed(f"the rollout cannot begin: {shown}", reason="hindered", hindrances=held[:100])


def _history_of(row: Row) -> ModuleRollout:
    upgrade = store.upgrade_of(row)
    return ModuleRollout(
        operation_id=upgrade.operation_id,
        from_version=upgrade.from_version,
        to_version=upgrade.to_version,
        strategy=upgrade.strategy,
        note=upgrade.note,
        state=OperationState(row["state"]),
        reverted=bool(row["reverted"]),
        failure=upgrade.failure,
        created_by=row["created_by"],
        created_at=from_ms(row["created_ms"]),
        ended_at=from_ms_or_none(row["ended_ms"]),
    )
