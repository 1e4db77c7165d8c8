"""A whole system as one YAML document, so that it can live in git: written, read and compared. Pure.

Same system, same text: keys in a fixed order, modules by start order and name. Secrets stand in it by name alone.
Modules that stand for what was taken over are not part of it. The JSON Schema is `docs/system.schema.json`.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec
import yaml

from ops_system.model.errors import Invalid
from ops_system.model.ids import ModuleId
from ops_system.model.manifest import HealthOverride, RestartOverride
from ops_system.model.shapes import check_shape, printable
from ops_system.model.systems import ConfigMount, Module, Placement, System

SCHEMA_VERSION = 1
MAX_DOCUMENT_CHARS = 512 * 1024
MAX_DEPTH = 16
MAX_CHANGE = 2000

T = TypeVar("T")

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ModuleDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One module; `depends_on` names modules of the document, `env_secrets` names values that stand elsewhere."""

    package: str
    version: str
    start_order: int = 0
    depends_on: tuple[str, ...] = ()
    replicas: int | None = None
    placement: Placement = Placement()
    args: tuple[str, ...] | None = None
    env: dict[str, str] = {}
    env_secrets: tuple[str, ...] = ()
    ports: dict[str, int] = {}
    config_mounts: tuple[ConfigMount, ...] = ()
    health: HealthOverride | None = None
    restart: RestartOverride | None = None


class SystemDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One system: its name says which."""

    name: str
    schema: int = SCHEMA_VERSION
    description: str = ""
    env: dict[str, str] = {}
    env_secrets: tuple[str, ...] = ()
    modules: dict[str, ModuleDocument] = {}


class DocumentChange(msgspec.Struct, frozen=True):
    """One place that differs: `$.modules.web.env.MODE`. The values are JSON; null where there is none."""

    path: str
    kind: Literal["add", "change", "remove"]
    before: str | None
    after: str | None


# --- writing ---------------------------------------------------------------------------------------------------------
def document_of(system: System, modules: Iterable[Module]) -> SystemDocument:
    """Return a system as a document."""
    placed = sorted(modules, key=lambda module: (module.start_order, module.name))
    names = {module.id: module.name for module in placed}
    return SystemDocument(
        name=system.name,
        description=system.description,
        env=_sorted(system.env),
        env_secrets=tuple(sorted(system.env_secrets)),
        modules={module.name: _module_document(module, names) for module in placed if module.package},
    )


def _module_document(module: Module, names: Mapping[ModuleId, str]) -> ModuleDocument:
    kept = {name: getattr(module, name) for name in ModuleDocument.__struct_fields__}
    kept |= {
        "depends_on": tuple(sorted(names[wanted] for wanted in module.depends_on)),
        "placement": msgspec.structs.replace(module.placement, labels=_sorted(module.placement.labels)),
        "env": _sorted(module.env),
        "env_secrets": tuple(sorted(module.env_secrets)),
        "ports": _sorted(module.ports),
    }
    return ModuleDocument(**kept)


def _sorted(values: Mapping[str, T]) -> dict[str, T]:
    return {key: values[key] for key in sorted(values)}


def _plain(document: SystemDocument) -> dict[str, Any]:
    """Return the document as plain values, without what says nothing."""
    plain: dict[str, Any] = msgspec.to_builtins(document)
    for module in plain.get("modules", {}).values():
        if "placement" in module:
            module["placement"] = {key: value for key, value in module["placement"].items() if value}
            if not module["placement"]:
                del module["placement"]
        for mount in module.get("config_mounts", ()):
            for key in [key for key in ("content", "template", "template_version") if not mount[key]]:
                del mount[key]
    return plain


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block, no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's name for it
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def write_document(document: SystemDocument, source: str) -> str:
    """Return the YAML text; `source` says in a comment where it is from."""
    head = (
        f"# System {printable(document.name)}: what should exist, apart from what runs.\n"
        f"# From {source}. See what it would change: ops diff FILE. Make it so: ops apply FILE.\n"
        "# env_secrets are names alone: their values stay in the master. Other modules of the system are removed.\n"
        "# Its form: docs/system.schema.json.\n"
    )
    ordered = {"schema": document.schema} | _plain(document)
    body: str = yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return head + body


# --- reading ---------------------------------------------------------------------------------------------------------
def read_document(text: str) -> SystemDocument:
    """Return the document. Raises `Invalid` with every fault, an unknown key with the nearest known one."""
    shape = check_shape(_load(text), SystemDocument)
    problems = list(shape.problems)
    if not problems:
        document = msgspec.convert(shape.repaired, SystemDocument)
        problems = _value_problems(document)
        if not problems:
            return document
    raise Invalid("; ".join(problems), problems=problems)


def _value_problems(document: SystemDocument) -> list[str]:
    problems = []
    if document.schema != SCHEMA_VERSION:
        problems.append(f"$.schema: this master reads {SCHEMA_VERSION}")
    for name, module in document.modules.items():
        if not module.package:
            problems.append(f"$.modules.{name}.package: a package's name")
        problems += [
            f"$.modules.{name}.depends_on: the document has no module {wanted!r}"
            for wanted in module.depends_on
            if wanted not in document.modules
        ]
    return problems


def _load(text: str) -> Any:
    if len(text) > MAX_DOCUMENT_CHARS:
        raise _refuse(f"longer than {MAX_DOCUMENT_CHARS} characters")
    try:
        _check_events(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as problem:
        raise _refuse(_spell(problem)) from problem
    except yaml.YAMLError as problem:
        raise _refuse(f"no valid YAML: {problem}") from problem
    except ValueError as problem:  # a date such as 2026-02-31
        raise _refuse(f"no valid YAML: {problem}") from problem


def _refuse(words: str) -> Invalid:
    problem = printable(f"$: {words}")
    return Invalid(problem, problems=[problem])


def _spell(problem: yaml.MarkedYAMLError) -> str:
    where = _where(problem.problem_mark or problem.context_mark)
    return f"{where}no valid YAML: {problem.problem or problem.context}"


def _where(mark: Any) -> str:  # yaml's C reader has marks of its own
    return "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "


def _check_events(text: str) -> None:
    """Refuse what could make a small text large, or a reader fail: aliases, deep nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _refuse(f"{_where(event.start_mark)}nested too deeply")
        if isinstance(event, yaml.AliasEvent):
            raise _refuse(f"{_where(event.start_mark)}aliases are not taken; write it out")


class _Loader(_LOADER):  # type: ignore[misc]  # the C one where it is there
    """Refuses keys that stand twice, and those that are no text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(None, None, "a key must be a text; put it in quotes", key_node.start_mark)
            if key_node.value in seen:
                words = f'the key "{key_node.value}" stands twice'
                raise yaml.MarkedYAMLError(None, None, words, key_node.start_mark)
            seen.add(key_node.value)
        made: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return made


# --- comparing -------------------------------------------------------------------------------------------------------
def changes_between(before: SystemDocument | None, after: SystemDocument) -> list[DocumentChange]:
    """Return every place that differs; lists are compared whole."""
    modules: dict[str, Any] = {"modules": {}}  # each is compared by itself, also where there were none
    return _compare(modules if before is None else modules | _plain(before), modules | _plain(after), "$")


def _compare(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> list[DocumentChange]:
    found: list[DocumentChange] = []
    for key in _keys(old, new):
        one, other, here = old.get(key), new.get(key), f"{path}.{key}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _compare(one, other, here)
        elif one != other:
            kind: Literal["add", "change", "remove"] = "change"
            kind = "add" if key not in old else "remove" if key not in new else kind
            found.append(DocumentChange(here, kind, _value(old, key), _value(new, key)))
    return found


def _keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[str]:
    return [*new, *(key for key in old if key not in new)]


def _value(values: Mapping[str, Any], key: str) -> str | None:
    if key not in values:
        return None
    text = msgspec.json.encode(values[key]).decode()
    return text if len(text) <= MAX_CHANGE else text[:MAX_CHANGE] + "…"
