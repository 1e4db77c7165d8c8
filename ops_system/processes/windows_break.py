"""Asks a process group to end by Ctrl-Break: a process of its own, started by `windows`.

It must join the group's console for that, and who joins one gives up his own.

Usage: python -m ops_system.processes.windows_break PID        (of the group's first process)
"""

# ruff: noqa: E402 - the assertion comes first, so that type checkers on other systems skip the rest
import sys

assert sys.platform == "win32"

import ctypes

from ops_system.processes.windows_rules import CTRL_BREAK_EVENT

FLAG = "-send-ctrl-break"  # what a frozen executable is started with to become this


def main() -> int:
    """Send it; 1 when the process has no console, as programs with windows have."""
    pid = int(sys.argv[-1])
    kernel32 = ctypes.WinDLL("kernel32")
    kernel32.FreeConsole()
    is_sent = kernel32.AttachConsole(pid) and kernel32.GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, pid)
    return 0 if is_sent else 1


if __name__ == "__main__":
    sys.exit(main())
