"""Where backups lie: in a folder of this machine, or in a bucket of an S3 server. Both say the same about each.

A folder keeps them under their names. A bucket keeps them as blobs named by their hash, sealed ones only; what a list
shows stands in the head of each.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Protocol

import msgspec

from ops_system.master.backups.archive import LIMITS, LIST_NAME
from ops_system.master.backups.envelope import MAGIC, MAX_HEAD_BYTES, Head, is_encrypted, read_head
from ops_system.master.backups.rules import Backup, Contents, Place, backup_name, is_backup_name
from ops_system.model.errors import Conflict, Invalid, NotFound
from ops_system.runtime.archives import inspect_file
from ops_system.runtime.files import stat_each, sync_dir
from ops_system.runtime.inflate import unpack_entry
from ops_system.storage.blobs.base import BlobStore
from ops_system.storage.blobs.incoming import os_errors

_HEAD_BYTES = len(MAGIC) + 4 + MAX_HEAD_BYTES


class Shelf(Protocol):
    """A place for backups."""

    place: Place

    async def list(self) -> list[Backup]:
        """Return what lies here. Raises Unavailable."""
        ...

    async def put(self, source: Path, name: str) -> None:
        """Move a finished backup in. Raises Conflict, StorageFull, Unavailable."""
        ...

    def local_path(self, name: str) -> Path | None:
        """The file on this machine; None: fetch it."""
        ...

    def read(self, name: str) -> AsyncIterator[bytes]:
        """Iterate over its bytes. Raises NotFound, Unavailable."""
        ...

    async def delete(self, name: str) -> None:
        """Remove it. Raises NotFound, Unavailable."""
        ...


class LocalShelf:
    """Backups as files of one folder."""

    place: Place = "local"

    def __init__(self, folder: Path, master: str) -> None:
        self._folder = folder
        self._master = master
        self._known: dict[tuple[str, int, int], Backup] = {}

    async def list(self) -> "list[Backup]":
        """Return what lies here; a file that is no backup is passed over."""
        return [*(await asyncio.to_thread(self._look)).values()]

    def _look(self) -> dict[tuple[str, int, int], Backup]:
        found: dict[tuple[str, int, int], Backup] = {}
        files = self._folder.iterdir() if self._folder.is_dir() else ()
        for path, stat in stat_each(path for path in files if is_backup_name(path.name)):
            if S_ISREG(stat.st_mode):
                key = (path.name, stat.st_size, stat.st_mtime_ns)
                looked = self._known.get(key) or look_at(path, self.place, self._master)
                found[key] = msgspec.structs.replace(looked, name=path.name)
        self._known = found
        return found

    async def put(self, source: Path, name: str) -> None:
        """Rename a finished backup to its place, durably; from another file system it is copied first."""
        with os_errors(self._folder):
            await asyncio.to_thread(self._put, source, name)

    def _put(self, source: Path, name: str) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self._folder / name
        if target.exists():
            raise Conflict(f"a backup {name} lies in {self._folder} already", name=name)
        if source.stat().st_dev == self._folder.stat().st_dev:
            source.rename(target)
        else:
            self._copy(source, target)
        sync_dir(self._folder)

    def _copy(self, source: Path, target: Path) -> None:
        partial = target.with_name(f".{target.name}.part")
        try:
            with source.open("rb") as one, partial.open("wb") as other:
                os.fchmod(other.fileno(), 0o600)
                shutil.copyfileobj(one, other, 1 << 20)
                other.flush()
                os.fsync(other.fileno())
            partial.rename(target)
        finally:
            partial.unlink(missing_ok=True)

    def local_path(self, name: str) -> Path | None:
        """The file. None where there is none."""
        path = self._folder / name
        return path if is_backup_name(name) and path.is_file() else None

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Iterate over its bytes."""
        path = self.local_path(name)
        if path is None:
            raise _not_here(name)
        with await asyncio.to_thread(path.open, "rb") as file:
            while piece := await asyncio.to_thread(file.read, 1 << 20):
                yield piece

    async def delete(self, name: str) -> None:
        """Remove the file."""
        path = self.local_path(name)
        if path is None:
            raise _not_here(name)
        with os_errors(self._folder):
            await asyncio.to_thread(path.unlink)


class BlobShelf:
    """Sealed backups as blobs."""

    place: Place = "s3"

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._is_checked = False
        self._known: dict[str, Backup] = {}

    async def list(self) -> "list[Backup]":
        """Return what lies here; the head of each new blob is read once."""
        await self._check()
        blobs = {blob.sha256: blob.size_bytes for blob in await self._blobs.list()}
        for sha256 in set(self._known) - set(blobs):
            del self._known[sha256]
        for sha256 in set(blobs) - set(self._known):
            head = await self._read_head(sha256)
            if head is not None:
                self._known[sha256] = of_head(head, blobs[sha256], self.place)
        return list(self._known.values())

    async def _check(self) -> None:
        """Make the bucket where there is none, once. Raises Unavailable."""
        if not self._is_checked:
            await self._blobs.sweep()
            await self._blobs.check()
            self._is_checked = True

    async def _read_head(self, sha256: str) -> Head | None:
        start = b""
        async with contextlib.aclosing(_first(self._blobs.open_read(sha256), _HEAD_BYTES)) as pieces:
            async for piece in pieces:
                start += piece
        try:
            return read_head(start)[0] if is_encrypted(start) else None
        except Invalid:
            return None

    async def put(self, source: Path, name: str) -> None:
        """Move a sealed backup in."""
        if not name.endswith(".sealed"):
            raise Invalid(
                "a backup holds every key of this master: on another server it must be encrypted; give a passphrase",
                reason="needs_passphrase",
                problems=["$.passphrase: needed for a backup on S3"],
            )
        await self._check()
        await self._blobs.put(source)

    def local_path(self, name: str) -> None:
        """Nothing lies on this machine."""

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Iterate over its bytes."""
        async for piece in self._blobs.open_read(await self._find(name)):
            yield piece

    async def delete(self, name: str) -> None:
        """Remove the blob."""
        sha256 = await self._find(name)
        await self._blobs.delete(sha256)
        self._known.pop(sha256, None)

    async def _find(self, name: str) -> str:
        await self.list()
        for sha256, backup in self._known.items():
            if backup.name == name:
                return sha256
        raise _not_here(name)


async def _first(pieces: AsyncIterator[bytes], size_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield pieces until there are so many bytes."""
    async for piece in pieces:
        yield piece
        size_bytes -= len(piece)
        if size_bytes <= 0:
            return


def _not_here(name: str) -> NotFound:
    return NotFound(f"there is no backup {name}", id=name)


def of_head(head: Head, size_bytes: int, place: Place) -> Backup:
    """Return what the head of a sealed backup tells."""
    created_at = datetime.fromisoformat(head.created_at)
    return Backup(
        name=backup_name(created_at, head.id, is_encrypted=True),
        place=place,
        size_bytes=size_bytes,
        created_at=created_at,
        is_encrypted=True,
        has_artefacts=head.has_artefacts,
        version=head.version,
    )


def of_contents(contents: Contents, size_bytes: int, place: Place, master: str, *, is_encrypted: bool) -> Backup:
    """Return what the list in a backup tells."""
    return Backup(
        name=backup_name(contents.created_at, contents.id, is_encrypted=is_encrypted),
        place=place,
        size_bytes=size_bytes,
        created_at=contents.created_at,
        is_encrypted=is_encrypted,
        has_artefacts=contents.has_artefacts,
        version=contents.version,
        is_own=contents.master == master,
        note=contents.note,
        rows=contents.rows,
        artefact_count=contents.artefact_count,
        artefact_bytes=contents.artefact_bytes,
    )


def look_at(path: Path, place: Place, master: str) -> Backup:
    """Return what a file says of itself without a passphrase, or that it is damaged. Blocking; raises OSError."""
    stat = path.stat()
    try:
        with path.open("rb") as file:
            start = file.read(_HEAD_BYTES)
            if is_encrypted(start):
                return of_head(read_head(start)[0], stat.st_size, place)
            contents = _read_list(file)
        return of_contents(contents, stat.st_size, place, master, is_encrypted=False)
    except (Invalid, msgspec.MsgspecError, ValueError) as error:
        problem = error.message if isinstance(error, Invalid) else f"the backup cannot be read: {error}"
        return Backup(
            name=path.name,
            place=place,
            size_bytes=stat.st_size,
            created_at=datetime.fromtimestamp(stat.st_mtime).astimezone(),
            is_encrypted=path.name.endswith(".sealed"),
            has_artefacts=False,
            version="",
            problem=problem,
        )


def _read_list(file: BinaryIO) -> Contents:
    listing = inspect_file(file, LIMITS)
    entry = listing.find(LIST_NAME)
    if entry is None:
        raise Invalid(f"there is no {LIST_NAME} in it")
    return msgspec.json.decode(b"".join(unpack_entry(file, entry, listing.offsets[LIST_NAME])), type=Contents)
