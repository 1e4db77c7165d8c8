"""Makes a system what a document says, in one transaction; a dry run is the same transaction, undone at its end.

read -> what differs -> write (system, modules gone, new, changed, secrets) -> what instances would get -> commit
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.systems import store
from ops_system.master.systems.document import (
    DocumentChange,
    ModuleDocument,
    SystemDocument,
    changes_between,
    document_of,
    read_document,
    write_document,
)
from ops_system.master.systems.rules import check_env, check_secrets, check_system_name, check_within
from ops_system.master.systems.service import Systems, check_grant, check_whole
from ops_system.master.templates.values import Sealed
from ops_system.master.web.route import Principal
from ops_system.model.errors import Forbidden, Invalid, NotAllowed
from ops_system.model.ids import InstanceId, ModuleId, NodeId, SystemId, spell_id
from ops_system.model.reasons import Reason
from ops_system.model.systems import Module, System
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Transaction

MAX_AUDITED = 50


class SystemApply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A system as YAML. `secrets`: values by module (`""`: the system's own) and name; they want the grant."""

    document: str
    dry_run: bool = False
    secrets: dict[str, dict[str, str]] = {}


class SystemText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A system as YAML."""

    document: str


class Effect(StrEnum):
    """What an instance has to go through to be as the document says."""

    NONE = "none"
    RESTART = "restart"
    ROLLOUT = "rollout"  # another version


class InstanceEffect(msgspec.Struct, frozen=True):
    """One instance of the system; `fields` of its definition would change, `problems` stand in the way."""

    instance_id: InstanceId
    module: str
    node_id: NodeId
    node_name: str
    effect: Effect
    fields: list[str]
    problems: list[Reason]


class SystemDiff(msgspec.Struct, frozen=True):
    """What a document changes. `missing_secrets`: `module.NAME` without a value; `document`: as exported then."""

    name: str
    system_id: SystemId | None
    is_new: bool
    is_applied: bool
    changes: list[DocumentChange]
    instances: list[InstanceEffect]
    missing_secrets: list[str]
    document: str


Foresee = Callable[[Transaction, str, Principal], Awaitable[list[InstanceEffect]]]
"""What the instances of a system would get by the modules as they stand inside the transaction."""


class _UndoError(Exception):
    """Ends the transaction of a dry run; carries what was found."""

    def __init__(self, found: SystemDiff) -> None:
        super().__init__()
        self.found = found


@dataclass(frozen=True, slots=True)
class _Work:
    """One document on its way into the database."""

    system: System
    before: System | None
    old: Sequence[Module]
    new: Sequence[Module]
    values: Mapping[str, Mapping[str, str]]

    def hidden_of(self, module: Module | None) -> dict[str, str | None]:
        """Return the changes of secrets of a module (None: of the system): values given, None for names dropped."""
        kept = self.system.env_secrets if module is None else module.env_secrets
        before = _secrets_before(self.before, self.old, module)
        given = self.values.get("" if module is None else module.name, {})
        changes: dict[str, str | None] = {name: value for name, value in given.items() if name in kept}
        return changes | dict.fromkeys(set(before) - set(kept))

    def missing(self) -> list[str]:
        """Return every secret without a value, `module.NAME`; those of the system itself are bare names."""
        found = []
        for module in (None, *self.new):
            kept = self.system.env_secrets if module is None else module.env_secrets
            given = self.values.get("" if module is None else module.name, {})
            lacking = set(kept) - set(_secrets_before(self.before, self.old, module)) - set(given)
            found += [name if module is None else f"{module.name}.{name}" for name in sorted(lacking)]
        return found


def _secrets_before(before: System | None, old: Sequence[Module], module: Module | None) -> tuple[str, ...]:
    if module is None:
        return before.env_secrets if before is not None else ()
    return next((one.env_secrets for one in old if one.id == module.id), ())


class Applier:
    """See the module."""

    def __init__(self, *, systems: Systems, database: Database, audit: Audit, clock: Clock) -> None:
        self._systems = systems
        self._database = database
        self._audit = audit
        self._clock = clock
        self.foresee: Foresee = _nothing

    async def export(self, system_id: str, actor: Principal) -> tuple[str, str]:
        """Return a system's name and its document. Raises `NotFound`, `Forbidden` where the scope sees a part only."""
        system = await self._systems.get_system(system_id, principal=actor)
        modules = await self._systems.list_modules(system_id)
        check_whole(system, modules, actor)
        return system.name, write_document(document_of(system, modules), f"system {system.id}")

    async def apply(self, body: SystemApply, actor: Principal) -> SystemDiff:
        """Make the system so. The same document again changes nothing.

        Raises `Invalid` (every fault with its path), `Forbidden` (scope, grant for secrets), `NotAllowed` (a module
        with instances would go, or get another package; a secret has no value); nothing has changed then.
        """
        document = read_document(body.document)
        written: list[tuple[ModuleId, dict[str, bytes]]] = []
        try:
            async with self._database.transaction() as tx:
                work = await self._plan(tx, document, body.secrets, actor)
                found, sealed = await self._make(tx, work, actor, written, is_trial=body.dry_run)
                if body.dry_run:
                    raise _UndoError(found)  # noqa: TRY301 - the way to undo a transaction
        except _UndoError as undone:
            return undone.found
        await self._tell(work, sealed, written)
        return found

    # --- planning -------------------------------------------------------------------------------------------------
    async def _plan(
        self, tx: Transaction, document: SystemDocument, values: Mapping[str, Mapping[str, str]], actor: Principal
    ) -> _Work:
        before = await store.find_system_by_name(tx, document.name)
        old = [] if before is None else await store.list_modules(tx, before.id)
        if before is not None:
            check_whole(before, old, actor)
        elif actor.scope and not document.modules:
            raise Forbidden("a system without modules lies in no scope; give it a module placed within yours")
        system_id = SystemId(spell_id("sys", secrets.token_bytes(10))) if before is None else before.id
        system = System(
            id=system_id,
            name=document.name,
            description=document.description,
            created_at=self._clock.now() if before is None else before.created_at,
            env=document.env,
            env_secrets=tuple(sorted(set(document.env_secrets))),
        )
        new = _modules_of(document, system, old, self._clock)
        work = _Work(system, before, [one for one in old if one.package], new, values)
        _check_values(work, values, actor)
        for module in new:
            check_within(module.placement, actor.scope, f"module {module.name}")
        return work

    # --- writing --------------------------------------------------------------------------------------------------
    async def _make(
        self,
        tx: Transaction,
        work: _Work,
        actor: Principal,
        written: list[tuple[ModuleId, dict[str, bytes]]],
        *,
        is_trial: bool,
    ) -> tuple[SystemDiff, Sealed]:
        missing = work.missing()
        if missing and not is_trial:
            words = f"{', '.join(missing)}: no value is known here; give it in secrets, or set it at the module first"
            raise NotAllowed(words, reason="secret_missing", missing=missing)
        await self._check(tx, work)
        changes = _changes(work)
        sealed: Sealed = {}
        if changes or any(work.values.values()):
            sealed = await self._write(tx, work, written)
            await self._record(tx, work, changes, actor)
        effects = await self.foresee(tx, work.system.id, actor)
        text = write_document(document_of(work.system, work.new), f"system {work.system.id}")
        known_id = None if work.before is None and is_trial else work.system.id
        is_new = work.before is None
        found = SystemDiff(work.system.name, known_id, is_new, not is_trial, changes, effects, missing, text)
        return found, sealed

    async def _check(self, tx: Transaction, work: _Work) -> None:
        """Raise `Invalid` with the faults of everything, each with its path in the document."""
        problems = _faults(lambda: _check_system(work), "$")
        others = [one for one in await store.list_modules(tx, work.system.id) if not one.package]
        for module in work.new:
            try:
                check_secrets(module, work.hidden_of(module))
                await self._systems.check(tx, module, [*others, *work.new])
            except Invalid as fault:
                problems += _with_path(fault, f"$.modules.{module.name}")
        if problems:
            raise Invalid("; ".join(problems), problems=problems)
        kept = {module.id for module in work.new}
        for one in work.old:
            package = next((module.package for module in work.new if module.id == one.id), None)
            if one.id not in kept:
                await self._systems.check_no_instances(tx, [one.id], f"module {one.name} is not in the document")
            elif package != one.package:
                await self._systems.check_no_instances(tx, [one.id], f"the package of module {one.name}")

    async def _write(self, tx: Transaction, work: _Work, written: list[tuple[ModuleId, dict[str, bytes]]]) -> Sealed:
        if work.before is None:
            await store.insert_system(tx, work.system)
        else:
            await store.update_system(tx, work.system)
        env_before = {} if work.before is None else work.before.env
        sealed = await self._systems.write_env(tx, work.system, env_before, work.hidden_of(None))
        kept, known = {module.id for module in work.new}, {module.id for module in work.old}
        for one in work.old:
            if one.id not in kept:
                await store.delete_module(tx, one.id)
        for module in work.new:
            await (store.update_module if module.id in known else store.insert_module)(tx, module)
            fresh = await self._systems.secrets.write(tx, module.id, work.hidden_of(module))
            written.append((module.id, fresh))
        return sealed

    async def _record(self, tx: Transaction, work: _Work, changes: Sequence[DocumentChange], actor: Principal) -> None:
        details: dict[str, object] = {
            "name": work.system.name,
            "changes": [f"{one.kind} {one.path}" for one in changes[:MAX_AUDITED]],
        }
        if any(work.values.values()):
            details["hidden_env"] = [f"{owner}.{name}" for owner, names in work.values.items() for name in names]
        await self._audit.record(tx, actor, "system.apply", f"system:{work.system.id}", "done", details)

    async def _tell(self, work: _Work, sealed: Sealed, written: Sequence[tuple[ModuleId, dict[str, bytes]]]) -> None:
        """Remember and show what was written."""
        self._systems.values.keep(sealed)
        for module_id, fresh in written:
            self._systems.secrets.keep(module_id, fresh)
        kept = {module.id for module in work.new}
        for one in work.old:
            if one.id not in kept:
                self._systems.forget(one)
        for module in work.new:
            self._systems.show(module)
        await self._systems.show_system(work.system.id)


async def _nothing(_tx: Transaction, _system_id: str, _actor: Principal) -> list[InstanceEffect]:
    return []


def _modules_of(document: SystemDocument, system: System, old: Sequence[Module], clock: Clock) -> list[Module]:
    known = {module.name: module for module in old}
    ids = {
        name: known[name].id if name in known else ModuleId(spell_id("mod", secrets.token_bytes(10)))
        for name in document.modules
    }
    now = clock.now()
    return [
        _module_of(ids[name], name, part, ids, known.get(name), system, now) for name, part in document.modules.items()
    ]


def _module_of(  # noqa: PLR0917 - what a module is made of
    module_id: ModuleId,
    name: str,
    part: ModuleDocument,
    ids: Mapping[str, ModuleId],
    before: Module | None,
    system: System,
    now: object,
) -> Module:
    fields = {key: getattr(part, key) for key in ModuleDocument.__struct_fields__}
    fields |= {
        "id": module_id,
        "system_id": system.id,
        "name": name,
        "depends_on": tuple(dict.fromkeys(ids[wanted] for wanted in part.depends_on)),
        "env_secrets": tuple(sorted(set(part.env_secrets))),
        "created_at": now if before is None else before.created_at,
    }
    return Module(**fields)


def _check_values(work: _Work, values: Mapping[str, Mapping[str, str]], actor: Principal) -> None:
    """Raise `Invalid` for values of what the document does not name, `Forbidden` without the grant."""
    named = {"": set(work.system.env_secrets)} | {module.name: set(module.env_secrets) for module in work.new}
    problems = [
        f"$.secrets.{owner}.{name}: the document has no such secret"
        for owner, given in values.items()
        for name in given
        if name not in named.get(owner, ())
    ]
    if problems:
        raise Invalid("; ".join(problems), problems=problems)
    for module in (None, *work.new):
        check_grant(actor, work.hidden_of(module))
    if any(one.env_secrets for one in work.old if one.id not in {module.id for module in work.new}):
        check_grant(actor, {"": None})


def _check_system(work: _Work) -> None:
    check_system_name(work.system.name)
    check_env(work.system.env)
    check_secrets(work.system, work.hidden_of(None))


def _changes(work: _Work) -> list[DocumentChange]:
    before = None if work.before is None else document_of(work.before, work.old)
    return changes_between(before, document_of(work.system, work.new))


def _faults(check: Callable[[], None], path: str) -> list[str]:
    try:
        check()
    except Invalid as fault:
        return _with_path(fault, path)
    return []


def _with_path(fault: Invalid, path: str) -> list[str]:
    told = fault.details.get("problems")
    problems = told if isinstance(told, list) else [f"$: {fault.message}"]
    return [f"{path}{problem.removeprefix('$')}" for problem in problems]
