"""Which `Platform` and which `Pty` this system has. Only the chosen module is imported. Used by roles."""

import sys
from collections.abc import Mapping, Sequence

from ops_system.processes.base import Platform
from ops_system.processes.pty import OnData, Pty


def make_platform() -> Platform:
    """Return the platform of this system."""
    if sys.platform == "win32":
        from ops_system.processes.windows import WindowsPlatform

        return WindowsPlatform()
    from ops_system.processes.posix import PosixPlatform

    return PosixPlatform()


def open_pty(argv: Sequence[str], env: Mapping[str, str], cwd: str, size: tuple[int, int], on_data: OnData) -> Pty:
    """Start `argv` in a new terminal of (columns, rows). Raises OSError."""
    if sys.platform == "win32":
        from ops_system.processes.pty_windows import WindowsPty

        return WindowsPty(argv, env, cwd, size, on_data)
    from ops_system.processes.pty_posix import PosixPty

    return PosixPty(argv, env, cwd, size, on_data)
