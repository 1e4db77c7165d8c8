"""The format of history files: bytes in, blocks out. Pure; `store` reads and writes them.

A segment holds a stretch of time of one node or instance in one tier, little-endian, append-only:

    header   magic "OPSM", version, step in seconds, Unix second where the segment begins
    block*   mark, kind, group, series, rows, bytes of payload, tick of the first row, CRC-32 of header and payload
      names     the series of a group, one a line; holds for the blocks of that group that follow
      raw       by series: `rows` float32 means, then `rows` float32 largest values
      squeezed  the same without the lowest byte of each (16 bits of precision), byte planes apart, zlib

The tick of a row is its Unix second divided by the step. A block that is cut off at the end of a file is a torn write
and is dropped; any other fault is damage.
"""

import struct
import zlib
from array import array
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

VERSION = 1
MAX_ROWS = 4096
MAX_SERIES = 512
_MAGIC = b"OPSM"
_MARK = 0xB10C
_HEADER = struct.Struct("<4sHHq")
_BLOCK = struct.Struct("<HBBHHIqI")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size
_LEVEL = 1  # of zlib: level 6 takes three times as long for a tenth less


class Kind(IntEnum):
    """What a block holds."""

    NAMES = 1
    RAW = 2
    SQUEEZED = 3


class Damaged(ValueError):
    """These bytes are no segment, or were changed after they were written."""


class Block(NamedTuple):
    """Some rows of some series."""

    names: tuple[str, ...]
    first: int
    rows: int
    kind: Kind
    payload: memoryview

    def values(self) -> "array[float]":
        """Return all columns one after the other. Raises `Damaged`."""
        if self.kind is Kind.RAW:
            return array("f", bytes(self.payload))
        return expand(self.payload, 2 * self.rows * len(self.names))


class Scan(NamedTuple):
    """What a file holds. `good_bytes` is where the sound part ends."""

    blocks: list[Block]
    names: Mapping[int, tuple[str, ...]]  # of each group, at the end
    good_bytes: int
    is_damaged: bool


def encode_header(step_s: int, start_s: int) -> bytes:
    """Return how a segment begins."""
    return _HEADER.pack(_MAGIC, VERSION, step_s, start_s)


def encode_names(group: int, names: Sequence[str]) -> bytes:
    """Return the block that names the series of a group."""
    return _encode(Kind.NAMES, group, (len(names), 0, 0), "\n".join(names).encode())


def encode_rows(group: int, shape: tuple[int, int], columns: "array[float]", *, is_squeezed: bool = False) -> bytes:
    """Return a block of rows. `shape`: how many series, and the tick of the first row.

    `columns`: for each series its means, then its largest values.
    """
    series, first = shape
    rows = len(columns) // (2 * series)
    payload = squeeze(columns) if is_squeezed else columns.tobytes()
    return _encode(Kind.SQUEEZED if is_squeezed else Kind.RAW, group, (series, rows, first), payload)


def _encode(kind: Kind, group: int, shape: tuple[int, int, int], payload: bytes) -> bytes:
    series, rows, first = shape
    head = _BLOCK.pack(_MARK, kind, group, series, rows, len(payload), first, 0)[: -_CRC.size]
    return head + _CRC.pack(zlib.crc32(payload, zlib.crc32(head))) + payload


def scan(data: bytes, step_s: int) -> Scan:
    """Return the blocks of a segment up to the first fault. Raises `Damaged` when it does not begin as one."""
    if len(data) < _HEADER.size:
        return Scan([], {}, 0, is_damaged=False)
    magic, version, its_step_s, _ = _HEADER.unpack_from(data)
    if (magic, version, its_step_s) != (_MAGIC, VERSION, step_s):
        raise Damaged("this is no history of this version and step")
    view = memoryview(data)
    blocks: list[Block] = []
    names: dict[int, tuple[str, ...]] = {}
    at = _HEADER.size
    while len(data) - at >= _BLOCK.size:
        end = _read_block(view, at, names, blocks)
        if end is None:
            return Scan(blocks, names, at, is_damaged=not _is_torn(data, at))
        at = end
    return Scan(blocks, names, at, is_damaged=False)


def _read_block(view: memoryview, at: int, names: dict[int, tuple[str, ...]], blocks: list[Block]) -> int | None:
    """Take one block in and return where it ends; None where it is not sound."""
    mark, kind, group, series, rows, size, first, crc = _BLOCK.unpack_from(view, at)
    start = at + _BLOCK.size
    end: int = start + size
    if mark != _MARK or end > len(view) or rows > MAX_ROWS or series > MAX_SERIES:
        return None
    payload = view[start:end]
    if zlib.crc32(payload, zlib.crc32(view[at : start - _CRC.size])) != crc:
        return None
    if kind == Kind.NAMES:
        names[group] = tuple(bytes(payload).decode().split("\n"))
    elif series != len(names.get(group, ())) or not _is_rows(kind, size, 8 * series * rows):
        return None
    else:
        blocks.append(Block(names[group], first, rows, Kind(kind), payload))
    return end


def _is_rows(kind: int, size: int, raw_size: int) -> bool:
    return size == raw_size if kind == Kind.RAW else kind == Kind.SQUEEZED


def _is_torn(data: bytes, at: int) -> bool:
    """Whether the unsound rest is a write that did not end: it reaches past the file, or was never filled."""
    mark, *_, size, _, _ = _BLOCK.unpack_from(data, at)
    is_last = mark == _MARK and at + _BLOCK.size + size >= len(data)
    return is_last or not any(data[at:])


def squeeze(values: "array[float]") -> bytes:
    """Return float32 values in about half their room; 16 bits of precision are kept."""
    raw = values.tobytes()
    return zlib.compress(raw[3::4] + raw[2::4] + raw[1::4], _LEVEL)


def expand(data: bytes | memoryview, count: int) -> "array[float]":
    """Return what `squeeze` was given, `count` values. Raises `Damaged`."""
    unpacker = zlib.decompressobj()
    try:
        planes = unpacker.decompress(data, 3 * count + 1)
    except zlib.error as problem:
        raise Damaged(f"cannot be unpacked: {problem}") from problem
    if len(planes) != 3 * count:
        raise Damaged(f"holds {len(planes)} bytes in place of {3 * count}")
    raw = bytearray(4 * count)
    raw[3::4], raw[2::4], raw[1::4] = planes[:count], planes[count : 2 * count], planes[2 * count :]
    return array("f", bytes(raw))
