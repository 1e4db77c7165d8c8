"""From a module's plan to the definition of an instance on one node. Used by the service, inside its transactions."""

from ops_system.master.instances import placing, store
from ops_system.master.instances.rules import Record
from ops_system.master.nodes.service import Nodes
from ops_system.master.packages.service import Packages
from ops_system.master.systems.rules import merged_manifest
from ops_system.master.systems.service import Systems
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.instances import InstanceSpec
from ops_system.model.systems import Module
from ops_system.storage.database import Transaction


class Definitions:
    """Reads packages, systems and neighbours."""

    def __init__(self, nodes: Nodes, packages: Packages, systems: Systems) -> None:
        self._nodes = nodes
        self._packages = packages
        self._systems = systems

    async def define(self, tx: Transaction, module: Module, node_id: NodeId, instance_id: InstanceId) -> InstanceSpec:
        """Return what the module's instance on this node is. Raises `NotFound`, `Invalid`."""
        package = await self._packages.get(module.package, module.version, tx)
        ref = await self._packages.get_ref(module.package, module.version, tx)
        on_node = {record.spec.module_id: record.spec for record in await store.list_by_node(tx, node_id)}
        depends_on = [on_node[wanted].instance_id for wanted in module.depends_on if wanted in on_node]
        return placing.build_spec(instance_id, module, ref, merged_manifest(package.manifest, module), depends_on)

    async def redefine(self, tx: Transaction, record: Record) -> InstanceSpec | None:
        """Return the module's present definition; None when it plans another version (a rollout changes versions).

        Raises `Invalid` (a placeholder without value), `Conflict` (a port that is taken by now).
        """
        spec = record.spec
        if spec.package is None:
            return None
        module = await self._systems.get_module(spec.module_id, tx)
        if (module.package, module.version) != (spec.package.name, spec.package.version):
            return None
        fresh = await self.define(tx, module, record.node_id, spec.instance_id)
        placing.check_placeholders(fresh.service, fresh.config_files)
        neighbours = await store.list_by_node(tx, record.node_id)
        node = placing.facts_of(self._nodes.get(record.node_id))
        placing.check_ports(fresh, [neighbour.spec for neighbour in neighbours], node)
        return fresh
