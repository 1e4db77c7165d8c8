"""How a start ended, in the words of wait(2): the keeper's note, and what a status means. Used by `posix`."""

import os
import signal
import sys
from pathlib import Path

from ops_system.processes.base import Exit
from ops_system.processes.keeper import parse_note


def read_note(path: Path, number: int) -> int | None:
    """Return the wait status that start `number` noted there; None without a complete note of its own."""
    try:
        return parse_note(path.read_bytes(), number)
    except OSError:
        return None


def exit_of_status(status: int) -> Exit:
    """Read a wait(2) status."""
    if os.WIFSIGNALED(status):
        return Exit(signal=signal_name(os.WTERMSIG(status)))
    return Exit(code=os.WEXITSTATUS(status))


def signal_name(number: int) -> str:
    """Return the name; a real-time signal without one is counted from the first."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if sys.platform == "linux" else f"SIG{number}"
