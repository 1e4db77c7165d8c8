"""Uploads in parts: announced, received piece by piece over days and breaks, then handed over whole."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.packages import store
from ops_system.master.packages.parts import Parts
from ops_system.master.packages.rules import (
    UPLOAD_LIFE_S,
    check_announced_digest,
    check_digest,
    check_part,
    check_size,
)
from ops_system.master.web.route import Principal
from ops_system.model.errors import Conflict, NotFound, OpsError, StorageFull, Unavailable
from ops_system.model.ids import spell_id
from ops_system.model.stamps import from_ms, to_ms
from ops_system.runtime.clock import Clock
from ops_system.storage.blobs.base import BlobInfo, BlobStore
from ops_system.storage.database import Database

T = TypeVar("T")


class UploadView(msgspec.Struct, frozen=True):
    """An upload in parts, as the API shows it."""

    id: str
    size_bytes: int
    received_bytes: int
    sha256: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ArrivedUpload:
    """A whole upload, to be looked into; `keep` moves its bytes into the store."""

    path: Path
    sha256: str
    size_bytes: int
    keep: Callable[[], Awaitable[BlobInfo]]


class Uploads:
    """All uploads under way, whatever becomes of them."""

    def __init__(self, *, database: Database, blobs: BlobStore, parts: Parts, audit: Audit, clock: Clock) -> None:
        self._database = database
        self._blobs = blobs
        self._parts = parts
        self._audit = audit
        self._clock = clock
        self._busy: set[str] = set()

    async def sweep(self) -> None:
        """Forget uploads older than a day, and files that belong to none."""
        oldest_ms = to_ms(self._clock.now()) - int(UPLOAD_LIFE_S * 1000)
        async with self._database.transaction() as tx:
            for upload in await store.list_uploads(tx):
                if upload.created_ms < oldest_ms and upload.id not in self._busy:
                    await store.delete_upload(tx, upload.id)
        keep = {upload.id for upload in await store.list_uploads(self._database)} | self._busy
        await asyncio.to_thread(self._parts.sweep, keep)

    async def begin(
        self, size_bytes: int, sha256: str | None, actor: Principal, sender_key: str | None = None
    ) -> tuple[UploadView, bool]:
        """Announce an upload in parts; return it and whether it is new.

        The same bytes (by `sha256`), or the same sender's file (by `sender_key`), announced again by the same actor are
        the same upload: that is how a sender that was killed goes on. Raises `TooLarge`, `Invalid`, `StorageFull`.
        """
        check_size(size_bytes)
        check_announced_digest(sha256)
        check_announced_digest(sender_key, "sender_key")
        upload_id, created_ms = spell_id("up", secrets.token_bytes(10)), to_ms(self._clock.now())
        upload = store.Upload(upload_id, size_bytes, sha256, created_ms, actor.name, sender_key)
        begun = await store.find_begun(self._database, upload)
        if begun is not None:
            return self._view(begun), False
        self._parts.check_room(size_bytes)
        async with self._database.transaction() as tx:
            await store.insert_upload(tx, upload)
            details = {"size_bytes": size_bytes}
            await self._audit.record(tx, actor, "upload.begin", f"upload:{upload.id}", "done", details)
        return self._view(upload), True

    async def get(self, upload_id: str) -> UploadView:
        """Return how far an upload is. Raises `NotFound`."""
        return self._view(await self._find(upload_id))

    async def add_part(self, upload_id: str, offset: int, stream: AsyncIterable[bytes]) -> UploadView:
        """Append a part. What arrived before a break stays; `received_bytes` says where to go on.

        Raises `NotFound`, `Conflict` (another offset is next, or another part is coming in), `TooLarge`.
        """
        upload = await self._find(upload_id)
        with self._in_use(upload_id):
            check_part(offset, self._parts.received_bytes(upload_id), upload.size_bytes)
            self._parts.check_room(upload.size_bytes - offset)
            await self._parts.append(upload_id, stream, upload.size_bytes)
        return self._view(upload)

    async def hand_over(self, upload_id: str, accept: Callable[[ArrivedUpload], Awaitable[T]]) -> T:
        """Give a whole upload to `accept`, and forget it afterwards; it stays while the store is away or full.

        Raises `NotFound`, `Conflict` while bytes are missing, `Invalid` for other ones than announced, and what
        `accept` raises.
        """
        upload = await self._find(upload_id)
        with self._in_use(upload_id):
            received_bytes = self._parts.received_bytes(upload_id)
            if received_bytes < upload.size_bytes:
                missing_bytes = upload.size_bytes - received_bytes
                raise Conflict(f"{missing_bytes} bytes are missing: send them first", received_bytes=received_bytes)
            try:
                made = await accept(await self._arrived(upload))
            except (Unavailable, StorageFull):
                raise
            except OpsError:
                await self._drop(upload_id)
                raise
            await self._drop(upload_id)
            return made

    async def _arrived(self, upload: store.Upload) -> ArrivedUpload:
        path = self._parts.path_of(upload.id)
        sha256 = await asyncio.to_thread(self._parts.digest, upload.id)
        check_digest(upload.sha256, sha256)
        self._parts.start_sync(upload.id)

        async def keep() -> BlobInfo:
            await self._parts.settle(upload.id)
            return await self._blobs.put(path, sha256, is_hashed=True)

        return ArrivedUpload(path, sha256, upload.size_bytes, keep)

    async def abort(self, upload_id: str, actor: Principal) -> None:
        """Forget an upload and its bytes. Raises `NotFound`, `Conflict` while a part is coming in."""
        await self._find(upload_id)
        with self._in_use(upload_id):
            await self._audit.record_alone(actor, "upload.abort", f"upload:{upload_id}", "done")
            await self._drop(upload_id)

    async def _drop(self, upload_id: str) -> None:
        async with self._database.transaction() as tx:
            await store.delete_upload(tx, upload_id)
        await asyncio.to_thread(self._parts.remove, upload_id)

    async def _find(self, upload_id: str) -> store.Upload:
        upload = await store.find_upload(self._database, upload_id)
        if upload is None:
            raise NotFound(f"there is no upload {upload_id}; unfinished ones are kept for a day", id=upload_id)
        return upload

    def _view(self, upload: store.Upload) -> UploadView:
        received_bytes = self._parts.received_bytes(upload.id)
        return UploadView(upload.id, upload.size_bytes, received_bytes, upload.sha256, from_ms(upload.created_ms))

    @contextlib.contextmanager
    def _in_use(self, name: str) -> Iterator[None]:
        if name in self._busy:
            raise Conflict("another part of this upload is being received; wait for it", id=name)
        self._busy.add(name)
        try:
            yield
        finally:
            self._busy.discard(name)
