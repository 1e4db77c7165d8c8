"""The story of tasks: made, looked at, approved, ended. It is changed in the store alone, by whichever master."""

import secrets
import shlex
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.nodes.rules import check_within
from ops_system.master.provisioning.approving import Approvals
from ops_system.master.provisioning.mirror import Key, Mirror
from ops_system.master.provisioning.rules import (
    check_order,
    is_seen,
    labels_of,
    network_of,
    order_of,
    select_tasks,
    table_of,
    view_of,
)
from ops_system.master.provisioning.shapes import (
    Act,
    BulkAnswer,
    BulkFault,
    BulkOrder,
    DryRun,
    DryRunBody,
    DryStep,
    TaskLogView,
    TaskOrder,
    TaskQuery,
    TaskView,
    WhyBody,
)
from ops_system.master.web.route import Page, Principal
from ops_system.model.bulk import parse_table
from ops_system.model.catalogue import missing_of
from ops_system.model.errors import Conflict, Invalid, NotAllowed, NotFound, OpsError
from ops_system.model.install_plan import Step, plan, wish_of
from ops_system.model.layouts import DiskLayout, NetworkConfig
from ops_system.model.machines import Machine
from ops_system.model.reasons import Params, Reason
from ops_system.model.tasks import FINISHED, ApproveCall, InstallSpec, Task, TaskStatus
from ops_system.provision import rules
from ops_system.provision.approvals import disks_of, disks_wanted, obstacles
from ops_system.provision.book import TaskBook, make_task_id
from ops_system.runtime.tasks import for_each

AT_ONCE = 32
TOLD_IN_AUDIT = 100
PersonOf = Callable[[Principal], Awaitable[str]]


class Resolver(Protocol):
    """The catalogue of images and profiles."""

    async def resolve(
        self,
        os_type: str,
        os_version: str,
        profile: str = "",
        disk_layout: DiskLayout | None = None,
        network: NetworkConfig | None = None,
    ) -> InstallSpec:
        """Return everything an installation needs. Raises Invalid naming the nearest system, NotFound for a profile."""
        ...

    async def complete(self, spec: InstallSpec) -> InstallSpec:
        """Return a spec with what it lacked, as far as that was uploaded meanwhile; what it has stays."""
        ...


class PowerSwitch(Protocol):
    """The power of machines."""

    async def check_auto(self, idc: str, sn: str) -> None:
        """Raise NotFound or NotAllowed where no BMC can boot the machine."""
        ...

    async def boot(self, idc: str, sn: str, actor: Principal) -> None:
        """Begin a boot from the network; how it goes is an operation."""
        ...


class Provisioning:
    """Tasks, as the API sees them."""

    def __init__(
        self,
        *,
        book: TaskBook,
        mirror: Mirror,
        approvals: Approvals,
        catalogue: Resolver,
        audit: Audit,
        person_of: PersonOf,
        power: PowerSwitch | None = None,
    ) -> None:
        self._book, self._mirror, self._approvals = book, mirror, approvals
        self._catalogue, self._audit, self._person_of, self._power = catalogue, audit, person_of, power

    # --- looking ------------------------------------------------------------------------------------------------------
    async def list_page(self, query: TaskQuery, principal: Principal) -> Page[TaskView]:
        """Return one page of tasks, without their logs."""
        await self._mirror.reach(self._book.revision)
        rows, total = select_tasks(self._mirror.tasks.values(), query, principal.scope)
        return Page([msgspec.convert(row, TaskView, from_attributes=True) for row in rows], total)

    async def get(self, key: Key, principal: Principal) -> TaskView:
        """Return the task of a machine. Raises NotFound."""
        return view_of(await self._seen(key, principal))

    async def get_by_id(self, task_id: str, principal: Principal) -> TaskView:
        """Return a task by its id. Raises NotFound."""
        task = await self._book.by_id(task_id)
        if not is_seen(principal.scope, task.idc, task.sn):
            raise NotFound(f"no task {task_id}", task_id=task_id)
        return view_of(task)

    async def read_log(self, key: Key, principal: Principal) -> TaskLogView:
        """Return the whole log that is kept. Raises NotFound."""
        return TaskLogView(await self._book.log(await self._seen(key, principal)))

    async def dry_run(self, key: Key, body: DryRunBody, principal: Principal) -> DryRun:
        """Return the steps as the agent would take them; nothing is done (P9). Raises NotAllowed without inventory."""
        task, machine = await self._seen(key, principal), await self._book.machine(*key)
        if machine is None or machine.hardware is None:
            raise NotAllowed(f"machine {task.sn} has not reported its hardware yet", reason="no_inventory")
        disks = body.disks or (task.approval.disks if task.approval else ()) or await self._free_disks(task, machine)
        steps = plan(wish_of(task, disks), machine.hardware)
        return DryRun(disks, tuple([_dry(step) for step in steps]))

    async def _free_disks(self, task: Task, machine: Machine) -> tuple[str, ...]:
        settings = await self._book.settings(task.idc)
        free = [disk for disk in disks_of(machine) if not obstacles(task, disk, settings)]
        free.sort(key=lambda disk: (disk.size_bytes, disk.id))
        return tuple([disk.id for disk in free[: disks_wanted(task)]])

    async def _seen(self, key: Key, principal: Principal) -> Task:
        if not is_seen(principal.scope, *key):
            raise NotFound(f"no task for machine {key[1]} in {key[0]}", idc=key[0], sn=key[1])
        return await self._book.get(*key)

    # --- making -------------------------------------------------------------------------------------------------------
    async def create(self, order: TaskOrder, actor: Principal) -> TaskView:
        """Make a task. Raises Invalid that lists every fault; Conflict while the machine has an unfinished task."""
        task = await self._new(check_order(order), actor)
        if self._power is not None and task.power == "auto":
            await self._power.check_auto(task.idc, task.sn)
        known = await self._book.find(task.idc, task.sn)
        if known is None or known.status in FINISHED:
            details = {"task_id": task.task_id, "os": f"{task.os_type} {task.os_version}", "mac": task.mac}
            await self._audit.record_alone(actor, "task.create", f"task:{task.idc}/{task.sn}", "done", details)
        return view_of(await self._boot(await self._book.create(task), actor))

    async def _boot(self, task: Task, actor: Principal) -> Task:
        """Bring a machine that waits for its agent to the network, where the task says so."""
        if self._power is not None and task.power == "auto" and task.status is TaskStatus.PENDING:
            await self._power.boot(task.idc, task.sn, actor)
        return task

    async def _new(self, order: TaskOrder, actor: Principal) -> Task:
        check_within(labels_of(order.idc, order.sn), actor.scope)
        install = await self._catalogue.resolve(
            order.os_type, order.os_version, order.profile, order.disk_layout, network_of(order)
        )
        task = rules.new_task(
            task_id=make_task_id(order.idc, order.sn, secrets.token_bytes(5)),
            idc=order.idc,
            sn=order.sn,
            mac=order.mac,
            install=install,
            by=actor.name,
            at=self._book.clock.now(),
            tags=order.tags,
        )
        return msgspec.structs.replace(task, power=order.power)

    async def create_many(self, order: BulkOrder, actor: Principal) -> BulkAnswer:
        """Make many tasks, or none: every fault of every row is told at once. A dry run makes none in any case."""
        table = parse_table(table_of(order), order.idc)
        shift = 0 if order.csv else 1  # rows of JSON are counted from 1, lines of a file with their heading
        faults = [BulkFault(one.number - shift, one.column, one.reason) for one in table.problems]
        tasks: list[Task] = []
        for row in table.rows:
            try:
                task = await self._new(check_order(order_of(row)), actor)
                _check_free(self._mirror, task)
                tasks.append(task)
            except OpsError as error:
                faults.append(_fault(row.number - shift, error))
        faults.sort(key=lambda fault: fault.row)
        if order.dry_run:
            return BulkAnswer(len(tasks), faults)
        if faults:
            problems = [f"row {fault.row}: {fault.field}: {fault.reason.message}" for fault in faults]
            raise Invalid(f"{len(faults)} rows cannot be taken; nothing was made", problems=problems)
        return await self._make_all(tasks, actor)

    async def _make_all(self, tasks: list[Task], actor: Principal) -> BulkAnswer:
        details = {"count": len(tasks), "machines": [f"{task.idc}/{task.sn}" for task in tasks[:TOLD_IN_AUDIT]]}
        await self._audit.record_alone(actor, "task.create_many", "task:many", "done", details)
        made: list[str] = []
        faults: list[BulkFault] = []

        async def make(numbered: tuple[int, Task]) -> None:
            row, task = numbered
            try:
                made.append((await self._book.create(task)).task_id)
            except OpsError as error:  # somebody made one meanwhile: the others are made all the same
                faults.append(_fault(row, error))

        await for_each(enumerate(tasks, 1), make, AT_ONCE, "tasks of a table")
        return BulkAnswer(len(made), sorted(faults, key=lambda fault: fault.row), made)

    # --- acts ---------------------------------------------------------------------------------------------------------
    async def approve(self, key: Key, call: ApproveCall, actor: Principal) -> TaskView:
        """Allow the wipe of named disks, or give the first of two approvals. Raises NotAllowed, Conflict, Invalid."""
        await self._complete(key, await self._seen(key, actor))
        return view_of(await self._approvals.approve(key, call, actor, await self._person_of(actor)))

    async def _complete(self, key: Key, task: Task) -> None:
        """Give a task that was planned before its image was uploaded what it lacks. Raises NotAllowed."""
        if task.status is not TaskStatus.PENDING_APPROVAL or not missing_of(task.install):
            return
        install = await self._catalogue.complete(task.install)
        lacks = missing_of(install)
        if lacks:
            raise NotAllowed(
                f"the task of {task.sn} lacks {', '.join(lacks)} for {task.os_type} {task.os_version}: upload it first",
                reason="incomplete_install",
                lacks=list(lacks),
            )
        await self._book.change(
            *key, lambda now: msgspec.structs.replace(now, install=install) if now.install == task.install else now
        )

    async def reject(self, key: Key, body: WhyBody, actor: Principal) -> TaskView:
        """Refuse the wipe. Raises NotAllowed."""
        return await self._act(
            key, "reject", body, actor, lambda task, at: rules.reject(task, by=actor.name, at=at, why=body.words)
        )

    async def cancel(self, key: Key, body: WhyBody, actor: Principal) -> TaskView:
        """End the task; an agent that writes stops before its next step. Raises NotAllowed."""
        return await self._act(
            key, "cancel", body, actor, lambda task, at: rules.ask_cancel(task, by=actor.name, at=at, why=body.words)
        )

    async def retry(self, key: Key, body: WhyBody, actor: Principal) -> TaskView:
        """Begin the next attempt; a quarantine of the machine ends. Raises NotAllowed."""
        before = await self._seen(key, actor)
        rules.retry(before, by=actor.name, at=self._book.clock.now())
        await self._record(key, "retry", actor, {"reason": body.words, "attempt": before.attempt + 1})
        return view_of(await self._boot(await self._book.retry(*key, by=actor.name, why=body.words), actor))

    async def delete(self, key: Key, actor: Principal) -> None:
        """Remove a task with its log. Raises NotFound, NotAllowed."""
        before = await self._seen(key, actor)
        self._book.check_removable(before)
        await self._record(key, "delete", actor, {"task_id": before.task_id, "status": before.status.value})
        await self._book.delete(*key)

    async def _act(
        self, key: Key, act: Act, body: WhyBody, actor: Principal, rule: Callable[[Task, Any], Task]
    ) -> TaskView:
        """Ask the rule first, record, then act: what is refused at once leaves no row, what is done always one."""
        before = await self._seen(key, actor)
        rule(before, self._book.clock.now())
        await self._record(key, act, actor, {"reason": body.words, "task_id": before.task_id})
        return view_of(await self._book.change(*key, lambda task: rule(task, self._book.clock.now())))

    async def _record(self, key: Key, act: str, actor: Principal, details: Mapping[str, Any]) -> None:
        await self._audit.record_alone(actor, f"task.{act}", f"task:{key[0]}/{key[1]}", "done", details)


def _fault(row: int, error: OpsError) -> BulkFault:
    """Return why a row was refused, by the code of its reason where there is one."""
    params: Params = {name: value for name, value in error.details.items() if isinstance(value, (str, int))}
    reason = Reason(str(error.details.get("reason", error.code)), error.message, params)
    return BulkFault(row, str(error.details.get("field", "")), reason)


def _check_free(mirror: Mirror, task: Task) -> None:
    known = mirror.tasks.get((task.idc, task.sn))
    if known is not None and known.status not in FINISHED:
        raise Conflict(f"has an unfinished task ({known.status})", field="sn", reason="task_exists")


def _dry(step: Step) -> DryStep:
    commands = tuple([shlex.join(command.argv) for command in step.commands])
    return DryStep(step.name, step.words, step.is_destructive, step.disks, step.devices, commands)
