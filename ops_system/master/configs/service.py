"""The config centre: what a change of templates, variables or definitions reaches, and bringing it there.

A plan is the change itself inside a transaction that is undone. Applying is an operation, driven by `driver`.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NoReturn

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.configs import store
from ops_system.master.configs.driver import KIND, STEPS, Driver
from ops_system.master.configs.foresight import Foresight, Sight
from ops_system.master.configs.rules import (
    FILES,
    NOW,
    ConfigApply,
    ConfigLook,
    How,
    Impact,
    ImpactPlan,
    PreviewBody,
    Reach,
    TemplatePreview,
    Waves,
    check_parallel,
    check_reach,
    file_changes,
    how_of,
    keep_of,
    plan_of,
    waves_of,
)
from ops_system.master.instances.placing import facts_of
from ops_system.master.instances.rendering import render_files
from ops_system.master.instances.rules import Record, with_secrets
from ops_system.master.instances.service import Instances
from ops_system.master.nodes.service import Nodes
from ops_system.master.operations.rules import TargetEnd
from ops_system.master.operations.service import Operations
from ops_system.master.systems.environment import hidden_of
from ops_system.master.systems.secrets import Unsealed
from ops_system.master.systems.service import Systems
from ops_system.master.templates.rules import NewVersion, fill_variables, secrets_in
from ops_system.master.templates.service import Templates
from ops_system.master.web.route import Principal
from ops_system.model.errors import NotAllowed
from ops_system.model.formats import find_fault
from ops_system.model.instances import ConfigFile
from ops_system.model.operations import Operation, OperationState
from ops_system.model.placeholders import find
from ops_system.model.reasons import Reason
from ops_system.model.systems import Module
from ops_system.storage.database import Database, Transaction

MASK = "••••••"
_CANCELLED = TargetEnd(OperationState.CANCELLED, Reason("cancelled", "cancelled by a person"))


class _UndoError(Exception):
    """Ends the transaction of a plan; carries what was found."""

    def __init__(self, found: ImpactPlan) -> None:
        super().__init__()
        self.found = found


class Configs:
    """The one desk for changes of configuration."""

    def __init__(
        self,
        *,
        database: Database,
        nodes: Nodes,
        systems: Systems,
        templates: Templates,
        instances: Instances,
        operations: Operations,
        foresight: Foresight,
        driver: Driver,
        audit: Audit,
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._systems = systems
        self._templates = templates
        self._instances = instances
        self._operations = operations
        self._foresight = foresight
        self._driver = driver
        self._audit = audit
        operations.control(KIND, self)

    # --- looking --------------------------------------------------------------------------------------------------
    async def preview(self, template_id: str, body: PreviewBody, actor: Principal) -> TemplatePreview:
        """Return a template as one instance would get it. Raises `NotFound`, `Invalid` (a placeholder, a variable)."""
        template = await self._templates.get(template_id)
        content = body.content
        if content is None:
            content = (await self._templates.get_version(template_id, body.version or template.version)).content
        record = await self._instances.find_record(self._database, body.instance_id, actor)
        module = await self._systems.get_module(record.spec.module_id, principal=actor)
        values = await self._systems.layers.variables(self._database, module, record.spec.instance_id)
        plain = {one.name: one.value for one in values if one.value is not None}
        content = fill_variables(content, plain, hidden_of(values), f"$.{template.name}")
        hidden = secrets_in(content)
        masks = Unsealed(dict.fromkeys(record.spec.secret_env, MASK), dict.fromkeys(hidden, MASK))
        masked = [f"env.{name}" for name in record.spec.secret_env if f"env.{name}" in find(content)]
        file = ConfigFile(template.name, content, format=template.format)
        spec = with_secrets(msgspec.structs.replace(record.spec, config_files=(file,)), masks)
        text = render_files(spec, facts_of(self._nodes.get(record.node_id)))[0].content
        return TemplatePreview(
            text, find_fault(template.format, text), [*masked, *(f"secret.{name}" for name in hidden)]
        )

    async def plan(self, body: ConfigLook, actor: Principal) -> ImpactPlan:
        """Return what would change; nothing is written. Raises `NotFound`, `Invalid`, `NotAllowed`, `Forbidden`."""
        check_reach(body)
        try:
            async with self._database.transaction() as tx:
                if body.template_id and body.content is not None:
                    version = NewVersion(body.content, approve=True)
                    await self._templates.write_version(tx, body.template_id, version, actor)
                elif body.template_id and body.version is not None:
                    await self._templates.write_approval(tx, body.template_id, body.version, actor)
                _undo(await self._look(tx, body, actor))
        except _UndoError as undone:
            return undone.found

    async def _look(self, tx: Transaction, reach: Reach, actor: Principal) -> ImpactPlan:
        modules = {module.id: module for module in await self._modules(tx, reach, actor)}
        records = await self._records(tx, reach, list(modules.values()), actor)
        sights = await self._foresight.look(tx, records, modules.values(), actor)
        ordered = sorted(sights, key=lambda sight: self._order(sight, modules[sight.record.spec.module_id]))
        items = [self._impact(sight, modules[sight.record.spec.module_id]) for sight in ordered]
        changed = [item for item in items if item.how is not How.NONE or item.problems]
        return plan_of(changed, len(items) - len(changed))

    async def _modules(self, tx: Transaction, reach: Reach, actor: Principal) -> Sequence[Module]:
        if reach.template_id:
            template = await self._templates.get(reach.template_id, tx)
            return await self._systems.list_mounting(tx, template.name)
        if reach.system_id:
            await self._systems.get_system(reach.system_id, tx, actor)
            return await self._systems.list_modules(reach.system_id, tx)
        module_id = reach.module_id
        if reach.instance_id:
            module_id = (await self._instances.find_record(tx, reach.instance_id, actor)).spec.module_id
        return [await self._systems.get_module(module_id, tx, actor)]

    async def _records(
        self, tx: Transaction, reach: Reach, modules: Sequence[Module], actor: Principal
    ) -> Sequence[Record]:
        if reach.instance_id:
            return [await self._instances.find_record(tx, reach.instance_id, actor)]
        known = {module.id for module in modules}
        found = []
        for system_id in dict.fromkeys(module.system_id for module in modules):
            found += await self._instances.list_records(tx, system_id)
        return [one for one in found if one.spec.module_id in known and one.spec.package is not None]

    def _order(self, sight: Sight, module: Module) -> tuple[str, int, str, str]:
        name = self._foresight.name_of(sight.record.node_id)
        return module.system_id, module.start_order, module.name, name

    def _impact(self, sight: Sight, module: Module) -> Impact:
        spec = sight.record.spec
        return Impact(
            instance_id=spec.instance_id,
            system_id=spec.system_id,
            module=module.name,
            node_id=sight.record.node_id,
            node_name=self._foresight.name_of(sight.record.node_id),
            how=how_of(sight, module),
            files=[] if sight.fresh is None else file_changes(spec, sight.fresh),
            changes=[change for change in sight.changes if change.field != FILES],
            problems=sight.problems,
        )

    # --- acts -----------------------------------------------------------------------------------------------------
    async def apply(self, body: ConfigApply, actor: Principal) -> Operation:
        """Bring what runs up to date, wave after wave in start order; the first failure lets none begin any more.

        Raises `NotFound`, `Invalid`, `Forbidden`, and `NotAllowed` when nothing would change or something stands in
        the way of an instance (a file that is no YAML once rendered, say); nothing has changed then.
        """
        check_reach(body)
        check_parallel(body.max_parallel)
        async with self._database.transaction() as tx:
            if body.template_id and body.version is not None:
                await self._templates.write_approval(tx, body.template_id, body.version, actor)
            plan = await self._look(tx, body, actor)
            _check_possible(plan)
            waves = await self._waves(tx, plan, body.max_parallel)
            operation = await self._create(tx, waves, body, actor)
        if body.template_id and body.version is not None:
            self._templates.show(await self._templates.get(body.template_id))
        self._operations.publish(operation)
        self._driver.begin(operation.id)
        return operation

    async def _waves(self, tx: Transaction, plan: ImpactPlan, max_parallel: int) -> Waves:
        placed = []
        for item in plan.items:
            if item.how in NOW:
                record = await self._instances.find_record(tx, item.instance_id)
                module = await self._systems.get_module(record.spec.module_id, tx)
                placed.append(((item.system_id, module.start_order), str(item.instance_id)))
        return waves_of(max_parallel, placed)

    async def _create(self, tx: Transaction, waves: Waves, reach: Reach | None, actor: Principal) -> Operation:
        ordered = chain.from_iterable(waves.waves)
        records = [await self._instances.find_record(tx, instance_id, actor) for instance_id in ordered]
        operation = await self._operations.create(
            tx,
            KIND,
            title=f"Apply configuration to {len(records)} instance{'s' if len(records) > 1 else ''}",
            actor=actor,
            targets=[self._instances.target_of(record) for record in records],
            steps=STEPS,
        )
        await store.insert(tx, operation.id, waves)
        details: dict[str, object] = {"operation": operation.id, "instances": len(records)}
        if reach is not None:
            details |= {name: value for name, value in msgspec.structs.asdict(reach).items() if value}
        await self._audit.record(tx, actor, KIND, f"operation:{operation.id}", "done", details)
        return operation

    # --- operations' controller -----------------------------------------------------------------------------------
    async def cancel(self, operation: Operation, actor: Principal) -> Operation:
        """Begin no further instance; the one at work goes on to its end."""
        waiting = [target.id for target in operation.targets if target.state is OperationState.PENDING]
        if not waiting:
            raise NotAllowed("every instance of this operation is at work or done; it ends by itself")
        async with self._database.transaction() as tx:
            for target_id in waiting:
                operation = await self._operations.finish_target(tx, operation.id, target_id, _CANCELLED)
            await self._audit.record(tx, actor, "operation.cancel", f"operation:{operation.id}", "done", {})
        self._operations.publish(operation)
        return operation

    async def retry(self, operation: Operation, actor: Principal) -> Operation:
        """Do the same with the instances that failed or were cancelled, as a new operation."""
        again = [target.id for target in operation.targets if target.state is not OperationState.SUCCEEDED]
        async with self._database.transaction() as tx:
            before = await store.find(tx, operation.id) or Waves(1, [again])
            made = await self._create(tx, keep_of(before, again), None, actor)
        self._operations.publish(made)
        self._driver.begin(made.id)
        return made


def _undo(plan: ImpactPlan) -> NoReturn:
    raise _UndoError(plan)


def _check_possible(plan: ImpactPlan) -> None:
    held = [f"{item.module} on {item.node_name}: {one.message}" for item in plan.items for one in item.problems]
    if held:
        words = f"it cannot be applied: {'; '.join(held[:3])}"
        raise NotAllowed(words, reason="hindered", hindrances=held[:100])
    if not any(item.how in NOW for item in plan.items):
        rollouts = sum(item.how is How.ROLLOUT for item in plan.items)
        why = f"{rollouts} instances wait for a rollout" if rollouts else "what runs is so already"
        raise NotAllowed(f"nothing to apply: {why}", reason="nothing_to_do")
