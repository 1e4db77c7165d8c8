"""What a blob store promises, whatever stands behind it: whole, immutable byte strings named by their SHA-256.

`local` keeps them in a folder, `minio` on an S3 server, `fallback` also finds what lies in the other one.
"""

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

    async def put(
        self, source: AsyncIterable[bytes] | Path, expected_sha256: str | None = None, *, is_hashed: bool = False
    ) -> BlobInfo:
        """Store a stream, or move a local file in (it is gone from where it was). Raises Invalid on a mismatch.

        `is_hashed`: the caller has hashed this file as it was written; `expected_sha256` is what it found.
        """
        ...

    def open_read(self, sha256: str, offset: int = 0) -> AsyncIterator[bytes]:
        """Iterate over the bytes from `offset` on. Raises NotFound, Unavailable; both also in the middle."""
        ...

    def local_path(self, sha256: str) -> Path | None:
        """A file on this machine with the blob's bytes, for sendfile; do not write to it. None: there is none here."""
        ...

    async def presign(self, sha256: str, file_name: str) -> str | None:
        """Return a URL by which a browser fetches the blob for a few minutes; None: only we can serve it."""
        ...

    async def stat(self, sha256: str) -> BlobInfo | None:
        """Return what is stored under this hash, or None. Raises Unavailable, as all that follow."""
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
        """Remove what broken uploads left on this machine; call once, before the first draft. Returns how many."""
        ...

    async def tidy(self) -> int:
        """End what broken uploads left on the server, if one stands behind; at any time. Returns how many."""
        ...

    async def check(self) -> None:
        """Return when the store takes and gives blobs. Raises Unavailable, StorageFull: what is wrong, what to do."""
        ...


def check_sha256(sha256: str) -> str:
    """Return `sha256` when it is 64 lower-case hex digits; raises Invalid, so that no path can be smuggled in."""
    if not _SHA256.match(sha256):
        raise Invalid("a blob is named by 64 lower-case hexadecimal digits", problems=["sha256: malformed"])
    return sha256


def check_match(sha256: str, expected_sha256: str | None) -> None:
    """Raise Invalid when bytes with the hash `sha256` came for other announced ones."""
    if expected_sha256 is not None and expected_sha256 != sha256:
        raise Invalid(
            f"the bytes received have SHA-256 {sha256}, not the announced {expected_sha256}; send them again",
            problems=["sha256: mismatch"],
        )
