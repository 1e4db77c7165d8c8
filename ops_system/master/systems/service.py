"""Systems and modules: what should exist, apart from what runs. Each change is checked and written in one go."""

import secrets
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.master.packages.service import Packages
from ops_system.master.systems import store
from ops_system.master.systems.layers import Layers
from ops_system.master.systems.rules import (
    ModulePatch,
    NewModule,
    NewSystem,
    SystemPatch,
    check_env,
    check_external,
    check_module,
    check_secrets,
    check_system_name,
    check_within,
    is_seen,
    may_reach,
    merged_manifest,
    new_module,
    patched_module,
    patched_system,
)
from ops_system.master.systems.secrets import ModuleSecrets, Sealer
from ops_system.master.templates.rules import raise_if_any
from ops_system.master.templates.service import Templates
from ops_system.master.templates.values import Kind, LayeredValues, Sealed
from ops_system.master.web.route import ListQuery, Page, Permission, Principal
from ops_system.model.errors import Conflict, Forbidden, Invalid, NotAllowed, NotFound
from ops_system.model.ids import ModuleId, SystemId, spell_id
from ops_system.model.systems import Module, Placement, System
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Queries, Transaction

TOPIC = "systems"
MODULE_TOPIC = "modules"

InstanceQuestion = Callable[[Queries, list[ModuleId]], Awaitable[list[str]]]
"""Which instances of these modules exist: names for a person."""


class Systems:
    """The one book of definitions."""

    def __init__(
        self,
        *,
        database: Database,
        packages: Packages,
        templates: Templates,
        audit: Audit,
        bus: Bus,
        clock: Clock,
        sealer: Sealer,
    ) -> None:
        self._database = database
        self._packages = packages
        self._templates = templates
        self._audit = audit
        self._bus = bus
        self._clock = clock
        self.secrets = ModuleSecrets(sealer)
        self.values = LayeredValues(sealer)
        self.layers = Layers(database, packages, templates, self.values, self.secrets)
        self._instances: list[InstanceQuestion] = []
        self._placements: dict[str, dict[str, Placement]] = {}  # by system and module: who is told of changes
        packages.usage.ask_before_delete(store.list_package_users)

        templates.ask_for_users(store.list_template_users)

    def ask_before_delete(self, question: InstanceQuestion) -> None:
        """Refuse deletions, and another package under a module, while `question` names instances."""
        self._instances.append(question)

    async def load(self) -> None:
        """Learn the placements and the sealed values that are there."""
        await self.secrets.load(self._database)
        await self.values.load(self._database)
        for module in await store.list_all_modules(self._database):
            self._placements.setdefault(module.system_id, {})[module.id] = module.placement

    def sees_system(self, principal: Principal, system_id: str) -> bool:
        """Whether a principal may be told of a change of this system."""
        return is_seen(self._placements.get(system_id, {}).values(), principal.scope)

    def sees_module(self, principal: Principal, module_id: str) -> bool:
        """Whether a principal may be told of a change of this module."""
        placed = (modules[module_id] for modules in self._placements.values() if module_id in modules)
        return any(may_reach(placement, principal.scope) for placement in placed)

    # --- systems --------------------------------------------------------------------------------------------------
    async def list_systems(self, query: ListQuery, principal: Principal | None = None) -> Page[System]:
        """Return one page of what the principal sees, by name unless sorted otherwise."""
        items, total = await store.list_systems(self._database, query, _scope_of(principal))
        return Page(items=items, total=total)

    async def get_system(
        self, system_id: str, reader: Queries | None = None, principal: Principal | None = None
    ) -> System:
        """Return one system. Raises `NotFound`, also for one that the principal's scope does not see."""
        reader, scope = reader or self._database, _scope_of(principal)
        system = await store.find_system(reader, system_id)
        if system is None or (scope and not is_seen(await _placements(reader, system_id), scope)):
            raise NotFound(f"there is no system {system_id}", id=system_id)
        return system

    async def create_system(self, body: NewSystem, actor: Principal) -> System:
        """Make an empty system. Raises `Invalid`, `Conflict` for a name in use."""
        check_grant(actor, body.env_secrets)
        system = System(
            id=SystemId(spell_id("sys", secrets.token_bytes(10))),
            name=body.name,
            description=body.description,
            created_at=self._clock.now(),
            env=body.env,
            env_secrets=tuple(sorted(body.env_secrets)),
        )
        self._check_system(system, body.env_secrets)
        async with self._database.transaction() as tx:
            await self._check_name(tx, system)
            await store.insert_system(tx, system)
            written = await self.write_env(tx, system, {}, body.env_secrets)
            await self._audit.record(tx, actor, "system.create", f"system:{system.id}", "done", {"name": system.name})
        self.values.keep(written)
        self._bus.publish(Changed(TOPIC, system.id, system))
        return system

    async def patch_system(self, system_id: str, patch: SystemPatch, actor: Principal) -> System:
        """Change name, description or environment. What runs takes an environment with its next start.

        Raises `NotFound`, `Invalid`, `Conflict`, `Forbidden` (beyond the scope, grant for secrets).
        """
        hidden = patch.env_secrets if isinstance(patch.env_secrets, dict) else {}
        check_grant(actor, hidden)
        async with self._database.transaction() as tx:
            old = await self.get_system(system_id, tx, actor)
            check_whole(old, await store.list_modules(tx, system_id), actor)
            system = patched_system(old, patch)
            self._check_system(system, hidden)
            await self._check_name(tx, system)
            await store.update_system(tx, system)
            written = await self.write_env(tx, system, old.env, hidden)
            details: dict[str, object] = {"name": system.name}
            if hidden:
                details["hidden_env"] = sorted(hidden)  # the names
            await self._audit.record(tx, actor, "system.change", f"system:{system.id}", "done", details)
        self.values.keep(written)
        self._bus.publish(Changed(TOPIC, system.id, system))
        return system

    def _check_system(self, system: System, hidden: Mapping[str, str | None]) -> None:
        check_system_name(system.name)
        check_env(system.env)
        check_secrets(system, hidden)

    async def write_env(
        self, tx: Transaction, system: System, before: Mapping[str, str], hidden: Mapping[str, str | None]
    ) -> Sealed:
        """Write a system's environment; tell `values.keep` of the answer after the commit."""
        plain = dict.fromkeys(before, None) | dict(system.env)
        return await self.values.write(tx, Kind.ENV, system.id, plain, hidden)

    async def delete_system(self, system_id: str, actor: Principal) -> None:
        """Remove a system and its modules.

        Raises `NotFound`, `NotAllowed` while instances exist, `Forbidden` (beyond the scope).
        """
        async with self._database.transaction() as tx:
            system = await self.get_system(system_id, tx, actor)
            modules = await store.list_modules(tx, system_id)
            check_whole(system, modules, actor)
            await self.check_no_instances(tx, [module.id for module in modules], f"system {system.name}")
            await store.delete_system(tx, system_id)
            await self._audit.record(tx, actor, "system.delete", f"system:{system_id}", "done", {"name": system.name})
        self._placements.pop(system_id, None)
        for module in modules:
            self.secrets.keep(module.id, {})
            self._bus.publish(Changed(MODULE_TOPIC, module.id, None))
        self._bus.publish(Changed(TOPIC, system_id, None))

    async def _check_name(self, tx: Transaction, system: System) -> None:
        if await store.is_name_taken(tx, system.name, system.id):
            raise Conflict(f"another system is called {system.name!r}; choose another name", name=system.name)

    # --- modules --------------------------------------------------------------------------------------------------
    async def list_modules(self, system_id: str, reader: Queries | None = None) -> list[Module]:
        """Return a system's modules in start order. Raises `NotFound`."""
        await self.get_system(system_id, reader)
        return await store.list_modules(reader or self._database, system_id)

    async def list_module_page(
        self, system_id: str, query: ListQuery, principal: Principal | None = None
    ) -> Page[Module]:
        """Return one page of a system's modules, in start order unless sorted otherwise. Raises `NotFound`."""
        await self.get_system(system_id, principal=principal)
        items, total = await store.list_module_page(self._database, system_id, query, _scope_of(principal))
        return Page(items=items, total=total)

    async def list_mounting(self, reader: Queries, template: str) -> list[Module]:
        """Return the modules that mount a config template."""
        return await store.list_modules_with_template(reader, template)

    async def get_module(
        self, module_id: str, reader: Queries | None = None, principal: Principal | None = None
    ) -> Module:
        """Return one module. Raises `NotFound`, also for one that the principal's scope does not see."""
        module = await store.find_module(reader or self._database, module_id)
        if module is None or not may_reach(module.placement, _scope_of(principal)):
            raise NotFound(f"there is no module {module_id}", id=module_id)
        return module

    async def create_module(self, system_id: str, body: NewModule, actor: Principal) -> Module:
        """Add a module.

        Raises `NotFound`, `Invalid` (every fault), `Conflict` (name in use), `Forbidden` (scope, grant for secrets).
        """
        check_grant(actor, body.env_secrets)
        module_id = ModuleId(spell_id("mod", secrets.token_bytes(10)))
        async with self._database.transaction() as tx:
            await self.get_system(system_id, tx, actor)
            siblings = await store.list_modules(tx, system_id)
            module = new_module(module_id, SystemId(system_id), body, siblings, self._clock.now())
            check_within(module.placement, actor.scope, f"module {module.name}")
            check_secrets(module, body.env_secrets)
            await self.check(tx, module, siblings)
            await store.insert_module(tx, module)
            sealed = await self.secrets.write(tx, module_id, body.env_secrets)
            await self._record(tx, actor, "module.create", module, body.env_secrets)
        self.secrets.keep(module_id, sealed)
        await self._publish(module)
        return module

    async def find_or_add_external(
        self, tx: Transaction, system_id: str, name: str, actor: Principal
    ) -> tuple[Module, bool]:
        """Return the module that stands for what was taken over under this name, and whether it is new.

        It has no package; one that has lends its name to nothing else. `publish` it after the commit.

        Raises `NotFound`, `Invalid`, `Conflict`, `Forbidden`.
        """
        await self.get_system(system_id, tx, actor)
        siblings = await store.list_modules(tx, system_id)
        known = next((module for module in siblings if module.name == name), None)
        if known is not None and known.package:
            raise Conflict(f"module {name} runs package {known.package}; choose another name", name=name)
        if known is not None:
            return await self.get_module(known.id, tx, actor), False
        body = NewModule(name=name, package="", version="", placement=Placement(labels=dict(actor.scope)), replicas=0)
        module_id = ModuleId(spell_id("mod", secrets.token_bytes(10)))
        module = new_module(module_id, SystemId(system_id), body, siblings, self._clock.now())
        check_module(module, siblings)
        await store.insert_module(tx, module)
        await self._record(tx, actor, "module.create", module)
        return module, True

    async def publish(self, module: Module) -> None:
        """Show a module that was added in a transaction of somebody else's."""
        await self._publish(module)

    async def patch_module(self, module_id: str, patch: ModulePatch, actor: Principal) -> Module:
        """Change a module. What runs keeps its version and settings until it is started anew or rolled out.

        Raises `NotFound`, `Invalid`, `Conflict`, `Forbidden` (beyond the scope before or after, grant for secrets), and
        `NotAllowed` for another package while instances exist.
        """
        changes = patch.env_secrets if isinstance(patch.env_secrets, dict) else {}
        check_grant(actor, changes)
        async with self._database.transaction() as tx:
            old = await self.get_module(module_id, tx, actor)
            siblings = await store.list_modules(tx, old.system_id)
            module = patched_module(old, patch, siblings)
            for placed in (old, module):
                check_within(placed.placement, actor.scope, f"module {old.name}")
            if module.package != old.package:
                await self.check_no_instances(tx, [old.id], f"the package of module {old.name}")
            check_secrets(module, changes)
            await self.check(tx, module, siblings)
            await store.update_module(tx, module)
            sealed = await self.secrets.write(tx, module.id, changes)
            await self._record(tx, actor, "module.change", module, changes)
        self.secrets.keep(module.id, sealed)
        await self._publish(module)
        return module

    async def plan_version(self, tx: Transaction, module_id: str, version: str) -> None:
        """Let the module plan a version that a rollout has proven. `publish` it after the commit."""
        module = await self.get_module(module_id, tx)
        await store.update_module(tx, msgspec.structs.replace(module, version=version))

    async def delete_module(self, module_id: str, actor: Principal) -> None:
        """Remove a module.

        Raises `NotFound`, `NotAllowed` while instances exist or others depend on it, `Forbidden` (beyond the scope).
        """
        async with self._database.transaction() as tx:
            module = await self.get_module(module_id, tx, actor)
            check_within(module.placement, actor.scope, f"module {module.name}")
            await self.check_no_instances(tx, [module.id], f"module {module.name}")
            siblings = await store.list_modules(tx, module.system_id)
            users = [sibling.name for sibling in siblings if module.id in sibling.depends_on]
            if users:
                raise NotAllowed(f"{', '.join(users)} depend on module {module.name}; change them first", users=users)
            await store.delete_module(tx, module_id)
            await self._record(tx, actor, "module.delete", module)
        self.forget(module)
        await self.show_system(module.system_id)

    async def check(self, tx: Transaction, module: Module, siblings: list[Module]) -> None:
        """Raise `Conflict`, or `Invalid` with every fault of a module among its siblings, its package's too."""
        if any(sibling.name == module.name and sibling.id != module.id for sibling in siblings):
            raise Conflict(f"the system has a module called {module.name!r}; choose another name", name=module.name)
        check_module(module, siblings)
        await self._check_mounts(tx, module)
        if not module.package:
            check_external(module)
            return
        try:
            package = await self._packages.get(module.package, module.version, tx)
        except NotFound as missing:
            problem = f"$.version: {missing.message}"
            raise Invalid(problem, problems=[problem], package=module.package, version=module.version) from missing
        merged_manifest(package.manifest, module)

    async def _check_mounts(self, tx: Transaction, module: Module) -> None:
        problems = []
        for index, mount in enumerate(module.config_mounts):
            try:
                if mount.template:
                    await self._templates.read(tx, mount.template, mount.template_version)
            except Invalid as fault:
                problems.append(f"$.config_mounts[{index}].template: {fault.message}")
        raise_if_any(problems)

    async def check_no_instances(self, tx: Transaction, modules: list[ModuleId], what: str) -> None:
        """Raise `NotAllowed` while instances of these modules exist."""
        names = [name for question in self._instances for name in await question(tx, modules)]
        if names:
            raise NotAllowed(f"{what}: {len(names)} instances exist; destroy them first", instances=names[:100])

    async def _record(
        self,
        tx: Transaction,
        actor: Principal,
        action: str,
        module: Module,
        hidden: Mapping[str, str | None] | None = None,
    ) -> None:
        details: dict[str, object] = {"name": module.name, "package": module.package, "version": module.version}
        if hidden:
            details["hidden_env"] = sorted(hidden)  # the names
        await self._audit.record(tx, actor, action, f"module:{module.id}", "done", details)

    async def _publish(self, module: Module) -> None:
        self.show(module)
        await self.show_system(module.system_id)

    # --- after a commit -------------------------------------------------------------------------------------------
    def show(self, module: Module) -> None:
        """Show a module as it was written."""
        self._placements.setdefault(module.system_id, {})[module.id] = module.placement
        self._bus.publish(Changed(MODULE_TOPIC, module.id, module))

    def forget(self, module: Module) -> None:
        """Show that a module was removed."""
        self._placements.get(module.system_id, {}).pop(module.id, None)
        self.secrets.keep(module.id, {})
        self._bus.publish(Changed(MODULE_TOPIC, module.id, None))

    async def show_system(self, system_id: str) -> None:
        """Show a system as it was written."""
        self._bus.publish(Changed(TOPIC, system_id, await self.get_system(system_id)))


def _scope_of(principal: Principal | None) -> dict[str, str]:
    return principal.scope if principal else {}


async def _placements(reader: Queries, system_id: str) -> list[Placement]:
    return [module.placement for module in await store.list_modules(reader, system_id)]


def check_whole(system: System, modules: list[Module], actor: Principal) -> None:
    """Raise `Forbidden` unless every module of the system lies within the actor's scope."""
    for module in modules:
        check_within(module.placement, actor.scope, f"system {system.name} has a module {module.name}; it")


def check_grant(actor: Principal, hidden: Mapping[str, str | None]) -> None:
    """Raise `Forbidden` unless who sets secret values has the grant for it."""
    if hidden and Permission.SECRETS not in actor.permissions:
        raise Forbidden(
            "setting env_secrets wants the grant secrets; an administrator can give it", permission=Permission.SECRETS
        )
