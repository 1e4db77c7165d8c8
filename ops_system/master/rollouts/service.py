"""Actions on systems: one operation over all instances, driven wave by wave from what is on disk; `drains`, too.

`run` looks at a rollout whenever its operation changed, and at every open one at start. Each look is one transaction:
read the targets, decide, begin or cancel. Killed anywhere, it goes on from the last commit.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.master.instances.aftermath import Aftermath
from ops_system.master.instances.placing import facts_of
from ops_system.master.instances.rules import STEPS, Action, Record
from ops_system.master.instances.service import Instances
from ops_system.master.nodes.scope import reaches
from ops_system.master.nodes.service import Nodes
from ops_system.master.operations.rounds import Rounds
from ops_system.master.operations.rules import TargetEnd
from ops_system.master.operations.service import TOPIC as OPERATIONS_TOPIC
from ops_system.master.operations.service import Operations
from ops_system.master.packages.service import Packages
from ops_system.master.rollouts import store
from ops_system.master.rollouts.choosing import choose_nodes
from ops_system.master.rollouts.rules import HALTING, Rollout, SystemAction, Waves, next_step, plan_waves
from ops_system.master.systems.rules import merged_manifest
from ops_system.master.systems.service import Systems
from ops_system.master.web.route import Principal
from ops_system.model.errors import Conflict, Invalid, NotAllowed, NotFound
from ops_system.model.ids import NodeId
from ops_system.model.operations import ENDED, Operation, OperationState, OperationTarget
from ops_system.model.reasons import Reason
from ops_system.model.systems import Module
from ops_system.storage.database import Database, Transaction

_log = logging.getLogger(__name__)

KIND = "system."
DRIVEN = (KIND, "node.drain", "node.undrain")
BEGIN_AT_ONCE = 25  # in one transaction: others want to write, too
_CANCELLED = Reason("cancelled", "cancelled by a person")
_HALTED = Reason("earlier_wave_failed", "an instance of an earlier wave failed")
_BEYOND = Reason("out_of_scope", "the node has left the scope of the person who began this")
_GONE = Reason("gone", "the instance does not exist any more")


BusyQuestion = Callable[[Transaction, str], Awaitable[str | None]]
"""Which open operation has this system in hand; None: none has."""


class Rollouts:
    """The one driver of actions on systems."""

    def __init__(
        self,
        *,
        database: Database,
        nodes: Nodes,
        packages: Packages,
        systems: Systems,
        instances: Instances,
        operations: Operations,
        audit: Audit,
        bus: Bus,
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._packages = packages
        self._systems = systems
        self._instances = instances
        self._operations = operations
        self._audit = audit
        self._busy: list[BusyQuestion] = []
        self._rounds = Rounds(self._look, "rollout")
        operations.control(KIND, self)
        bus.subscribe(Changed, self._on_changed)

    def ask_before_act(self, question: BusyQuestion) -> None:
        """Refuse actions on a system while `question` names an operation that has it in hand."""
        self._busy.append(question)

    async def check_free(self, tx: Transaction, system_id: str) -> None:
        """Raise `Conflict` while an action on the system is under way."""
        for rollout in await store.list_open(tx):
            if rollout.subject_id == system_id:
                raise Conflict(
                    f"a {rollout.action} of the system is under way ({rollout.operation_id}): wait, or cancel it",
                    operation_id=rollout.operation_id,
                )

    async def _check_not_busy(self, tx: Transaction, system_id: str) -> None:
        for question in self._busy:
            operation_id = await question(tx, system_id)
            if operation_id is not None:
                raise Conflict(
                    f"a rollout in this system is under way ({operation_id}): wait, or cancel it",
                    operation_id=operation_id,
                )

    def _on_changed(self, event: Changed) -> None:
        if event.topic == OPERATIONS_TOPIC and event.data is not None and event.data.kind.startswith(DRIVEN):
            self._rounds.look_at(event.key)

    async def run(self) -> None:
        """Drive every open rollout until cancelled."""
        for rollout in await store.list_open(self._database):
            self._rounds.look_at(rollout.operation_id)
        await self._rounds.run()

    async def _look(self, operation_id: str) -> None:
        after = Aftermath()
        async with self._database.transaction() as tx:
            rollout = await store.find(tx, operation_id)
            if rollout is None:
                return
            operation = await self._operations.read(tx, operation_id)
            step = next_step(rollout, operation)
            for target in step.cancel:
                await self._end(tx, rollout, target, TargetEnd(OperationState.CANCELLED, _HALTED), after)
            for target in step.begin[:BEGIN_AT_ONCE]:
                await self._begin(tx, rollout, target, after)
        self._instances.release(after)
        if len(step.begin) > BEGIN_AT_ONCE:
            self._rounds.look_at(operation_id)

    async def _begin(self, tx: Transaction, rollout: Rollout, target: OperationTarget, after: Aftermath) -> None:
        try:
            record = await self._instances.find_record(tx, target.id)
            if not reaches(self._nodes, rollout.scope, record.node_id):
                await self._end(tx, rollout, target, TargetEnd(OperationState.FAILED, _BEYOND), after)
                return
            is_reachable = self._instances.is_reachable(record.node_id)
            if is_reachable is None:
                self._rounds.look_again(rollout.operation_id)
                return
            if not is_reachable:
                reason = Reason("node_offline", "the node is silent; retry when it is back", {"node": record.node_id})
                await self._end(tx, rollout, target, TargetEnd(OperationState.FAILED, reason), after)
                return
            await self._instances.begin(tx, record, rollout.action, rollout.operation_id, after)
        except NotFound:
            is_done = rollout.action is Action.DESTROY
            state = OperationState.SUCCEEDED if is_done else OperationState.FAILED
            await self._end(tx, rollout, target, TargetEnd(state, _GONE), after)
        except (NotAllowed, Conflict, Invalid) as problem:
            reason = Reason(problem.code, problem.message)
            await self._end(tx, rollout, target, TargetEnd(OperationState.FAILED, reason), after)

    async def _end(
        self, tx: Transaction, rollout: Rollout, target: OperationTarget, end: TargetEnd, after: Aftermath
    ) -> None:
        await after.end_target(self._operations, tx, rollout.operation_id, target.id, end)

    # --- acts -----------------------------------------------------------------------------------------------------
    async def act(self, system_id: str, wanted: SystemAction, actor: Principal) -> Operation:
        """Begin an action on all instances of a system; deploy makes the missing ones first.

        Raises `NotFound`, `NotAllowed` (nothing to act on, a module that cannot be placed), `Conflict` (another
        action is under way; stop and destroy overrule it, ports); nothing has changed then.
        """
        action = Action(wanted)
        after = Aftermath()
        async with self._database.transaction() as tx:
            system = await self._systems.get_system(system_id, tx, actor)
            await self._make_way(tx, system_id, action, actor, after)
            modules = await self._systems.list_modules(system_id, tx)
            if action is Action.DEPLOY:
                await self._place_missing(tx, modules, system_id, actor, after)
            records = [
                record
                for record in await self._instances.list_records(tx, system_id)
                if reaches(self._nodes, actor.scope, record.node_id)
            ]
            waves = plan_waves(modules, records, action)
            if not waves:
                raise NotAllowed(f"system {system.name} has nothing to {action}; deploy its modules first")
            operation = await self._create(tx, system_id, system.name, action, actor, records, waves)
            after.note(operation)
        self._instances.release(after)
        return operation

    async def _create(  # noqa: PLR0917 - one row of the book, written in one place
        self,
        tx: Transaction,
        system_id: str,
        system_name: str,
        action: Action,
        actor: Principal,
        records: list[Record],
        waves: Waves,
    ) -> Operation:
        by_id = {record.spec.instance_id: record for record in records}
        operation = await self._operations.create(
            tx,
            f"{KIND}{action}",
            title=f"{action.capitalize()} {system_name}",
            actor=actor,
            targets=[self._instances.target_of(by_id[instance_id]) for wave in waves for instance_id in wave],
            steps=STEPS[action],
        )
        await store.insert(tx, Rollout(operation.id, system_id, action, waves, actor.scope))
        details = {"name": system_name, "instances": len(operation.targets), "operation": operation.id}
        await self._audit.record(tx, actor, f"{KIND}{action}", f"system:{system_id}", "done", details)
        return operation

    async def _make_way(
        self, tx: Transaction, system_id: str, action: Action, actor: Principal, after: Aftermath
    ) -> None:
        await self._check_not_busy(tx, system_id)
        for rollout in await store.list_open(tx):
            if rollout.subject_id != system_id:
                continue
            is_beyond = not self._operations.is_visible(rollout.operation_id, actor)
            if action in HALTING or is_beyond:
                raise Conflict(
                    f"a {rollout.action} of this system is under way ({rollout.operation_id}): wait, or cancel it",
                    operation_id=rollout.operation_id,
                )
            reason = Reason("superseded", f"a {action} of the system was asked for")
            await self._cancel_pending(tx, rollout, reason, after)

    async def _cancel_pending(self, tx: Transaction, rollout: Rollout, reason: Reason, after: Aftermath) -> None:
        operation = await self._operations.read(tx, rollout.operation_id)
        for target in operation.targets:
            if target.state is OperationState.PENDING:
                await self._end(tx, rollout, target, TargetEnd(OperationState.CANCELLED, reason), after)

    async def _place_missing(
        self, tx: Transaction, modules: list[Module], system_id: str, actor: Principal, after: Aftermath
    ) -> None:
        facts = [facts_of(node) for node in self._nodes.list_all(actor)]
        records = await self._instances.list_records(tx, system_id)
        load = Counter[NodeId](record.node_id for record in records)
        for module in modules:
            if not module.package:
                continue  # it stands for what was taken over
            package = await self._packages.get(module.package, module.version, tx)
            taken = [record.node_id for record in records if record.spec.module_id == module.id]
            manifest = merged_manifest(package.manifest, module)
            ports = await self._instances.ports_taken(tx) if manifest.ports else {}
            for node in choose_nodes(module, manifest, facts, taken, load, ports):
                load[node.id] += 1
                after.show(await self._instances.place(tx, module, node))

    # --- operations' controller -----------------------------------------------------------------------------------
    async def cancel(self, operation: Operation, actor: Principal) -> Operation:
        """Begin nothing more. A deploy or start under way becomes a stop; a stop or removal under way goes on."""
        after = Aftermath()
        async with self._database.transaction() as tx:
            rollout = await store.find(tx, operation.id)
            if rollout is None:
                raise NotFound(f"operation {operation.id} has no rollout", id=operation.id)
            await self._cancel_pending(tx, rollout, _CANCELLED, after)
            if rollout.action in HALTING:
                for target in operation.targets:
                    if target.state not in ENDED:
                        await self._instances.withdraw(tx, target.id, operation.id, after)
            await self._audit.record(tx, actor, "operation.cancel", f"operation:{operation.id}", "done", {})
        self._instances.release(after)
        return await self._operations.get(operation.id)

    async def retry(self, operation: Operation, actor: Principal) -> Operation:
        """Do the same with the targets that failed or were cancelled, as a new operation."""
        after = Aftermath()
        async with self._database.transaction() as tx:
            rollout = await store.find(tx, operation.id)
            if rollout is None:
                raise NotFound(f"operation {operation.id} has no rollout", id=operation.id)
            system = await self._systems.get_system(rollout.subject_id, tx)
            await self._make_way(tx, rollout.subject_id, rollout.action, actor, after)
            again = {target.id for target in operation.targets if target.state is not OperationState.SUCCEEDED}
            records = [
                record
                for record in await self._instances.list_records(tx, rollout.subject_id)
                if record.spec.instance_id in again
            ]
            waves = plan_waves(await self._systems.list_modules(rollout.subject_id, tx), records, rollout.action)
            if not waves:
                raise NotAllowed("none of the failed instances exists any more; there is nothing to retry")
            made = await self._create(tx, rollout.subject_id, system.name, rollout.action, actor, records, waves)
            after.note(made)
        self._instances.release(after)
        return made
