"""Reading log files that others write: the last lines, raw bytes, and what is added. Never a whole file in memory.

Used by the worker's log requests; the answers are the structs of `protocol.requests`. A log carries no time of its own,
so `LogLine.at` stays None. Only regular files are read, and no link is followed at the end of the path.
"""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from ops_system.model.errors import NotFound
from ops_system.protocol.requests import LogBytes, LogFile, LogLine, LogLines

BLOCK_BYTES = 64 * 1024
MAX_LINE_BYTES = 64 * 1024  # a longer line is shown in pieces of this size
MAX_LINES = 2000
MAX_ANSWER_BYTES = 512 * 1024
MAX_SEARCH_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 16 * 1024
QUICK_S, SLOW_S = 0.03, 0.25
_NEWLINE = b"\n"


def describe(path: Path, name: str) -> LogFile:
    """Return size and time of a log; size 0 and no time when it does not exist yet."""
    try:
        found = path.lstat()
    except OSError:
        return LogFile(name, 0, None)
    return LogFile(name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def read_lines(path: Path, tail: int = 200, before: int | None = None, q: str = "") -> LogLines:
    """Return the last `tail` lines that contain `q` and end at or before byte `before`, oldest first.

    At most MAX_LINES lines, MAX_ANSWER_BYTES of text and MAX_SEARCH_BYTES of search; `before` of the answer says where
    to go on, None at the beginning. A missing file has no lines. Raises NotFound for what is no regular file.
    """
    wanted = max(1, min(tail, MAX_LINES))
    found: list[LogLine] = []
    size_bytes = 0
    offset = 0
    with _Source(path) as source:
        end = source.size if before is None else min(before, source.size)
        for offset, raw in source.lines_backward(end):
            text = raw.decode(errors="replace")
            if q in text:
                found.append(LogLine(None, text, offset))
                size_bytes += len(raw) + 32
            if len(found) == wanted or size_bytes > MAX_ANSWER_BYTES or end - offset > MAX_SEARCH_BYTES:
                break
    return LogLines(tuple(reversed(found)), offset or None)


def read_bytes(path: Path, offset: int, length: int) -> LogBytes:
    """Return up to `length` bytes (at most MAX_ANSWER_BYTES) at `offset`. Raises NotFound like `read_lines`."""
    with _Source(path) as source:
        data = source.read(max(0, offset), max(0, min(length, MAX_ANSWER_BYTES)))
        return LogBytes(data, source.size)


async def follow(path: Path, offset: int | None = None) -> AsyncIterator[bytes]:
    """Yield what is written from `offset` on (None: the end), in chunks of at most CHUNK_BYTES, until closed.

    A file that shrinks was truncated and is read from its beginning; one that was replaced is read to its end first
    (one that shrinks and grows beyond the old place between two looks goes unnoticed).
    Looks every 30 ms while something comes and every 250 ms at rest. Raises NotFound like `read_lines`.
    """
    source = _Source(path)
    pause_s = QUICK_S
    try:
        at = source.size if offset is None else offset
        while True:
            if source.size < at:
                at = 0
            data = source.read(at, CHUNK_BYTES)
            if data:
                at += len(data)
                pause_s = QUICK_S
                yield data
                continue
            if source.is_replaced():
                source.close()
                source, at = _Source(path), 0
                continue
            await asyncio.sleep(pause_s)
            pause_s = min(SLOW_S, pause_s * 1.5)
    finally:
        source.close()


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

    def read(self, offset: int, length: int) -> bytes:
        if self._fd < 0:
            return b""
        if sys.platform == "win32":
            os.lseek(self._fd, offset, os.SEEK_SET)
            return os.read(self._fd, length)
        return os.pread(self._fd, length, offset)

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

    def lines_backward(self, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, line without its newline) from the line that ends at `end` to the first."""
        rest = b""  # bytes that start at `at` and belong to lines not yet yielded
        at = end
        is_first = True
        while at > 0:
            start = max(0, at - BLOCK_BYTES)
            rest = self.read(start, at - start) + rest
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
            if len(rest) >= MAX_LINE_BYTES and at > 0:
                yield at, rest
                rest, is_first = b"", True
        if end > 0:
            yield 0, rest


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
