"""What the API of installations takes and answers, and the queries of its lists. Pure."""

from datetime import datetime
from typing import Literal

import msgspec

from ops_system.model.layouts import DiskLayout, NetworkConfig
from ops_system.model.machines import DiskInfo, Hardware
from ops_system.model.reasons import Reason
from ops_system.model.tasks import (
    Approval,
    ImageRef,
    InstallMethod,
    Intent,
    PowerWay,
    Progress,
    StatusChange,
    TaskId,
    TaskStatus,
)
from ops_system.provision.regions import RegionHeartbeat, RegionInfo, RegionSettings

MAX_TAGS = 32


class TaskOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine to install. `os_type` with its version or without; what is absent comes from profile and catalogue.

    `power` "auto": its BMC boots it from the network, now and at each new attempt.
    """

    idc: str
    sn: str
    mac: str
    os_type: str
    os_version: str = ""
    profile: str = ""
    hostname: str = ""
    disk_layout: DiskLayout | None = None
    network: NetworkConfig | None = None
    tags: dict[str, str] = {}
    power: PowerWay = "manual"


class InstallView(msgspec.Struct, frozen=True):
    """What will be installed, as the catalogue knew it when the task was made."""

    method: InstallMethod
    os_type: str = ""
    os_version: str = ""
    profile: str = ""
    image: ImageRef | None = None
    disk_layout: DiskLayout | None = None
    network: NetworkConfig | None = None
    packages: tuple[str, ...] = ()
    hardware_tests: tuple[str, ...] = ()
    enrol: bool = True


class TaskRow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A task without its log and templates: what lists show, and what is kept in memory of each (derived)."""

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
    install: InstallView
    disk_layout: DiskLayout | None = None
    network: NetworkConfig | None = None
    tags: dict[str, str] = {}
    status_history: tuple[StatusChange, ...] = ()
    progress: tuple[Progress, ...] = ()
    log_chunks: int = 0
    approval: Approval | None = None
    intents: tuple[Intent, ...] = ()
    reason: Reason | None = None
    attempt: int = 1
    fence: int = 0
    reported_mac: str = ""
    deadline_at: datetime | None = None
    enrolment_id: str = ""
    node_id: str = ""
    called_home_at: datetime | None = None
    is_cancel_asked: bool = False
    power: PowerWay = "manual"
    handed_over_at: datetime | None = None


class TaskView(TaskRow, frozen=True, kw_only=True):
    """A task. `logs`: the last lines; `/tasks/{idc}/{sn}/log` has the rest. Lists leave them out."""

    logs: tuple[str, ...] = ()


class TaskQuery(msgspec.Struct, frozen=True):
    """`?limit=&offset=&q=&sort=&idc=&status=` (statuses divided by commas)."""

    limit: int = 100
    offset: int = 0
    q: str = ""
    sort: str = ""
    idc: str = ""
    status: str = ""


class WhyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why something is rejected, cancelled or tried again."""

    reason: str = ""
    notes: str = ""

    @property
    def words(self) -> str:
        """Return what was written."""
        return (self.reason or self.notes)[:500]


class TaskLogView(msgspec.Struct, frozen=True):
    """The whole log that is kept, oldest line first."""

    lines: list[str]


class DryRunBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which disks would be written; none: those approved, else as many as are wanted."""

    disks: tuple[str, ...] = ()


class DryStep(msgspec.Struct, frozen=True):
    """One step as the agent would take it. `disks` are ids; `commands` are shown as typed."""

    name: str
    words: str
    is_destructive: bool
    disks: tuple[str, ...]
    devices: tuple[str, ...]
    commands: tuple[str, ...]


class DryRun(msgspec.Struct, frozen=True):
    """The exact steps of an installation; nothing is done (P9)."""

    disks: tuple[str, ...]
    steps: tuple[DryStep, ...]


class BulkOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many machines: `rows` of columns, or a whole table as `csv`. `idc` is for rows without one."""

    rows: list[dict[str, str]] = []
    csv: str = ""
    idc: str = ""
    dry_run: bool = False


class BulkFault(msgspec.Struct, frozen=True):
    """What is wrong in a row, counted from 1 (of a `csv`: its line, the heading being line 1)."""

    row: int
    field: str
    reason: Reason


class BulkAnswer(msgspec.Struct, frozen=True):
    """How many tasks were made (or, in a dry run, could be), and everything that is wrong."""

    created: int
    problems: list[BulkFault]
    tasks: list[str] = []  # ids


class ServerView(msgspec.Struct, frozen=True):
    """A machine's place in the queue."""

    sn: str
    status: TaskStatus
    added_at: datetime
    task_id: str
    mac: str
    os_type: str
    os_version: str


class MachineView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A machine as its agent reported it. `is_agent_alive`: an agent holds its lease now."""

    idc: str
    sn: str
    uuid: str = ""
    macs: tuple[str, ...] = ()
    disks: tuple[DiskInfo, ...] = ()
    hardware: Hardware | None = None
    inventory_hash: str = ""
    first_seen_at: datetime | None = None
    last_seen_at: datetime | None = None
    quarantined: str = ""
    is_agent_alive: bool = False
    task_id: str = ""
    status: TaskStatus | None = None


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks by status, and machines."""

    pending: int = 0
    booting: int = 0
    pending_approval: int = 0
    approved: int = 0
    installing: int = 0
    completed: int = 0
    failed: int = 0
    rejected: int = 0
    cancelled: int = 0
    needs_operator: int = 0
    total: int = 0
    machines: int = 0
    unmatched: int = 0


class AllStats(Stats, frozen=True, kw_only=True):
    """The same of all data centres, and of each."""

    idcs: dict[str, Stats] = {}


class IdcStats(Stats, frozen=True, kw_only=True):
    """The counts of one data centre, as `/live` tells them."""

    idc: str


class IdcView(msgspec.Struct, frozen=True):
    """A data centre. `is_alive`: its regional client is heard."""

    idc: str
    is_alive: bool
    info: RegionInfo | None
    heartbeat: RegionHeartbeat | None
    settings: RegionSettings
    counts: Stats


class SettingsPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a data centre's settings changes; absent keys stay."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    discovery: bool | msgspec.UnsetType = msgspec.UNSET
    max_installs: int | msgspec.UnsetType = msgspec.UNSET
    needs_second_approval: bool | msgspec.UnsetType = msgspec.UNSET
    master_url: str | msgspec.UnsetType = msgspec.UNSET
    protected_serials: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class NewApprovalRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Machines that are approved without asking, `max_uses` of them.

    Of this `idc` (empty: any), whose task has all `tags`, whose product name contains `model`, with so many disks.
    """

    name: str
    max_uses: int
    idc: str = ""
    tags: dict[str, str] = {}
    model: str = ""
    disk_count: int | None = None
    is_enabled: bool = True


class ApprovalRule(msgspec.Struct, frozen=True, kw_only=True):
    """An approval rule: the value of `/os/global/approval_rules/{id}`. `used` rises in the approving transaction."""

    id: str
    name: str
    max_uses: int
    idc: str = ""
    tags: dict[str, str] = {}
    model: str = ""
    disk_count: int | None = None
    is_enabled: bool = True
    used: int = 0
    created_by: str = ""
    created_at: datetime | None = None


class ApprovalRulePatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a rule changes; absent keys stay."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    max_uses: int | msgspec.UnsetType = msgspec.UNSET
    idc: str | msgspec.UnsetType = msgspec.UNSET
    tags: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    model: str | msgspec.UnsetType = msgspec.UNSET
    disk_count: int | msgspec.UnsetType | None = msgspec.UNSET
    is_enabled: bool | msgspec.UnsetType = msgspec.UNSET


Act = Literal["approve", "reject", "cancel", "retry"]
