"""What a report of an agent means for its machine and its task. Pure; used by `TaskBook`."""

from datetime import datetime

from msgspec.structs import replace

from ops_system.model.errors import Invalid
from ops_system.model.machines import Machine, check_sn, inventory_hash, normal_mac
from ops_system.model.reasons import Reason
from ops_system.model.tasks import Task, TaskStatus
from ops_system.protocol.agent import Report
from ops_system.provision.intents import open_intent
from ops_system.provision.rules import AGENT_SILENT, move

_S = TaskStatus
MAX_DISKS, MAX_NICS = 256, 64


def after_report(
    idc: str, task: Task | None, before: Machine | None, report: Report, at: datetime
) -> tuple[Machine, Task | None]:
    """Return the machine as it is known now, and its task. Raises Invalid for a report that cannot be.

    A waiting task goes to `pending_approval`. An approval given for another inventory is void (P2). A machine that
    booted again in the middle of an installation goes on only when nothing was written (P3).
    """
    machine = machine_of(idc, before, report, at)
    if task is None or machine.quarantined:
        return machine, task
    is_new_boot = before is None or before.boot_id != machine.boot_id or not machine.boot_id
    return machine, _task_after(task, machine, report, at, is_new_boot=is_new_boot)


def machine_of(idc: str, before: Machine | None, report: Report, at: datetime) -> Machine:
    """Return a machine as its agent describes it. Raises Invalid."""
    check_sn(report.sn)
    hardware = report.hardware
    if len(hardware.disks) > MAX_DISKS or len(hardware.nics) > MAX_NICS:
        raise Invalid(f"report of {report.sn}: more than {MAX_DISKS} disks or {MAX_NICS} cards")
    macs = tuple(dict.fromkeys([normal_mac(mac) for mac in (report.mac_address, *_macs_of(report))]))
    return Machine(
        idc,
        report.sn,
        uuid=report.uuid.lower(),
        macs=macs,
        hardware=hardware,
        inventory_hash=inventory_hash(report.uuid, macs, hardware),
        boot_id=report.boot_id,
        boot_public_key=report.boot_public_key,
        first_seen_at=before.first_seen_at if before and before.first_seen_at else at,
        last_seen_at=at,
        quarantined=before.quarantined if before else "",
        last_fence=before.last_fence if before else 0,
    )


def _macs_of(report: Report) -> list[str]:
    """Cards without an Ethernet address (InfiniBand, tunnels) are no cards that a task could name."""
    macs = []
    for nic in report.hardware.nics:
        try:
            macs.append(normal_mac(nic.mac))
        except Invalid:
            continue
    return macs


def _task_after(task: Task, machine: Machine, report: Report, at: datetime, *, is_new_boot: bool) -> Task:
    other_mac = "" if task.mac in machine.macs else normal_mac(report.mac_address)
    if task.reported_mac != other_mac:
        task = replace(task, reported_mac=other_mac)
    if task.reason and task.reason.code == AGENT_SILENT:
        task = replace(task, reason=None)
    match task.status:
        case _S.PENDING | _S.BOOTING:
            return move(task, _S.PENDING_APPROVAL, by=f"agent:{task.sn}", at=at)
        case _S.PENDING_APPROVAL:
            return replace(task, approval=None) if _is_changed(task, machine) else task
        case _S.APPROVED:
            return _approved_after(task, machine, at, is_new_boot=is_new_boot)
        case _S.INSTALLING:
            return _installing_after(task, machine, at, is_new_boot=is_new_boot)
        case _:
            return task


def _approved_after(task: Task, machine: Machine, at: datetime, *, is_new_boot: bool) -> Task:
    if _is_changed(task, machine):
        words = "the machine reports other hardware than was approved"
        reason = Reason("inventory_changed", words)
        return move(task, _S.PENDING_APPROVAL, by=f"agent:{task.sn}", at=at, reason=reason)
    return _without_sealed(task) if is_new_boot else task


def _installing_after(task: Task, machine: Machine, at: datetime, *, is_new_boot: bool) -> Task:
    if not is_new_boot:
        return task
    if intent := open_intent(task):
        reason = Reason("interrupted", f"the machine booted again while {intent.step} was under way")
    elif task.intents:
        reason = Reason("written", f"the machine booted again after {task.intents[-1].step}; disks were written")
    elif _is_changed(task, machine):
        reason = Reason("inventory_changed", "the machine reports other hardware than was approved")
    else:
        return _without_sealed(task)
    return move(task, _S.NEEDS_OPERATOR, by=f"agent:{task.sn}", at=at, reason=reason)


def _is_changed(task: Task, machine: Machine) -> bool:
    return task.approval is not None and task.approval.inventory_hash != machine.inventory_hash


def _without_sealed(task: Task) -> Task:
    """What was sealed to the key of an earlier boot opens no more; the master seals it anew."""
    return replace(task, sealed_enrolment="") if task.sealed_enrolment else task
