"""Where the bytes of a transfer come from: memory, or a file that is read ahead in a thread."""

import asyncio
import os
import stat
from pathlib import Path
from typing import Protocol

_AHEAD_BYTES = 512 * 1024
LARGEST_TEXT_BYTES = 8 * 1024 * 1024  # in mode netascii, which changes the length


class Source(Protocol):
    """Bytes of a known length."""

    size_bytes: int

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes, fewer only at the end. Raises OSError."""

    def close(self) -> None:
        """Let go of the file."""


class MemorySource:
    """What was made for this machine."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size_bytes = len(content)

    async def read(self, offset: int, length: int) -> bytes:
        """Return a piece."""
        return self._content[offset : offset + length]

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

    async def read(self, offset: int, length: int) -> bytes:
        """Return a piece. Raises OSError, also when the file was cut short."""
        length = min(length, self.size_bytes - offset)
        if not self._ahead_from <= offset <= offset + length <= self._ahead_from + len(self._ahead):
            self._ahead = await asyncio.to_thread(os.pread, self._file, max(_AHEAD_BYTES, length), offset)
            self._ahead_from = offset
        piece = self._ahead[offset - self._ahead_from :][:length]
        if len(piece) < length:
            raise OSError("the file was cut short while it was sent")
        return piece

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
