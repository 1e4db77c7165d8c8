"""Approvals, by people and by rules: one transaction over task, machine, settings and rule (P2)."""

import logging
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from ops_system.kv.base import DeleteRequest, KeyValue, PutRequest, RangeRequest
from ops_system.kv.swap import Write
from ops_system.master.audit.service import Audit
from ops_system.master.provisioning.enrolments import ACTOR, Enrolments, Sealed
from ops_system.master.provisioning.mirror import Key, Mirror
from ops_system.master.provisioning.rules import check_rule, first_match, matches, page_of
from ops_system.master.provisioning.shapes import ApprovalRule, ApprovalRulePatch, NewApprovalRule
from ops_system.master.web.route import ListQuery, Page, Principal
from ops_system.model.catalogue import missing_of
from ops_system.model.errors import NotFound, OpsError
from ops_system.model.machines import Machine
from ops_system.model.tasks import ApproveCall, Task, TaskStatus
from ops_system.provision.approvals import approve, approve_by_rule
from ops_system.provision.book import TaskBook
from ops_system.provision.documents import decoded, encode, task_writes
from ops_system.provision.keys import RULES, MachineKeys, region_key
from ops_system.provision.regions import RegionSettings

_log = logging.getLogger(__name__)


class Found(msgspec.Struct, frozen=True):
    """What an approval is decided on."""

    task: Task
    machine: Machine | None
    settings: RegionSettings
    rule: ApprovalRule | None = None


Decide = Callable[[Found], Task]


class Approvals:
    """The one way a task becomes `approved`."""

    def __init__(self, book: TaskBook, mirror: Mirror, enrolments: Enrolments, audit: Audit) -> None:
        self._book, self._mirror, self._enrolments, self._audit = book, mirror, enrolments, audit

    async def approve(self, key: Key, call: ApproveCall, actor: Principal, person: str) -> Task:
        """Approve by a person. Raises NotAllowed, Conflict, Invalid, NotFound."""

        def decide(found: Found) -> Task:
            now = self._book.clock.now()
            return approve(found.task, found.machine, call, found.settings, by=person, at=now)

        return await self._decide(key, decide, actor, "")

    async def try_rules(self, key: Key) -> bool:
        """Approve a waiting task by the oldest rule that matches; whether one did."""
        row, machine = self._mirror.tasks.get(key), self._mirror.machines.get(key)
        is_waiting = row is not None and row.status is TaskStatus.PENDING_APPROVAL and row.approval is None
        if row is None or machine is None or not is_waiting:
            return False
        rule = first_match(list(self._mirror.rules.values()), row, machine)
        if rule is None:
            return False

        def decide(found: Found) -> Task:
            if found.rule is None or found.machine is None or not matches(found.rule, found.task, found.machine):
                return found.task  # used up, changed or gone since
            if missing_of(found.task.install):
                return found.task  # there is nothing to install yet: it waits for a person
            now = self._book.clock.now()
            return approve_by_rule(found.task, found.machine, found.rule.name, found.settings, at=now)

        try:
            return (await self._decide(key, decide, ACTOR, rule.id)).approval is not None
        except OpsError as error:  # somebody else decided, or no disk will do: the task waits for a person
            _log.debug("rule %s does not approve %s/%s: %s", rule.name, *key, error.message)
            return False

    async def _decide(self, key: Key, decide: Decide, actor: Principal, rule_id: str) -> Task:
        found = await self._look(key, rule_id)
        wanted = decide(found)
        if wanted is found.task:
            return wanted
        sealed = await self._seal(wanted, found)
        target = f"task:{key[0]}/{key[1]}"
        approval = wanted.approval
        details = {
            "task_id": wanted.task_id,
            "status": wanted.status.value,
            "disks": list(approval.disks) if approval else [],
            "inventory_hash": approval.inventory_hash if approval else "",
            "rule": approval.rule if approval else "",
        }
        try:
            await self._audit.record_alone(actor, "task.approve", target, "done", details)
            return await self._commit(key, decide, sealed, rule_id)
        except OpsError as error:
            if sealed is not None:
                await self._enrolments.take_back(sealed.enrolment_id)
            await self._audit.record_alone(actor, "task.approve", target, "failed", {"why": error.message})
            raise

    async def _seal(self, wanted: Task, found: Found) -> Sealed | None:
        if wanted.status is not TaskStatus.APPROVED or found.machine is None:
            return None
        return await self._enrolments.make(wanted, found.machine, found.settings)

    async def _look(self, key: Key, rule_id: str) -> Found:
        kvs = [await self._one(each) for each in _keys(key, rule_id)]
        return _found(key, kvs)

    async def _one(self, key: bytes) -> KeyValue | None:
        answer = await self._book.store.range(RangeRequest(key))
        return answer.kvs[0] if answer.kvs else None

    async def _commit(self, key: Key, decide: Decide, sealed: Sealed | None, rule_id: str) -> Task:
        made: list[Task] = []

        def rule(seen: tuple[KeyValue | None, ...]) -> list[Write]:
            found = _found(key, list(seen))
            after = decide(found)
            if after is not found.task and after.status is TaskStatus.APPROVED:
                after = _with_sealed(after, found.machine, sealed)
            made[:] = [after]
            writes = task_writes(found.task, after)
            if writes and found.rule is not None:
                used = replace(found.rule, used=found.rule.used + 1)
                writes.append(PutRequest(RULES + rule_id.encode(), encode(used)))
            return writes

        await self._book.write(_keys(key, rule_id), rule)
        if sealed is not None and made[0].enrolment_id != sealed.enrolment_id:
            await self._enrolments.take_back(sealed.enrolment_id)
        return made[0]

    # --- rules --------------------------------------------------------------------------------------------------------
    async def list_rules(self, query: ListQuery) -> Page[ApprovalRule]:
        """Return one page of the rules, by name."""
        await self._mirror.reach(self._book.revision)
        text = query.q.lower()
        found = [rule for rule in self._mirror.rules.values() if text in f"{rule.name} {rule.idc} {rule.model}".lower()]
        sorts = {
            "name": lambda rule: rule.name,
            "created_at": lambda rule: rule.created_at,
            "used": lambda rule: rule.used,
        }
        return Page(page_of(list(found), query.sort or "name", query.offset, query.limit, sorts), len(found))

    async def get_rule(self, rule_id: str) -> ApprovalRule:
        """Return one rule. Raises NotFound."""
        rule = decoded(await self._one(RULES + rule_id.encode()), ApprovalRule)
        if rule is None:
            raise NotFound(f"there is no approval rule {rule_id}", id=rule_id)
        return rule

    async def create_rule(self, body: NewApprovalRule, actor: Principal, rule_id: str) -> ApprovalRule:
        """Make a rule; what waits already is looked at, too. Raises Invalid."""
        facts = msgspec.structs.asdict(body)
        rule = ApprovalRule(id=rule_id, created_by=actor.name, created_at=self._book.clock.now(), **facts)
        check_rule(rule)
        await self._audit.record_alone(actor, "approval_rule.create", f"approval_rule:{rule_id}", "done", facts)
        await self._book.write((RULES + rule_id.encode(),), lambda _seen: [PutRequest(_key(rule), encode(rule))])
        return rule

    async def change_rule(self, rule_id: str, body: ApprovalRulePatch, actor: Principal) -> ApprovalRule:
        """Change what `body` names. Raises NotFound, Invalid."""
        wanted = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not msgspec.UNSET}
        check_rule(replace(await self.get_rule(rule_id), **wanted))
        await self._audit.record_alone(actor, "approval_rule.change", f"approval_rule:{rule_id}", "done", wanted)
        made: list[ApprovalRule] = []

        def change(seen: tuple[KeyValue | None, ...]) -> list[Write]:
            before = decoded(seen[0], ApprovalRule)
            if before is None:
                raise NotFound(f"there is no approval rule {rule_id}", id=rule_id)
            made[:] = [replace(before, **wanted)]
            return [PutRequest(_key(made[0]), encode(made[0]))]

        await self._book.write((RULES + rule_id.encode(),), change)
        return made[0]

    async def delete_rule(self, rule_id: str, actor: Principal) -> None:
        """Remove a rule; what it approved stays approved. Raises NotFound."""
        rule = await self.get_rule(rule_id)
        await self._audit.record_alone(actor, "approval_rule.delete", f"approval_rule:{rule_id}", "done", {})
        await self._book.write((_key(rule),), lambda seen: [DeleteRequest(_key(rule))] if seen[0] else [])


def _key(rule: ApprovalRule) -> bytes:
    return RULES + rule.id.encode()


def _keys(key: Key, rule_id: str) -> tuple[bytes, ...]:
    machine = MachineKeys(*key)
    keys = (machine.task, machine.meta, region_key(key[0], "settings"))
    return (*keys, RULES + rule_id.encode()) if rule_id else keys


def _found(key: Key, kvs: list[KeyValue | None]) -> Found:
    task = decoded(kvs[0], Task)
    if task is None:
        raise NotFound(f"no task for machine {key[1]} in {key[0]}", idc=key[0], sn=key[1])
    settings = decoded(kvs[2], RegionSettings) or RegionSettings()
    rule = decoded(kvs[3], ApprovalRule) if len(kvs) > 3 else None  # noqa: PLR2004 - the fourth key is the rule's
    return Found(task, decoded(kvs[1], Machine), settings, rule)


def _with_sealed(task: Task, machine: Machine | None, sealed: Sealed | None) -> Task:
    """Put the enrolment in; one sealed to a boot that is over is left out, and made anew soon."""
    if sealed is None:
        return replace(task, enrolment_id="", sealed_enrolment="")
    is_same_boot = machine is not None and machine.boot_public_key == sealed.boot_public_key
    return replace(task, enrolment_id=sealed.enrolment_id, sealed_enrolment=sealed.box if is_same_boot else "")
