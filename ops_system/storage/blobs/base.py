"""What a blob store promises, whatever stands behind it: whole, immutable byte strings named by their SHA-256."""

import re
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import msgspec

from ops_system.model.errors import Invalid

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class BlobInfo(msgspec.Struct, frozen=True):
    """A stored blob."""

    sha256: str
    size_bytes: int


class Draft(Protocol):
    """Bytes on their way in. Nobody sees them before `keep`; leaving the block without it discards them."""

    @property
    def path(self) -> Path:
        """A local file with what was written so far, to look into before keeping."""
        ...

    @property
    def size_bytes(self) -> int:
        """How many bytes were written."""
        ...

    @property
    def sha256(self) -> str:
        """The SHA-256 (hex) of what was written so far."""
        ...

    async def write(self, chunk: bytes) -> None:
        """Append. Raises StorageFull when the disk is, TooLarge beyond the draft's limit."""
        ...

    async def flush(self) -> None:
        """Make everything written readable through `path`."""
        ...

    async def keep(self, expected_sha256: str | None = None) -> BlobInfo:
        """Make the bytes durable under their hash; the same bytes twice are one blob. Raises Invalid on a mismatch."""
        ...


class BlobStore(Protocol):
    """Content-addressed storage."""

    def draft(self, *, expected_bytes: int = 0, limit_bytes: int | None = None) -> AbstractAsyncContextManager[Draft]:
        """Begin to receive a blob. Raises StorageFull when `expected_bytes` cannot fit."""
        ...

    async def put(self, source: AsyncIterable[bytes] | Path, expected_sha256: str | None = None) -> BlobInfo:
        """Store a stream, or move a local file in (it is gone from where it was). Raises Invalid on a mismatch."""
        ...

    def open_read(self, sha256: str, offset: int = 0) -> AsyncIterator[bytes]:
        """Iterate over the bytes from `offset` on. Raises NotFound."""
        ...

    def path(self, sha256: str) -> Path:
        """A local file with the blob's bytes, for sendfile; do not write to it. Raises NotFound."""
        ...

    async def stat(self, sha256: str) -> BlobInfo | None:
        """Return what is stored under this hash, or None."""
        ...

    async def verify(self, sha256: str) -> bool:
        """Read the blob and tell whether its bytes still carry its name. Raises NotFound."""
        ...

    async def delete(self, sha256: str) -> bool:
        """Remove the blob; False when there was none."""
        ...

    async def list(self) -> list[BlobInfo]:
        """Return every blob, ordered by hash."""
        ...

    async def sweep(self) -> int:
        """Remove what broken uploads left behind; call once at start. Returns how many."""
        ...


def check_sha256(sha256: str) -> str:
    """Return `sha256` when it is 64 lower-case hex digits; raises Invalid, so that no path can be smuggled in."""
    if not _SHA256.match(sha256):
        raise Invalid("a blob is named by 64 lower-case hexadecimal digits", problems=["sha256: malformed"])
    return sha256
