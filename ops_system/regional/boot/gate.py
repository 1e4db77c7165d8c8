"""The one gate of network boot (P7): every route that starts something on a machine asks here first. Pure.

found by serial number, SMBIOS UUID or MAC ── quarantined ──────────────> local disk
      │                    └─ task in BOOTS_AGENT ─────────────────────> agent (install or rescue)
      │                    └─ no task, or one that is finished ────────> local disk
      └─ unknown ── discovery on ──────────────────────────────────────> agent that only reports
                 └─ discovery off ─────────────────────────────────────> local disk
"""

from enum import StrEnum

import msgspec

from ops_system.model.errors import Invalid
from ops_system.model.machines import Machine, normal_mac
from ops_system.model.tasks import BOOTS_AGENT, Task


class Boots(StrEnum):
    """What a machine boots."""

    AGENT = "install"  # the value is the agent's `ops.mode`
    RESCUE = "rescue"
    REPORT = "report"
    LOCAL = "local"


class Asks(msgspec.Struct, frozen=True):
    """Who asks, as far as the boot loader tells. `mac` is normal or empty."""

    mac: str = ""
    sn: str = ""
    uuid: str = ""


class Known(msgspec.Struct, frozen=True):
    """What the data centre knows of the machine that asks."""

    sn: str = ""
    task: Task | None = None
    machine: Machine | None = None
    is_discovery_on: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """The answer, and why: a stable code for logs and counters."""

    boots: Boots
    why: str
    sn: str = ""
    task_id: str = ""

    @property
    def is_local(self) -> bool:
        """Whether nothing is served but the way to the disk."""
        return self.boots is Boots.LOCAL


def decide(known: Known) -> Verdict:
    """Return what a machine boots."""
    task, machine = known.task, known.machine
    if machine is not None and machine.quarantined:
        return Verdict(Boots.LOCAL, "quarantined", known.sn)
    if task is not None:
        boots = Boots.LOCAL if task.status not in BOOTS_AGENT else _agent_of(task)
        return Verdict(boots, task.status.value, known.sn, task.task_id)
    if known.sn:
        return Verdict(Boots.LOCAL, "no_task", known.sn)
    return Verdict(Boots.REPORT, "discovery") if known.is_discovery_on else Verdict(Boots.LOCAL, "unknown")


def asks(mac: str, sn: str = "", uuid: str = "") -> Asks:
    """Return who asks; a MAC that is none counts as not told."""
    try:
        mac = normal_mac(mac)
    except Invalid:
        mac = ""
    return Asks(mac, sn.strip(), uuid.strip().lower())


def _agent_of(task: Task) -> Boots:
    return Boots.RESCUE if task.install.method == "rescue" else Boots.AGENT
