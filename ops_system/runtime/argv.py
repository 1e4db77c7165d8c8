"""Hiding a secret that was given as an argument: other users see every process's arguments in `ps`."""

import contextlib
import ctypes
import sys
from pathlib import Path

_ARG_START, _ARG_END = 45, 46  # fields 48 and 49 of proc(5) `stat`, counted behind the name


def hide_in_argv(secret: str) -> None:
    """Overwrite `secret` in this process's own argument area, so that it is in `ps` for no longer than the start.

    Linux keeps the arguments in our own memory and shows what stands there. Elsewhere nothing can be done: there
    `@FILE` or `-` keep a token out of the arguments.
    """
    if not secret or sys.platform != "linux":
        return
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
        arguments = ctypes.string_at(start, end - start) if 0 < start < end else b""
        wanted = secret.encode()
        place = arguments.find(wanted)
        while place >= 0:
            ctypes.memset(start + place, ord("x"), len(wanted))
            place = arguments.find(wanted, place + 1)
