"""Two blob stores as one: everything goes into the first, and what lies in the second is found too.

So the master goes on while packages are moved from one to the other, and after `storage.type` was changed.
"""

import logging
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from ops_system.model.errors import NotFound, Unavailable
from ops_system.storage.blobs.base import BlobInfo, BlobStore, Draft

_log = logging.getLogger(__name__)


class FallbackBlobs:
    """A `BlobStore`. Only the first store decides whether it is well."""

    def __init__(self, first: BlobStore, second: BlobStore) -> None:
        self._first = first
        self._second = second
        self._both = (first, second)

    def draft(self, *, expected_bytes: int = 0, limit_bytes: int | None = None) -> AbstractAsyncContextManager[Draft]:
        """Begin to receive a blob into the first store."""
        return self._first.draft(expected_bytes=expected_bytes, limit_bytes=limit_bytes)

    async def put(
        self, source: AsyncIterable[bytes] | Path, expected_sha256: str | None = None, *, is_hashed: bool = False
    ) -> BlobInfo:
        """Store into the first."""
        return await self._first.put(source, expected_sha256, is_hashed=is_hashed)

    async def open_read(self, sha256: str, offset: int = 0) -> AsyncIterator[bytes]:
        """Iterate over the bytes from `offset` on, from the store that has them. Raises NotFound, Unavailable."""
        async for chunk in (await self._holder(sha256)).open_read(sha256, offset):
            yield chunk

    def local_path(self, sha256: str) -> Path | None:
        """A file on this machine, whichever store keeps it."""
        return self._first.local_path(sha256) or self._second.local_path(sha256)

    async def presign(self, sha256: str, file_name: str) -> str | None:
        """Return the URL that the store with the blob makes."""
        return await (await self._holder(sha256)).presign(sha256, file_name)

    async def stat(self, sha256: str) -> BlobInfo | None:
        """Return what is stored under this hash, or None."""
        return await self._first.stat(sha256) or await self._second.stat(sha256)

    async def verify(self, sha256: str) -> bool:
        """Read the blob where it lies. Raises NotFound."""
        return await (await self._holder(sha256)).verify(sha256)

    async def delete(self, sha256: str) -> bool:
        """Remove the blob from both. A second store that is away keeps its copy; that is logged."""
        is_gone = await self._first.delete(sha256)
        try:
            return await self._second.delete(sha256) or is_gone
        except Unavailable as away:
            _log.warning("blob %s stays in the other store: %s", sha256, away.message)
            return is_gone

    async def list(self) -> "list[BlobInfo]":
        """Return every blob of both, ordered by hash."""
        found = {blob.sha256: blob for store in reversed(self._both) for blob in await store.list()}
        return [found[sha256] for sha256 in sorted(found)]

    async def sweep(self) -> int:
        """Sweep what both left on this machine."""
        return await self._first.sweep() + await self._second.sweep()

    async def tidy(self) -> int:
        """Tidy the first; the second is not written to."""
        return await self._first.tidy()

    async def check(self) -> None:
        """Check the first."""
        await self._first.check()

    async def _holder(self, sha256: str) -> BlobStore:
        if await self._first.stat(sha256) is not None:
            return self._first
        if await self._second.stat(sha256) is not None:
            return self._second
        raise NotFound(f"no blob {sha256} in any store", sha256=sha256)
