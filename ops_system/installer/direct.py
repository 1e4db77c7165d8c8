"""Writing and reading a disk past the page cache (O_DIRECT, open(2)): what was counted as written is on its way to it.

A file on a file system without O_DIRECT (tmpfs) is used through the cache and flushed.
"""

import errno
import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import Self

ALIGN_BYTES = 4096
BLOCK_BYTES = 4 * 1024 * 1024


def make_buffer() -> memoryview:
    """Return `BLOCK_BYTES` that begin on a page, as O_DIRECT wants them."""
    return memoryview(mmap.mmap(-1, BLOCK_BYTES))


class DirectFile:
    """A disk, or a file that stands for one. A disk in use (mounted, member of an array) is not opened for writing."""

    def __init__(self, path: Path, *, is_writing: bool) -> None:
        self._path = path
        is_disk = path.is_block_device()
        flags = (os.O_RDWR | (os.O_EXCL if is_disk else 0)) if is_writing else os.O_RDONLY
        self._is_direct = True
        try:
            self._file = os.open(path, flags | os.O_DIRECT)
        except OSError as problem:
            if problem.errno != errno.EINVAL:
                raise
            self._is_direct = False
            self._file = os.open(path, flags)
        self.size_bytes = os.lseek(self._file, 0, os.SEEK_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def write(self, piece: memoryview, offset: int) -> None:
        """Write all of `piece`. A tail that is no whole number of blocks goes through the cache and is flushed."""
        whole = len(piece) // ALIGN_BYTES * ALIGN_BYTES if self._is_direct else len(piece)
        self._write_at(self._file, piece[:whole], offset)
        if whole < len(piece):
            tail = os.open(self._path, os.O_WRONLY)
            try:
                self._write_at(tail, piece[whole:], offset + whole)
                os.fsync(tail)
            finally:
                os.close(tail)

    def read(self, buffer: memoryview, offset: int) -> int:
        """Fill the buffer as far as there are bytes; return how many."""
        filled = 0
        while filled < len(buffer):
            size = os.preadv(self._file, [buffer[filled:]], offset + filled)
            filled += size
            if not size or size % ALIGN_BYTES:
                break
        return filled

    def flush(self) -> None:
        """Return when the device says that everything is on it; then forget what the cache has of it."""
        os.fsync(self._file)
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)

    @staticmethod
    def _write_at(file: int, piece: memoryview, offset: int) -> None:
        while piece:
            written = os.pwrite(file, piece, offset)
            piece, offset = piece[written:], offset + written
