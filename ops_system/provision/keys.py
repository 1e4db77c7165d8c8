"""The keys of provisioning (contract, section 5). Pure."""

import msgspec

from ops_system.model.tasks import Task


class Place(msgspec.Struct, frozen=True):
    """What a key below `/os/` is about: `kind` is servers, task, meta, lease, installing, unmatched, or a region's."""

    kind: str
    idc: str
    sn: str = ""


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
    def installing(self) -> bytes:
        """There while its task is `installing`: counted against `max_installs` in the transaction that adds one."""
        return f"/os/{self.idc}/installing/{self.sn}".encode()

    @property
    def unmatched(self) -> bytes:
        """A report without a task: `Machine`."""
        return f"/os/unmatched_reports/{self.idc}/{self.sn}".encode()

    def log_prefix(self, task_id: str) -> bytes:
        """Return the prefix of the pieces of one task's log."""
        return f"/os/{self.idc}/logs/{self.sn}/{task_id}/".encode()

    def log_chunk(self, task_id: str, number: int) -> bytes:
        """One piece of the log that no longer fits into the task, counted from 0."""
        return f"/os/{self.idc}/logs/{self.sn}/{task_id}/{number:06d}".encode()


def keys_of(task: Task) -> MachineKeys:
    """Return the keys of a task's machine."""
    return MachineKeys(task.idc, task.sn)


def idc_prefix(idc: str) -> bytes:
    """Return the prefix of everything of one data centre's machines."""
    return f"/os/{idc}/".encode()


def machines_prefix(idc: str) -> bytes:
    """Return the prefix of the documents of one data centre: what each machine is, its task, who works on it."""
    return f"/os/{idc}/machines/".encode()


def installing_prefix(idc: str) -> bytes:
    """Return the prefix of what is being installed in one data centre."""
    return f"/os/{idc}/installing/".encode()


def servers_prefix(idc: str) -> bytes:
    """Return the prefix of one data centre's queue: a status per machine, nothing else."""
    return f"/os/{idc}/servers/".encode()


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


def place_of(key: bytes) -> Place | None:
    """Return what a key is about; None for logs, for what is global, and for what is no key of provisioning."""
    match key.decode(errors="replace").split("/"):
        case ["", "os", "region", idc, kind]:
            return Place(kind, idc)
        case ["", "os", "unmatched_reports", idc, sn]:
            return Place("unmatched", idc, sn)
        case ["", "os", "global", *_]:
            return None
        case ["", "os", idc, "machines", sn, ("meta" | "task" | "lease") as kind]:
            return Place(kind, idc, sn)
        case ["", "os", idc, ("servers" | "installing") as kind, sn]:
            return Place(kind, idc, sn)
        case _:
            return None


def logs_of(key: bytes) -> bytes | None:
    """Return the prefix of all logs of the data centre when `key` is a piece of one: what a listing may leave out."""
    parts = key.split(b"/")
    if len(parts) > 3 and parts[3] == b"logs" and parts[1] == b"os":  # noqa: PLR2004 - "", os, idc, logs
        return b"/".join(parts[:4]) + b"/"
    return None
