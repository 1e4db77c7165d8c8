"""Which boot services this system has. Only the chosen module is imported. Used by the roles."""

import sys

from ops_system.service.base import BootServices


def local_services() -> BootServices:
    """Return the boot services of the system this runs on."""
    if sys.platform == "win32":
        from ops_system.service.windows import WindowsServices

        return WindowsServices()
    if sys.platform == "darwin":
        from ops_system.service.macos import LaunchdServices

        return LaunchdServices()
    from ops_system.service.linux import SystemdServices

    return SystemdServices()
