"""What a Linux machine is, out of /proc, /sys and /etc. Sources: proc(5), os-release(5), machine-id(5)."""

import os
import re
from pathlib import Path

import msgspec

from ops_system.model.nodes import Disk
from ops_system.worker.fingerprint.partitions import partitions


class LinuxProbe:
    """Reads small text files below `root`, so that a test can point it at a folder."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def platform(self) -> str:
        """Return PRETTY_NAME of os-release."""
        text = self._text("etc/os-release") or self._text("usr/lib/os-release")
        return parse_os_release(text).get("PRETTY_NAME", "Linux")

    def kernel(self) -> str:
        """Return the release of the running kernel."""
        return os.uname().release

    def boot_id(self) -> str:
        """Return the kernel's random boot id."""
        return self._text("proc/sys/kernel/random/boot_id")

    def machine_id(self) -> str:
        """Return machine-id, else the id D-Bus or the firmware gave."""
        for path in ("etc/machine-id", "var/lib/dbus/machine-id", "sys/class/dmi/id/product_uuid"):
            if found := self._text(path):
                return found
        return ""

    def cpu_model(self) -> str:
        """Return the model of the first processor."""
        return parse_cpu_model(self._text("proc/cpuinfo"))

    def disks(self) -> tuple[Disk, ...]:
        """Return mounted file systems with serial and model of the device below."""
        return tuple(self._with_device(disk) for disk in partitions())

    def _with_device(self, disk: Disk) -> Disk:
        device = f"sys/class/block/{parent_device(Path(disk.name).name)}"
        serial = self._text(f"{device}/serial") or self._text(f"{device}/device/serial")
        return msgspec.structs.replace(disk, serial=serial, model=self._text(f"{device}/device/model"))

    def _text(self, path: str) -> str:
        try:
            return (self._root / path).read_text(errors="replace").strip()
        except OSError:
            return ""  # absent, or not readable for this user


def parse_os_release(text: str) -> dict[str, str]:
    """Return the assignments of an os-release file, quotes taken off."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def parse_cpu_model(text: str) -> str:
    """Return `model name` of /proc/cpuinfo; ARM boards say `Model` or `Hardware` instead."""
    for wanted in ("model name", "Model", "Hardware", "CPU implementer"):
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key.strip() == wanted and value.strip():
                return value.strip()
    return ""


def parent_device(name: str) -> str:
    """Return the whole disk of a partition: `sda1` → `sda`, `nvme0n1p2` → `nvme0n1`, `vda` → `vda`."""
    if match := re.fullmatch(r"((?:nvme\d+n|mmcblk|md)\d+)(?:p\d+)?", name):
        return match[1]
    if match := re.fullmatch(r"([a-z]+)\d*", name):
        return match[1]
    return name
