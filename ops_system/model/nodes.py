"""A node: one enrolled machine, what it is made of, and whether we hear from it."""

from enum import StrEnum
from typing import Literal

import msgspec

SUSPECT_AFTER_S = 15.0  # three heartbeats of 5 s


class NodeStatus(StrEnum):
    """Whether a node is heard. `suspect` after three missed heartbeats, `offline` after the threshold."""

    PLANNED = "planned"
    ONLINE = "online"
    SUSPECT = "suspect"
    OFFLINE = "offline"
    QUARANTINED = "quarantined"


class Disk(msgspec.Struct, frozen=True):
    """A mounted file system or, where known, the block device below it."""

    name: str
    mount: str = ""
    fs_type: str = ""
    size_bytes: int = 0
    serial: str = ""
    model: str = ""


class BootService(msgspec.Struct, frozen=True):
    """How a role starts at boot. `installed`: the unit is there; `enabled`: the boot starts it; `active`: it runs."""

    kind: Literal["systemd", "launchd", "windows", ""] = ""  # empty: this machine has none of them
    state: Literal["absent", "installed", "enabled", "active"] = "absent"
    unit: str = ""
    path: str = ""


class Fingerprint(msgspec.Struct, frozen=True):
    """What the machine is, as the worker read it at start."""

    hostname: str
    os: str  # linux, windows, darwin
    arch: str  # amd64, arm64
    platform: str  # e.g. "Debian GNU/Linux 12"
    kernel: str
    boot_id: str
    machine_id: str  # stable over reboots and network card changes; hashed
    cpu_model: str
    cpu_cores: int
    mem_total_bytes: int
    macs: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    disks: tuple[Disk, ...] = ()
    boot_time_s: float = 0.0  # Unix seconds
    key_place: str = ""  # which file the node key is: on one machine a copied work folder has another
    boot_service: BootService | None = None  # None: a worker too old to say


def status_from_silence(
    silent_s: float, offline_after_s: float, suspect_after_s: float = SUSPECT_AFTER_S
) -> NodeStatus:
    """Return the status of an enrolled node that was last heard `silent_s` seconds ago (monotonic clock)."""
    if silent_s >= offline_after_s:
        return NodeStatus.OFFLINE
    if silent_s >= suspect_after_s:
        return NodeStatus.SUSPECT
    return NodeStatus.ONLINE
