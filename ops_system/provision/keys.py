"""The keys of provisioning (contract, section 5). Pure."""

import msgspec

from ops_system.model.tasks import Task


class MachineKeys(msgspec.Struct, frozen=True):
    """The keys of one machine."""

    idc: str
    sn: str

    @property
    def server(self) -> bytes:
        """Its place in the queue."""
        return f"/os/{self.idc}/servers/{self.sn}".encode()

    @property
    def meta(self) -> bytes:
        """What it is: `Machine`."""
        return f"/os/{self.idc}/machines/{self.sn}/meta".encode()

    @property
    def task(self) -> bytes:
        """Its installation: `Task`."""
        return f"/os/{self.idc}/machines/{self.sn}/task".encode()

    @property
    def lease(self) -> bytes:
        """Who works on it: `AgentLease`, gone with the agent."""
        return f"/os/{self.idc}/machines/{self.sn}/lease".encode()

    @property
    def unmatched(self) -> bytes:
        """A report without a task: `Machine`."""
        return f"/os/unmatched_reports/{self.idc}/{self.sn}".encode()

    def log_chunk(self, task_id: str, number: int) -> bytes:
        """One piece of the log that no longer fits into the task, counted from 0."""
        return f"/os/{self.idc}/machines/{self.sn}/log/{task_id}/{number:06d}".encode()


def keys_of(task: Task) -> MachineKeys:
    """Return the keys of a task's machine."""
    return MachineKeys(task.idc, task.sn)


def idc_prefix(idc: str) -> bytes:
    """Return the prefix of everything of one data centre's machines."""
    return f"/os/{idc}/".encode()


def region_key(idc: str, name: str) -> bytes:
    """Return a key about the region itself: info, heartbeat, active, settings."""
    return f"/os/region/{idc}/{name}".encode()


def stats_key(idc: str) -> bytes:
    """Return where the counts of a data centre are told to others."""
    return f"/os/global/stats/{idc}".encode()


REGIONS = b"/os/region/"
UNMATCHED = b"/os/unmatched_reports/"
IMAGES = b"/os/global/images/"
PROFILES = b"/os/global/profiles/"
RULES = b"/os/global/approval_rules/"
EVERYTHING = b"/os/"
