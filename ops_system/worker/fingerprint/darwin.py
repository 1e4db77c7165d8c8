"""What a Mac is, by sysctl and ioreg. Written against the manual pages; not proven on a real Mac yet."""

import platform
import subprocess

from ops_system.model.nodes import Disk
from ops_system.worker.fingerprint.partitions import partitions

_TIMEOUT_S = 5.0


class DarwinProbe:
    """Asks the system's own small tools once at start."""

    def platform(self) -> str:
        """Return e.g. "macOS 14.4"."""
        return f"macOS {platform.mac_ver()[0]}".strip()

    def kernel(self) -> str:
        """Return the Darwin release."""
        return platform.release()

    def boot_id(self) -> str:
        """Return the boot session's UUID."""
        return _output("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")

    def machine_id(self) -> str:
        """Return the platform UUID of the I/O registry."""
        return parse_platform_uuid(_output("/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice"))

    def cpu_model(self) -> str:
        """Return the processor's brand string."""
        return _output("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string")

    def disks(self) -> tuple[Disk, ...]:
        """Return mounted volumes."""
        return partitions()


def parse_platform_uuid(text: str) -> str:
    """Return IOPlatformUUID out of what ioreg prints."""
    for line in text.splitlines():
        if "IOPlatformUUID" in line:
            return line.rpartition("=")[2].strip().strip('"')
    return ""


def _output(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
