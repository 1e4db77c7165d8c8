"""What a definition may be: pure. Names, dependencies without a cycle, order of modules."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath

import msgspec

from ops_system.model.archives import find_name_problem
from ops_system.model.errors import Forbidden, Invalid
from ops_system.model.ids import ModuleId, SystemId
from ops_system.model.manifest import HealthOverride, Manifest, RestartOverride
from ops_system.model.manifest_rules import is_env_name, merge_overrides
from ops_system.model.packages import NAME
from ops_system.model.placeholders import find_problems
from ops_system.model.systems import ConfigMount, Module, ModulePlan, Placement, System

MAX_NAME = 64
MAX_MODULES = 200
MAX_REPLICAS = 10_000
MAX_ORDER = 1_000_000
MAX_SECRETS = 100
MAX_ENV = 500
MAX_SECRET_BYTES = 8192

_MODE = re.compile(r"0?[0-7]{3}\Z")


class NewSystem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A system to create. `env` goes to every module; `env_secrets` as with modules."""

    name: str
    description: str = ""
    env: dict[str, str] = {}
    env_secrets: dict[str, str] = {}


class SystemPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a system changes; absent keys stay. `env` replaces the whole; `env_secrets` as with modules."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    env: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    env_secrets: dict[str, str | None] | msgspec.UnsetType = msgspec.UNSET


class NewModule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A module to create. `depends_on` takes ids or names of modules of the same system.

    `env_secrets` are environment values that are sealed and never shown again; they want the grant `secrets`.
    """

    name: str
    package: str
    version: str
    start_order: int = 0
    depends_on: tuple[str, ...] = ()
    replicas: int | None = None
    placement: Placement = Placement()
    args: tuple[str, ...] | None = None
    env: dict[str, str] = {}
    ports: dict[str, int] = {}
    config_mounts: tuple[ConfigMount, ...] = ()
    health: HealthOverride | None = None
    restart: RestartOverride | None = None
    env_secrets: dict[str, str] = {}


class ModulePatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a module changes; absent keys stay, null takes an override back.

    `env_secrets` sets the values it names and, by null, removes one; the others stay.
    """

    name: str | msgspec.UnsetType = msgspec.UNSET
    package: str | msgspec.UnsetType = msgspec.UNSET
    version: str | msgspec.UnsetType = msgspec.UNSET
    start_order: int | msgspec.UnsetType = msgspec.UNSET
    depends_on: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    replicas: int | msgspec.UnsetType | None = msgspec.UNSET
    placement: Placement | msgspec.UnsetType = msgspec.UNSET
    args: tuple[str, ...] | msgspec.UnsetType | None = msgspec.UNSET
    env: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    ports: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    config_mounts: tuple[ConfigMount, ...] | msgspec.UnsetType = msgspec.UNSET
    health: HealthOverride | msgspec.UnsetType | None = msgspec.UNSET
    restart: RestartOverride | msgspec.UnsetType | None = msgspec.UNSET
    env_secrets: dict[str, str | None] | msgspec.UnsetType = msgspec.UNSET


def check_system_name(name: str) -> None:
    """Raise `Invalid` unless `name` is 1 to 64 visible characters without space around them."""
    bad = [character for character in name if unicodedata.category(character).startswith("C")]
    if not 1 <= len(name) <= MAX_NAME or name != name.strip() or bad:
        problem = f"$.name: 1 to {MAX_NAME} visible characters, no space at either end"
        raise Invalid(problem, problems=[problem])


def may_reach(placement: Placement, scope: Mapping[str, str]) -> bool:
    """Return whether a node can be both where the placement says and within the scope, which then sees the module."""
    return all(placement.labels.get(key, value) == value for key, value in scope.items())


def is_seen(placements: Collection[Placement], scope: Mapping[str, str]) -> bool:
    """Return whether a scope sees a system with modules placed like this. An empty one is everybody's."""
    return not placements or any(may_reach(placement, scope) for placement in placements)


def check_within(placement: Placement, scope: Mapping[str, str], what: str) -> None:
    """Raise `Forbidden` where somebody with a scope would change what may run beyond it, too."""
    missing = [f"{key}={value}" for key, value in scope.items() if placement.labels.get(key) != value]
    if missing:
        wanted = ", ".join(missing)
        words = f"{what} is not placed within your scope alone: its placement lacks {wanted}"
        raise Forbidden(words, reason="scope", labels=wanted)


def new_module(
    module_id: ModuleId, system_id: SystemId, body: NewModule, siblings: Sequence[Module], now: datetime
) -> Module:
    """Return the module that `body` asks for, with its dependencies resolved to ids."""
    fields = msgspec.structs.asdict(body) | {"depends_on": resolve(body.depends_on, siblings)}
    fields["env_secrets"] = tuple(sorted(body.env_secrets))
    return Module(id=module_id, system_id=system_id, created_at=now, **fields)


def patched_module(module: Module, patch: ModulePatch, siblings: Sequence[Module]) -> Module:
    """Return the module with the patch's keys laid over it."""
    fields = {name: value for name, value in msgspec.structs.asdict(patch).items() if value is not msgspec.UNSET}
    if "depends_on" in fields:
        fields["depends_on"] = resolve(fields["depends_on"], siblings)
    if isinstance(patch.env_secrets, dict):
        fields["env_secrets"] = merged_names(module.env_secrets, patch.env_secrets)
    return msgspec.structs.replace(module, **fields)


def patched_system(system: System, patch: SystemPatch) -> System:
    """Return the system with the patch's keys laid over it."""
    fields = {name: value for name, value in msgspec.structs.asdict(patch).items() if value is not msgspec.UNSET}
    if isinstance(patch.env_secrets, dict):
        fields["env_secrets"] = merged_names(system.env_secrets, patch.env_secrets)
    return msgspec.structs.replace(system, **fields)


def merged_names(names: Iterable[str], changes: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return the names of secrets after `changes`; None removes one."""
    removed = {name for name, value in changes.items() if value is None}
    return tuple(sorted({*names, *changes} - removed))


def plan_of(module: Module) -> ModulePlan:
    """Return the part of a module that is stored as one document."""
    names = ModulePlan.__struct_fields__
    return ModulePlan(**{name: getattr(module, name) for name in names})


def resolve(wanted: Iterable[str], siblings: Sequence[Module]) -> tuple[ModuleId, ...]:
    """Return the ids of modules named by id or name, each once. Raises `Invalid` for one the system does not have."""
    known: dict[str, ModuleId] = {module.name: module.id for module in siblings}
    known |= {module.id: module.id for module in siblings}
    problems = [f"$.depends_on: the system has no module {name!r}" for name in wanted if name not in known]
    if problems:
        raise Invalid("; ".join(problems), problems=problems)
    return tuple(dict.fromkeys(known[name] for name in wanted))


def check_module(module: Module, siblings: Sequence[Module]) -> None:
    """Raise `Invalid` with every fault of a module's own fields; what its package says is checked apart."""
    problems = [*_field_problems(module), *_placement_problems(module), *_mount_problems(module.config_mounts)]
    others = [sibling for sibling in siblings if sibling.id != module.id]
    cycle = find_cycle({sibling.id: sibling.depends_on for sibling in [*others, module]})
    if cycle:
        names = {sibling.id: sibling.name for sibling in [*others, module]}
        problems.append(f"$.depends_on: a circle: {' -> '.join(names[step] for step in cycle)}")
    if len(others) >= MAX_MODULES:
        problems.append(f"$: a system has at most {MAX_MODULES} modules")
    if problems:
        raise Invalid("; ".join(problems), problems=problems)


def check_external(module: Module) -> None:
    """Raise `Invalid` unless a module without a package says nothing that only a package could be given.

    It stands for processes that were taken over: what they are told stands in the takeover itself.
    """
    said = {
        "version": bool(module.version),
        "replicas": module.replicas != 0,
        "args": module.args is not None,
        "env": bool(module.env),
        "ports": bool(module.ports),
        "config_mounts": bool(module.config_mounts),
        "health": module.health is not None,
        "restart": module.restart is not None,
    }
    problems = [
        f"$.{name}: nothing to give it to: the module has no package" for name, is_said in said.items() if is_said
    ]
    if problems:
        raise Invalid("; ".join(problems), problems=problems)


def _field_problems(module: Module) -> list[str]:
    problems = []
    if not NAME.match(module.name):
        problems.append("$.name: letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit")
    if module.replicas is not None and not 0 <= module.replicas <= MAX_REPLICAS:
        problems.append(f"$.replicas: 0 to {MAX_REPLICAS}, or null for every matching node")
    if abs(module.start_order) > MAX_ORDER:
        problems.append(f"$.start_order: between -{MAX_ORDER} and {MAX_ORDER}")
    return problems


def check_env(env: Mapping[str, str]) -> None:
    """Raise `Invalid` with every fault of plain environment values."""
    problems = [f"$.env: at most {MAX_ENV}"] if len(env) > MAX_ENV else []
    for name, value in env.items():
        if not is_env_name(name):
            problems.append(f"$.env.{name}: letters, digits and underscores, the first no digit; not OPS_INSTANCE")
        if "\0" in value or len(value.encode()) > MAX_SECRET_BYTES:
            problems.append(f"$.env.{name}: at most {MAX_SECRET_BYTES} bytes and no NUL")
        problems += [f"$.env.{name}: {fault}" for fault in find_problems(value)]
    if problems:
        raise Invalid("; ".join(problems), problems=problems)


def check_secrets(owner: Module | System, changes: Mapping[str, str | None]) -> None:
    """Raise `Invalid` with every fault of secret environment values; no message repeats a value."""
    problems = [f"$.env_secrets: at most {MAX_SECRETS}"] if len(owner.env_secrets) > MAX_SECRETS else []
    for name in owner.env_secrets:
        if not is_env_name(name):
            problems.append(
                f"$.env_secrets.{name}: letters, digits and underscores, the first no digit; not OPS_INSTANCE"
            )
        if name in owner.env:
            problems.append(f"$.env_secrets.{name}: stands in env as well; take it out there")
    for name, value in changes.items():
        if value is not None and ("\0" in value or len(value.encode()) > MAX_SECRET_BYTES):
            problems.append(f"$.env_secrets.{name}: at most {MAX_SECRET_BYTES} bytes and no NUL")
    if problems:
        raise Invalid("; ".join(problems), problems=problems)


def _placement_problems(module: Module) -> list[str]:
    """A spread counts replicas; where every matching node has one, it would have no effect."""
    problems = []
    if module.placement.spread_by and module.replicas is None:
        problems.append("$.placement.spread_by: wants replicas; without them every matching node has an instance")
    if len(module.placement.spread_by) > MAX_NAME:
        problems.append(f"$.placement.spread_by: at most {MAX_NAME} characters")
    return problems


def _mount_problems(mounts: Sequence[ConfigMount]) -> list[str]:
    problems, seen = [], set()
    for index, mount in enumerate(mounts):
        where = f"$.config_mounts[{index}]"
        path = PurePosixPath(mount.path)
        fault = find_name_problem(mount.path)
        if fault:
            problems.append(f"{where}.path: {fault}")
        elif path in seen:
            problems.append(f"{where}.path: {mount.path} is mounted twice")
        seen.add(path)
        if not _MODE.match(mount.mode):
            problems.append(f"{where}.mode: octal, such as 0640")
        if mount.template and mount.content:
            problems.append(f"{where}.content: leave it empty: template {mount.template} stands in its place")
        if mount.template_version is not None and not (mount.template and mount.template_version > 0):
            problems.append(f"{where}.template_version: a number from 1 on, beside the name of a template")
    return problems


def merged_manifest(manifest: Manifest, module: Module, env: Mapping[str, str] | None = None) -> Manifest:
    """Return the package's manifest as the module runs it. Raises `Invalid` with every fault of the whole.

    `env`: the environment over the package's, where more than the module has a say. Secret values are empty in it:
    they are filled in on the way to the worker.
    """
    env = module.env | dict.fromkeys(module.env_secrets, "") if env is None else env
    return merge_overrides(
        manifest, args=module.args, env=env, ports=module.ports, health=module.health, restart=module.restart
    )


def find_cycle(edges: Mapping[ModuleId, Sequence[ModuleId]]) -> list[ModuleId]:
    """Return one circle of dependencies, its first member at both ends, or an empty list."""
    done: set[ModuleId] = set()
    path: list[ModuleId] = []

    def visit(node: ModuleId) -> list[ModuleId]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        path.append(node)
        for target in edges.get(node, ()):
            cycle = visit(target)
            if cycle:
                return cycle
        path.pop()
        done.add(node)
        return []

    return next((cycle for cycle in map(visit, edges) if cycle), [])


def start_waves(modules: Sequence[Module]) -> list[list[Module]]:
    """Return the modules in waves of one start: each wave waits for the ones before it.

    A module comes after everything with a smaller `start_order` and after what it depends on, whatever their orders.
    `modules` has no circle; dependencies outside of it do not count.
    """
    waves: list[list[Module]] = []
    waiting = sorted(modules, key=lambda module: (module.start_order, module.name))
    while waiting:
        blocked = {module.id for module in waiting}
        free = [module for module in waiting if not blocked.intersection(module.depends_on)]
        lowest = min(module.start_order for module in free)
        wave = [module for module in free if module.start_order == lowest]
        waves.append(wave)
        waiting = [module for module in waiting if module not in wave]
    return waves
