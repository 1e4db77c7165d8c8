"""Bytes on their way into a store: files in one folder of this machine, looked into before they are kept."""

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ops_system.model.errors import OpsError, StorageFull, TooLarge, Unavailable
from ops_system.storage.blobs.base import BlobInfo, check_match

RESERVE_BYTES = 64 << 20  # stays free, so that the database beside it can go on writing
LOW_BYTES = 1 << 20  # below this nothing is well any more
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}

Settle = Callable[[Path, str], None]
"""Makes the synced file at a path durable under its hash; blocking. The file may be gone afterwards."""


class Incoming:
    """The folder. It holds only what is under way, and is swept at start."""

    def __init__(self, folder: Path, settle: Settle, *, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._folder = folder
        self._settle = settle
        self._reserve_bytes = reserve_bytes

    @contextlib.asynccontextmanager
    async def draft(self, *, expected_bytes: int = 0, limit_bytes: int | None = None) -> AsyncIterator["FileDraft"]:
        """Begin to receive a blob. Raises StorageFull when `expected_bytes` and the reserve cannot fit."""
        self.check_room(expected_bytes)
        path = self._folder / secrets.token_hex(16)
        draft = FileDraft(_create(path), path, limit_bytes, self._settle)
        try:
            yield draft
        finally:
            await asyncio.shield(asyncio.to_thread(draft.discard))

    def check_room(self, expected_bytes: int = 0) -> None:
        """Make the folder. Raises StorageFull when `expected_bytes` and the reserve cannot fit, Unavailable."""
        with os_errors(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            free_bytes = shutil.disk_usage(self._folder).free
        if free_bytes < expected_bytes + self._reserve_bytes:
            raise _full(self._folder)

    def check_alive(self) -> None:
        """Raise StorageFull or Unavailable when not even a small file could be written. Blocking."""
        with os_errors(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            free_bytes = shutil.disk_usage(self._folder).free
        if free_bytes < LOW_BYTES:
            raise _full(self._folder)

    async def sweep(self) -> int:
        """Remove what broken uploads left behind; returns how many."""
        return await asyncio.to_thread(self._sweep)

    def _sweep(self) -> int:
        left = list(self._folder.glob("*")) if self._folder.is_dir() else []
        for path in left:
            path.unlink()
        return len(left)


class FileDraft:
    """One file of the folder. One task writes it."""

    def __init__(self, file: BinaryIO, path: Path, limit_bytes: int | None, settle: Settle) -> None:
        self._file = file
        self.path = path
        self._limit_bytes = limit_bytes
        self._settle = settle
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        """The SHA-256 (hex) of what was written so far."""
        return self._hash.hexdigest()

    async def write(self, chunk: bytes) -> None:
        """Append. Raises StorageFull when the disk is, TooLarge beyond the limit."""
        if self._limit_bytes is not None and self.size_bytes + len(chunk) > self._limit_bytes:
            raise TooLarge(f"more than the {self._limit_bytes} bytes allowed", limit_bytes=self._limit_bytes)
        await asyncio.to_thread(self._append, chunk)

    async def flush(self) -> None:
        """Make everything written readable through `path`."""
        with os_errors(self.path.parent):
            await asyncio.to_thread(self._file.flush)

    async def keep(self, expected_sha256: str | None = None) -> BlobInfo:
        """Make the bytes durable under their hash. Raises Invalid on a mismatch, StorageFull, Unavailable."""
        check_match(self.sha256, expected_sha256)
        await asyncio.to_thread(self._keep)
        return BlobInfo(self.sha256, self.size_bytes)

    def discard(self) -> None:
        """Remove the file unless it was kept. Blocking."""
        with contextlib.suppress(OSError):  # a buffer that cannot be flushed on a full disk
            self._file.close()
        self.path.unlink(missing_ok=True)

    def _append(self, chunk: bytes) -> None:
        with os_errors(self.path.parent):
            self._file.write(chunk)
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    def _keep(self) -> None:
        with os_errors(self.path.parent):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._settle(self.path, self.sha256)


def _create(path: Path) -> BinaryIO:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os_errors(path.parent):
        return os.fdopen(os.open(path, flags, 0o600), "wb")


@contextlib.contextmanager
def os_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError into StorageFull or Unavailable that name the folder."""
    try:
        yield
    except OSError as error:
        raise translate(error, folder) from error


def translate(error: OSError, folder: Path) -> OpsError:
    """Return what an error of the disk that holds `folder` is to people."""
    if error.errno in _NO_SPACE:
        return _full(folder)
    return Unavailable(f"{folder} cannot be written: {error.strerror}; look at the disk", path=str(folder))


def _full(folder: Path) -> StorageFull:
    return StorageFull(f"the disk that holds {folder} has no room for this; free some space", path=str(folder))
