"""The images of this data centre: fetched from the master once for all agents, checked before any use, bounded.

wanted ──> fetching (resumes by Range) ──> size, sha256 and signature fit ──> there ──(room wanted)──> gone
└── away, refused, no room: said, and tried again when it is asked for
"""

import asyncio
import base64
import contextlib
import hashlib
import logging
import os
import shutil
import ssl
from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import aiohttp
import msgspec

from ops_system.model.catalogue import image_text
from ops_system.model.errors import Invalid, NotFound, OpsError, StorageFull, Unavailable
from ops_system.model.packages import PublisherSignature
from ops_system.model.tasks import ImageRef
from ops_system.runtime.files import stat_each, sync_dir
from ops_system.runtime.signatures import is_by_publisher
from ops_system.runtime.tasks import spawn

_log = logging.getLogger(__name__)

SILENCE_S = 30.0
TRY_AGAIN_S = 2.0
TRIES = 30
SPARE_BYTES = 256 * 1024 * 1024  # left free on the disk for journal, picture and logs
_PIECE_BYTES = 1024 * 1024
_OK, _PARTIAL, _RANGE_NOT_SATISFIABLE = 200, 206, 416


class Source(msgspec.Struct, frozen=True):
    """The master that images come from. Empty `url`: nowhere, only what is there is served."""

    url: str
    token: str


class Fetching(msgspec.Struct):
    """One image on its way. `error` when the last try failed."""

    image: ImageRef
    done_bytes: int = 0
    is_over: bool = False
    error: OpsError | None = None


class CacheStatus(msgspec.Struct, frozen=True):
    """What `/health` tells of the cache."""

    images: int
    size_bytes: int
    limit_bytes: int
    fetching: dict[str, int]  # percent by sha256
    last_error: str = ""


class _Away(Exception):
    """The download broke off; what has arrived is kept."""


class ImageCache:
    """Files by sha256 in one folder."""

    def __init__(
        self, folder: Path, limit_bytes: int, source: Source, tls: ssl.SSLContext | None, keys: Collection[str] = ()
    ) -> None:
        self._folder, self._limit_bytes, self._source, self._tls = folder, limit_bytes, source, tls
        self._keys = {_id_of(key): key for key in keys}
        self._jobs: dict[str, Fetching] = {}
        self._wanted: asyncio.Queue[Fetching] = asyncio.Queue()
        self._ends: dict[str, asyncio.Event] = {}
        self.in_use: Callable[[], Collection[str]] = set
        self.last_error = ""

    def open(self) -> None:
        """Make the folder. Blocking. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def run(self) -> None:
        """Fetch what is wanted, one image at a time each, several images at once."""
        async with asyncio.TaskGroup() as group:
            while True:
                job = await self._wanted.get()
                spawn(group, self._fetch(job), f"image {job.image.name}")

    def want(self, image: ImageRef) -> Fetching | None:
        """Have an image fetched; None when it is there already."""
        if self._path(image.sha256).is_file():
            return None
        job = self._jobs.get(image.sha256)
        if job is None or job.is_over:
            job = self._jobs[image.sha256] = Fetching(image)
            self._ends[image.sha256] = asyncio.Event()
            self._wanted.put_nowait(job)
        return job

    async def get(self, image: ImageRef, within_s: float) -> Path:
        """Return the file of an image. Raises Unavailable while it is on its way, and what was in the way of it."""
        path = self._path(image.sha256)
        job = self.want(image)
        if job is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._ends[image.sha256].wait()
            if job.error is not None:
                raise job.error
            if not path.is_file():
                percent = 100 * job.done_bytes // max(1, image.size_bytes)
                raise Unavailable(
                    f"image {image.name} {image.version} is on its way ({percent} %); ask again",
                    reason="fetching",
                    percent=percent,
                )
        await asyncio.to_thread(os.utime, path)
        return path

    def status(self) -> CacheStatus:
        """Return what is here. Blocking, and quick."""
        sizes = [stat.st_size for _, stat in stat_each(self._images())]
        fetching = {
            sha: 100 * job.done_bytes // max(1, job.image.size_bytes)
            for sha, job in self._jobs.items()
            if not job.is_over
        }
        return CacheStatus(len(sizes), sum(sizes), self._limit_bytes, fetching, self.last_error)

    # --- fetching -----------------------------------------------------------------------------------------------------
    async def _fetch(self, job: Fetching) -> None:
        image = job.image
        try:
            await self._fetch_patiently(job)
        except OpsError as error:
            job.error, self.last_error = error, error.message
            _log.error("image %s %s: %s", image.name, image.version, error.message)
        except OSError as error:
            job.error = StorageFull(f"image {image.name} {image.version} cannot be kept: {error.strerror}")
            self.last_error = job.error.message
            _log.error("%s", job.error.message)
        finally:
            job.is_over = True
            self._ends[image.sha256].set()

    async def _fetch_patiently(self, job: Fetching) -> None:
        image = job.image
        self._check_source(image)
        await asyncio.to_thread(self._make_room, image.size_bytes)
        part = self._folder / f"{image.sha256}.part"
        for left in reversed(range(TRIES)):
            try:
                await self._fetch_rest(job, part)
                break
            except (_Away, aiohttp.ClientError, TimeoutError) as error:
                if not left:
                    raise Unavailable(f"image {image.name} {image.version} does not come: {error}") from error
                await asyncio.sleep(TRY_AGAIN_S)
        await asyncio.to_thread(self._accept, image, part)
        _log.info("image %s %s is here, %d bytes", image.name, image.version, image.size_bytes)

    async def _fetch_rest(self, job: Fetching, part: Path) -> None:
        have = part.stat().st_size if part.exists() else 0
        if have >= job.image.size_bytes:
            return
        name, version = quote(job.image.name, safe=""), quote(job.image.version, safe="")
        url = f"{self._source.url}/api/v1/images/{name}/{version}/content"
        headers = {"Authorization": f"Bearer {self._source.token}", "Range": f"bytes={have}-"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_S)
        connector = aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session,
            session.get(url, headers=headers) as answer,
        ):
            if answer.status == _RANGE_NOT_SATISFIABLE:
                part.unlink(missing_ok=True)
                raise _Away("what had arrived does not fit; starting over")
            if answer.status not in {_OK, _PARTIAL}:
                raise _refusal(answer.status, job.image)
            await self._write(job, answer, part, "ab" if answer.status == _PARTIAL else "wb")

    async def _write(self, job: Fetching, answer: aiohttp.ClientResponse, part: Path, mode: str) -> None:
        with await asyncio.to_thread(_open, part, mode) as file:
            job.done_bytes = file.tell()
            async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                job.done_bytes += len(piece)
                if job.done_bytes > job.image.size_bytes:
                    raise _unfit(job.image, part, "it is longer than the catalogue says")
                await asyncio.to_thread(file.write, piece)
        if job.done_bytes < job.image.size_bytes:
            raise _Away(f"{job.done_bytes} of {job.image.size_bytes} bytes arrived")

    def _accept(self, image: ImageRef, part: Path) -> None:
        """Look at every byte once more before anybody may have it."""
        with part.open("rb+") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        if found != image.sha256:
            raise _unfit(image, part, "its SHA-256 is another than the catalogue's")
        self._check_signature(image, part)
        part.replace(self._path(image.sha256))
        sync_dir(self._folder)

    def _check_signature(self, image: ImageRef, part: Path) -> None:
        if not self._keys:
            return
        public_key = self._keys.get(image.key_id)
        if public_key is None:
            raise _unfit(image, part, "none of the publishers trusted here has signed it")
        signature = PublisherSignature(image.key_id, public_key, image.signature)
        text = image_text(image.name, image.version, image.format, image.sha256, image.size_bytes)
        if not is_by_publisher(signature, text):
            raise _unfit(image, part, "its publisher's signature does not fit")

    def _check_source(self, image: ImageRef) -> None:
        if not self._source.url:
            raise NotFound(f"image {image.name} {image.version}: no master to fetch it from; start with -master URL")

    # --- room ---------------------------------------------------------------------------------------------------------
    def _make_room(self, wanted_bytes: int) -> None:
        """Let images go that nobody needs, the longest unused first. Raises StorageFull."""
        used = dict(stat_each(self._images()))
        total = sum(stat.st_size for stat in used.values())
        free = shutil.disk_usage(self._folder).free - SPARE_BYTES
        busy = set(self.in_use())
        for path in sorted(used, key=lambda each: used[each].st_mtime):
            if total + wanted_bytes <= self._limit_bytes and wanted_bytes <= free:
                return
            if path.name in busy:
                continue
            path.unlink(missing_ok=True)
            total -= used[path].st_size
            free += used[path].st_size
            _log.info("image %s went: room is wanted", path.name)
        if total + wanted_bytes > self._limit_bytes:
            raise StorageFull(
                f"{wanted_bytes} bytes do not fit into the cache of {self._limit_bytes}: raise cache.size"
            )
        if wanted_bytes > free:
            raise StorageFull(f"{wanted_bytes} bytes do not fit on the disk of {self._folder}: make room there")

    def _images(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if not path.suffix] if self._folder.is_dir() else []

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256


def _open(path: Path, mode: str) -> BinaryIO:
    file: BinaryIO = path.open(mode)  # type: ignore[assignment]
    file.seek(0, os.SEEK_END)
    return file


def _unfit(image: ImageRef, part: Path, why: str) -> Invalid:
    part.unlink(missing_ok=True)
    return Invalid(f"image {image.name} {image.version} is not used: {why}", reason="image_unfit")


def _refusal(status: int, image: ImageRef) -> Exception:
    """Return the error of an answer: the master's own trouble passes, its refusal does not."""
    if status >= 500:  # noqa: PLR2004 - HTTP's own number
        return _Away(f"the master answered {status}")
    return NotFound(f"the master does not hand out image {image.name} {image.version}: HTTP {status}", status=status)


def _id_of(public_key: str) -> str:
    return hashlib.sha256(base64.b64decode(public_key)).hexdigest()
