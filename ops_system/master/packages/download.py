"""How a stored zip leaves: as a file by sendfile where it lies on this machine, else piece by piece from its store."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web

ZIP = "application/zip"
_PARTIAL, _FULL, _UNSATISFIABLE = 206, 200, 416


@dataclass(frozen=True, slots=True)
class StoredZip:
    """A zip in a store. `read` iterates over its bytes from an offset on."""

    sha256: str
    size_bytes: int
    path: Path | None
    read: Callable[[int], AsyncIterator[bytes]]


async def send_zip(request: web.Request, zipped: StoredZip, file_name: str, media: str = ZIP) -> web.StreamResponse:
    """Answer with the zip (or other blob) or the range of it that is asked for.

    Raises `NotFound`, `Unavailable` before the first byte.
    """
    headers = {
        "Content-Type": media,
        "Content-Disposition": f'attachment; filename="{file_name}"',
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    if zipped.path is not None:
        return web.FileResponse(zipped.path, headers=headers)
    span = _span(request, zipped.size_bytes)
    if span is None:
        unsatisfiable = {"Content-Range": f"bytes */{zipped.size_bytes}"}
        return web.Response(status=_UNSATISFIABLE, headers=unsatisfiable)
    return await _stream(request, zipped, span, headers)


async def _stream(request: web.Request, zipped: StoredZip, span: range, headers: dict[str, str]) -> web.StreamResponse:
    is_part = hdrs.RANGE in request.headers
    response = web.StreamResponse(status=_PARTIAL if is_part else _FULL, headers={**headers, "Accept-Ranges": "bytes"})
    response.content_length = len(span)
    if is_part:
        response.headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{zipped.size_bytes}"
    async with contextlib.aclosing(_first(zipped.read(span.start), len(span))) as pieces:
        first = await anext(pieces, b"")
        await response.prepare(request)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
    await response.write_eof()
    return response


async def _first(pieces: AsyncIterator[bytes], size_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the first `size_bytes` of what comes."""
    left_bytes = size_bytes
    async for piece in pieces:
        yield piece[:left_bytes]
        left_bytes -= len(piece)
        if left_bytes <= 0:
            return


def _span(request: web.Request, size_bytes: int) -> range | None:
    """Return the bytes asked for, all without a Range header; None when the file has none of them (RFC 9110, 14)."""
    try:
        asked = request.http_range
    except ValueError:
        return None
    start = asked.start or 0
    if start < 0:
        start = max(0, size_bytes + start)
    stop = size_bytes if asked.stop is None else min(asked.stop, size_bytes)
    return range(start, stop) if start < stop else None
