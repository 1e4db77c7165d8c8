"""Approval of a wipe (P2): for this machine, these disks, this inventory; for a while, and once. Pure."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from ops_system.model.errors import Conflict, Invalid, NotAllowed
from ops_system.model.machines import DiskInfo, Machine
from ops_system.model.tasks import DEADLINES_S, Approval, ApproveCall, Task, TaskStatus
from ops_system.provision.regions import RegionSettings
from ops_system.provision.rules import WRITES_NO_SYSTEM, move

FOREIGN_SIGNATURES = frozenset(
    {
        "ceph_bluestore",
        "drbd",
        "gfs",
        "gfs2",
        "glusterfs",
        "lustre",
        "oracleasm",
        "ocfs",
        "ocfs2",
        "vmfs",
        "vmfs_volume_member",
        "zfs_member",
    }
)
"""What blkid calls the members of storage that other machines may be using now."""


def approve(
    task: Task, machine: Machine | None, call: ApproveCall, settings: RegionSettings, *, by: str, at: datetime
) -> Task:
    """Return the task approved, or with the first of two approvals. Raises NotAllowed, Conflict, Invalid."""
    machine = check_reported(task, machine)
    if call.inventory_hash and call.inventory_hash != machine.inventory_hash:
        raise Conflict(
            f"machine {task.sn} reports other hardware than was looked at; look at it again",
            reason="inventory_changed",
            inventory_hash=machine.inventory_hash,
        )
    disks = chosen_disks(task, machine, call, settings)
    first = standing_approval(task, at)
    given = Approval(
        by=by,
        at=at,
        expires_at=at + timedelta(seconds=DEADLINES_S[TaskStatus.APPROVED]),
        disks=tuple([disk.id for disk in disks]),
        inventory_hash=machine.inventory_hash,
        notes=call.notes or call.reason,
        overwrite_foreign=tuple([disk.id for disk in disks if foreign_signatures(disk)]),
    )
    if not settings.needs_second_approval:
        return _approved(task, given, by, at)
    if first is None:
        return replace(task, approval=given, updated_at=at)
    return _second(task, first, given, by, at)


def approve_by_rule(task: Task, machine: Machine | None, rule: str, settings: RegionSettings, *, at: datetime) -> Task:
    """Approve what a rule matched: the smallest disk that may be written, none with a foreign signature.

    Where two people are asked for, a rule stands for the first. Raises as `approve`; NotAllowed without such a disk.
    """
    machine = check_reported(task, machine)
    if standing_approval(task, at) is not None:
        return task
    wanted = disks_wanted(task)
    free = [disk for disk in disks_of(machine) if not obstacles(task, disk, settings)]
    free.sort(key=lambda disk: (disk.size_bytes, disk.id))
    if len(free) < wanted:
        raise NotAllowed(
            f"machine {task.sn} has {len(free)} disks that may be written without asking, {wanted} are needed",
            reason="no_disk",
        )
    call = ApproveCall(tuple([disk.id for disk in free[:wanted]]), machine.inventory_hash)
    approved = approve(task, machine, call, settings, by=f"rule:{rule}", at=at)
    return replace(approved, approval=approved.approval and replace(approved.approval, rule=rule))


def check_reported(task: Task, machine: Machine | None) -> Machine:
    """Return a machine that can be approved now. Raises NotAllowed before an inventory and in any other status."""
    if task.status in {TaskStatus.PENDING, TaskStatus.BOOTING} or machine is None or machine.hardware is None:
        raise NotAllowed(f"machine {task.sn} has not reported its hardware yet", reason="no_inventory")
    if machine.quarantined:
        raise NotAllowed(f"machine {task.sn} is quarantined: {machine.quarantined}", reason="quarantined")
    if task.status is not TaskStatus.PENDING_APPROVAL:
        raise NotAllowed(
            f"task of {task.sn} in {task.idc} is {task.status}: it cannot become approved",
            status=task.status.value,
            wanted="approved",
        )
    return machine


def standing_approval(task: Task, at: datetime) -> Approval | None:
    """Return the first of two approvals, while it lasts."""
    first = task.approval
    return first if first is not None and at < first.expires_at else None


def chosen_disks(task: Task, machine: Machine, call: ApproveCall, settings: RegionSettings) -> list[DiskInfo]:
    """Return the disks that were named. Raises Invalid and NotAllowed for what must not be written."""
    named = [_find(machine, name) for name in call.disks]
    if len({disk.id for disk in named}) < len(named):
        raise Invalid("disks: one disk is named twice", field="disks", reason="disk_twice")
    wanted = disks_wanted(task)
    if len(named) < wanted:
        raise Invalid(
            f"disks: name {wanted} by serial or WWN, as the machine reported them; {len(named)} given",
            field="disks",
            reason="disks_missing",
        )
    accepted = frozenset({_find(machine, name).id for name in call.overwrite_foreign})
    for disk in named:
        if found := obstacles(task, disk, settings, accepted):
            code, words = found[0]
            raise NotAllowed(f"disk {disk.id} ({disk.name}) {words}", reason=code, disk=disk.id)
    return named


def obstacles(
    task: Task, disk: DiskInfo, settings: RegionSettings, accepted: frozenset[str] = frozenset()
) -> list[tuple[str, str]]:
    """Return why a disk must not be written: codes and words."""
    found: list[tuple[str, str]] = []
    if {disk.serial, disk.wwn} & set(settings.protected_serials) - {""}:
        found.append(("disk_protected", f"is protected in {task.idc}"))
    if disk.is_read_only:
        found.append(("disk_read_only", "is read-only"))
    if disk.is_removable:
        found.append(("disk_removable", "is removable"))
    foreign = foreign_signatures(disk)
    if foreign and disk.id not in accepted:
        found.append(("disk_foreign", f"carries {', '.join(foreign)} of another cluster; name it in overwrite_foreign"))
    image = task.install.image
    if image is not None and image.content_bytes > disk.size_bytes:
        found.append(("disk_too_small", f"has {disk.size_bytes} bytes, the image {image.content_bytes}"))
    return found


def foreign_signatures(disk: DiskInfo) -> list[str]:
    """Return which signatures of other clusters lie on a disk."""
    return [name for name in disk.signatures if name.lower() in FOREIGN_SIGNATURES]


def disks_wanted(task: Task) -> int:
    """Return how many disks an installation takes."""
    if task.install.method in WRITES_NO_SYSTEM:
        return 0
    layout = task.install.disk_layout
    return layout.disks if layout else 1


def disks_of(machine: Machine) -> list[DiskInfo]:
    """Return the disks of a machine that a name points to and to no other."""
    disks = machine.hardware.disks if machine.hardware else ()
    ids = [disk.id for disk in disks]
    return [disk for disk in disks if disk.id and ids.count(disk.id) == 1]


def _find(machine: Machine, name: str) -> DiskInfo:
    disks = machine.hardware.disks if machine.hardware else ()
    found = [disk for disk in disks if name and name in {disk.serial, disk.wwn}]
    if not found:
        known = ", ".join(disk.id for disk in disks if disk.id) or "none with a serial or WWN"
        raise Invalid(
            f"disks: {name!r} is no serial or WWN of machine {machine.sn} (it has {known})",
            field="disks",
            reason="disk_unknown",
        )
    if len(found) > 1:
        raise Invalid(
            f"disks: {name!r} names {len(found)} disks of machine {machine.sn}; use the WWN",
            field="disks",
            reason="disk_ambiguous",
        )
    return found[0]


def _second(task: Task, first: Approval, given: Approval, by: str, at: datetime) -> Task:
    if first.by == by:
        raise NotAllowed(f"task of {task.sn}: {by} approved it already; a second person must", reason="second_person")
    if set(first.disks) != set(given.disks) or first.inventory_hash != given.inventory_hash:
        raise Conflict(
            f"task of {task.sn}: {first.by} approved other disks ({', '.join(first.disks)}); reject, or name the same",
            reason="approvals_differ",
            disks=list(first.disks),
        )
    both = replace(first, second_by=by, expires_at=given.expires_at, notes=first.notes or given.notes)
    return _approved(task, both, by, at)


def _approved(task: Task, approval: Approval, by: str, at: datetime) -> Task:
    moved = move(task, TaskStatus.APPROVED, by=by, at=at)
    return replace(moved, approval=approval, deadline_at=approval.expires_at)
