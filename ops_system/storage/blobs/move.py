"""Copies every blob from one store to another, verified by hash; goes on where it was broken off.

What the target has already (same hash, same size) is not copied again: that is all there is to resuming.
"""

from collections.abc import Callable

import msgspec

from ops_system.storage.blobs.base import BlobInfo, BlobStore


class Moved(msgspec.Struct, frozen=True):
    """How far it is. `copied` and `copied_bytes` are what this run has done itself."""

    blobs: int
    done: int
    size_bytes: int
    done_bytes: int
    copied: int
    copied_bytes: int


async def copy_all(source: BlobStore, target: BlobStore, tell: Callable[[Moved], None]) -> Moved:
    """Copy what is missing. Raises Invalid for a blob of the source that is damaged, naming it; Unavailable."""
    there = {blob.sha256: blob.size_bytes for blob in await target.list()}
    wanted = await source.list()
    missing = [blob for blob in wanted if there.get(blob.sha256) != blob.size_bytes]
    moved = Moved(
        blobs=len(wanted),
        done=len(wanted) - len(missing),
        size_bytes=sum(blob.size_bytes for blob in wanted),
        done_bytes=sum(blob.size_bytes for blob in wanted) - sum(blob.size_bytes for blob in missing),
        copied=0,
        copied_bytes=0,
    )
    tell(moved)
    for blob in missing:
        await target.put(source.open_read(blob.sha256), blob.sha256)
        moved = _with(moved, blob)
        tell(moved)
    return moved


async def remove_copied(source: BlobStore, target: BlobStore, tell: Callable[[int, int], None]) -> int:
    """Remove from `source` each blob whose bytes in `target` were read and are right; return how many.

    `tell` hears how many were looked at, of how many. A blob that is damaged in `target` stays where it is.
    """
    there = {blob.sha256 for blob in await target.list()}
    wanted = [blob.sha256 for blob in await source.list() if blob.sha256 in there]
    removed = 0
    for count, sha256 in enumerate(wanted, 1):
        if await target.verify(sha256):
            removed += await source.delete(sha256)
        tell(count, len(wanted))
    return removed


def _with(moved: Moved, blob: BlobInfo) -> Moved:
    return msgspec.structs.replace(
        moved,
        done=moved.done + 1,
        done_bytes=moved.done_bytes + blob.size_bytes,
        copied=moved.copied + 1,
        copied_bytes=moved.copied_bytes + blob.size_bytes,
    )
