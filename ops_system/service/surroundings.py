"""Where this program is, and what of its environment others may see. Used by `autostart` and the systems."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

EXECUTABLE_VARIABLE = "OPS_EXECUTABLE"
"""Set by the frozen executable's own start: the file a person starts, not the place it unpacked itself to."""

_PLANTED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_PRIVATE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def program(role: str) -> tuple[str, ...]:
    """Return the command that starts this very program: the frozen executable, or Python and the role's module."""
    if not getattr(sys, "frozen", False):
        return (sys.executable, "-P", "-m", f"ops_system.{role}.main")
    started = os.environ.get(EXECUTABLE_VARIABLE, "")
    return (started if Path(started).is_file() and Path(started).is_absolute() else sys.executable,)


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a program of the system.

    A frozen program has its own libraries on the path, which others must not load; and the service manager's sockets
    are between it and us.
    """
    kept = {name: value for name, value in environ.items() if name not in (*_PLANTED, *_PRIVATE)}
    if "XDG_RUNTIME_DIR" not in kept and (place := _runtime_dir()):
        kept["XDG_RUNTIME_DIR"] = place  # where a user's own systemd listens; su and cron do not say it
    for name in _PLANTED:
        if original := environ.get(f"{name}_ORIG"):
            kept[name] = original
    return kept


def _runtime_dir() -> str:
    if sys.platform != "linux":
        return ""
    place = Path(f"/run/user/{os.geteuid()}")
    return str(place) if place.is_dir() else ""
