"""Values that people set for what instances are given: variables at every level, environment of one instance."""

from collections.abc import Mapping

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.instances.service import Instances
from ops_system.master.systems.environment import LayeredValue
from ops_system.master.systems.rules import check_env, check_within
from ops_system.master.systems.service import Systems, check_grant, check_whole
from ops_system.master.templates.rules import check_values, raise_if_any
from ops_system.master.templates.service import check_unscoped
from ops_system.master.templates.values import GLOBAL, Kind, Plain
from ops_system.master.web.route import Principal
from ops_system.model.errors import NotFound
from ops_system.storage.database import Database, Queries, Transaction


class VariablesQuery(msgspec.Struct, frozen=True):
    """`?owner=`: `global`, or the id of a system, module or instance."""

    owner: str = GLOBAL


class Variable(msgspec.Struct, frozen=True):
    """One variable of one owner; a secret has no value to show."""

    owner: str
    name: str
    value: str | None
    is_secret: bool


class VariablesPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of an owner's variables changes; null removes one. `secrets` want their grant and are never shown again."""

    owner: str = GLOBAL
    values: dict[str, str | None] = {}
    secrets: dict[str, str | None] = {}


class EnvironmentPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of an instance's own environment changes; null removes one. It takes effect with the next start."""

    env: dict[str, str | None] = {}
    env_secrets: dict[str, str | None] = {}


class Given(msgspec.Struct, frozen=True):
    """What an instance, or a module's instances, are given, and where each value comes from."""

    env: list[LayeredValue]
    variables: list[LayeredValue]


class Values:
    """See the module."""

    def __init__(self, *, database: Database, systems: Systems, instances: Instances, audit: Audit) -> None:
        self._database = database
        self._systems = systems
        self._instances = instances
        self._audit = audit

    async def list_variables(self, owner: str, actor: Principal) -> list[Variable]:
        """Return an owner's variables by name. Raises `NotFound`, also beyond the actor's scope."""
        await self._check_owner(self._database, owner, actor, is_write=False)
        return await self._of_owner(owner)

    async def patch_variables(self, body: VariablesPatch, actor: Principal) -> list[Variable]:
        """Change an owner's variables; what runs hears nothing of it. Raises `NotFound`, `Invalid`, `Forbidden`."""
        check_values(body.values, body.secrets)
        await self._write(Kind.VAR, body.owner, body.values, body.secrets, actor)
        return await self._of_owner(body.owner)

    async def of_module(self, module_id: str, actor: Principal) -> Given:
        """Return what a module's instances are given. Raises `NotFound`."""
        module = await self._systems.get_module(module_id, principal=actor)
        layers = self._systems.layers
        return Given(await layers.environment(module), await layers.variables(self._database, module))

    async def of_instance(self, instance_id: str, actor: Principal) -> Given:
        """Return what an instance is given with its next start. Raises `NotFound`."""
        record = await self._instances.find_record(self._database, instance_id, actor)
        module = await self._systems.get_module(record.spec.module_id)
        layers, known = self._systems.layers, record.spec.instance_id
        return Given(await layers.environment(module, known), await layers.variables(self._database, module, known))

    async def patch_instance(self, instance_id: str, body: EnvironmentPatch, actor: Principal) -> Given:
        """Change an instance's own environment. Raises `NotFound`, `Invalid`, `Forbidden` (grant for secrets)."""
        check_env({name: value or "" for name, value in body.env.items()})
        check_env(dict.fromkeys(body.env_secrets, ""))
        raise_if_any([f"$.env.{name}: stands in env_secrets as well" for name in body.env if name in body.env_secrets])
        check_values({}, {name: value for name, value in body.env_secrets.items() if value is not None})
        await self._write(Kind.ENV, instance_id, body.env, body.env_secrets, actor)
        return await self.of_instance(instance_id, actor)

    # --- parts ----------------------------------------------------------------------------------------------------
    async def _of_owner(self, owner: str) -> list[Variable]:
        (layer,) = await self._systems.values.layers(self._database, Kind.VAR, [owner])
        said: Mapping[str, str | None] = dict[str, str | None](layer.plain) | dict.fromkeys(layer.hidden)
        return [Variable(owner, name, said[name], said[name] is None) for name in sorted(said)]

    async def _write(self, kind: Kind, owner: str, plain: Plain, hidden: Plain, actor: Principal) -> None:
        check_grant(actor, hidden)
        async with self._database.transaction() as tx:
            await self._check_owner(tx, owner, actor, is_write=True)
            if kind is Kind.ENV and not owner.startswith("ins_"):
                raise NotFound(f"there is no instance {owner}", id=owner)
            written = await self._systems.values.write(tx, kind, owner, plain, hidden)
            await self._record(tx, kind, owner, plain, hidden, actor)
        self._systems.values.keep(written)

    async def _record(  # noqa: PLR0917 - see above
        self, tx: Transaction, kind: Kind, owner: str, plain: Plain, hidden: Plain, actor: Principal
    ) -> None:
        what = "variables" if kind is Kind.VAR else "environment"
        details: dict[str, object] = {"names": sorted(plain), "hidden": sorted(hidden)}
        await self._audit.record(tx, actor, f"{what}.change", f"values:{owner}", "done", details)

    async def _check_owner(self, reader: Queries, owner: str, actor: Principal, *, is_write: bool) -> None:
        """Raise `NotFound` for an owner that is not there or not seen, `Forbidden` for writing beyond the scope."""
        match owner.partition("_")[0]:
            case "global" if owner == GLOBAL:
                if is_write:
                    check_unscoped(actor)
            case "sys":
                system = await self._systems.get_system(owner, reader, actor)
                if is_write:
                    check_whole(system, await self._systems.list_modules(owner, reader), actor)
            case "mod":
                module = await self._systems.get_module(owner, reader, actor)
                if is_write:
                    check_within(module.placement, actor.scope, f"module {module.name}")
            case "ins":
                await self._instances.find_record(reader, owner, actor)
            case _:
                raise NotFound(f"nothing called {owner} has variables: global, or an id", id=owner)
