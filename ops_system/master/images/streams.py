"""Reads an image to its end: what is in it after decompression, how long, with which SHA-256. The home of zstandard.

A file that breaks off, is damaged, or holds more than the limit is refused here and not on a machine.
"""

import asyncio
import hashlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import zstandard

from ops_system.master.images.rules import HEAD_BYTES, MAX_CONTENT_BYTES, PACKED, check_content_head, check_head
from ops_system.model.errors import Invalid, TooLarge
from ops_system.model.tasks import ImageFormat

_PIECE_BYTES = 4096  # so little goes in at once that what comes out has a bound too: zstd makes at most 128 MiB of it
_TURN_BYTES = 32 * 1024 * 1024  # of content for one visit to a thread
_GZIP = 16 + zlib.MAX_WBITS
_ZEROS = b"\0"


class Content(msgspec.Struct, frozen=True):
    """What is in an image."""

    sha256: str
    size_bytes: int


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


async def read_content(path: Path, image_format: ImageFormat, *, limit_bytes: int = MAX_CONTENT_BYTES) -> Content:
    """Return what is in the file at `path`. Raises Invalid for one that is not of its format, TooLarge."""
    with path.open("rb") as file:
        check_head(image_format, file.read(HEAD_BYTES))
        file.seek(0)
        pieces = _unpack(iter(lambda: file.read(_PIECE_BYTES), b""), image_format)
        digest = _Digest(image_format, limit_bytes)
        while await asyncio.to_thread(digest.take, pieces):
            pass  # each turn ends after a while, so that a cancelled upload does
    return digest.content()


class _Digest:
    """The running hash."""

    def __init__(self, image_format: ImageFormat, limit_bytes: int) -> None:
        self._format = image_format
        self._limit_bytes = limit_bytes
        self._hash = hashlib.sha256()
        self._size_bytes = 0
        self._head = b""

    def take(self, pieces: Iterator[bytes]) -> bool:
        """Go on for a turn; False at the end. Blocking."""
        end_bytes = self._size_bytes + _TURN_BYTES
        for piece in pieces:
            self._hash.update(piece)
            self._size_bytes += len(piece)
            if len(self._head) < HEAD_BYTES:
                self._head += piece[: HEAD_BYTES - len(self._head)]
            if self._size_bytes > self._limit_bytes:
                raise TooLarge(f"there are more than {self._limit_bytes} bytes in it", limit_bytes=self._limit_bytes)
            if self._size_bytes >= end_bytes:
                return True
        return False

    def content(self) -> Content:
        if not self._size_bytes:
            raise Invalid("there is nothing in the image", problems=["$: empty inside"])
        check_content_head(self._format, self._head)
        return Content(self._hash.hexdigest(), self._size_bytes)


def _unpack(pieces: Iterator[bytes], image_format: ImageFormat) -> Iterator[bytes]:
    if image_format not in PACKED:
        return pieces
    begin = _begin_gzip if image_format.endswith("gz") else _begin_zstd
    return _told(_frames(pieces, begin), image_format)


def _begin_gzip() -> _Unpacker:
    return zlib.decompressobj(_GZIP)


def _begin_zstd() -> _Unpacker:
    return zstandard.ZstdDecompressor().decompressobj()


def _frames(pieces: Iterator[bytes], begin: Callable[[], _Unpacker]) -> Iterator[bytes]:
    """Decompress one frame after the other, as gzip and zstd do. Zeros behind the last one count as nothing."""
    current: _Unpacker | None = None
    for whole in pieces:
        piece = whole
        while piece:
            if current is None and not piece.strip(_ZEROS):
                break
            current = current or begin()
            yield current.decompress(piece)
            if not current.eof:
                break
            piece, current = current.unused_data, None
    if current is not None:
        raise EOFError("it breaks off")


def _told(pieces: Iterator[bytes], image_format: ImageFormat) -> Iterator[bytes]:
    try:
        yield from pieces
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise Invalid(f"the file is no whole {image_format}: {error}", problems=[f"$: {error}"]) from error
