"""Lines that are in memory at once and on the disk soon: two files that take turns. Used by `journal`.

    FOLDER/events.0  FOLDER/events.1     one is written to, the other empty or being brought to the disk

The folder is memory-backed (see `boot_notes`): a write never waits, and outlives this process.
"""

import os
from pathlib import Path


class EarlyLines:
    """The two files. Everything here belongs to one thread; it neither blocks nor raises but for want of memory."""

    def __init__(self, folder: Path) -> None:
        self._paths = tuple(folder / f"events.{number}" for number in range(2))
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fds = [os.open(path, flags, 0o600) for path in self._paths]
        self._turn = 0

    def read(self) -> bytes:
        """Return every line of an earlier process that may not be on the disk, in no order."""
        return b"\n".join(path.read_bytes() for path in self._paths)

    def write(self, line: bytes) -> None:
        """Keep a line. Raises OSError when memory is full."""
        os.write(self._fds[self._turn], line)

    def turn(self) -> None:
        """Write to the other file from now on; it must have been emptied."""
        self._turn = 1 - self._turn

    def empty_other(self) -> None:
        """Drop the lines of before the last turn: they are on the disk."""
        os.ftruncate(self._fds[1 - self._turn], 0)

    def empty(self) -> None:
        """Drop all: everything is on the disk."""
        for fd in self._fds:
            os.ftruncate(fd, 0)

    def close(self) -> None:
        """Let the files go; what they hold stays."""
        for fd in self._fds:
            os.close(fd)
        self._fds = []
