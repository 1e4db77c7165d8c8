"""The folder a frozen program has unpacked itself to: in use while the program runs, removed when nobody uses it.

The executable's own start (packaging/launcher.sh) makes `ROLE-HASH` folders side by side, one for each build. Called
by the entries in packaging/entries, before anything else.
"""

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import BinaryIO

_MARK = ".in-use"
_HALF_UNPACKED_FOR_S = 3600.0


def hold() -> BinaryIO | None:
    """Keep this program's folder from being removed for as long as the answer lives, and remove older builds' folders.

    None where the program is not frozen, or runs on a system that unpacks it anew at every start.
    """
    if not getattr(sys, "frozen", False) or sys.platform == "win32":
        return None
    here = Path(sys.executable).parent
    mark = _lock(here, is_shared=True)
    role, dash, _ = here.name.rpartition("-")
    if dash and role:
        _sweep(here, role)
    return mark


def _sweep(here: Path, role: str) -> None:
    for folder in here.parent.glob(f"{role}-*"):
        if folder == here:
            continue
        mark = _lock(folder, is_shared=False)
        if mark is not None:
            with mark:
                shutil.rmtree(folder, ignore_errors=True)
    for half in here.parent.glob(f".{role}-*"):
        with contextlib.suppress(OSError):
            if time.time() - half.stat().st_mtime > _HALF_UNPACKED_FOR_S:
                shutil.rmtree(half, ignore_errors=True)


if sys.platform == "win32":

    def _lock(folder: Path, *, is_shared: bool) -> BinaryIO | None:  # noqa: ARG001 - the other systems' half
        return None

else:
    import fcntl

    def _lock(folder: Path, *, is_shared: bool) -> BinaryIO | None:
        """Return the held mark of a folder, None when somebody else's hold forbids it."""
        try:
            file = os.fdopen(os.open(folder / _MARK, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        except OSError:
            return None
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return file
