"""Packages from the master: downloaded with resume, verified, kept unpacked and immutable. Used by `deploy`.

    downloads/<sha256>.part                   what has arrived of a download (`transfer`)
    versions/<name>/<version>/<sha256>/       the unpacked package; never written again (`cache`)

Nothing is unpacked before size, SHA-256 and the master's signature (trust S14) are right.
"""

import asyncio
import base64
import binascii
import contextlib
import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from ops_system.model.errors import OpsError
from ops_system.model.packages import PackageRef, signed_text
from ops_system.model.reasons import Reason
from ops_system.processes.spec import PrepareFailed, may_pass
from ops_system.runtime import archives
from ops_system.runtime.files import stat_each
from ops_system.worker.cache import Cache, folders
from ops_system.worker.config import PackagesConfig
from ops_system.worker.throttle import Throttle
from ops_system.worker.transfer import Away, Source, Step, Transfer

_log = logging.getLogger(__name__)

DEFAULTS = PackagesConfig(at_once=4, bandwidth_bytes=0, cache_bytes=5_000_000_000)
TRIES = 5
LINK_WAIT_S = 45.0
_ROOM_BYTES = 64 * 1024 * 1024  # left free for what runs here already
_RETRY_S = 0.5
_STALE_PART_S = 24 * 3600.0


class PackageStore:
    """The packages on this node."""

    def __init__(
        self,
        work_dir: Path,
        source: Source,
        signing_public_key: str,
        limits: PackagesConfig = DEFAULTS,
        in_use: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._downloads = work_dir / "downloads"
        self._versions = work_dir / "versions"
        self._source = source
        self._signing_public_key = signing_public_key
        self._cache = Cache(self._versions, limits.cache_bytes)
        self._throttle = Throttle(limits.bandwidth_bytes)
        self._in_use = in_use
        self._slots = asyncio.Semaphore(limits.at_once)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def folder(self, ref: PackageRef) -> Path:
        """Return where the package is, or would be, unpacked."""
        return self._versions / ref.name / ref.version / ref.sha256

    async def ensure(self, ref: PackageRef, step: Step) -> Path:
        """Return the folder with the unpacked package, fetching it when it is not there. Raises PrepareFailed.

        Two instances of one package download it once.
        """
        verify_signature(ref, self._signing_public_key)
        async with self._locks[ref.sha256]:
            target = self.folder(ref)
            if await asyncio.to_thread(self._cache.note_use, target):
                return target
            async with self._slots:
                part = await self._download(ref, step)
                await self._unpack(ref, part, target, step)
        try:
            await self.sweep()
        except OSError as problem:  # the package is here: what others left does not keep it from its start
            _log.warning("the rests of downloads could not be removed: %s", problem)
        return target

    async def _download(self, ref: PackageRef, step: Step) -> Path:
        """Return the whole file, its hash proven."""
        self._downloads.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._make_room(ref)
        part = self._downloads / f"{ref.sha256}.part"
        transfer, why = Transfer(self._source, ref, part, self._throttle, step), ""
        for attempt in range(TRIES):
            token = await self._token()
            try:
                await transfer.fetch_rest(token)
            except Away as broken:
                why = str(broken)
                _log.warning("download of %s %s broke off: %s", ref.name, ref.version, why)
                await asyncio.sleep(_RETRY_S * 2.0**attempt)
            else:
                await self._verify(ref, part, transfer, step)
                return part
        raise _failed("download_failed", f"{ref.name} {ref.version} could not be downloaded: {why}", retry=True)

    async def _token(self) -> str:
        try:
            async with asyncio.timeout(LINK_WAIT_S):
                return await self._source.token()
        except TimeoutError as problem:
            raise _failed(
                "download_failed", "the master is away and the package is not on this node yet", retry=True
            ) from problem

    async def _make_room(self, ref: PackageRef) -> None:
        """Raise PrepareFailed unless the package fits, also after unused ones went."""
        needed_bytes = 2 * ref.size_bytes + _ROOM_BYTES
        missing_bytes = needed_bytes - shutil.disk_usage(self._downloads).free
        if missing_bytes > 0:
            await self._evict(missing_bytes)
        free_bytes = shutil.disk_usage(self._downloads).free
        if free_bytes < needed_bytes:
            raise _failed(
                "download_failed",
                f"{free_bytes // 10**6} MB are free below {self._downloads.parent}; {ref.name} {ref.version} needs "
                f"{needed_bytes // 10**6} MB. Make room and start it again",
            )

    async def _verify(self, ref: PackageRef, part: Path, transfer: Transfer, step: Step) -> None:
        step("verify", 0, ref.size_bytes)
        found = await asyncio.to_thread(transfer.sha256)
        if found != ref.sha256:
            part.unlink(missing_ok=True)
            raise _failed(
                "verify_failed",
                f"{ref.name} {ref.version} arrived with SHA-256 {found}, not {ref.sha256}; nothing was unpacked",
            )

    async def _unpack(self, ref: PackageRef, part: Path, target: Path, step: Step) -> None:
        step("unpack", 0, ref.size_bytes)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            await asyncio.to_thread(archives.install_archive, part, ref.sha256, target, is_hashed=True)
        except (OpsError, OSError) as problem:
            words = f"{ref.name} {ref.version} cannot be unpacked: {problem}"
            raise _failed("unpack_failed", words, retry=may_pass(problem)) from problem
        finally:
            part.unlink(missing_ok=True)

    def sweep_rests(self) -> None:
        """Remove what an unpacking left when it was killed. Blocking; call it at start, before any `ensure`."""
        for name_dir in folders(self._versions):
            for version_dir in folders(name_dir):
                archives.sweep(version_dir)

    async def sweep(self) -> None:
        """Bring the cache below its limit: the longest unused go; and rests of downloads nobody needs."""
        await self._evict(0)
        for part in await asyncio.to_thread(self._find_rests, self._in_use()):
            lock = self._locks[part.stem]
            if not lock.locked():
                async with lock:
                    with contextlib.suppress(PermissionError):  # Windows: somebody reads it; it goes another time
                        part.unlink(missing_ok=True)

    async def _evict(self, room_bytes: int) -> None:
        """Remove one after the other, each under its lock: nobody is just taking it into use."""
        for tree in await asyncio.to_thread(self._cache.find_surplus, self._in_use(), room_bytes):
            async with self._locks[tree.sha256]:
                if tree.sha256 not in self._in_use():
                    await asyncio.to_thread(self._cache.remove, tree)

    def _find_rests(self, in_use: frozenset[str]) -> list[Path]:
        """Return what arrived of packages that nobody needs, or so long ago that nobody waits for it."""
        parts, now_s = stat_each(self._downloads.glob("*.part")), time.time()
        return [part for part, stat in parts if part.stem not in in_use or now_s - stat.st_mtime > _STALE_PART_S]


def verify_signature(ref: PackageRef, signing_public_key: str) -> None:
    """Raise PrepareFailed (`verify_failed`) unless the master pinned at enrolment signed exactly this package."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    text = signed_text(ref.name, ref.version, ref.sha256, ref.size_bytes)
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(signing_public_key, validate=True))
        key.verify(base64.b64decode(ref.signature, validate=True), text)
    except (InvalidSignature, binascii.Error, ValueError) as problem:
        raise _failed(
            "verify_failed",
            f"{ref.name} {ref.version} is not signed by the master this node joined; nothing was fetched",
        ) from problem


def _failed(code: str, message: str, *, retry: bool = False) -> PrepareFailed:
    return PrepareFailed(Reason(code, message), retry=retry)
