"""Blobs as files: `FOLDER/sha256/ab/abcdef…`, received in `FOLDER/incoming`, on one file system (rename is whole).

A blob appears by rename after its bytes are on the disk; `incoming` holds only what is under way and is swept at start.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from ops_system.model.errors import Invalid, NotFound, OpsError, StorageFull, TooLarge, Unavailable
from ops_system.runtime.files import sync_dir
from ops_system.storage.blobs.base import BlobInfo, check_sha256

RESERVE_BYTES = 64 << 20  # stays free, so that the database beside it can go on writing
_CHUNK_BYTES = 256 << 10
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


class LocalBlobs:
    """A `BlobStore` in a folder of the master's disk."""

    def __init__(self, folder: Path, *, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._reserve_bytes = reserve_bytes

    @contextlib.asynccontextmanager
    async def draft(self, *, expected_bytes: int = 0, limit_bytes: int | None = None) -> AsyncIterator["LocalDraft"]:
        """Begin to receive a blob. Raises StorageFull when `expected_bytes` and the reserve cannot fit."""
        path = self._make_room(expected_bytes)
        draft = LocalDraft(self, _create(path), path, limit_bytes)
        try:
            yield draft
        finally:
            await asyncio.shield(asyncio.to_thread(draft.discard))

    async def put(self, source: AsyncIterable[bytes] | Path, expected_sha256: str | None = None) -> BlobInfo:
        """Store a stream, or move a local file in (it is gone from where it was). Raises Invalid on a mismatch."""
        if isinstance(source, Path):
            return await self._move_in(source, expected_sha256)
        async with self.draft() as draft:
            async for chunk in source:
                await draft.write(chunk)
            return await draft.keep(expected_sha256)

    def open_read(self, sha256: str, offset: int = 0) -> AsyncIterator[bytes]:
        """Iterate over the bytes from `offset` on. Raises NotFound."""
        return _read_chunks(self.path(sha256), offset)

    def path(self, sha256: str) -> Path:
        """The blob's file; do not write to it. Raises NotFound."""
        path = self.place_of(sha256)
        if not path.is_file():
            raise NotFound(f"no blob {sha256} in {self._folder}", sha256=sha256)
        return path

    async def stat(self, sha256: str) -> BlobInfo | None:
        """Return what is stored under this hash, or None."""
        path = self.place_of(sha256)
        return BlobInfo(sha256, path.stat().st_size) if path.is_file() else None

    async def verify(self, sha256: str) -> bool:
        """Read the blob and tell whether its bytes still carry its name. Raises NotFound."""
        return await asyncio.to_thread(_hash_file, self.path(sha256)) == sha256

    async def delete(self, sha256: str) -> bool:
        """Remove the blob; False when there was none."""
        return await asyncio.to_thread(_remove, self.place_of(sha256))

    async def list(self) -> "list[BlobInfo]":
        """Return every blob, ordered by hash."""
        return await asyncio.to_thread(lambda: sorted(self._walk(), key=lambda info: info.sha256))

    async def sweep(self) -> int:
        """Remove what broken uploads left behind; call once at start. Returns how many."""
        return await asyncio.to_thread(self._sweep)

    def place_of(self, sha256: str) -> Path:
        """Where a blob of this hash belongs, there or not."""
        return self._folder / "sha256" / check_sha256(sha256)[:2] / sha256

    async def _move_in(self, source: Path, expected_sha256: str | None) -> BlobInfo:
        sha256 = await asyncio.to_thread(_sync_and_hash, source)
        _check_match(sha256, expected_sha256)
        size_bytes = source.stat().st_size
        try:
            await asyncio.to_thread(self.settle, source, sha256)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise _translate(error, self._folder) from error
            async with self.draft(expected_bytes=size_bytes) as draft:  # another file system: copy, then remove
                async for chunk in _read_chunks(source, 0):
                    await draft.write(chunk)
                await draft.keep(sha256)
            source.unlink()
        return BlobInfo(sha256, size_bytes)

    def settle(self, source: Path, sha256: str) -> None:
        """Rename a synced file to its place, durably. Blocking. Raises OSError."""
        place = self.place_of(sha256)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        source.replace(place)
        for folder in (place.parent, place.parent.parent, self._folder):
            sync_dir(folder)

    def _make_room(self, expected_bytes: int) -> Path:
        self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(self._incoming).free
        if free < expected_bytes + self._reserve_bytes:
            raise _full(self._folder)
        return self._incoming / secrets.token_hex(16)

    def _walk(self) -> Iterator[BlobInfo]:
        for path in (self._folder / "sha256").glob("??/*"):
            yield BlobInfo(path.name, path.stat().st_size)

    def _sweep(self) -> int:
        left = list(self._incoming.glob("*")) if self._incoming.is_dir() else []
        for path in left:
            path.unlink()
        return len(left)


class LocalDraft:
    """A file in `incoming`. One task writes it."""

    def __init__(self, store: LocalBlobs, file: BinaryIO, path: Path, limit_bytes: int | None) -> None:
        self._store = store
        self._file = file
        self.path = path
        self._limit_bytes = limit_bytes
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
        with _os_errors(self.path.parent):
            await asyncio.to_thread(self._file.flush)

    async def keep(self, expected_sha256: str | None = None) -> BlobInfo:
        """Make the bytes durable under their hash. Raises Invalid on a mismatch, StorageFull."""
        _check_match(self.sha256, expected_sha256)
        await asyncio.to_thread(self._keep)
        return BlobInfo(self.sha256, self.size_bytes)

    def discard(self) -> None:
        """Remove the file unless it was kept. Blocking."""
        with contextlib.suppress(OSError):  # a buffer that cannot be flushed on a full disk
            self._file.close()
        self.path.unlink(missing_ok=True)

    def _append(self, chunk: bytes) -> None:
        with _os_errors(self.path.parent):
            self._file.write(chunk)
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    def _keep(self) -> None:
        with _os_errors(self.path.parent):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._store.settle(self.path, self.sha256)


def _check_match(sha256: str, expected_sha256: str | None) -> None:
    if expected_sha256 is not None and expected_sha256 != sha256:
        raise Invalid(
            f"the bytes received have SHA-256 {sha256}, not the announced {expected_sha256}; send them again",
            problems=["sha256: mismatch"],
        )


def _create(path: Path) -> BinaryIO:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with _os_errors(path.parent):
        return os.fdopen(os.open(path, flags, 0o600), "wb")


async def _read_chunks(path: Path, offset: int) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        file.seek(offset)
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk
    finally:
        file.close()


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_and_hash(path: Path) -> str:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    sync_dir(path.parent)
    return True


@contextlib.contextmanager
def _os_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _translate(error, folder) from error


def _translate(error: OSError, folder: Path) -> OpsError:
    if error.errno in _NO_SPACE:
        return _full(folder)
    return Unavailable(f"{folder} cannot be written: {error.strerror}; look at the disk", path=str(folder))


def _full(folder: Path) -> StorageFull:
    return StorageFull(f"the disk that holds {folder} has no room for this; free some space", path=str(folder))
