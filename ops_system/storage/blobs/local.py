"""Blobs as files: `FOLDER/sha256/ab/abcdef…`, received in `FOLDER/incoming`, on one file system (rename is whole).

A blob appears by rename after its bytes are on the disk.
"""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from ops_system.model.errors import NotFound
from ops_system.runtime.files import stat_each, sync_dir
from ops_system.storage.blobs.base import BlobInfo, check_match, check_sha256
from ops_system.storage.blobs.incoming import RESERVE_BYTES, FileDraft, Incoming, translate

_CHUNK_BYTES = 256 << 10


class LocalBlobs:
    """A `BlobStore` in a folder of the master's disk."""

    def __init__(self, folder: Path, *, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._folder = folder
        self._incoming = Incoming(folder / "incoming", self._settle, reserve_bytes=reserve_bytes)

    def draft(
        self, *, expected_bytes: int = 0, limit_bytes: int | None = None
    ) -> AbstractAsyncContextManager[FileDraft]:
        """Begin to receive a blob. Raises StorageFull when `expected_bytes` and the reserve cannot fit."""
        return self._incoming.draft(expected_bytes=expected_bytes, limit_bytes=limit_bytes)

    async def put(
        self, source: AsyncIterable[bytes] | Path, expected_sha256: str | None = None, *, is_hashed: bool = False
    ) -> BlobInfo:
        """Store a stream, or move a local file in (it is gone from where it was). Raises Invalid on a mismatch."""
        if isinstance(source, Path):
            return await self._move_in(source, expected_sha256, is_hashed=is_hashed)
        async with self.draft() as draft:
            async for chunk in source:
                await draft.write(chunk)
            return await draft.keep(expected_sha256)

    def open_read(self, sha256: str, offset: int = 0) -> AsyncIterator[bytes]:
        """Iterate over the bytes from `offset` on. Raises NotFound."""
        return _read_chunks(self._path(sha256), offset)

    def local_path(self, sha256: str) -> Path | None:
        """The blob's file; do not write to it. None when there is no such blob."""
        path = self.place_of(sha256)
        return path if path.is_file() else None

    async def presign(self, sha256: str, file_name: str) -> None:
        """Nobody but the master can serve these files."""

    async def stat(self, sha256: str) -> BlobInfo | None:
        """Return what is stored under this hash, or None."""
        path = self.local_path(sha256)
        return BlobInfo(sha256, path.stat().st_size) if path is not None else None

    async def verify(self, sha256: str) -> bool:
        """Read the blob and tell whether its bytes still carry its name. Raises NotFound."""
        return await asyncio.to_thread(_hash_file, self._path(sha256)) == sha256

    async def delete(self, sha256: str) -> bool:
        """Remove the blob; False when there was none."""
        return await asyncio.to_thread(_remove, self.place_of(sha256))

    async def list(self) -> "list[BlobInfo]":
        """Return every blob, ordered by hash."""
        return await asyncio.to_thread(lambda: sorted(self._walk(), key=lambda info: info.sha256))

    async def sweep(self) -> int:
        """Remove what broken uploads left behind; call once, before the first draft. Returns how many."""
        return await self._incoming.sweep()

    async def tidy(self) -> int:
        """No server, nothing left there."""
        return 0

    async def check(self) -> None:
        """Return when the folder can be written. Raises StorageFull, Unavailable."""
        await asyncio.to_thread(self._incoming.check_alive)

    def place_of(self, sha256: str) -> Path:
        """Where a blob of this hash belongs, there or not."""
        return self._folder / "sha256" / check_sha256(sha256)[:2] / sha256

    def _path(self, sha256: str) -> Path:
        path = self.local_path(sha256)
        if path is None:
            raise NotFound(f"no blob {sha256} in {self._folder}", sha256=sha256)
        return path

    async def _move_in(self, source: Path, expected_sha256: str | None, *, is_hashed: bool) -> BlobInfo:
        known = expected_sha256 if is_hashed else None
        sha256 = await asyncio.to_thread(sync_and_hash, source, known)
        check_match(sha256, expected_sha256)
        size_bytes = source.stat().st_size
        try:
            await asyncio.to_thread(self._settle, source, sha256)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise translate(error, self._folder) from error
            async with self.draft(expected_bytes=size_bytes) as draft:  # another file system: copy, then remove
                async for chunk in _read_chunks(source, 0):
                    await draft.write(chunk)
                await draft.keep(sha256)
            source.unlink()
        return BlobInfo(sha256, size_bytes)

    def _settle(self, source: Path, sha256: str) -> None:
        """Rename a synced file to its place, durably."""
        place = self.place_of(sha256)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        source.replace(place)
        for folder in (place.parent, place.parent.parent, self._folder):
            sync_dir(folder)

    def _walk(self) -> Iterator[BlobInfo]:
        for path, stat in stat_each((self._folder / "sha256").glob("??/*")):
            yield BlobInfo(path.name, stat.st_size)


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


def sync_and_hash(path: Path, known: str | None = None) -> str:
    """Bring a file's bytes to the disk and return their SHA-256, or `known` where they were hashed. Blocking."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        if known is not None:
            return known
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    sync_dir(path.parent)
    return True
