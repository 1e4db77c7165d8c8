"""Locks on files of the data folder: one master per folder, one process at a time that creates or migrates.

The lock belongs to the open file, so it vanishes with the process, however that ends. The file itself stays.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ops_system.model.errors import SafetyRefusal


class FileLock:
    """A held lock. `release` lets go; so does the end of the process."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file

    def release(self) -> None:
        """Let go; a second call does nothing."""
        self._file.close()


def acquire(path: Path) -> FileLock:
    """Take the lock of the one running master at `path` and write our pid into it.

    Raises SafetyRefusal (exit code 3) naming the folder and, where known, the holder's pid.
    """
    file = _open(path)
    try:
        _lock(file, wait=False)
    except OSError as error:
        holder = _read_holder(file)
        file.close()
        running = "another master{holder} is already running on {folder}; stop it or choose another data_dir"
        raise SafetyRefusal(running, holder=holder, folder=path.parent) from error
    file.truncate(0)
    file.seek(0)
    file.write(str(os.getpid()).encode())
    file.flush()
    return FileLock(path, file)


def is_held(path: Path) -> bool:
    """Return whether a running process holds the lock at `path`; False also where there is no such file."""
    if not path.exists():
        return False
    with _open(path) as file:
        try:
            _lock(file, wait=False)
        except OSError:
            return True
    return False


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Wait for the lock at `path` and hold it over a short piece of blocking work."""
    file = _open(path)
    try:
        _lock(file, wait=True)
        yield
    finally:
        file.close()


def _open(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    return os.fdopen(descriptor, "r+b", buffering=0)


def _read_holder(file: BinaryIO) -> str:
    with contextlib.suppress(OSError, ValueError):  # Windows forbids reading a locked range
        file.seek(0)
        return f" (pid {int(file.read(20))})"
    return ""


if sys.platform == "win32":
    import msvcrt

    _FAR_AWAY = 1 << 30  # a byte nobody reads, so that the pid in front stays readable

    def _lock(file: BinaryIO, *, wait: bool) -> None:
        file.seek(_FAR_AWAY)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        file.seek(0)

else:
    import fcntl

    def _lock(file: BinaryIO, *, wait: bool) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
