"""The mounted file systems, where psutil knows as much as the system does. Used by the probes."""

import psutil

from ops_system.model.nodes import Disk


def partitions() -> tuple[Disk, ...]:
    """Return the mounted local file systems as psutil lists them, each device once."""
    found: dict[str, Disk] = {}
    for part in psutil.disk_partitions(all=False):
        try:
            size_bytes = psutil.disk_usage(part.mountpoint).total
        except OSError:
            continue  # an empty drive, or one that went away
        if part.device not in found:
            found[part.device] = Disk(part.device, part.mountpoint, part.fstype, size_bytes)
    return tuple(found.values())
