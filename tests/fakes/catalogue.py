"""Images and profiles on a real database, a real embedded store and a real blob folder, without HTTP.

async with open_catalogue(tmp_path) as desk:
    image = await desk.upload(b"\\0" * 512, name="debian", version="12")
"""

import contextlib
import gzip
import io
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

from ops_system.kv.embedded import Embedded
from ops_system.master.audit.rules import AuditQuery
from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.master.images.library import Images
from ops_system.master.images.profiles import Profiles
from ops_system.master.images.rules import Image, ImageFacts
from ops_system.master.images.service import Catalogue
from ops_system.master.images.shelf import Shelf
from ops_system.master.packages.parts import Parts
from ops_system.master.packages.service import Packages
from ops_system.master.packages.uploads import Uploads
from ops_system.master.publishers.service import Publishers
from ops_system.runtime.tasks import running
from ops_system.storage.blobs.local import LocalBlobs
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations
from tests.fakes.clock import FakeClock
from tests.fakes.orchestration import ANN, FakeSigner, chunks


def a_tar() -> bytes:
    """A small tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo("etc/hostname")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"web\n"))
    return out.getvalue()


def packed(content: bytes, image_format: str) -> bytes:
    """The content as a file of that format."""
    if image_format.endswith("gz"):
        return gzip.compress(content, 1, mtime=0)
    if image_format.endswith("zst"):
        return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(content)
    return content


@dataclass
class CatalogueDesk:
    """What a test holds in its hands."""

    catalogue: Catalogue
    images: Images
    profiles: Profiles
    packages: Packages
    publishers: Publishers
    store: Embedded
    audit: Audit
    clock: FakeClock
    blobs: LocalBlobs
    folder: DataFolder
    published: list[Changed]

    async def upload(self, data: bytes = b"\0" * 512, **facts: str) -> Image:
        """Upload an image; what is not said of it is Debian 12, raw."""
        told = {"name": "debian", "version": "1", "format": "raw", "os_type": "Debian", "os_version": "12"} | facts
        image, _ = await self.images.upload(chunks(data), len(data), ImageFacts(**told), ANN)  # type: ignore[arg-type]
        return image

    async def actions(self) -> list[str]:
        """Return what was audited, the oldest first."""
        return [row.action for row in reversed((await self.audit.list_page(AuditQuery())).items)]

    def files(self) -> list[Path]:
        """Return every file of the blob store and of uploads."""
        return [path for path in self.folder.uploads.rglob("*") if path.is_file()]


@contextlib.asynccontextmanager
async def open_catalogue(tmp_path: Path, *, is_required: bool = False) -> AsyncIterator[CatalogueDesk]:
    """Open everything in a fresh folder."""
    clock, bus, published = FakeClock(), Bus(), list[Changed]()
    bus.subscribe(Changed, published.append)
    folder = DataFolder(tmp_path / "data")
    folder.create()
    database = await Database.open(folder, load_migrations("ops_system.master"))
    store = await Embedded.open(tmp_path / "provision.db", clock)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        stack.push_async_callback(store.close)
        await stack.enter_async_context(running(store.run(), "store"))
        audit, blobs = Audit(database, clock), LocalBlobs(folder.uploads)
        publishers = Publishers(database=database, audit=audit, clock=clock, is_required=is_required)
        parts = Parts(folder.uploads / "parts")
        uploads = Uploads(database=database, blobs=blobs, parts=parts, audit=audit, clock=clock)
        packages = Packages(
            database=database,
            blobs=blobs,
            uploads=uploads,
            signer=FakeSigner(),
            publishers=publishers,
            audit=audit,
            bus=bus,
            clock=clock,
        )
        shelf = Shelf(store)
        images = Images(
            shelf=shelf,
            blobs=blobs,
            uploads=uploads,
            publishers=publishers,
            audit=audit,
            bus=bus,
            clock=clock,
        )
        profiles = Profiles(shelf=shelf, store=store, audit=audit, bus=bus, clock=clock)
        catalogue = Catalogue(shelf, images, profiles)
        yield CatalogueDesk(
            catalogue, images, profiles, packages, publishers, store, audit, clock, blobs, folder, published
        )
