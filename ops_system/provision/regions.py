"""What a region tells and is told through the store. Pure."""

from datetime import datetime
from typing import Literal

import msgspec

from ops_system.provision.keys import region_key


class RegionInfo(msgspec.Struct, frozen=True):
    """`/os/region/{idc}/info`: the regional client that is active now, as it described itself."""

    idc: str
    client_id: str  # random per process
    hostname: str
    version: str
    api_url: str  # where agents reach it
    dhcp: Literal["off", "proxy", "full"]
    tftp: bool
    started_at: datetime
    epoch: int = 0  # rises with each take-over: the region's fence (P6)


class RegionHeartbeat(msgspec.Struct, frozen=True):
    """`/os/region/{idc}/heartbeat`: attached to the lease of the active client; gone means the region is not heard."""

    client_id: str
    epoch: int
    at: datetime
    installing: int = 0
    journal_entries: int = 0  # events not replayed yet
    cache_bytes: int = 0


class RegionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`/os/region/{idc}/settings`: what operators decided for a data centre; a region without them has these."""

    name: str = ""  # for people
    discovery: bool = False  # unknown machines get the report-only agent
    max_installs: int = 20
    needs_second_approval: bool = False
    master_url: str = ""  # where new systems call home; empty: the master's own public address
    protected_serials: tuple[str, ...] = ()  # disks that are never written, whatever an approval says


class RegionActive(msgspec.Struct, frozen=True):
    """`/os/region/{idc}/active`: who may serve the data centre (P6); attached to that client's lease."""

    client_id: str
    epoch: int
    at: datetime


class RegionClient(msgspec.Struct, frozen=True):
    """`/os/region/{idc}/clients/{client_id}`: one that serves or stands by; attached to a lease of its own."""

    client_id: str
    api_url: str  # where agents reach it


_CLIENTS = "clients/"


def client_key(idc: str, client_id: str) -> bytes:
    """Return where a regional client says that it is there."""
    return region_key(idc, _CLIENTS + client_id)


def client_of(idc: str, key: bytes) -> str:
    """Return whose key this is; empty for another kind of key."""
    prefix = region_key(idc, _CLIENTS)
    return key.removeprefix(prefix).decode(errors="replace") if key.startswith(prefix) else ""
