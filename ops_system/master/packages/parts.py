"""Uploads in parts: a folder of unfinished files, one an upload, and the reading of a body in large pieces.

Called by the packages service. Nothing here is visible as a package; abandoned files are swept.
"""

import asyncio
import errno
import hashlib
import os
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ops_system.master.packages.writeback import EVERY_BYTES, Writeback
from ops_system.model.archives import Entry
from ops_system.model.errors import Invalid, StorageFull, TooLarge
from ops_system.model.manifest import Manifest
from ops_system.runtime.archives import ArchiveListing, inspect_zip, read_manifest
from ops_system.runtime.inflate import unpack_entry

PIECE_BYTES = 1024 * 1024
RESERVE_BYTES = 64 * 1024 * 1024  # left free for the database
_THREADS = 2
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


class Parts:
    """The folder. What arrived before a break stays, and tells where to go on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests: dict[str, _Digest] = {}
        self._writeback = Writeback()

    def sweep(self, keep: Collection[str]) -> None:
        """Make the folder and remove every file that belongs to no upload in `keep`. Blocking."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            if path.name not in keep:
                self.remove(path.name)

    def path_of(self, upload_id: str) -> Path:
        """Return where an upload's bytes lie."""
        return self._folder / upload_id

    def received_bytes(self, upload_id: str) -> int:
        """Return how many bytes have arrived."""
        try:
            return self.path_of(upload_id).stat().st_size
        except FileNotFoundError:
            return 0

    def check_room(self, size_bytes: int) -> None:
        """Raise `StorageFull` unless `size_bytes` more fit and some room stays free."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(self._folder).free
        if free_bytes < size_bytes + RESERVE_BYTES:
            raise StorageFull(
                f"{size_bytes} bytes do not fit: {free_bytes} are free where packages are stored; make room and retry",
                free_bytes=free_bytes,
                size_bytes=size_bytes,
            )

    async def append(self, upload_id: str, stream: AsyncIterable[bytes], limit_bytes: int) -> None:
        """Write `stream` behind what is there; the disk follows (`settle` waits for it).

        Raises `TooLarge` past `limit_bytes` in all (nothing of the surplus is kept), `StorageFull`, `Invalid` when
        the sender breaks off.
        """
        self.check_room(0)
        try:
            path = self.path_of(upload_id)
            file = await asyncio.to_thread(_open_end, path)
            try:
                target = _Target(file, self._digest_of(upload_id, file.tell()), partial(self._writeback.start, path))
                await _copy(stream, target, limit_bytes)
            finally:
                await asyncio.to_thread(file.close)
        except OSError as problem:
            if problem.errno not in _NO_SPACE:
                raise
            raise StorageFull("the disk became full while the part was written; make room and go on") from problem

    def start_sync(self, upload_id: str) -> None:
        """Begin to bring what arrived to the disk; `settle` waits for it."""
        self._writeback.start(self.path_of(upload_id))

    async def settle(self, upload_id: str) -> None:
        """Return when all that arrived is on the disk.

        Raises `StorageFull`, OSError: nobody knows then which bytes the disk has lost, so none count as arrived.
        """
        path = self.path_of(upload_id)
        try:
            await self._writeback.finish(path)
        except OSError as problem:
            await asyncio.to_thread(os.truncate, path, 0)
            if problem.errno not in _NO_SPACE:
                raise
            raise StorageFull(
                "the disk became full while the upload was written; make room, send it again"
            ) from problem

    def digest(self, upload_id: str) -> str:
        """Return the sha256 of what arrived: known already, unless the master was started anew meanwhile. Blocking."""
        known = self._digests.get(upload_id)
        if known is not None and known.size_bytes == self.received_bytes(upload_id):
            return known.hash.hexdigest()
        return digest_file(self.path_of(upload_id))

    def _digest_of(self, upload_id: str, size_bytes: int) -> "_Digest | None":
        """Return the hash to go on with; None when its beginning was heard by an earlier process."""
        if size_bytes == 0:
            self._digests[upload_id] = _Digest()
        known = self._digests.get(upload_id)
        return known if known is not None and known.size_bytes == size_bytes else None

    def remove(self, upload_id: str) -> None:
        """Remove an upload's bytes. Blocking."""
        self._digests.pop(upload_id, None)
        self._writeback.forget(upload_id)
        self.path_of(upload_id).unlink(missing_ok=True)


class _Digest:
    """The running hash of an upload."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.size_bytes = 0

    def add(self, piece: bytes) -> None:
        """Go on by a piece. Blocking for about a millisecond a MiB; releases the interpreter."""
        self.hash.update(piece)
        self.size_bytes += len(piece)


class _Target:
    """The file of an upload under way, its running hash (None: begun by an earlier process), and the disk's turn."""

    def __init__(self, file: BinaryIO, digest: _Digest | None, start_sync: Callable[[], None]) -> None:
        self.size_bytes = file.tell()
        self._file = file
        self._digest = digest
        self._start_sync = start_sync
        self._synced_bytes = self.size_bytes

    def take(self, piece: bytes) -> None:
        """Write and hash. Blocking."""
        self._file.write(piece)
        if self._digest is not None:
            self._digest.add(piece)

    def advance(self) -> None:
        """Let the disk follow every now and then."""
        if self.size_bytes - self._synced_bytes >= EVERY_BYTES:
            self._synced_bytes = self.size_bytes
            self._start_sync()


async def _copy(stream: AsyncIterable[bytes], target: _Target, limit_bytes: int) -> None:
    """Write and hash in a thread while the next piece comes in."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Future[None] | None = None
    try:
        async for piece in pieces(stream):
            target.size_bytes += len(piece)
            if target.size_bytes > limit_bytes:
                raise TooLarge(f"the upload was announced with {limit_bytes} bytes; more came", limit_bytes=limit_bytes)
            if under_way is not None:
                await under_way
                target.advance()
            under_way = loop.run_in_executor(None, target.take, piece)
    finally:
        if under_way is not None:
            await asyncio.shield(under_way)


async def pieces(stream: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Gather chunks into pieces of about `PIECE_BYTES`, worth a thread each.

    A sender that breaks off becomes `Invalid`, after what it sent was handed on.
    """
    from aiohttp import ClientPayloadError, web

    chunks: list[bytes] = []
    size_bytes, broken = 0, None
    try:
        async for chunk in stream:
            chunks.append(chunk)
            size_bytes += len(chunk)
            if size_bytes >= PIECE_BYTES:
                yield b"".join(chunks)
                chunks, size_bytes = [], 0
    except (ConnectionError, ClientPayloadError, web.RequestPayloadError, TimeoutError) as problem:
        broken = problem
    if chunks:
        yield b"".join(chunks)
    if broken is not None:
        raise Invalid("the upload broke off before its end; send it again", problems=["$: incomplete"]) from broken


def digest_file(path: Path) -> str:
    """Return the sha256 of a file. Blocking."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_package(path: Path) -> Manifest:
    """Return the manifest of a package after reading its zip to the end: rules, sizes and checksums of every file.

    Raises `Invalid` with what is wrong. Blocking.
    """
    listing = inspect_zip(path)
    manifest = read_manifest(path, listing)
    _check_files(path, listing)
    return manifest


def _check_files(path: Path, listing: ArchiveListing) -> None:
    """Read every file of the zip, large archives in two threads: reading is the check, and zlib releases the GIL.

    The sha256 proves only that the bytes are the sender's; that they are a whole zip is found here, not on the nodes.
    """
    files = sorted((entry for entry in listing.entries if not entry.is_dir), key=lambda entry: -entry.packed_bytes)
    if listing.file_bytes < PIECE_BYTES:
        _read_files(path, listing, files)
        return
    with ThreadPoolExecutor(_THREADS, "check") as pool:
        for _ in pool.map(partial(_read_files, path, listing), [files[turn::_THREADS] for turn in range(_THREADS)]):
            pass


def _read_files(path: Path, listing: ArchiveListing, files: Collection[Entry]) -> None:
    with path.open("rb", buffering=0) as file:
        for entry in files:
            for _ in unpack_entry(file, entry, listing.offsets[entry.name]):
                pass


def _open_end(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags, 0o600), "ab")
    file.seek(0, os.SEEK_END)
    return file
