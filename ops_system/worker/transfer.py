"""One download from the master, or from the S3 server that the master names: what is missing, no faster than allowed.

Used by `fetch`. The bytes are hashed as they come; where they come from does not matter, for hash and signature decide.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ops_system.model.packages import PackageRef
from ops_system.model.reasons import Reason
from ops_system.processes.spec import PrepareFailed
from ops_system.worker.throttle import Throttle

if TYPE_CHECKING:
    import aiohttp

SILENCE_S = 20.0  # a download from which nothing comes for so long is tried again from where it stands
_PARTIAL, _FULL, _REDIRECT, _UNAUTHORIZED, _RANGE_NOT_SATISFIABLE = 206, 200, 307, 401, 416

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


class Transfer:
    """One package on its way into `part`. A try that breaks off is followed by another one of the same object."""

    def __init__(self, source: Source, ref: PackageRef, part: Path, throttle: Throttle, step: Step) -> None:
        self._source = source
        self._ref = ref
        self._part = part
        self._throttle = throttle
        self._step = step
        self._hash = hashlib.sha256()
        self._hashed_bytes = 0
        self._is_elsewhere = False
        self._is_direct_refused = False

    def sha256(self) -> str:
        """Return the hash of what has arrived. Blocking: what an earlier process fetched is read again."""
        self._hash_present()
        return self._hash.hexdigest()

    async def fetch_rest(self, token: str) -> None:
        """Fetch what is missing. Raises Away when it breaks off, PrepareFailed when it never will arrive."""
        import aiohttp

        have = self._part.stat().st_size if self._part.exists() else 0
        if have == self._ref.size_bytes:
            return
        self._is_elsewhere = False
        try:
            async with self._open(have, token) as answer:
                self._check_status(answer.status)
                await self._write(answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            self._is_direct_refused |= self._is_elsewhere
            raise Away(str(problem) or "no answer in time") from problem

    @contextlib.asynccontextmanager
    async def _open(self, have: int, token: str) -> "AsyncIterator[aiohttp.ClientResponse]":
        """Ask the master; go where it points, unless that failed before."""
        import aiohttp

        path = f"/api/v1/worker/packages/{self._ref.sha256}{'?direct=0' if self._is_direct_refused else ''}"
        span = {"Range": f"bytes={have}-"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_S)
        headers = {"Authorization": f"Bearer {token}", **span}
        async with contextlib.AsyncExitStack() as stack:
            session = await stack.enter_async_context(self._source.http())
            asking = session.get(path, headers=headers, timeout=timeout, allow_redirects=False)
            answer = await stack.enter_async_context(asking)
            if answer.status == _REDIRECT:
                self._is_elsewhere = True
                other = await stack.enter_async_context(aiohttp.ClientSession())
                going = other.get(_target_of(answer), headers=span, timeout=timeout, allow_redirects=False)
                answer = await stack.enter_async_context(going)
            yield answer

    def _check_status(self, status: int) -> None:
        if status in {_PARTIAL, _FULL}:
            return
        if status == _RANGE_NOT_SATISFIABLE:
            self._start_over()
            raise Away("what had arrived does not fit the package; starting over")
        if self._is_elsewhere:
            self._is_direct_refused = True
            raise Away(f"HTTP {status} from where the master pointed")
        if status == _UNAUTHORIZED or status >= 500:  # noqa: PLR2004 - the server's own trouble
            raise Away(f"HTTP {status}")
        words = f"the master does not hand out {self._ref.name} {self._ref.version}: HTTP {status}"
        raise PrepareFailed(Reason("download_failed", words))

    async def _write(self, answer: "aiohttp.ClientResponse") -> None:
        """Append to what is there, or start over when the server sent everything."""
        if answer.status != _PARTIAL:
            self._start_over()
        await asyncio.to_thread(self._hash_present)
        with await asyncio.to_thread(self._part.open, "ab", 0) as file:
            done = self._hashed_bytes
            self._step("download", done, self._ref.size_bytes)
            async for chunk in answer.content.iter_chunked(self._throttle.piece_bytes):
                done += len(chunk)
                if done > self._ref.size_bytes:
                    break  # more than was promised: the hash will not fit
                await asyncio.to_thread(self._take, file, chunk)
                self._step("download", done, self._ref.size_bytes)
                wait_s = self._throttle.take(len(chunk), asyncio.get_running_loop().time())
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
        if done > self._ref.size_bytes:
            self._start_over()
            ref = self._ref
            words = f"{ref.name} {ref.version} is longer than the {ref.size_bytes} bytes announced"
            raise PrepareFailed(Reason("verify_failed", words))
        if done < self._ref.size_bytes:
            raise Away(f"{done} of {self._ref.size_bytes} bytes arrived")

    def _take(self, file: BinaryIO, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[file.write(view) :]
        self._hash.update(chunk)
        self._hashed_bytes += len(chunk)

    def _hash_present(self) -> None:
        """Bring the hash to the end of the file: an earlier process fetched its beginning."""
        if not self._part.exists():
            return
        with self._part.open("rb") as file:
            file.seek(self._hashed_bytes)
            while chunk := file.read(1024 * 1024):
                self._hash.update(chunk)
                self._hashed_bytes += len(chunk)

    def _start_over(self) -> None:
        self._part.unlink(missing_ok=True)
        self._hash, self._hashed_bytes = hashlib.sha256(), 0


def _target_of(answer: "aiohttp.ClientResponse") -> str:
    """Return the address the master points to. Raises Away for one that is no address."""
    target = answer.headers.get("Location", "")
    if not target.startswith(("http://", "https://")):
        raise Away("the master pointed nowhere")
    return target
