"""What instances would be by the definitions as they stand inside a transaction. Writes nothing."""

from collections.abc import Iterable

import msgspec

from ops_system.master.instances.rules import Record
from ops_system.master.instances.service import Instances
from ops_system.master.nodes.scope import reaches
from ops_system.master.nodes.service import Nodes
from ops_system.master.systems.applying import Effect, InstanceEffect
from ops_system.master.systems.service import Systems
from ops_system.master.upgrades.rules import Change, changes_of
from ops_system.master.web.route import Principal
from ops_system.model.errors import OpsError
from ops_system.model.ids import NodeId
from ops_system.model.instances import Desired, InstanceSpec
from ops_system.model.reasons import Reason
from ops_system.model.systems import Module
from ops_system.storage.database import Transaction


class Sight(msgspec.Struct, frozen=True):
    """One instance: as it is, as it would be (None: there is no such definition), and what stands in the way."""

    record: Record
    fresh: InstanceSpec | None
    changes: list[Change]
    problems: list[Reason]


class Foresight:
    """Asked by the applier of documents and by the config centre."""

    def __init__(self, nodes: Nodes, systems: Systems, instances: Instances) -> None:
        self._nodes = nodes
        self._systems = systems
        self._instances = instances

    async def of_system(self, tx: Transaction, system_id: str, actor: Principal) -> list[InstanceEffect]:
        """Return every instance of a system that the actor reaches, with what it has to go through."""
        modules = {module.id: module for module in await self._systems.list_modules(system_id, tx)}
        records = [
            record
            for record in await self._instances.list_records(tx, system_id)
            if record.spec.module_id in modules and record.spec.package is not None
        ]
        found = []
        for sight in await self.look(tx, records, modules.values(), actor):
            module = modules[sight.record.spec.module_id]
            found.append(self._effect_of(sight, module))
        return found

    async def look(
        self, tx: Transaction, records: Iterable[Record], modules: Iterable[Module], actor: Principal
    ) -> list[Sight]:
        """Return what these instances would be by these modules; those beyond the actor's scope are left out."""
        by_id = {module.id: module for module in modules}
        on_nodes: dict[NodeId, list[Record]] = {}
        found = []
        for record in records:
            if record.spec.desired is Desired.ABSENT or not reaches(self._nodes, actor.scope, record.node_id):
                continue
            if record.node_id not in on_nodes:
                on_nodes[record.node_id] = await self._instances.list_on_node(tx, record.node_id)
            module = by_id[record.spec.module_id]
            fresh, problems = await self._instances.foresee(tx, record, module, on_nodes[record.node_id])
            changes = [] if fresh is None else changes_of(record.spec, fresh)
            found.append(Sight(record, fresh, changes, [_reason_of(problem) for problem in problems]))
        return found

    def name_of(self, node_id: NodeId) -> str:
        """Return a node's name."""
        node = self._nodes.find(node_id)
        return node.name if node is not None else node_id

    def _effect_of(self, sight: Sight, module: Module) -> InstanceEffect:
        spec = sight.record.spec
        is_other = spec.package is not None and (spec.package.name, spec.package.version) != (
            module.package,
            module.version,
        )
        effect = Effect.ROLLOUT if is_other else Effect.RESTART if sight.changes else Effect.NONE
        return InstanceEffect(
            instance_id=spec.instance_id,
            module=module.name,
            node_id=sight.record.node_id,
            node_name=self.name_of(sight.record.node_id),
            effect=effect,
            fields=[change.field for change in sight.changes],
            problems=sight.problems,
        )


def _reason_of(problem: OpsError) -> Reason:
    return Reason(str(problem.details.get("reason", problem.code)), problem.message)
