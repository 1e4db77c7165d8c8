"""One zip entry as a stream of verified pieces; the part of the extractor that reads untrusted compressed bytes."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from ops_system.model.archives import STORED, BadArchive, Entry, refuse, shown_name

PIECE_BYTES = 1024 * 1024


def unpack_entry(source: BinaryIO, entry: Entry, offset: int) -> Iterator[bytes]:
    """Yield the entry's content in pieces of at most `PIECE_BYTES`; raises Invalid the moment it breaks its promise."""
    try:
        yield from _verified(source, entry, offset)
    except (BadArchive, zlib.error) as error:
        raise refuse([f'"{shown_name(entry.name)}": {error}']) from error


def _verified(source: BinaryIO, entry: Entry, offset: int) -> Iterator[bytes]:
    size, crc = 0, 0
    for piece in _inflated(source, entry, offset):
        size += len(piece)
        if size > entry.size_bytes:
            raise BadArchive(f"unpacks to more than the {entry.size_bytes} bytes it promised")
        crc = zlib.crc32(piece, crc)
        yield piece
    if size != entry.size_bytes:
        raise BadArchive(f"has {size} bytes instead of the {entry.size_bytes} it promised")
    if crc != entry.crc32:
        raise BadArchive("is damaged: its checksum differs")


def _inflated(source: BinaryIO, entry: Entry, offset: int) -> Iterator[bytes]:
    if entry.method == STORED:
        yield from _packed(source, entry, offset)
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for packed in _packed(source, entry, offset):
        rest = packed
        while rest:
            piece = inflater.decompress(rest, PIECE_BYTES)
            rest = inflater.unconsumed_tail
            if piece:
                yield piece
            if inflater.eof:
                break
    if not inflater.eof:
        tail = inflater.flush(PIECE_BYTES)
        if tail:
            yield tail
        if not inflater.eof:
            raise BadArchive("is cut off")


def _packed(source: BinaryIO, entry: Entry, offset: int) -> Iterator[bytes]:
    left = entry.packed_bytes
    source.seek(offset)
    while left:
        piece = source.read(min(left, PIECE_BYTES))
        if not piece:
            raise BadArchive("is cut off")
        left -= len(piece)
        yield piece
