"""Reading log files that others write: lines around a place or a time, raw bytes, what is added. Never a whole file.

A log is an `OutputLog` (what the worker rotates) or a `FileLog` (what a service writes): both are read together with
their old files under offsets that rotations do not change. Used by the worker's log requests; the answers are the
structs of `protocol.requests`. A line without a time of its own has the last one before it.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from ops_system.processes.filelog import FileLog
from ops_system.processes.loglines import (
    Line,
    Readable,
    TimeOf,
    find_time,
    line_start,
    lines_backward,
    lines_forward,
    time_before,
)
from ops_system.processes.rotate import OutputLog
from ops_system.protocol.logs import LogBytes, LogFile, LogLine, LogLines

MAX_LINES = 2000
MAX_ANSWER_BYTES = 512 * 1024
MAX_SEARCH_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
_LINE_OVERHEAD_BYTES = 32

Log = FileLog | OutputLog


class Place(NamedTuple):
    """Which lines: those before or after an offset, half and half around one, or from a time on; else the last."""

    before: int | None = None
    after: int | None = None
    around: int | None = None
    at: datetime | None = None


END = Place()


def no_time(_text: str) -> datetime | None:
    """Read no times."""
    return None


def describe(log: Log, name: str) -> LogFile:
    """Return size and time of a log; size 0 and no time when it does not exist yet. Archives count unpacked."""
    try:
        found = log.path.lstat()
    except OSError:
        return LogFile(name, 0, None)
    size_bytes = sum(end - start for start, end in log.spans())
    return LogFile(name, size_bytes, datetime.fromtimestamp(found.st_mtime, UTC))


def read_lines(log: Log, count: int = 200, place: Place = END, q: str = "", time_of: TimeOf = no_time) -> LogLines:
    """Return `count` lines that contain `q`, oldest first, and the offsets to go on at: None at an end of the log.

    At most MAX_LINES lines, MAX_ANSWER_BYTES of text and MAX_SEARCH_BYTES of search. A missing file has no lines.
    Raises NotFound or Invalid for what is no regular file.
    """
    wanted = max(1, min(count, MAX_LINES))
    with opened(log) as source:
        spans = source.spans()
        if not spans:
            return LogLines((), None)
        first, end = spans[0][0], spans[-1][1]
        offset, is_dated = _offset_of(source, spans, place, time_of)
        later: list[Line] = []
        earlier: list[Line] = []
        if place.after is not None or place.around is not None or place.at is not None:
            share = wanted if place.after is not None else wanted - wanted // 4 if place.at else wanted - wanted // 2
            later, high = _gather(lines_forward(source, offset, end), share, q, offset)
        else:
            high = min(offset, end)
        low = offset
        if place.after is None:
            earlier, low = _gather(lines_backward(source, spans, offset), wanted - len(later), q, offset)
        lines = _timed([*reversed(earlier), *later], source, spans, time_of)
        return LogLines(
            tuple(lines),
            before=low if low > first else None,
            after=high if high < end else None,
            first_offset=first,
            end_offset=end,
            at_offset=offset if is_dated else None,
        )


def _offset_of(source: Readable, spans: list[tuple[int, int]], place: Place, time_of: TimeOf) -> tuple[int, bool]:
    """Return where to begin, and whether a time was found."""
    first, end = spans[0][0], spans[-1][1]
    if place.at is not None:
        found = find_time(source, spans, place.at, time_of)
        return (end if found is None else found), found is not None
    if place.around is not None:
        return line_start(source, spans, min(max(place.around, first), end - 1)), False
    if place.after is not None:
        return min(max(place.after, first), end), False
    return end if place.before is None else min(place.before, end), False


def _gather(lines: Iterator[Line], wanted: int, q: str, offset: int) -> tuple[list[Line], int]:
    """Return the lines that contain `q` up to the bounds, and the far edge of what was looked at."""
    found: list[Line] = []
    size_bytes, edge = 0, offset
    while wanted > 0 and (line := next(lines, None)) is not None:
        edge = line.offset if line.offset < offset else line.end
        if not q or q in line.raw.decode(errors="replace"):
            found.append(line)
            size_bytes += len(line.raw) + _LINE_OVERHEAD_BYTES
        if len(found) == wanted or size_bytes > MAX_ANSWER_BYTES or abs(edge - offset) > MAX_SEARCH_BYTES:
            break
    return found, edge


def _timed(lines: list[Line], source: Readable, spans: list[tuple[int, int]], time_of: TimeOf) -> Iterator[LogLine]:
    """Yield the lines as they are shown; one without a time has that of the line before."""
    last: datetime | None = None
    is_first = True
    for line in lines:
        text = line.raw.decode(errors="replace").removesuffix("\r")
        own = time_of(text)
        if own is None and is_first and time_of is not no_time:
            own = time_before(source, spans, line.offset, time_of)
        last, is_first = own or last, False
        yield LogLine(last, text, line.offset)


def read_bytes(log: Log, offset: int, length: int) -> LogBytes:
    """Return up to `length` bytes (at most MAX_ANSWER_BYTES) at `offset`. Raises like `read_lines`.

    Where the log no longer has that offset, they are those at the next one it has; `offset` of the answer tells.
    """
    piece = log.read(max(0, offset), max(0, min(length, MAX_ANSWER_BYTES)))
    spans = log.spans()
    return LogBytes(piece.data, spans[-1][1] if spans else 0, piece.offset)


class Follower:
    """Reads on where a log is written, through its rotations. One owner."""

    def __init__(self, log: Log, offset: int) -> None:
        self._log = log
        self.offset = offset

    @classmethod
    async def at_end(cls, log: Log) -> "Follower":
        """Return one that begins with what is written from now on, after the last whole line."""
        spans = await asyncio.to_thread(log.spans)
        return cls(log, spans[-1][1] if spans else 0)

    async def read(self, length: int = CHUNK_BYTES) -> bytes:
        """Return the next bytes, empty when there are none for now. What was archived is unpacked in a thread."""
        piece = self._log.read_live(self.offset, length)
        if piece is None:
            piece = await asyncio.to_thread(self._log.read, self.offset, length)
        if piece.data:
            self.offset = piece.offset + len(piece.data)
        return piece.data


@contextlib.contextmanager
def opened(log: Log) -> Iterator[Readable]:
    """Give the log to read in, and give back what unpacking held."""
    try:
        yield log
    finally:
        if isinstance(log, FileLog):
            log.rest()
