"""Reading at any offset of a gzip file that others made (RFC 1952), in bounded memory. Used by `filelog`.

Such a file can only be unpacked from its beginning. The state of the unpacker is kept every few MiB on the way, so that
going back costs no more than the way from the last of these.
"""

import os
import struct
import zlib
from typing import NamedTuple

from ops_system.processes.packs import pread

READ_BYTES = 64 * 1024
MARK_BYTES = 4 * 1024 * 1024  # plain bytes between two marks, doubled when there are too many
MAX_MARKS = 32  # about 45 KB each
_TAIL = struct.Struct("<I")
_LEAST_BYTES = 18  # of a header and a trailer


def plain_size(fd: int) -> int:
    """Return the size before packing as the file tells it (its last member, modulo 4 GiB); 0 for no gzip file."""
    size = os.fstat(fd).st_size
    if size < _LEAST_BYTES or pread(fd, 2, 0) != b"\x1f\x8b":
        return 0
    return int(_TAIL.unpack(pread(fd, _TAIL.size, size - _TAIL.size))[0])


def plain_head(fd: int, length: int) -> bytes:
    """Return the first plain bytes, at most `length`; none where the file is damaged or no gzip file."""
    try:
        return _fresh().decompress(pread(fd, READ_BYTES, 0), length)
    except zlib.error:
        return b""


class _Mark(NamedTuple):
    plain_at: int
    packed_at: int
    unpacker: "zlib._Decompress"


class GzipText:
    """The plain bytes of an opened file, which it closes. Damaged: it ends there."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._marks = [_Mark(0, 0, _fresh())]
        self._step = MARK_BYTES
        self._held = self._input = b""
        self._return_to(self._marks[0])

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` plain bytes at `offset`; fewer at the end."""
        if offset < self._plain_at:
            passed = [mark for mark in self._marks if mark.plain_at <= offset]
            self._return_to(passed[-1])
        found = bytearray()
        while len(found) < length:
            data = self._held or self._unpack()
            if not data:
                break
            skip = max(0, offset - self._plain_at)
            taken = data[skip : skip + length - len(found)]
            used = min(len(data), skip + len(taken))
            self._held = data[used:]
            self._plain_at += used
            found += taken
        return bytes(found)

    def _return_to(self, mark: _Mark) -> None:
        self._plain_at, self._packed_at = mark.plain_at, mark.packed_at
        self._unpacker = mark.unpacker.copy()
        self._held = self._input = b""

    def _unpack(self) -> bytes:
        """Return the next plain bytes, at most READ_BYTES; none at the end."""
        self._set_mark()
        while True:
            if not self._input:
                self._input = pread(self._fd, READ_BYTES, self._packed_at)
            before = len(self._input)
            try:
                data = self._unpacker.decompress(self._input, READ_BYTES)
            except zlib.error:
                return b""
            if before == 0:
                return data  # what the unpacker still held
            self._input = self._unpacker.unconsumed_tail or self._unpacker.unused_data
            self._packed_at += before - len(self._input)
            if self._unpacker.eof:
                self._unpacker = _fresh()  # another member may follow
            if data:
                return data

    def _set_mark(self) -> None:
        """Remember the way so far; called where nothing unpacked is held."""
        if self._plain_at < self._marks[-1].plain_at + self._step:
            return
        self._marks.append(_Mark(self._plain_at, self._packed_at, self._unpacker.copy()))
        if len(self._marks) > MAX_MARKS:
            self._marks = self._marks[::2]
            self._step *= 2


def _fresh() -> "zlib._Decompress":
    return zlib.decompressobj(16 + zlib.MAX_WBITS)
