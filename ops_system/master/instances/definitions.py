"""From a module's plan to the definition of an instance on one node. Used by the service, inside its transactions."""

from collections.abc import Callable, Iterable

import msgspec

from ops_system.master.instances import placing, store
from ops_system.master.instances.rendering import check_rendered
from ops_system.master.instances.rules import Record, with_secrets
from ops_system.master.nodes.service import Nodes
from ops_system.master.packages.service import Packages
from ops_system.master.systems.environment import hidden_of, plain_of, settle_values
from ops_system.master.systems.rules import merged_manifest
from ops_system.master.systems.service import Systems
from ops_system.model.errors import NotAllowed, OpsError
from ops_system.model.formats import Format
from ops_system.model.ids import InstanceId
from ops_system.model.instances import InstanceSpec
from ops_system.model.systems import Module
from ops_system.storage.database import Transaction


class Definitions:
    """Reads packages, systems and neighbours."""

    def __init__(self, nodes: Nodes, packages: Packages, systems: Systems) -> None:
        self._nodes = nodes
        self._packages = packages
        self._systems = systems

    async def define(
        self, tx: Transaction, module: Module, neighbours: Iterable[InstanceSpec], instance_id: InstanceId
    ) -> InstanceSpec:
        """Return what the module's instance beside these neighbours is. Raises `NotFound`, `Invalid`."""
        if not module.package:
            words = f"module {module.name} has no package: it stands for what was taken over; take over another process"
            raise NotAllowed(words, reason="no_package")
        package = await self._packages.get(module.package, module.version, tx)
        ref = await self._packages.get_ref(module.package, module.version, tx)
        on_node = {neighbour.module_id: neighbour.instance_id for neighbour in neighbours}
        depends_on = [on_node[wanted] for wanted in module.depends_on if wanted in on_node]
        env = settle_values(await self._systems.layers.env_shares(tx, module, instance_id))
        service = merged_manifest(package.manifest, module, plain_of(env))
        files = await self._systems.layers.config_files(tx, module, instance_id)
        spec = placing.build_spec(instance_id, module, ref, service, depends_on)
        return msgspec.structs.replace(spec, secret_env=hidden_of(env), config_files=files)

    async def foresee(
        self, tx: Transaction, record: Record, module: Module, neighbours: Iterable[InstanceSpec]
    ) -> tuple[InstanceSpec | None, list[OpsError]]:
        """Return what the instance would be by `module`, and everything that stands in the way. Writes nothing.

        `neighbours`: what else is on its node. None when there is no such definition at all.
        """
        others = tuple(neighbours)
        try:
            fresh = await self.define(tx, module, others, record.spec.instance_id)
            node = placing.facts_of(self._nodes.get(record.node_id))
        except OpsError as problem:
            return None, [problem]
        checks = (
            lambda: placing.check_node(fresh.service, node),
            lambda: placing.check_placeholders(fresh.service, fresh.config_files),
            lambda: placing.check_ports(fresh, others, node),
            lambda: self.check_files(fresh, node),
        )
        found = (_problem_of(check) for check in checks)
        return fresh, [one for one in found if one is not None]

    async def redefine(self, tx: Transaction, record: Record) -> InstanceSpec | None:
        """Return the module's present definition, to come with a new start.

        None when the module plans another version by now (a rollout changes versions), unless nothing was wished of
        the instance yet. Raises `Invalid` (a placeholder without value), `Conflict` (a port that is taken by now).
        """
        spec = record.spec
        if spec.package is None:
            return None
        module = await self._systems.get_module(spec.module_id, tx)
        is_other = (module.package, module.version) != (spec.package.name, spec.package.version)
        if is_other and spec.generation > 0:
            return None
        neighbours = [neighbour.spec for neighbour in await store.list_by_node(tx, record.node_id)]
        fresh = await self.define(tx, module, neighbours, spec.instance_id)
        node = placing.facts_of(self._nodes.get(record.node_id))
        if is_other:
            placing.check_node(fresh.service, node)
        placing.check_placeholders(fresh.service, fresh.config_files)
        placing.check_ports(fresh, neighbours, node)
        self.check_files(fresh, node)
        return fresh

    def check_files(self, spec: InstanceSpec, node: placing.NodeFacts) -> None:
        """Raise `Invalid`, with line and column, when a file rendered for this node is not of its format."""
        if any(file.format is not Format.TEXT for file in spec.config_files):
            check_rendered(with_secrets(spec, self._systems.layers.secrets_of(spec)), node)


def _problem_of(check: Callable[[], None]) -> OpsError | None:
    try:
        check()
    except OpsError as problem:
        return problem
    return None
