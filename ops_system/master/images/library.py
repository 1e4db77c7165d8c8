"""The catalogue of images: bytes are received, read to their end, and from then on never change.

    bytes -> draft -> head, content, digests -> publisher -> blob (by sha256) -> key in the store

Only the last step makes anything visible. What a task is made of is chosen by `service.Catalogue`.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.master.images.profile_rules import Profile
from ops_system.master.images.rules import (
    MAX_IMAGE_BYTES,
    Image,
    ImageFacts,
    ImageQuery,
    ImageUser,
    check_facts,
    check_size,
    check_unused,
    select,
)
from ops_system.master.images.shelf import Shelf, sha256_of
from ops_system.master.images.streams import read_content
from ops_system.master.packages.download import StoredZip
from ops_system.master.packages.parts import pieces
from ops_system.master.packages.rules import check_digest
from ops_system.master.packages.uploads import ArrivedUpload, Uploads
from ops_system.master.publishers.rules import Presented
from ops_system.master.publishers.service import Publishers
from ops_system.master.web.route import Page, Principal
from ops_system.model.catalogue import image_text
from ops_system.model.errors import Conflict, NotFound, Unavailable
from ops_system.model.packages import PublisherSignature
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import every
from ops_system.storage.blobs.base import BlobInfo, BlobStore

TOPIC = "images"
SWEEP_INTERVAL_S = 300.0
FREE_AFTER = timedelta(minutes=10)
"""So long the bytes of a deleted image stay: another master may be about to name them again."""

_log = logging.getLogger(__name__)


class Images:
    """Images of operating systems."""

    def __init__(
        self,
        *,
        shelf: Shelf,
        blobs: BlobStore,
        uploads: Uploads,
        publishers: Publishers,
        audit: Audit,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self._shelf = shelf
        self._blobs = blobs
        self._uploads = uploads
        self._publishers = publishers
        self._audit = audit
        self._bus = bus
        self._clock = clock
        self._adding = asyncio.Lock()  # a key and its blob come and go together

    async def run(self) -> None:
        """Free the bytes of deleted images, now and every few minutes."""
        await every(SWEEP_INTERVAL_S, self.sweep, "free the bytes of images")

    async def sweep(self) -> None:
        """Remove bytes that no image has named for a while. A store that is away keeps them until the next time."""
        try:
            async with self._adding:
                for note in await self._shelf.to_free(self._clock.now() - FREE_AFTER):
                    if await self._shelf.is_still(note):
                        await self._blobs.delete(sha256_of(note))
                        await self._shelf.forget(note)
        except Unavailable as away:
            _log.warning("the bytes of deleted images stay for now: %s", away.message)

    # --- reading --------------------------------------------------------------------------------------------------
    async def list_page(self, query: ImageQuery) -> Page[Image]:
        """Return one page; by name, the newest version first. Raises Invalid for a system nobody knows."""
        found = select(await self._shelf.images(), query)
        return Page(items=found[query.offset : query.offset + query.limit], total=len(found))

    async def get(self, name: str, version: str) -> Image:
        """Return one image. Raises NotFound."""
        image = await self._shelf.image(name, version)
        if image is None:
            raise NotFound(f"there is no image {name} {version}; upload it first", name=name, version=version)
        return image

    async def content(self, name: str, version: str) -> StoredZip:
        """Return the stored file. Raises NotFound, Unavailable."""
        sha256 = (await self.get(name, version)).sha256
        info = await self._blobs.stat(sha256)
        if info is None:
            raise NotFound(
                f"the bytes of image {name} {version} are not in this store; several masters need one S3 store",
                sha256=sha256,
            )
        path = self._blobs.local_path(sha256)
        return StoredZip(sha256, info.size_bytes, path, lambda offset: self._blobs.open_read(sha256, offset))

    async def users_of(self, image: Image) -> list[ImageUser]:
        """Return the unfinished tasks and the profiles that need an image."""
        profiles = [profile for profile in await self._shelf.profiles() if _names(profile, image)]
        return [*(ImageUser("profile", one.name) for one in profiles), *await self._shelf.users_of(image)]

    # --- uploading ------------------------------------------------------------------------------------------------
    async def upload(
        self,
        stream: AsyncIterable[bytes],
        announced_bytes: int | None,
        facts: ImageFacts,
        actor: Principal,
        signature: str = "",
    ) -> tuple[Image, bool]:
        """Take a whole file; return the image and whether it is new. `signature` is its publisher's, if it has one.

        Raises Invalid for bytes that are not of the format or not those announced, Conflict when the version exists
        with other bytes, TooLarge, StorageFull, Forbidden. Nothing is left behind then.
        """
        presented, facts = self._publishers.read(signature), check_facts(facts)
        if announced_bytes is not None:
            check_size(announced_bytes)
        drafting = self._blobs.draft(expected_bytes=announced_bytes or 0, limit_bytes=MAX_IMAGE_BYTES)
        async with drafting as draft:
            async for piece in pieces(stream):
                await draft.write(piece)
            check_size(draft.size_bytes)
            await draft.flush()
            image = await self._describe(draft.path, draft.sha256, draft.size_bytes, facts, actor)
            return await self._add(image, draft.keep, actor, presented)

    async def take_upload(
        self, upload_id: str, facts: ImageFacts, actor: Principal, signature: str = ""
    ) -> tuple[Image, bool]:
        """Make an image of a whole upload in parts; as `upload`."""
        presented, facts = self._publishers.read(signature), check_facts(facts)

        async def accept(arrived: ArrivedUpload) -> tuple[Image, bool]:
            image = await self._describe(arrived.path, arrived.sha256, arrived.size_bytes, facts, actor)
            return await self._add(image, arrived.keep, actor, presented)

        return await self._uploads.hand_over(upload_id, accept)

    async def _describe(self, path: Path, sha256: str, size_bytes: int, facts: ImageFacts, actor: Principal) -> Image:
        check_digest(facts.sha256 or None, sha256)
        content = await read_content(path, facts.format)
        check_digest(facts.content_sha256 or None, content.sha256)
        return Image(
            name=facts.name,
            version=facts.version,
            format=facts.format,
            sha256=sha256,
            size_bytes=size_bytes,
            content_sha256=content.sha256,
            content_bytes=content.size_bytes,
            created_at=self._clock.now(),
            created_by=actor.name,
            os_type=facts.os_type,
            os_version=facts.os_version,
            arch=facts.arch,
            note=facts.note,
        )

    async def _add(
        self, image: Image, keep: Callable[[], Awaitable[BlobInfo]], actor: Principal, presented: Presented | None
    ) -> tuple[Image, bool]:
        found = await self._publishers.judge_text(presented, _text(image), _spell(image))
        if found is not None:
            image = msgspec.structs.replace(
                image, signature=found.signature, key_id=found.key_id, public_key=found.public_key
            )
        async with self._adding:
            known = await self._shelf.image(image.name, image.version)
            if known is not None:
                return await self._again(_same_or_conflict(known, image), keep), False
            await self._shelf.need_bytes(image.sha256)
            await keep()
            await self._record(image, actor, "image.upload")
            made = await self._shelf.add_image(image)
            if await self._blobs.stat(image.sha256) is None:
                raise Unavailable("the bytes were freed by another master at this moment; upload the image again")
        self._bus.publish(Changed(TOPIC, f"{image.name}/{image.version}", made))
        return _same_or_conflict(made, image), made == image

    async def _again(self, known: Image, keep: Callable[[], Awaitable[BlobInfo]]) -> Image:
        """Take the bytes of a known image where the store has lost them, as after a restore from a backup."""
        if await self._blobs.stat(known.sha256) is None:
            await keep()
        return known

    # --- removing -------------------------------------------------------------------------------------------------
    async def delete(self, name: str, version: str, actor: Principal) -> None:
        """Remove an image nobody needs; its bytes follow. Raises NotFound, NotAllowed naming who needs it."""
        async with self._adding:
            image = await self.get(name, version)
            check_unused(image, await self.users_of(image))
            await self._record(image, actor, "image.delete")
            await self._shelf.remove_image(image, self._clock.now())
        self._bus.publish(Changed(TOPIC, f"{name}/{version}", None))

    async def _record(self, image: Image, actor: Principal, action: str) -> None:
        """Audit first: an act whose row cannot be written does not happen."""
        details = {"sha256": image.sha256, "size_bytes": image.size_bytes, "publisher": image.key_id}
        await self._audit.record_alone(actor, action, f"image:{image.name}/{image.version}", "done", details)

    # --- using ----------------------------------------------------------------------------------------------------
    async def check_signature(self, image: Image) -> None:
        """Raise Invalid for a signature that is not of these bytes, Forbidden where a trusted one is wanted now."""
        found = PublisherSignature(image.key_id, image.public_key, image.signature) if image.key_id else None
        await self._publishers.check_text(found, _text(image), _spell(image))


def _text(image: Image) -> bytes:
    return image_text(image.name, image.version, image.format, image.sha256, image.size_bytes)


def _spell(image: Image) -> str:
    return f"image {image.name} {image.version} with sha256 {image.sha256}"


def _names(profile: Profile, image: Image) -> bool:
    """Whether a profile names exactly this version; one that names the newest takes another instead."""
    return f"{image.name}/{image.version}" in {profile.image, profile.kernel, profile.initrd}


def _same_or_conflict(known: Image, image: Image) -> Image:
    if (known.sha256, known.format) == (image.sha256, image.format):
        return known
    raise Conflict(
        f"image {known.name} {known.version} exists with other bytes; a version never changes: take another one",
        name=known.name,
        version=known.version,
        sha256=known.sha256,
    )
