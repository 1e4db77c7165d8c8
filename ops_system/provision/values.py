"""What stands behind the placeholders of a template: the same for a region that serves and a master that shows. Pure.

No secret is among them (P11): whoever is on the boot network can read a rendered text. What a machine reported is
made harmless here; templates quote it besides.
"""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from ops_system.model.bulk import check_hostname
from ops_system.model.catalogue import find_release
from ops_system.model.errors import Invalid
from ops_system.model.layouts import Interface, NetworkConfig
from ops_system.model.machines import DiskInfo, Machine, normal_mac
from ops_system.model.tasks import InstallSpec, Task

NAMES: tuple[str, ...] = (
    "sn",
    "idc",
    "mac",
    "uuid",
    "task_id",
    "hostname",
    "os_type",
    "os_version",
    "codename",
    "profile",
    "firmware",
    "arch",
    "network",
    "disks",
    "packages",
    "ssh_keys",
    "callback_url",
    "values",
)
"""Every placeholder there is."""

_MAX_CHARS = 256


class Place(msgspec.Struct, frozen=True):
    """Which machine a text is for."""

    idc: str
    sn: str
    mac: str
    task_id: str = ""
    disks: tuple[str, ...] = ()  # ids of the approved ones; nothing else may be named


def place_of(task: Task) -> Place:
    """Return which machine a task is for."""
    return Place(task.idc, task.sn, task.mac, task.task_id, task.approval.disks if task.approval else ())


def values_of(
    place: Place,
    spec: InstallSpec,
    machine: Machine | None,
    callback_url: str = "",
    network: NetworkConfig | None = None,
) -> dict[str, object]:
    """Return the placeholders' values. `network` (of the task) goes before that of the profile."""
    config = network or spec.network or NetworkConfig()
    hardware = machine.hardware if machine else None
    return {
        "sn": place.sn,
        "idc": place.idc,
        "mac": place.mac,
        "uuid": plain(machine.uuid) if machine else "",
        "task_id": place.task_id,
        "hostname": check_hostname(config.hostname) or host_name(place.sn),
        "os_type": spec.os_type,
        "os_version": spec.os_version,
        "codename": _codename(spec),
        "profile": spec.profile,
        "firmware": hardware.firmware if hardware else "bios",
        "arch": plain(hardware.arch) if hardware else "amd64",
        "network": _network(config),
        "disks": _disks(place.disks, hardware.disks if hardware else ()),
        "packages": list(spec.packages),
        "ssh_keys": list(spec.ssh_keys),
        "callback_url": callback_url,
        "values": dict(spec.values),
    }


def host_name(sn: str) -> str:
    """Return a host name made of a serial number."""
    letters = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in sn.lower())
    return letters.strip("-")[:63].rstrip("-") or "machine"


def plain(text: str) -> str:
    """Return what a machine reported on one line, without anything but printable characters."""
    return "".join(letter for letter in text[:_MAX_CHARS] if letter.isprintable())


def _codename(spec: InstallSpec) -> str:
    try:
        return find_release(spec.os_type, spec.os_version).codename
    except Invalid:
        return ""


def _disks(wanted: Sequence[str], there: Sequence[DiskInfo]) -> list[Mapping[str, object]]:
    """Return the approved disks, in the order of the approval. One that is not there is not named."""
    by_id = {disk.id: disk for disk in there if disk.id}
    found = (by_id[one] for one in wanted if one in by_id)
    return [
        {
            "id": plain(disk.id),
            "serial": plain(disk.serial),
            "wwn": plain(disk.wwn),
            "model": plain(disk.model),
            "size_bytes": disk.size_bytes,
        }
        for disk in found
    ]


def _network(config: NetworkConfig) -> Mapping[str, object]:
    return {
        "hostname": check_hostname(config.hostname),
        "dns": [str(_judged("dns", ipaddress.ip_address, one)) for one in config.dns],
        "interfaces": [_interface(one) for one in config.interfaces],
    }


def _interface(one: Interface) -> Mapping[str, object]:
    """Return a card; without an address it asks DHCP and `ip` is empty."""
    gateway = str(_judged("gateway", ipaddress.ip_address, one.gateway)) if one.gateway else ""
    told: dict[str, object] = {"mac": normal_mac(one.mac), "gateway": gateway}
    if not one.address:
        return told | {"address": "", "ip": "", "netmask": "", "is_ipv6": False}
    found = _judged("address", ipaddress.ip_interface, one.address)
    return told | {
        "address": str(found),
        "ip": str(found.ip),
        "netmask": str(found.netmask),
        "is_ipv6": found.version == _IPV6,
    }


_IPV6 = 6
T = TypeVar("T")


def _judged(field: str, judge: Callable[[str], T], text: str) -> T:
    try:
        return judge(text)
    except ValueError as error:
        problem = f"$.network.{field}: {error}"
        raise Invalid(f"network: {text[:80]!r} is no {field}: {error}", problems=[problem], field="network") from error
