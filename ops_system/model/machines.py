"""A machine of bare metal: what an agent in its RAM reported of it, and what makes two reports the same machine."""

import hashlib
import re
from datetime import datetime
from typing import Literal

import msgspec

from ops_system.model.errors import Invalid

SN_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
IDC_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
RESERVED_IDCS = frozenset({"region", "global", "install", "unmatched_reports"})
_MAC_DIGITS = re.compile(r"[0-9a-f]{12}")

Firmware = Literal["bios", "uefi"]


class DiskInfo(msgspec.Struct, frozen=True, gc=False):
    """A whole block device. `serial` and `wwn` survive a reboot; `name` does not and never decides anything (P2)."""

    name: str
    size_bytes: int
    serial: str = ""
    wwn: str = ""
    model: str = ""
    is_rotational: bool = False
    is_removable: bool = False
    is_read_only: bool = False
    signatures: tuple[str, ...] = ()  # what lies on it now, in blkid's words: "gpt", "ext4", "LVM2_member", …

    @property
    def id(self) -> str:
        """Return what names this disk in an approval: its WWN or else its serial; empty: it cannot be approved."""
        return self.wwn or self.serial


class NicInfo(msgspec.Struct, frozen=True, gc=False):
    """A network card."""

    name: str
    mac: str
    driver: str = ""
    speed_mbps: int = 0
    has_link: bool = False


class Hardware(msgspec.Struct, frozen=True, gc=False):
    """The inventory: what the agent read of the machine it runs on."""

    firmware: Firmware = "bios"
    arch: str = "amd64"
    vendor: str = ""
    product: str = ""
    bios_version: str = ""
    cpu_model: str = ""
    cpu_sockets: int = 0
    cpu_cores: int = 0
    cpu_threads: int = 0
    mem_total_bytes: int = 0
    disks: tuple[DiskInfo, ...] = ()
    nics: tuple[NicInfo, ...] = ()
    bmc_address: str = ""


class Machine(msgspec.Struct, frozen=True, gc=False):
    """What is known of a machine: the value of `/os/{idc}/machines/{sn}/meta`."""

    idc: str
    sn: str
    uuid: str = ""
    macs: tuple[str, ...] = ()
    hardware: Hardware | None = None  # None: nothing has reported yet
    inventory_hash: str = ""
    boot_id: str = ""  # of the agent that reported last
    boot_public_key: str = ""  # base64 of its X25519 key; what is secret for this boot is sealed to it (P11)
    first_seen_at: datetime | None = None
    last_seen_at: datetime | None = None
    quarantined: str = ""  # the reason's code; empty: not quarantined
    last_fence: int = 0  # the highest fence of tasks that were removed: the next one begins above it


class AgentLease(msgspec.Struct, frozen=True, gc=False):
    """Who works on the machine now: `/os/{idc}/machines/{sn}/lease`, attached to the lease of that agent (P4)."""

    boot_id: str
    session_sha256: str  # of the session token in hex; the token itself is with the agent alone
    fence: int = 0
    at: datetime | None = None
    rival_boot_id: str = ""  # another agent with this serial, told to wait; both alive: both are quarantined (P5)


def inventory_hash(uuid: str, macs: tuple[str, ...], hardware: Hardware) -> str:
    """Return what an approval is bound to: identity and disks, in no order; SHA-256 in hex.

    Names of disks, links and speeds are left out: they change from boot to boot.
    """
    disks = sorted((disk.serial, disk.wwn, disk.size_bytes) for disk in hardware.disks if not disk.is_removable)
    facts = msgspec.json.encode([uuid.lower(), sorted(macs), hardware.firmware, disks])
    return hashlib.sha256(facts).hexdigest()


def normal_mac(text: str) -> str:
    """Return a MAC address as `00:1a:2b:3c:4d:5e`. Raises Invalid for what is none, or is a group's."""
    digits = re.sub(r"[:.\-]", "", text.strip().lower())
    if not _MAC_DIGITS.fullmatch(digits):
        raise Invalid(f"mac: {text!r} is no MAC address; write six bytes as 00:1a:2b:3c:4d:5e", field="mac")
    if int(digits[:2], 16) & 1:
        raise Invalid(f"mac: {text!r} is a multicast address; a network card has none such", field="mac")
    return ":".join(digits[place : place + 2] for place in range(0, 12, 2))


def check_sn(text: str) -> str:
    """Return a serial number that can be a key. Raises Invalid."""
    if not SN_PATTERN.fullmatch(text):
        raise Invalid(
            f"sn: {text!r}: letters, digits, '.', '_' and '-', at most 64, first a letter or digit", field="sn"
        )
    return text


def check_idc(text: str) -> str:
    """Return the name of a data centre. Raises Invalid."""
    if not IDC_PATTERN.fullmatch(text) or text in RESERVED_IDCS:
        raise Invalid(
            f"idc: {text!r}: small letters, digits and '-', at most 32, none of {', '.join(sorted(RESERVED_IDCS))}",
            field="idc",
        )
    return text
