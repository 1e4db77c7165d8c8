"""What an install agent and its regional client say to each other: JSON over HTTP (contract, section 5).

    agent in RAM                              regional client
      | POST /api/v1/report   (once a boot) ---> |  session token, lease; 409 two_agents while another one is alive
      | POST /api/v1/lease    (every 10 s) ----> |  nobody else renews it (P4); `renews` of a progress asks the same
      | POST /api/v1/device/getNextOperation --> |  answered when there is something to do, or after 25 s with `wait`
      | POST /api/v1/device/operationBegin ----> |  the intent is recorded before anything is destroyed (P3)
      | POST /api/v1/progress -----------------> |
      | POST /api/v1/device/operationComplete -> |
      | POST /api/v1/device/installComplete ---> |  the boot gate flips with this write

Every call after the report carries `Authorization: Bearer SESSION_TOKEN`.
"""

from typing import Literal

import msgspec

from ops_system.model.layouts import DiskLayout, NetworkConfig
from ops_system.model.machines import Hardware
from ops_system.model.tasks import ImageRef, InstallMethod, TaskStatus

LEASE_TTL_S, LEASE_RENEW_S = 30.0, 10.0
LONG_POLL_S = 25.0
MAX_REPORT_BYTES = 256 * 1024
MAX_LOG_LINES = 200  # in one message

NOT_ACTIVE = "not_active"
"""The reason of a 503 of a regional client that stands by: another one serves."""

Operation = Literal["wait", "install", "rescue", "reboot_local", "report_only", "power_off"]


class Report(msgspec.Struct, frozen=True):
    """POST /api/v1/report."""

    sn: str
    mac_address: str
    uuid: str
    hardware: Hardware
    boot_id: str = ""  # random per boot of the agent
    boot_public_key: str = ""  # base64, raw X25519
    agent_version: str = ""


class ReportAnswer(msgspec.Struct, frozen=True):
    """The agent's session: good for this boot. `is_known` false: no task, the machine waits among the unmatched."""

    session_token: str
    lease_ttl_s: float
    is_known: bool
    fence: int = 0
    task_id: str = ""
    status: TaskStatus | None = None
    regions: tuple[str, ...] = ()  # where the regional clients of this data centre are, the one that answers first


class LeaseCall(msgspec.Struct, frozen=True):
    """POST /api/v1/lease: still here."""

    sn: str


class LeaseAnswer(msgspec.Struct, frozen=True):
    """`fence`: the one that counts now, an agent with a smaller one stops at once; `is_cancel_asked`: stop cleanly."""

    ttl_s: float
    fence: int
    is_cancel_asked: bool = False
    regions: tuple[str, ...] = ()  # as in `ReportAnswer`


class ProgressCall(msgspec.Struct, frozen=True):
    """POST /api/v1/progress. `lines` go to the task's log; with `renews` the agent asks for its lease as well."""

    sn: str
    task_id: str
    step: str
    percent: float
    message: str = ""
    bytes_done: int | None = None
    bytes_total: int | None = None
    lines: tuple[str, ...] = ()
    fence: int = 0
    renews: bool = False


class Done(msgspec.Struct, frozen=True):
    """An answer that says only that it was taken."""

    ok: bool = True


class ProgressAnswer(msgspec.Struct, frozen=True):
    """It was taken. `lease` is there when it was renewed along with it; else the agent asks by LeaseCall in time."""

    ok: bool = True
    lease: LeaseAnswer | None = None


class DeviceCall(msgspec.Struct, frozen=True):
    """Body of most calls below /api/v1/device."""

    sn: str


class InQueue(msgspec.Struct, frozen=True):
    """Answer of isInInstallQueue."""

    result: bool


class NextData(msgspec.Struct, frozen=True, omit_defaults=True):
    """What goes with an operation."""

    task_id: str = ""
    fence: int = 0
    retry_after_s: float = 0.0
    reason: str = ""


class NextOperation(msgspec.Struct, frozen=True):
    """Answer of getNextOperation."""

    operation: Operation
    data: NextData = NextData()


class HardwareConfig(msgspec.Struct, frozen=True):
    """Answer of getHardwareConfig: what is done to disks before the system comes."""

    raid: DiskLayout | None
    scripts: tuple[str, ...] = ()  # names of the hardware tests: memory, disk, nic


class InstallConfig(msgspec.Struct, frozen=True):
    """Answer of getOSInstallConfig. `disks` are the approved ids (serial or WWN): nothing else may be written."""

    task_id: str
    fence: int
    install_method: InstallMethod
    os_type: str
    os_version: str
    disks: tuple[str, ...]
    inventory_hash: str
    image: ImageRef | None = None
    image_url: str = ""
    kickstart_url: str = ""
    kernel_url: str = ""
    initrd_url: str = ""
    kernel_sha256: str = ""
    initrd_sha256: str = ""
    kernel_args: str = ""
    disk_layout: DiskLayout | None = None
    network: NetworkConfig | None = None
    packages: tuple[str, ...] = ()
    sealed_enrolment: str = ""
    worker_url: str = ""  # the worker's files, a tar.gz, with its sha256
    worker_sha256: str = ""
    values: dict[str, str] = {}  # of the profile; never a secret
    hardware_tests: tuple[str, ...] = ()
    overwrite_foreign: tuple[str, ...] = ()  # ids of disks whose foreign signatures were named and accepted
    enrol: bool = True


class BeginCall(msgspec.Struct, frozen=True):
    """POST /api/v1/device/operationBegin: the intent. Answered `ok` only when it stands and the fence is the newest."""

    sn: str
    task_id: str
    fence: int
    operation: str
    disks: tuple[str, ...] = ()
    is_destructive: bool = False


class CompleteCall(msgspec.Struct, frozen=True):
    """POST /api/v1/device/operationComplete. `hands_over`: the machine goes to an installer now, the intent stays open.

    From then on no agent is expected; the installer itself says how far it is (`POST CALLBACK_URL`).
    """

    sn: str
    operation: str
    success: bool
    message: str = ""
    fence: int = 0
    hands_over: bool = False


class InstallCompleteCall(msgspec.Struct, frozen=True):
    """POST /api/v1/device/installComplete. `status`: completed, failed, cancelled, needs_operator."""

    sn: str
    status: Literal["completed", "failed", "cancelled", "needs_operator"]
    message: str = ""
    code: str = ""
    fence: int = 0


class Stage(msgspec.Struct, frozen=True):
    """How far a distribution's installer is: what its progress shows."""

    percent: float
    words: str


INSTALLER_STAGES: dict[str, Stage] = {
    "started": Stage(5.0, "the installer has read its answers"),
    "disks": Stage(10.0, "the installer writes the disks"),
}
"""Last part of `POST CALLBACK_URL/STAGE`; without one the installer is done."""


class Enrolment(msgspec.Struct, frozen=True):
    """What is sealed to the agent's boot key: how the new system joins (P11). JSON inside the sealed box."""

    master_url: str
    join_token: str
    node_name: str = ""
    labels: dict[str, str] = {}
    allow_plain_http: bool = False


def enrolment_context(task_id: str) -> str:
    """Return the context an enrolment is sealed with and opened with: it is good for this installation only."""
    return f"enrolment {task_id}"
