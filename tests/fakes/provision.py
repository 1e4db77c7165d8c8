"""Machines, tasks and agents for tests of provisioning."""

import hashlib

from ops_system.model.layouts import DiskLayout
from ops_system.model.machines import DiskInfo, Hardware, NicInfo
from ops_system.model.tasks import ImageRef, InstallSpec, Task
from ops_system.protocol.agent import BeginCall, CompleteCall, InstallCompleteCall, ProgressCall, Report
from ops_system.provision.book import make_task_id
from ops_system.provision.rules import new_task
from tests.fakes.clock import FakeClock

IDC, SN, MAC = "dc1", "sn-001", "00:1a:2b:3c:4d:5e"
DISK = DiskInfo("vda", 8 * 1024**3, serial="DISK1", model="QEMU")
DATA = DiskInfo("vdb", 16 * 1024**3, serial="DISK2", wwn="0x5000c5001", signatures=("ext4",))
CEPH = DiskInfo("vdc", 32 * 1024**3, serial="DISK3", signatures=("ceph_bluestore",))
IMAGE = ImageRef("debian", "12", "ab" * 32, 500_000_000, "cd" * 32, 2 * 1024**3, "raw.zst")
SPEC = InstallSpec("image", "Debian", "12", image=IMAGE, disk_layout=DiskLayout())


def a_task(sn: str = SN, idc: str = IDC, *, clock: FakeClock | None = None, number: int = 1, **changes) -> Task:
    """Return a task as the control plane makes it."""
    at = (clock or FakeClock()).now()
    task_id = make_task_id(idc, sn, number.to_bytes(4, "big"))
    facts = {"mac": MAC, "install": SPEC, "by": "alice", "at": at} | changes
    return new_task(task_id=task_id, idc=idc, sn=sn, **facts)


def a_report(sn: str = SN, *, boot: str = "boot-1", mac: str = MAC, uuid: str = "U-1", disks=(DISK, DATA)) -> Report:
    """Return what an agent says after its boot."""
    hardware = Hardware(disks=disks, nics=(NicInfo("eth0", mac),), mem_total_bytes=512 * 1024**2)
    return Report(sn, mac, uuid, hardware, boot_id=boot, boot_public_key="AAAA")


def session(boot: str) -> str:
    """Return the hash of the session token of a boot."""
    return hashlib.sha256(boot.encode()).hexdigest()


def begins(task: Task, step: str = "write", disks: tuple[str, ...] = ("DISK1",)) -> BeginCall:
    """Return the intent of a destructive step."""
    return BeginCall(task.sn, task.task_id, task.fence, step, disks, is_destructive=True)


def completes(task: Task, step: str = "write", *, success: bool = True, hands_over: bool = False) -> CompleteCall:
    """Return the end of a step; `hands_over`: a distribution's installer goes on from there."""
    return CompleteCall(task.sn, step, success, fence=task.fence, hands_over=hands_over)


def ends(task: Task, status: str = "completed") -> InstallCompleteCall:
    """Return the end of an installation."""
    return InstallCompleteCall(task.sn, status, fence=task.fence)


def tells(task: Task, step: str = "write", percent: float = 50.0, lines: tuple[str, ...] = ()) -> ProgressCall:
    """Return progress."""
    return ProgressCall(task.sn, task.task_id, step, percent, lines=lines, fence=task.fence)
