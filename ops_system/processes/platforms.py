"""Which `Platform` this system has. Only the chosen module is imported. Used by `supervisor` and by roles."""

import sys

from ops_system.processes.base import Platform


def make_platform() -> Platform:
    """Return the platform of this system."""
    if sys.platform == "win32":
        from ops_system.processes.windows import WindowsPlatform

        return WindowsPlatform()
    from ops_system.processes.posix import PosixPlatform

    return PosixPlatform()
