"""Packages from the master: downloaded with resume, verified, kept unpacked and immutable. Used by `deploy`.

    downloads/<sha256>.part                   what has arrived of a download
    versions/<name>/<version>/<sha256>/       the unpacked package; never written again

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
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from ops_system.model.errors import OpsError
from ops_system.model.packages import PackageRef, signed_text
from ops_system.model.reasons import Reason
from ops_system.processes.spec import PrepareFailed
from ops_system.runtime import archives

if TYPE_CHECKING:
    import aiohttp

_log = logging.getLogger(__name__)

AT_ONCE = 4
TRIES = 5
SILENCE_S = 20.0  # a download from which nothing comes for so long is tried again from where it stands
LINK_WAIT_S = 45.0
KEEP_VERSIONS = 3
_CHUNK_BYTES = 1024 * 1024
_ROOM_BYTES = 64 * 1024 * 1024  # left free for what runs here already
_RETRY_S = 0.5
_STALE_PART_S = 24 * 3600.0
_PARTIAL, _FULL, _UNAUTHORIZED, _RANGE_NOT_SATISFIABLE = 206, 200, 401, 416

Step = Callable[[str, int, int], None]
"""Told the step's name, bytes done and bytes in all."""


class Away(Exception):
    """The download broke off; what has arrived is kept."""


class Source:
    """Where packages come from: the uplink, seen as little as is needed."""

    def __init__(
        self,
        http: Callable[[], "AbstractAsyncContextManager[aiohttp.ClientSession]"],
        token: Callable[[], Awaitable[str]],
    ) -> None:
        self.http = http
        self.token = token


class PackageStore:
    """The packages on this node."""

    def __init__(self, work_dir: Path, source: Source, signing_public_key: str) -> None:
        self._downloads = work_dir / "downloads"
        self._versions = work_dir / "versions"
        self._source = source
        self._signing_public_key = signing_public_key
        self._slots = asyncio.Semaphore(AT_ONCE)
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
            if target.is_dir():
                return target
            async with self._slots:
                part = await self._download(ref, step)
                await self._verify(ref, part, step)
                await self._unpack(ref, part, target, step)
        return target

    async def _download(self, ref: PackageRef, step: Step) -> Path:
        self._downloads.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_room(ref)
        part = self._downloads / f"{ref.sha256}.part"
        why = ""
        for attempt in range(TRIES):
            token = await self._token()
            try:
                await self._download_rest(ref, part, token, step)
            except Away as broken:
                why = str(broken)
                _log.warning("download of %s %s broke off: %s", ref.name, ref.version, why)
                await asyncio.sleep(_RETRY_S * 2.0**attempt)
            else:
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

    def _check_room(self, ref: PackageRef) -> None:
        free_bytes = shutil.disk_usage(self._downloads).free
        if free_bytes < 2 * ref.size_bytes + _ROOM_BYTES:
            raise _failed(
                "download_failed",
                f"{free_bytes // 10**6} MB are free below {self._downloads.parent}; {ref.name} {ref.version} needs "
                f"{(2 * ref.size_bytes + _ROOM_BYTES) // 10**6} MB. Make room and start it again",
            )

    async def _download_rest(self, ref: PackageRef, part: Path, token: str, step: Step) -> None:
        """Fetch what is missing. Raises Away when it breaks off, PrepareFailed when it never will arrive."""
        import aiohttp

        have = part.stat().st_size if part.exists() else 0
        if have == ref.size_bytes:
            return
        headers = {"Authorization": f"Bearer {token}", "Range": f"bytes={have}-"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_S)
        try:
            async with (
                self._source.http() as session,
                session.get(f"/api/v1/worker/packages/{ref.sha256}", headers=headers, timeout=timeout) as answer,
            ):
                _check_status(answer.status, ref, part)
                await _write(answer, part, ref, step)
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise Away(str(problem) or "no answer in time") from problem

    async def _verify(self, ref: PackageRef, part: Path, step: Step) -> None:
        step("verify", 0, ref.size_bytes)
        found = await asyncio.to_thread(archives.hash_file, part)
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
            await asyncio.to_thread(archives.install_archive, part, ref.sha256, target)
        except (OpsError, OSError) as problem:
            raise _failed("unpack_failed", f"{ref.name} {ref.version} cannot be unpacked: {problem}") from problem
        finally:
            part.unlink(missing_ok=True)

    def sweep_rests(self) -> None:
        """Remove what an unpacking left when it was killed. Blocking; call it at start, before any `ensure`."""
        for name_dir in _folders(self._versions):
            for version_dir in _folders(name_dir):
                archives.sweep(version_dir)

    def sweep(self, in_use: frozenset[str]) -> None:
        """Remove unpacked packages nobody needs: those in use and the newest three of each name stay. Blocking."""
        for name_dir in _folders(self._versions):
            trees = [tree for version in _folders(name_dir) for tree in _folders(version)]
            trees.sort(key=lambda tree: tree.stat().st_mtime, reverse=True)
            for tree in trees[KEEP_VERSIONS:]:
                if tree.name not in in_use:
                    shutil.rmtree(tree, ignore_errors=True)
            _remove_empty(name_dir)
        self._sweep_parts(in_use)

    def _sweep_parts(self, in_use: frozenset[str]) -> None:
        for part in self._downloads.glob("*.part"):
            is_stale = time.time() - part.stat().st_mtime > _STALE_PART_S
            if part.stem not in in_use or is_stale:
                part.unlink(missing_ok=True)


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


def _check_status(status: int, ref: PackageRef, part: Path) -> None:
    if status in {_PARTIAL, _FULL}:
        return
    if status == _RANGE_NOT_SATISFIABLE:
        part.unlink(missing_ok=True)
        raise Away("what had arrived does not fit the package; starting over")
    if status == _UNAUTHORIZED or status >= 500:  # noqa: PLR2004 - the server's own trouble
        raise Away(f"HTTP {status}")
    raise _failed("download_failed", f"the master does not hand out {ref.name} {ref.version}: HTTP {status}")


async def _write(answer: "aiohttp.ClientResponse", part: Path, ref: PackageRef, step: Step) -> None:
    """Append to what is there, or start over when the server sent everything."""
    is_resumed = answer.status == _PARTIAL
    with await asyncio.to_thread(part.open, "ab" if is_resumed else "wb") as file:
        done = file.tell() if is_resumed else 0
        step("download", done, ref.size_bytes)
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            done += len(chunk)
            if done > ref.size_bytes:
                break  # more than was promised: the hash will not fit
            await asyncio.to_thread(file.write, chunk)
            step("download", done, ref.size_bytes)
    if done != ref.size_bytes:
        _start_over_if_too_long(part, done, ref)
        raise Away(f"{done} of {ref.size_bytes} bytes arrived")


def _start_over_if_too_long(part: Path, done: int, ref: PackageRef) -> None:
    if done > ref.size_bytes:
        part.unlink(missing_ok=True)
        raise _failed("verify_failed", f"{ref.name} {ref.version} is longer than the {ref.size_bytes} bytes announced")


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    entries = (entry for entry in parent.iterdir() if not entry.name.startswith("."))  # those are being unpacked
    return [entry for entry in entries if entry.is_dir() and not entry.is_symlink()]


def _remove_empty(name_dir: Path) -> None:
    for folder in (*_folders(name_dir), name_dir):
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()


def _failed(code: str, message: str, *, retry: bool = False) -> PrepareFailed:
    return PrepareFailed(Reason(code, message), retry=retry)
