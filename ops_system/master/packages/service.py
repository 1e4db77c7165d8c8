"""The catalogue of packages: a zip is received, read, signed, and from then on never changes.

    bytes -> draft -> size, digest -> the archive's rules -> service.json -> publisher -> blob (by sha256) -> row

Only the last step makes anything visible; every earlier failure removes the draft.
"""

import asyncio
import base64
import contextlib
import logging
import secrets
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.master.packages import store
from ops_system.master.packages.contents import read_contents
from ops_system.master.packages.download import StoredZip
from ops_system.master.packages.parts import Parts, pieces, read_package
from ops_system.master.packages.rules import (
    MAX_PACKAGE_BYTES,
    MAX_SHOWN_FILES,
    UPLOAD_LIFE_S,
    PackageDiff,
    PackagePatch,
    PackageQuery,
    PackageUsage,
    check_announced_digest,
    check_digest,
    check_part,
    check_size,
    diff_fields,
    diff_files,
    marked,
)
from ops_system.master.packages.usage import Usage
from ops_system.master.publishers.rules import Presented
from ops_system.master.publishers.service import Publishers
from ops_system.master.web.route import Page, Principal
from ops_system.model.errors import Conflict, NotAllowed, NotFound, OpsError, StorageFull, Unavailable
from ops_system.model.ids import spell_id
from ops_system.model.manifest import Manifest
from ops_system.model.packages import Package, PackageRef, signed_text
from ops_system.model.stamps import from_ms, to_ms
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import every
from ops_system.storage.blobs.base import BlobInfo, BlobStore
from ops_system.storage.database import Database, Queries

T = TypeVar("T")
SWEEP_INTERVAL_S = 3600.0
TOPIC = "packages"

SpareQuestion = Callable[[Queries, Package], Awaitable[None]]
"""Raises `NotAllowed` when a package must stay."""

_log = logging.getLogger(__name__)


class Signer(Protocol):
    """The master's signing key."""

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature."""
        ...


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


class Packages:
    """The one catalogue."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        parts: Parts,
        signer: Signer,
        publishers: Publishers,
        audit: Audit,
        bus: Bus,
        clock: Clock,
        is_direct: bool = False,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._parts = parts
        self._signer = signer
        self._publishers = publishers
        self._audit = audit
        self._bus = bus
        self._clock = clock
        self._is_direct = is_direct
        self.usage = Usage()
        self._shelf = asyncio.Lock()  # a row and its blob come and go together
        self._busy_uploads: set[str] = set()

    async def run(self) -> None:
        """Sweep abandoned uploads, now and every hour."""
        await every(SWEEP_INTERVAL_S, self.sweep, "sweep uploads")

    async def sweep(self) -> None:
        """Forget uploads older than a day, files that belong to none, and bytes that are still to be freed."""
        oldest_ms = to_ms(self._clock.now()) - int(UPLOAD_LIFE_S * 1000)
        async with self._database.transaction() as tx:
            for upload in await store.list_uploads(tx):
                if upload.created_ms < oldest_ms and upload.id not in self._busy_uploads:
                    await store.delete_upload(tx, upload.id)
        keep = {upload.id for upload in await store.list_uploads(self._database)} | self._busy_uploads
        await asyncio.to_thread(self._parts.sweep, keep)
        async with self._shelf:
            await self._free()

    # --- reading --------------------------------------------------------------------------------------------------
    async def list_page(self, query: PackageQuery) -> Page[Package]:
        """Return one page of the catalogue."""
        items, total = await store.list_page(self._database, query)
        return Page(items=items, total=total)

    async def get(self, name: str, version: str, reader: Queries | None = None) -> Package:
        """Return one package. Raises `NotFound`."""
        package = await store.find(reader or self._database, name, version)
        if package is None:
            raise NotFound(f"there is no package {name} {version}; upload it first", name=name, version=version)
        return package

    async def get_ref(self, name: str, version: str, reader: Queries | None = None) -> PackageRef:
        """Return what a worker needs to fetch and verify a package. Raises `NotFound`."""
        ref = await store.find_ref(reader or self._database, name, version)
        if ref is None:
            raise NotFound(f"there is no package {name} {version}; upload it first", name=name, version=version)
        return ref

    async def zip_of(self, name: str, version: str) -> StoredZip:
        """Return the stored zip. Raises `NotFound`, `Unavailable`."""
        return await self._stored((await self.get(name, version)).sha256)

    async def zip_by_sha256(self, sha256: str) -> StoredZip:
        """Return the stored zip with these bytes. Raises `NotFound`, `Unavailable`."""
        if not await store.has_sha256(self._database, sha256):
            raise NotFound("no package has these bytes any more", sha256=sha256)
        return await self._stored(sha256)

    async def presign(self, name: str, version: str, is_wanted: bool | None) -> str | None:
        """Return a URL of the S3 server; None where the master serves. `is_wanted` None: as the settings say.

        Raises `NotFound`, `Unavailable`.
        """
        if not (self._is_direct if is_wanted is None else is_wanted):
            return None
        return await self._blobs.presign((await self.get(name, version)).sha256, f"{name}-{version}.zip")

    async def presign_sha256(self, sha256: str, is_wanted: bool | None) -> str | None:
        """The same of a package named by its bytes, for a worker."""
        if not (self._is_direct if is_wanted is None else is_wanted):
            return None
        if not await store.has_sha256(self._database, sha256):
            raise NotFound("no package has these bytes any more", sha256=sha256)
        return await self._blobs.presign(sha256, f"{sha256}.zip")

    async def _stored(self, sha256: str) -> StoredZip:
        info = await self._blobs.stat(sha256)
        if info is None:
            raise NotFound("the catalogue knows these bytes, the store of packages has lost them", sha256=sha256)
        path = self._blobs.local_path(sha256)
        return StoredZip(sha256, info.size_bytes, path, lambda offset: self._blobs.open_read(sha256, offset))

    # --- uploading ------------------------------------------------------------------------------------------------
    async def upload(
        self, stream: AsyncIterable[bytes], announced_bytes: int | None, actor: Principal, signature: str = ""
    ) -> tuple[Package, bool]:
        """Take a whole zip; return the package and whether it is new. `signature` is its publisher's, if it has one.

        Raises `Invalid` with every problem of the archive or of its service.json, `Conflict` when the version exists
        with other bytes, `TooLarge`, `StorageFull`, `Forbidden` without the signature this master wants. Nothing is
        left behind then.
        """
        presented = self._publishers.read(signature)
        if announced_bytes is not None:
            check_size(announced_bytes)
        drafting = self._blobs.draft(expected_bytes=announced_bytes or 0, limit_bytes=MAX_PACKAGE_BYTES)
        async with drafting as draft:
            async for piece in pieces(stream):
                await draft.write(piece)
            check_size(draft.size_bytes)
            await draft.flush()
            manifest = await asyncio.to_thread(read_package, draft.path)
            package = self._describe(manifest, draft.sha256, draft.size_bytes, actor)
            return await self._shelve(package, draft.keep, actor, presented)

    async def begin_upload(
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
            return self._upload_view(begun), False
        self._parts.check_room(size_bytes)
        async with self._database.transaction() as tx:
            await store.insert_upload(tx, upload)
            details = {"size_bytes": size_bytes}
            await self._audit.record(tx, actor, "upload.begin", f"upload:{upload.id}", "done", details)
        return self._upload_view(upload), True

    async def get_upload(self, upload_id: str) -> UploadView:
        """Return how far an upload is. Raises `NotFound`."""
        return self._upload_view(await self._find_upload(upload_id))

    async def add_part(self, upload_id: str, offset: int, stream: AsyncIterable[bytes]) -> UploadView:
        """Append a part. What arrived before a break stays; `received_bytes` says where to go on.

        Raises `NotFound`, `Conflict` (another offset is next, or another part is coming in), `TooLarge`.
        """
        upload = await self._find_upload(upload_id)
        with self._in_use(upload_id):
            check_part(offset, self._parts.received_bytes(upload_id), upload.size_bytes)
            self._parts.check_room(upload.size_bytes - offset)
            await self._parts.append(upload_id, stream, upload.size_bytes)
        return self._upload_view(upload)

    async def complete_upload(
        self, upload_id: str, actor: Principal, signature: str = "", sha256: str | None = None
    ) -> tuple[Package, bool]:
        """Make a package of a whole upload; as `upload`. `Conflict` while bytes are missing.

        `sha256` is what the sender found while it sent; other bytes are `Invalid`, as with the one announced.

        Accepted or refused, the upload is gone afterwards; it stays while the store is away or full: complete it later.
        """
        presented = self._publishers.read(signature)
        check_announced_digest(sha256)

        async def accept(arrived: ArrivedUpload) -> tuple[Package, bool]:
            check_digest(sha256, arrived.sha256)
            manifest = await asyncio.to_thread(read_package, arrived.path)
            package = self._describe(manifest, arrived.sha256, arrived.size_bytes, actor)
            return await self._shelve(package, arrived.keep, actor, presented)

        return await self.hand_over(upload_id, accept)

    async def hand_over(self, upload_id: str, accept: Callable[[ArrivedUpload], Awaitable[T]]) -> T:
        """Give a whole upload to `accept`, and forget it afterwards as `complete_upload` does.

        Raises `NotFound`, `Conflict` while bytes are missing, `Invalid` for other ones than announced, and what
        `accept` raises.
        """
        upload = await self._find_upload(upload_id)
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
                await self._drop_upload(upload_id)
                raise
            await self._drop_upload(upload_id)
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

    async def abort_upload(self, upload_id: str, actor: Principal) -> None:
        """Forget an upload and its bytes. Raises `NotFound`, `Conflict` while a part is coming in."""
        await self._find_upload(upload_id)
        with self._in_use(upload_id):
            await self._audit.record_alone(actor, "upload.abort", f"upload:{upload_id}", "done")
            await self._drop_upload(upload_id)

    async def _drop_upload(self, upload_id: str) -> None:
        async with self._database.transaction() as tx:
            await store.delete_upload(tx, upload_id)
        await asyncio.to_thread(self._parts.remove, upload_id)

    async def _find_upload(self, upload_id: str) -> store.Upload:
        upload = await store.find_upload(self._database, upload_id)
        if upload is None:
            raise NotFound(f"there is no upload {upload_id}; unfinished ones are kept for a day", id=upload_id)
        return upload

    def _upload_view(self, upload: store.Upload) -> UploadView:
        received_bytes = self._parts.received_bytes(upload.id)
        return UploadView(upload.id, upload.size_bytes, received_bytes, upload.sha256, from_ms(upload.created_ms))

    @contextlib.contextmanager
    def _in_use(self, name: str) -> Iterator[None]:
        if name in self._busy_uploads:
            raise Conflict("another part of this upload is being received; wait for it", id=name)
        self._busy_uploads.add(name)
        try:
            yield
        finally:
            self._busy_uploads.discard(name)

    def _describe(self, manifest: Manifest, sha256: str, size_bytes: int, actor: Principal) -> Package:
        return Package(
            name=manifest.name,
            version=manifest.version,
            sha256=sha256,
            size_bytes=size_bytes,
            manifest=manifest,
            created_at=self._clock.now(),
            created_by=actor.name,
        )

    async def _shelve(
        self, package: Package, keep: Callable[[], Awaitable[BlobInfo]], actor: Principal, presented: Presented | None
    ) -> tuple[Package, bool]:
        publisher = await self._publishers.judge(presented, package)
        package = msgspec.structs.replace(package, publisher=publisher)
        async with self._shelf:
            known = await store.find(self._database, package.name, package.version)
            if known is not None:
                return _same_or_conflict(known, package.sha256), False
            await keep()
            await self._record(package, actor)
        self._bus.publish(Changed(TOPIC, f"{package.name}/{package.version}", package))
        return package, True

    async def _record(self, package: Package, actor: Principal) -> None:
        text = signed_text(package.name, package.version, package.sha256, package.size_bytes)
        signature = base64.b64encode(self._signer.sign(text)).decode()
        publisher = package.publisher.key_id if package.publisher else ""
        async with self._database.transaction() as tx:
            await store.insert(tx, package, signature)
            await self._audit.record(
                tx,
                actor,
                "package.upload",
                f"package:{package.name}/{package.version}",
                "done",
                {"sha256": package.sha256, "size_bytes": package.size_bytes, "publisher": publisher},
            )

    async def mark(self, name: str, version: str, patch: PackagePatch, actor: Principal) -> Package:
        """Change tags, note or pin of a version. Raises `NotFound`, `Invalid`."""
        async with self._database.transaction() as tx:
            before = await self.get(name, version, tx)
            package = marked(before, patch, self._clock.now(), actor.name)
            await store.save_marks(tx, package)
            details = {"tags": list(package.tags), "note": package.note, "is_pinned": package.is_pinned}
            await self._audit.record(tx, actor, "package.mark", f"package:{name}/{version}", "done", details)
        self._bus.publish(Changed(TOPIC, f"{name}/{version}", package))
        return package

    async def show_usage(self, name: str, version: str, actor: Principal) -> PackageUsage:
        """Return who uses a version, as far as the actor sees. Raises `NotFound`."""
        await self.get(name, version)
        return await self.usage.show(self._database, name, version, actor)

    async def diff(self, name: str, version: str, from_version: str) -> PackageDiff:
        """Return what `version` changes against `from_version`. Raises `NotFound`, `Unavailable`."""
        before, after = await self.get(name, from_version), await self.get(name, version)
        one = await read_contents(await self._stored(before.sha256))
        other = await read_contents(await self._stored(after.sha256))
        files = diff_files(one, other)
        fields = diff_fields(msgspec.to_builtins(before.manifest), msgspec.to_builtins(after.manifest))
        same_files = len(one.keys() | other.keys()) - len(files)
        shown = files[:MAX_SHOWN_FILES]
        return PackageDiff(name, from_version, version, fields, shown, same_files, len(files) - len(shown))

    async def delete(self, name: str, version: str, actor: Principal, *, spare: SpareQuestion | None = None) -> None:
        """Remove a package nobody uses; its bytes go with the last version that names them.

        `spare` is asked in the same transaction, and raises what the deletion is refused with. Raises `NotFound`,
        `NotAllowed` naming its users or its pin.
        """
        async with self._shelf:
            async with self._database.transaction() as tx:
                package = await self.get(name, version, tx)
                if package.is_pinned:
                    raise NotAllowed(f"package {name} {version} is pinned; take the pin off first", reason="pinned")
                await self.usage.check_unused(tx, name, version)
                if spare is not None:
                    await spare(tx, package)
                await store.delete(tx, name, version)
                await store.note_to_free(tx, package.sha256)
                details = {"sha256": package.sha256, "size_bytes": package.size_bytes}
                await self._audit.record(tx, actor, "package.delete", f"package:{name}/{version}", "done", details)
            await self._free()
        self._bus.publish(Changed(TOPIC, f"{name}/{version}", None))

    async def _free(self) -> None:
        """Remove bytes that no package names any more, also what a master left that was killed before it did.

        Holds the shelf. A store that is away keeps them until the next sweep.
        """
        for sha256 in await store.list_to_free(self._database):
            if not await store.has_sha256(self._database, sha256):
                try:
                    await self._blobs.delete(sha256)
                except Unavailable as away:
                    _log.warning("the bytes %s, which no package names, stay for now: %s", sha256, away.message)
                    return
            async with self._database.transaction() as tx:
                await store.forget_to_free(tx, sha256)


def _same_or_conflict(known: Package, sha256: str) -> Package:
    if known.sha256 == sha256:
        return known
    raise Conflict(
        f"package {known.name} {known.version} exists with other bytes; a version never changes: raise the version",
        name=known.name,
        version=known.version,
        sha256=known.sha256,
    )
