"""One installation of a machine, and the moves it may make. Shared by control plane, regions and agents.

    pending ──> booting ──> pending_approval ──> approved ──> installing ──> completed
       │           │           │    │   ^           │  │          │    │         │ no call home in time
       └───────────┴───────────┴────│───│───────────┴──│──────────┘    │         v
                   cancelled <──────┤   └── expired ───┘             failed   needs_operator
                                rejected                    (any doubt) ─────────^

An unfinished task may always move to `needs_operator`; `retry` brings failed, rejected, cancelled and needs_operator
back to `pending` as the next attempt. `pending` may go straight to `pending_approval`: a machine may report before its
task. No document here can be part of a cycle: `gc=False` keeps ten thousand of them out of the collector's rounds.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal, NewType

import msgspec

from ops_system.model.errors import NotAllowed
from ops_system.model.layouts import DiskLayout, NetworkConfig
from ops_system.model.reasons import Reason

TaskId = NewType("TaskId", str)


class TaskStatus(StrEnum):
    """Where an installation stands (contract, section 3)."""

    PENDING = "pending"
    BOOTING = "booting"
    PENDING_APPROVAL = "pending_approval"
    APPROVED = "approved"
    INSTALLING = "installing"
    COMPLETED = "completed"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    NEEDS_OPERATOR = "needs_operator"


_S = TaskStatus
MOVES: dict[TaskStatus, frozenset[TaskStatus]] = {
    _S.PENDING: frozenset({_S.BOOTING, _S.PENDING_APPROVAL, _S.CANCELLED, _S.NEEDS_OPERATOR}),
    _S.BOOTING: frozenset({_S.PENDING, _S.PENDING_APPROVAL, _S.CANCELLED, _S.FAILED, _S.NEEDS_OPERATOR}),
    _S.PENDING_APPROVAL: frozenset({_S.APPROVED, _S.REJECTED, _S.CANCELLED, _S.NEEDS_OPERATOR}),
    _S.APPROVED: frozenset({_S.INSTALLING, _S.PENDING_APPROVAL, _S.CANCELLED, _S.FAILED, _S.NEEDS_OPERATOR}),
    _S.INSTALLING: frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.NEEDS_OPERATOR}),
    _S.COMPLETED: frozenset({_S.NEEDS_OPERATOR}),
    _S.FAILED: frozenset({_S.PENDING}),
    _S.REJECTED: frozenset({_S.PENDING}),
    _S.CANCELLED: frozenset({_S.PENDING}),
    _S.NEEDS_OPERATOR: frozenset({_S.PENDING, _S.CANCELLED}),
}
FINISHED = frozenset({_S.COMPLETED, _S.FAILED, _S.REJECTED, _S.CANCELLED})
"""A machine whose task is one of these may get another task."""
BOOTS_AGENT = frozenset({_S.PENDING, _S.BOOTING, _S.PENDING_APPROVAL, _S.APPROVED, _S.INSTALLING})
"""The boot gate (P7): only these boot from the network; every other machine is sent to its disk, on every route.

It is derived from the status, so it flips in the same write."""

DEADLINES_S: dict[TaskStatus, float] = {
    _S.PENDING: 7 * 86_400.0,
    _S.BOOTING: 900.0,
    _S.PENDING_APPROVAL: 86_400.0,
    _S.APPROVED: 1_800.0,  # the approval's own life (P2): back to pending_approval
    _S.INSTALLING: 900.0,  # without any sign of progress
    _S.COMPLETED: 900.0,  # until the new system has called home
}
"""How long a task may stay in a status before an operator is called, seconds (P8)."""
INSTALLER_S = 7_200.0
"""The same while a distribution's installer is at work, which has no agent and says little: since it was last heard."""

ImageFormat = Literal["raw", "raw.gz", "raw.zst", "tar.gz", "tar.zst", "kernel", "initrd"]
PowerWay = Literal["manual", "auto"]
"""Who brings the machine to the network: people, or the master by its BMC as soon as the task waits."""
InstallMethod = Literal["image", "debootstrap", "kickstart", "preseed", "autoinstall", "hardware_test", "rescue"]
LOG_TAIL_LINES, LOG_TAIL_BYTES = 100, 16_384


class StatusChange(msgspec.Struct, frozen=True, gc=False):
    """One move."""

    status: TaskStatus
    at: datetime
    by: str  # user or token name, "region:dc1", "agent:SN", "master"
    reason: Reason | None = None


class Progress(msgspec.Struct, frozen=True, gc=False):
    """How far one step is; a task keeps the newest of each step, in the order they began."""

    step: str
    percent: float
    message: str = ""
    at: datetime | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None


class Intent(msgspec.Struct, frozen=True, gc=False):
    """Written before a destructive step and closed after it (P3). One left open after a reboot calls an operator."""

    step: str
    fence: int
    disks: tuple[str, ...]
    begun_at: datetime
    done_at: datetime | None = None


class Approval(msgspec.Struct, frozen=True, gc=False):
    """Who allowed what to be wiped (P2): bound to the inventory, to expire, to be used once."""

    by: str
    at: datetime
    expires_at: datetime
    disks: tuple[str, ...]  # ids of the disks that may be written
    inventory_hash: str
    notes: str = ""
    rule: str = ""  # the auto-approval rule that gave it
    second_by: str = ""  # where two people are asked for
    overwrite_foreign: tuple[str, ...] = ()  # ids of disks whose foreign cluster signatures were named and accepted
    used_at: datetime | None = None


class ApproveCall(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What somebody says who allows a wipe. `disks`: serial or WWN of each disk that may be written.

    `inventory_hash`: of the inventory that was looked at; another one now is a conflict. `overwrite_foreign`: those of
    `disks` that may lose the signature of another cluster (Ceph, ZFS, DRBD, …).
    """

    disks: tuple[str, ...] = ()
    inventory_hash: str = ""
    notes: str = ""
    reason: str = ""
    overwrite_foreign: tuple[str, ...] = ()


class ImageRef(msgspec.Struct, frozen=True, gc=False):
    """What is written, as the catalogue knew it when the task was made: the bytes are named by their SHA-256."""

    name: str
    version: str
    sha256: str  # of the file as it is served
    size_bytes: int  # of the file as it is served
    content_sha256: str  # of the bytes on the disk, after decompression
    content_bytes: int
    format: ImageFormat
    signature: str = ""  # base64 Ed25519 over `catalogue.image_text`, when a publisher signed it
    key_id: str = ""  # SHA-256 (hex) of the publisher's raw public key
    public_key: str = ""  # base64 of that key


class InstallSpec(msgspec.Struct, frozen=True, gc=False):
    """Everything an installation needs, resolved from the catalogue when the task was made: no region asks further."""

    method: InstallMethod
    os_type: str
    os_version: str
    profile: str = ""
    image: ImageRef | None = None
    kernel: ImageRef | None = None  # of a distribution's installer
    initrd: ImageRef | None = None
    kernel_args: str = ""
    template: str = ""  # text of the kickstart, preseed or autoinstall, with its placeholders
    values: dict[str, str] = {}
    disk_layout: DiskLayout | None = None
    network: NetworkConfig | None = None
    packages: tuple[str, ...] = ()
    ssh_keys: tuple[str, ...] = ()  # public keys that may log in as root
    hardware_tests: tuple[Literal["memory", "disk", "nic"], ...] = ()
    enrol: bool = True  # put a worker into the new system


class Task(msgspec.Struct, frozen=True, gc=False):
    """The one document of an installation: `/os/{idc}/machines/{sn}/task`, changed only by compare-and-swap."""

    task_id: TaskId
    idc: str
    sn: str
    mac: str
    os_type: str
    os_version: str
    status: TaskStatus
    created_at: datetime
    updated_at: datetime
    created_by: str
    install: InstallSpec
    disk_layout: DiskLayout | None = None
    network: NetworkConfig | None = None
    tags: dict[str, str] = {}
    status_history: tuple[StatusChange, ...] = ()
    progress: tuple[Progress, ...] = ()
    logs: tuple[str, ...] = ()  # the tail; the rest lies in chunk keys
    log_chunks: int = 0
    approval: Approval | None = None
    intents: tuple[Intent, ...] = ()
    reason: Reason | None = None  # of the status it has now
    attempt: int = 1
    fence: int = 0  # rises with each agent that is let at the machine (P4)
    reported_mac: str = ""  # when another card reported than the task names: shown at approval, not refused
    deadline_at: datetime | None = None
    sealed_enrolment: str = ""  # base64, openable only with the agent's boot key (P11)
    enrolment_id: str = ""  # id of the join token inside
    node_id: str = ""  # the node that called home
    called_home_at: datetime | None = None
    is_cancel_asked: bool = False  # an installing agent stops before its next step
    power: PowerWay = "manual"
    handed_over_at: datetime | None = None  # when the agent gave the machine to a distribution's installer
    installer_sha256: str = ""  # of the key by which that installer reads its answers and says how far it is


class Server(msgspec.Struct, frozen=True, gc=False):
    """The machine's place in the queue: the value of `/os/{idc}/servers/{sn}`."""

    status: TaskStatus
    added_at: datetime


def can_move(before: TaskStatus, after: TaskStatus) -> bool:
    """Whether a task may go from one status to another."""
    return after in MOVES[before]


def check_move(task: Task, after: TaskStatus) -> None:
    """Raise NotAllowed for a move that does not exist; nothing changes then."""
    if not can_move(task.status, after):
        raise NotAllowed(
            f"task of {task.sn} in {task.idc} is {task.status}: it cannot become {after}",
            status=task.status.value,
            wanted=after.value,
        )
