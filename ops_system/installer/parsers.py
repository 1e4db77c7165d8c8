"""What the texts of Linux say about a machine: /proc, /sys and the output of blkid. Pure; `inventory` reads the files.

Sources: proc(5), sysfs(5), blkid(8) with `-o export`, the kernel's block/scsi and nvme attributes.
"""

import re

from ops_system.model.machines import SN_PATTERN

SECTOR_BYTES = 512  # /sys/block/*/size counts these, whatever the disk's own sector is
_PLACEHOLDERS = frozenset(
    {
        "", "0", "none", "n/a", "not specified", "not available", "default string", "system serial number",
        "to be filled by o.e.m.", "0123456789", "123456789", "unknown", "invalid", "oem", "chassis serial number",
    }
)  # fmt: skip
_NOT_DISKS = re.compile(r"(loop|ram|zram|sr|fd|md|dm-|nbd|zd|mmcblk\d+(boot|rpmb))\d*")
_WWN = re.compile(r"(naa|eui|nvme|uuid)\.\S+")


def serial_number(*texts: str) -> str:
    """Return the first serial number that means something, as a key may hold it; empty when none does.

    Spaces and other signs become `-`: numbers that were cut at the first space collided.
    """
    for text in texts:
        trimmed = " ".join(text.split())
        if trimmed.lower() in _PLACEHOLDERS or not trimmed.strip("0-. "):
            continue
        made = re.sub(r"[^A-Za-z0-9._-]+", "-", trimmed).strip("-._")[:64]
        if SN_PATTERN.fullmatch(made):
            return made
    return ""


def cpu_of(cpuinfo: str) -> tuple[str, int, int, int]:
    """Return model, sockets, cores and threads of /proc/cpuinfo."""
    model, threads = "", 0
    sockets: set[str] = set()
    cores: set[tuple[str, str]] = set()
    physical = ""
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor":
            threads, physical = threads + 1, "0"
        elif key in {"model name", "Model", "cpu model"} and not model:
            model = value
        elif key == "physical id":
            physical = value
            sockets.add(value)
        elif key == "core id":
            cores.add((physical, value))
    return model, len(sockets) or min(1, threads), len(cores) or threads, threads


def memory_bytes(meminfo: str, key: str = "MemTotal") -> int:
    """Return one number of /proc/meminfo in bytes; 0 when it is not there."""
    found = re.search(rf"^{key}:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def is_disk(name: str) -> bool:
    """Whether an entry of /sys/block is a disk of the machine: no loop, RAM, optical, array or mapper device."""
    return not _NOT_DISKS.fullmatch(name)


def disk_identity(wwid: str, serial: str, page80: bytes, *, is_nvme: bool = False) -> tuple[str, str]:
    """Return serial and WWN of a disk from what sysfs has of it; either may be empty.

    `page80` is SCSI's vital product data page 0x80: four bytes of header, then the serial.
    """
    wwn = wwid.strip() if _WWN.fullmatch(wwid.strip()) else ""
    own = " ".join(serial.split())
    if not own and page80[4:].strip(b" \0"):
        own = page80[4:].decode("ascii", errors="ignore").strip(" \0")
    if not own and wwid.startswith("t10.") and not is_nvme:
        own = wwid.rsplit(maxsplit=1)[-1]  # "t10.ATA     QEMU HARDDISK    QM00001"
    return own, wwn


def signatures_of(exports: list[str]) -> tuple[str, ...]:
    """Return what blkid found, each name once: the disk first, then its partitions."""
    found: dict[str, None] = {}
    for text in exports:
        for key in ("PTTYPE", "TYPE"):
            if value := blkid_value(text, key):
                found[value] = None
    return tuple(found)


def blkid_value(export: str, key: str) -> str:
    """Return one value of `blkid -o export`; empty when it is not there."""
    return next((line.partition("=")[2] for line in export.splitlines() if line.startswith(f"{key}=")), "")


def speed_mbps(text: str) -> int:
    """Return the speed of a card; 0 when there is no link (the kernel says -1, or nothing)."""
    digits = text.strip()
    return int(digits) if digits.isdigit() else 0


def partition_number(device: str) -> int:
    """Return the number of a partition's device: 2 of /dev/nvme0n1p2. Raises ValueError for what is none."""
    return int(device[len(device.rstrip("0123456789")) :])
