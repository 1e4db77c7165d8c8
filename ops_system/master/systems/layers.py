"""What an instance is given from above: environment, variables, config files with them filled in, its secrets."""

from ops_system.master.packages.service import Packages
from ops_system.master.systems.environment import LEVELS, LayeredValue, Share, hidden_of, settle_values
from ops_system.master.systems.secrets import ModuleSecrets, Unsealed
from ops_system.master.templates.rules import fill_variables, secrets_in
from ops_system.master.templates.service import Templates
from ops_system.master.templates.values import GLOBAL, Kind, LayeredValues
from ops_system.model.formats import Format
from ops_system.model.instances import ConfigFile, InstanceSpec
from ops_system.model.systems import Module
from ops_system.storage.database import Database, Queries


class Layers:
    """Reads what packages, templates, systems, modules and instances say. Kept by the systems service."""

    def __init__(
        self,
        database: Database,
        packages: Packages,
        templates: Templates,
        values: LayeredValues,
        secrets: ModuleSecrets,
    ) -> None:
        self._database = database
        self._packages = packages
        self._templates = templates
        self.values = values
        self.secrets = secrets

    async def env_shares(self, reader: Queries, module: Module, instance_id: str | None = None) -> list[Share]:
        """Return what system, module and instance say of the environment, in this order."""
        owners = [module.system_id, *([] if instance_id is None else [instance_id])]
        layers = await self.values.layers(reader, Kind.ENV, owners)
        of_module = Share("module", module.env, module.env_secrets)
        shares = [Share("system", layers[0].plain, layers[0].hidden), of_module]
        return [*shares, *(Share("instance", layer.plain, layer.hidden) for layer in layers[1:])]

    async def environment(self, module: Module, instance_id: str | None = None) -> list[LayeredValue]:
        """Return every value of the environment that counts, the package's too, and where it comes from."""
        shares = await self.env_shares(self._database, module, instance_id)
        if module.package:
            package = await self._packages.get(module.package, module.version)
            shares.insert(0, Share("package", package.manifest.env))
        return settle_values(shares)

    async def variables(self, reader: Queries, module: Module, instance_id: str | None = None) -> list[LayeredValue]:
        """Return every variable of config files that counts for a module, or an instance of it."""
        owners = [GLOBAL, module.system_id, module.id, *([] if instance_id is None else [instance_id])]
        layers = await self.values.layers(reader, Kind.VAR, owners)
        return settle_values(
            Share(origin, layer.plain, layer.hidden) for origin, layer in zip(LEVELS, layers, strict=False)
        )

    async def config_files(self, reader: Queries, module: Module, instance_id: str) -> tuple[ConfigFile, ...]:
        """Return the files mounted into an instance, plain variables filled in.

        Raises `Invalid` for a template or a version that is not there, and for a variable without a value.
        """
        if not module.config_mounts:
            return ()
        values = await self.variables(reader, module, instance_id)
        plain = {one.name: one.value for one in values if one.value is not None}
        files = []
        for mount in module.config_mounts:
            kind, content = Format.TEXT, mount.content
            if mount.template:
                kind, content = await self._templates.read(reader, mount.template, mount.template_version)
            content = fill_variables(content, plain, hidden_of(values), f"$.config_mounts.{mount.path}")
            files.append(ConfigFile(mount.path, content, int(mount.mode, 8), kind))
        return tuple(files)

    def secrets_of(self, spec: InstanceSpec) -> Unsealed:
        """Return the plain values of the secrets in an instance's wish. Raises `Unavailable`."""
        names = spec.secret_env
        above = self.values.secrets(Kind.ENV, [spec.system_id], names)
        own = self.values.secrets(Kind.ENV, [spec.instance_id], names)
        wanted = {name for file in spec.config_files for name in secrets_in(file.content)}
        owners = (GLOBAL, spec.system_id, spec.module_id, spec.instance_id)
        return Unsealed(
            env=above | self.secrets.values(spec.module_id, names) | own,
            variables=self.values.secrets(Kind.VAR, owners, wanted),
        )
