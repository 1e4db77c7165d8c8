"""Reads what this machine is from /proc, /sys and blkid. `root` stands for `/`: tests have their own."""

import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

from ops_system.installer import parsers
from ops_system.model.errors import Invalid
from ops_system.model.machines import DiskInfo, Firmware, Hardware, NicInfo, inventory_hash, normal_mac
from ops_system.service.surroundings import clean_environment

_ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}
_BLKID_TIMEOUT_S = 20.0


class Inventory(msgspec.Struct, frozen=True):
    """Who this machine is, and what is in it."""

    sn: str
    uuid: str
    mac: str
    hardware: Hardware

    @property
    def hash(self) -> str:
        """Return what an approval is bound to, as the region computes it from the same report."""
        macs = dict.fromkeys([self.mac, *_good_macs(self.hardware)])
        return inventory_hash(self.uuid, tuple(macs), self.hardware)


def read_inventory(
    *, sn: str = "", mac: str = "", root: Path = Path("/"), probe: Callable[[str], str] | None = None
) -> Inventory:
    """Return the inventory. `sn` and `mac` win over what the machine says. Raises Invalid without any identity."""
    dmi = root / "sys/class/dmi/id"
    uuid = _text(dmi / "product_uuid").lower()
    nics = read_nics(root)
    serial = sn or parsers.serial_number(
        _text(dmi / "product_serial"), _text(dmi / "chassis_serial"), _text(dmi / "board_serial"), uuid
    )
    own = normal_mac(mac) if mac else next((nic.mac for nic in nics if nic.has_link), nics[0].mac if nics else "")
    if not serial or not own:
        lacking = "serial number" if not serial else "network card with a MAC address"
        raise Invalid(f"this machine has no {lacking}; give it: --{'sn' if not serial else 'mac'}")
    model, sockets, cores, threads = parsers.cpu_of(_text(root / "proc/cpuinfo"))
    firmware: Firmware = "uefi" if (root / "sys/firmware/efi").is_dir() else "bios"
    hardware = Hardware(
        firmware=firmware,
        arch=_ARCHES.get(platform.machine(), platform.machine()),
        vendor=_text(dmi / "sys_vendor"),
        product=_text(dmi / "product_name"),
        bios_version=_text(dmi / "bios_version"),
        cpu_model=model,
        cpu_sockets=sockets,
        cpu_cores=cores,
        cpu_threads=threads,
        mem_total_bytes=parsers.memory_bytes(_text(root / "proc/meminfo")),
        disks=read_disks(root, probe or probe_device),
        nics=nics,
    )
    return Inventory(serial, uuid, own, hardware)


def read_disks(root: Path, probe: Callable[[str], str]) -> tuple[DiskInfo, ...]:
    """Return the disks in order of their names. `probe` tells what blkid sees on a device."""
    folder = root / "sys/block"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    disks = [name for name in names if parsers.is_disk(name) and _text(folder / name / "size") not in {"", "0"}]
    return tuple(_disk(folder / name, probe) for name in disks)


def partitions_of(name: str, root: Path = Path("/")) -> list[str]:
    """Return the partitions of a disk as the kernel knows them now, in the order in which they lie on it."""
    folder = root / "sys/block" / name
    found = [path.parent for path in folder.glob("*/partition")]
    return [path.name for path in sorted(found, key=lambda path: int(_text(path / "start") or 0))]


def read_nics(root: Path) -> tuple[NicInfo, ...]:
    """Return the real network cards in order of their names."""
    folder = root / "sys/class/net"
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return tuple(
        NicInfo(
            name=card.name,
            mac=_text(card / "address"),
            driver=(card / "device/driver").resolve().name if (card / "device/driver").exists() else "",
            speed_mbps=parsers.speed_mbps(_text(card / "speed")),
            has_link=_text(card / "carrier") == "1",
        )
        for card in found
        if (card / "device").exists() and _text(card / "address")
    )


def probe_device(device: str) -> str:
    """Return `blkid -p -o export` of a device; nothing when there is nothing, or blkid is missing."""
    try:
        done = subprocess.run(
            ["blkid", "-p", "-o", "export", device],
            capture_output=True,
            text=True,
            timeout=_BLKID_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env=clean_environment(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _disk(folder: Path, probe: Callable[[str], str]) -> DiskInfo:
    device = folder / "device"
    serial, wwn = parsers.disk_identity(
        _text(folder / "wwid") or _text(device / "wwid"),
        _text(folder / "serial") or _text(device / "serial"),
        _bytes(device / "vpd_pg80"),
        is_nvme=folder.name.startswith("nvme"),
    )
    parts = sorted(path.parent.name for path in folder.glob("*/partition"))
    return DiskInfo(
        name=folder.name,
        size_bytes=int(_text(folder / "size") or 0) * parsers.SECTOR_BYTES,
        serial=serial,
        wwn=wwn,
        model=" ".join(f"{_text(device / 'vendor')} {_text(device / 'model')}".split()),
        is_rotational=_text(folder / "queue/rotational") == "1",
        is_removable=_text(folder / "removable") == "1",
        is_read_only=_text(folder / "ro") == "1",
        signatures=parsers.signatures_of([probe(f"/dev/{name}") for name in (folder.name, *parts)]),
    )


def _good_macs(hardware: Hardware) -> list[str]:
    macs = []
    for nic in hardware.nics:
        try:
            macs.append(normal_mac(nic.mac))
        except Invalid:
            continue
    return macs


def _text(path: Path) -> str:
    return _bytes(path).decode(errors="replace").strip(" \n\t\0")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
