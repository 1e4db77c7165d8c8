"""What a stored zip holds, read from its directory alone: two short reads, wherever the zip lies."""

import contextlib
from collections.abc import AsyncIterator

from ops_system.master.packages.download import StoredZip
from ops_system.master.packages.rules import FileFacts
from ops_system.model.archives import END_BYTES, ArchiveLimits, find_directory, read_directory

_LIMITS = ArchiveLimits()


async def read_contents(zipped: StoredZip) -> dict[str, FileFacts]:
    """Return the files by path. The zip was judged when it was uploaded. Raises `NotFound`, `Unavailable`."""
    tail_at = max(0, zipped.size_bytes - END_BYTES)
    tail = await _read(zipped.read(tail_at), zipped.size_bytes - tail_at)
    directory = find_directory(tail, zipped.size_bytes)
    if directory.offset >= tail_at:
        begin = directory.offset - tail_at
        data = tail[begin : begin + directory.size_bytes]
    else:
        data = await _read(zipped.read(directory.offset), directory.size_bytes)
    return {
        entry.name: FileFacts(entry.size_bytes, entry.crc32, entry.is_executable)
        for entry in read_directory(data, directory, _LIMITS)
        if not entry.is_dir
    }


async def _read(pieces: AsyncIterator[bytes], count: int) -> bytes:
    """Return the first `count` bytes that come."""
    data = bytearray()
    async with contextlib.AsyncExitStack() as stack:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            stack.push_async_callback(close)
        async for piece in pieces:
            data += piece
            if len(data) >= count:
                break
    return bytes(data[:count])
