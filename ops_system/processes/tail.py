"""Reading log files that others write: the last lines, raw bytes, and what is added. Never a whole file in memory.

A log is a path, or an `OutputLog`, which is read together with its archives under offsets that rotations do not change.
Used by the worker's log requests; the answers are the structs of `protocol.requests`. A log carries no time of its own,
so `LogLine.at` stays None. Only regular files are read, and no link is followed at the end of the path.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, Self

from ops_system.model.errors import NotFound
from ops_system.processes.holes import first_data
from ops_system.processes.packs import pread
from ops_system.processes.rotate import OutputLog, Piece
from ops_system.protocol.requests import LogBytes, LogFile, LogLine, LogLines

BLOCK_BYTES = 64 * 1024
MAX_LINE_BYTES = 64 * 1024  # a longer line is shown in pieces of this size
MAX_LINES = 2000
MAX_ANSWER_BYTES = 512 * 1024
MAX_SEARCH_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 16 * 1024
QUICK_S, SLOW_S = 0.03, 0.25
_NEWLINE = b"\n"

Log = Path | OutputLog


def describe(log: Log, name: str) -> LogFile:
    """Return size and time of a log; size 0 and no time when it does not exist yet. Archives count unpacked."""
    try:
        found = (log if isinstance(log, Path) else log.path).lstat()
    except OSError:
        return LogFile(name, 0, None)
    size_bytes = found.st_size if isinstance(log, Path) else sum(end - start for start, end in log.spans())
    return LogFile(name, size_bytes, datetime.fromtimestamp(found.st_mtime, UTC))


def read_lines(log: Log, tail: int = 200, before: int | None = None, q: str = "") -> LogLines:
    """Return the last `tail` lines that contain `q` and end at or before byte `before`, oldest first.

    At most MAX_LINES lines, MAX_ANSWER_BYTES of text and MAX_SEARCH_BYTES of search; `before` of the answer says where
    to go on, None at the beginning. A missing file has no lines. Raises NotFound for what is no regular file.
    """
    wanted = max(1, min(tail, MAX_LINES))
    found: list[LogLine] = []
    size_bytes = 0
    with _opened(log) as source:
        spans = source.spans()
        first, end = (spans[0][0], spans[-1][1]) if spans else (0, 0)
        end = end if before is None else min(before, end)
        offset = first
        for offset, raw in _lines_backward(source, spans, end):
            text = raw.decode(errors="replace")
            if q in text:
                found.append(LogLine(None, text, offset))
                size_bytes += len(raw) + 32
            if len(found) == wanted or size_bytes > MAX_ANSWER_BYTES or end - offset > MAX_SEARCH_BYTES:
                break
    return LogLines(tuple(reversed(found)), offset if offset > first else None)


def read_bytes(log: Log, offset: int, length: int) -> LogBytes:
    """Return up to `length` bytes (at most MAX_ANSWER_BYTES) at `offset`. Raises NotFound like `read_lines`.

    Where the log no longer has that offset, they are those at the next one it has; `offset` of the answer tells.
    """
    with _opened(log) as source:
        piece = source.read(max(0, offset), max(0, min(length, MAX_ANSWER_BYTES)))
        spans = source.spans()
        return LogBytes(piece.data, spans[-1][1] if spans else 0, piece.offset)


async def follow(log: Log, offset: int | None = None) -> AsyncIterator[bytes]:
    """Yield what is written from `offset` on (None: the end), in chunks of at most CHUNK_BYTES, until closed.

    An OutputLog is followed through its rotations. A plain file that shrinks was truncated and is read from its
    beginning; one that was replaced is read to its end first (one that shrinks and grows beyond the old place between
    two looks goes unnoticed).
    Looks every 30 ms while something comes and every 250 ms at rest. Raises NotFound like `read_lines`.
    """
    pieces = _follow_file(log, offset) if isinstance(log, Path) else _follow_output(log, offset)
    pause_s = QUICK_S
    async with contextlib.aclosing(pieces):
        async for data in pieces:
            if data:
                pause_s = QUICK_S
                yield data
                continue
            await asyncio.sleep(pause_s)
            pause_s = min(SLOW_S, pause_s * 1.5)


async def _follow_file(path: Path, offset: int | None) -> AsyncGenerator[bytes]:
    """Yield the next bytes, empty when there are none for now."""
    source = _Source(path)
    try:
        at = source.size if offset is None else offset
        while True:
            if source.size < at:
                at = 0
            data = source.read(at, CHUNK_BYTES).data
            at += len(data)
            if not data and source.is_replaced():
                source.close()
                source, at = _Source(path), 0
                continue
            yield data
    finally:
        source.close()


async def _follow_output(log: OutputLog, offset: int | None) -> AsyncGenerator[bytes]:
    """Yield the next bytes, empty when there are none for now. What was archived meanwhile is unpacked in a thread."""
    if offset is None:
        spans = await asyncio.to_thread(log.spans)
        offset = spans[-1][1] if spans else 0
    while True:
        piece = log.read_live(offset, CHUNK_BYTES)
        if piece is None:
            piece = await asyncio.to_thread(log.read, offset, CHUNK_BYTES)
        if piece.data:
            offset = piece.offset + len(piece.data)
        yield piece.data


class _Readable(Protocol):
    """What has bytes at offsets."""

    def spans(self) -> list[tuple[int, int]]:
        """Return the ranges of offsets there are, in order."""
        ...

    def read(self, offset: int, length: int) -> Piece:
        """Return up to `length` bytes."""
        ...


@contextlib.contextmanager
def _opened(log: Log) -> Iterator[_Readable]:
    if isinstance(log, Path):
        with _Source(log) as source:
            yield source
    else:
        yield log


def _lines_backward(source: _Readable, spans: list[tuple[int, int]], end: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line without its newline) from the line that ends at `end` to the first."""
    for start, stop in reversed(spans):
        if start < end:
            yield from _span_backward(source, start, min(stop, end))


def _span_backward(source: _Readable, first: int, end: int) -> Iterator[tuple[int, bytes]]:
    rest = b""  # bytes that start at `at` and belong to lines not yet yielded
    at = end
    is_first = True
    while at > first:
        start = max(first, at - BLOCK_BYTES)
        block = _read_fully(source, start, at - start)
        if len(block) < at - start:
            return  # it was rotated away meanwhile
        rest = block + rest
        at = start
        if is_first and rest.endswith(_NEWLINE):
            rest = rest[:-1]
        is_first = False
        head, *lines = rest.split(_NEWLINE)
        offset = at + len(rest)
        for line in reversed(lines):
            offset -= len(line)
            yield offset, line
            offset -= 1
        rest = head
        if len(rest) >= MAX_LINE_BYTES and at > first:
            yield at, rest
            rest, is_first = b"", True
    if end > first:
        yield first, rest


def _read_fully(source: _Readable, offset: int, length: int) -> bytes:
    """Read across the ends of archives; less when something is gone."""
    data = b""
    while len(data) < length:
        piece = source.read(offset + len(data), length - len(data))
        if not piece.data or piece.offset != offset + len(data):
            break
        data += piece.data
    return data


class _Source:
    """One opened log; a missing file is an empty one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = _open(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def size(self) -> int:
        return os.fstat(self._fd).st_size if self._fd >= 0 else 0

    def spans(self) -> list[tuple[int, int]]:
        if self._fd < 0:
            return []
        return [(first_data(self._fd), self.size)]

    def read(self, offset: int, length: int) -> Piece:
        return Piece(offset, pread(self._fd, length, offset) if self._fd >= 0 else b"")

    def is_replaced(self) -> bool:
        """True when the path now names another file (or the first one)."""
        try:
            now = self._path.lstat()
        except OSError:
            return False
        if self._fd < 0:
            return True
        then = os.fstat(self._fd)
        return (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino)


def _open(path: Path) -> int:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        return -1
    except OSError as error:
        raise NotFound(f'log "{path.name}" cannot be read: {error.strerror}') from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotFound(f'log "{path.name}" is not a regular file')
    return fd
