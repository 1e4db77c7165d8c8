"""Where the bytes of a transfer come from: memory, or a file that is read ahead in a thread."""

import asyncio
import os
import stat
from pathlib import Path
from typing import Protocol

_AHEAD_BYTES = 512 * 1024
LARGEST_TEXT_BYTES = 8 * 1024 * 1024  # in mode netascii, which changes the length


class Source(Protocol):
    """Bytes of a known length. A piece is `length` bytes, fewer at the end."""

    size_bytes: int

    def peek(self, offset: int, length: int) -> bytes | None:
        """Return a piece that is in memory; None: `fill` first."""

    async def fill(self, offset: int, length: int) -> None:
        """Bring a piece, and what follows it, into memory. Raises OSError."""

    def close(self) -> None:
        """Let go of the file."""


class MemorySource:
    """What was made for this machine."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size_bytes = len(content)

    def peek(self, offset: int, length: int) -> bytes:
        """Return a piece."""
        return self._content[offset : offset + length]

    async def fill(self, offset: int, length: int) -> None:
        """Everything is there."""

    def close(self) -> None:
        """Nothing is held."""


class FileSource:
    """A file, opened for one transfer: one that is replaced meanwhile is still served whole. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._file)
            raise IsADirectoryError(f"{path} is no file")
        self.size_bytes = status.st_size
        self._ahead, self._ahead_from = b"", 0

    def peek(self, offset: int, length: int) -> bytes | None:
        """Return a piece that was read ahead."""
        length = min(length, self.size_bytes - offset)
        place = offset - self._ahead_from
        return self._ahead[place : place + length] if 0 <= place <= len(self._ahead) - length else None

    async def fill(self, offset: int, length: int) -> None:
        """Read ahead from `offset`. Raises OSError, also when the file was cut short."""
        self._ahead = await asyncio.to_thread(os.pread, self._file, max(_AHEAD_BYTES, length), offset)
        self._ahead_from = offset
        if len(self._ahead) < min(length, self.size_bytes - offset):
            raise OSError("the file was cut short while it was sent")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class BootRoot:
    """The files below one folder; a link that leads out of it is not followed. Hand it to `TftpServer` as `files`."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def __call__(self, name: str) -> Path | None:
        """Return the file of that name (see `rules.file_name`); None when there is none."""
        path = (self._root / name).resolve()
        return path if path.is_relative_to(self._root) and path.is_file() else None
