"""Definition, apart from running: a system is a business group, a module one of its planned components."""

from datetime import datetime

import msgspec

from ops_system.model.ids import ModuleId, SystemId
from ops_system.model.manifest import HealthOverride, RestartOverride


class System(msgspec.Struct, frozen=True):
    """A business group of modules. `env` goes to every module; `env_secrets`: names of values that nobody is shown."""

    id: SystemId
    name: str
    description: str
    created_at: datetime
    modules: int = 0  # how many it has
    env: dict[str, str] = {}
    env_secrets: tuple[str, ...] = ()


class Placement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a module may run: on nodes that carry all these labels; none means everywhere.

    `spread_by`: a label key; the replicas are spread evenly over its values, and nodes without it take none.
    """

    labels: dict[str, str] = {}
    spread_by: str = ""


class ConfigMount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file put into the instance's folder; placeholders in `content` are expanded by the worker.

    `template`: the name of a config template that stands in place of `content`, in `template_version`; None: in its
    newest approved version.
    """

    path: str
    content: str = ""
    mode: str = "0640"  # octal
    template: str = ""
    template_version: int | None = None


class ModulePlan(msgspec.Struct, frozen=True):
    """How a module's instances run, over what its package says."""

    depends_on: tuple[ModuleId, ...] = ()
    replicas: int | None = None  # None: one on every node that matches the placement
    placement: Placement = Placement()
    args: tuple[str, ...] | None = None  # None: the package's
    env: dict[str, str] = {}  # over the package's
    ports: dict[str, int] = {}  # over the package's
    config_mounts: tuple[ConfigMount, ...] = ()
    health: HealthOverride | None = None
    restart: RestartOverride | None = None


class Module(msgspec.Struct, frozen=True):
    """A planned component of a system: a package version with overrides. `start_order`: smaller starts earlier.

    `env_secrets`: the names of environment values that nobody is shown.
    """

    id: ModuleId
    system_id: SystemId
    name: str
    package: str
    version: str
    start_order: int
    depends_on: tuple[ModuleId, ...]
    replicas: int | None
    placement: Placement
    args: tuple[str, ...] | None
    env: dict[str, str]
    ports: dict[str, int]
    config_mounts: tuple[ConfigMount, ...]
    health: HealthOverride | None
    restart: RestartOverride | None
    created_at: datetime
    env_secrets: tuple[str, ...] = ()
