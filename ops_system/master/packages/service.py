"""The catalogue of packages: a zip is received, read, signed, and from then on never changes.

    bytes -> draft -> size, digest -> the archive's rules -> service.json -> publisher -> blob (by sha256) -> row

Only the last step makes anything visible; every earlier failure removes the draft.
"""

import asyncio
import base64
import logging
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.master.packages import store
from ops_system.master.packages.contents import read_contents
from ops_system.master.packages.download import StoredZip
from ops_system.master.packages.parts import pieces, read_package
from ops_system.master.packages.rules import (
    MAX_PACKAGE_BYTES,
    MAX_SHOWN_FILES,
    PackageDiff,
    PackagePatch,
    PackageQuery,
    PackageUsage,
    check_announced_digest,
    check_digest,
    check_size,
    diff_fields,
    diff_files,
    marked,
)
from ops_system.master.packages.uploads import ArrivedUpload, Uploads
from ops_system.master.packages.usage import Usage
from ops_system.master.publishers.rules import Presented
from ops_system.master.publishers.service import Publishers
from ops_system.master.web.route import Page, Principal
from ops_system.model.errors import Conflict, NotAllowed, NotFound, Unavailable
from ops_system.model.manifest import Manifest
from ops_system.model.packages import Package, PackageRef, signed_text
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


class Packages:
    """The one catalogue."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        uploads: Uploads,
        signer: Signer,
        publishers: Publishers,
        audit: Audit,
        bus: Bus,
        clock: Clock,
        is_direct: bool = False,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._signer = signer
        self._publishers = publishers
        self._audit = audit
        self._bus = bus
        self._clock = clock
        self._is_direct = is_direct
        self.uploads = uploads
        self.usage = Usage()
        self._shelf = asyncio.Lock()  # a row and its blob come and go together

    async def run(self) -> None:
        """Sweep, now and every hour."""
        await every(SWEEP_INTERVAL_S, self.sweep, "sweep uploads")

    async def sweep(self) -> None:
        """Forget abandoned uploads, and free the bytes that no package names any more."""
        await self.uploads.sweep()
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

        return await self.uploads.hand_over(upload_id, accept)

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
