"""From bytes at offsets to lines and blocks, both ways, a bounded piece at a time. Used by `tail` and `logsearch`.

A line that is longer than MAX_LINE_BYTES comes in pieces. Where bytes are missing in between (rotated away, damaged)
the line ends there.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple, Protocol

from ops_system.processes.rotate import Piece

BLOCK_BYTES = 64 * 1024
MAX_LINE_BYTES = 64 * 1024  # a longer line is shown in pieces of this size
SCAN_BYTES = 1024 * 1024  # what a search looks at in one go: a member of an archive
WINDOW_BYTES = 4 * SCAN_BYTES  # what a search backwards holds
LOOK_BACK_BYTES = 16 * 1024  # how far the time of a line without one is looked for
LOOK_FAR_BYTES = 256 * 1024
_HEAD_BYTES = 512  # a time stands at the beginning
_NEWLINE = b"\n"

TimeOf = Callable[[str], datetime | None]


class Readable(Protocol):
    """What has bytes at offsets. Both block; reading archives may take milliseconds."""

    def spans(self) -> list[tuple[int, int]]:
        """Return the ranges of offsets there are, in order. Raises NotFound for what is no regular file."""
        ...

    def read(self, offset: int, length: int) -> Piece:
        """Return up to `length` bytes at `offset` or at the next one there is; none at the end."""
        ...

    def read_live(self, offset: int, length: int) -> Piece | None:
        """Return like `read`, at once; None when that would have to wait or to unpack."""
        ...


class Line(NamedTuple):
    """A line, without its newline; `end` is the offset after that."""

    offset: int
    raw: bytes
    end: int


class Block(NamedTuple):
    """Whole lines in a row (the last one of a log may lack its end)."""

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        """The offset after it."""
        return self.offset + len(self.data)


# --- lines -----------------------------------------------------------------------------------------------------------
def lines_backward(source: Readable, spans: list[tuple[int, int]], end: int) -> Iterator[Line]:
    """Yield from the line that ends at `end` to the first."""
    for start, stop in reversed(spans):
        if start < end:
            yield from _span_backward(source, start, min(stop, end))


def _span_backward(source: Readable, first: int, end: int) -> Iterator[Line]:
    rest = Block(end, b"")  # belongs to a line whose beginning was not met yet
    while rest.offset > first:
        start = max(first, rest.offset - BLOCK_BYTES)
        found = _read_until(source, start, rest.offset)
        is_whole = found.offset == start
        if found.data:
            rest = Block(found.offset, found.data + rest.data)
        cut = rest.data.find(_NEWLINE) + 1 if is_whole and start > first else 0
        if len(rest.data) - cut and (cut or not is_whole or start == first or len(rest.data) >= MAX_LINE_BYTES):
            yield from reversed(_lines_in(Block(rest.offset + cut, rest.data[cut:])))
            rest = Block(rest.offset, rest.data[:cut])
        if not is_whole:
            rest = Block(start, b"")  # it was rotated away meanwhile, or is damaged


def _lines_in(block: Block) -> list[Line]:
    found, at = [], block.offset
    for raw in block.data.split(_NEWLINE)[: -1 if block.data.endswith(_NEWLINE) else None]:
        end = min(at + len(raw) + 1, block.end)
        for cut in range(0, max(len(raw), 1), MAX_LINE_BYTES):
            piece = raw[cut : cut + MAX_LINE_BYTES]
            is_last = cut + MAX_LINE_BYTES >= len(raw)
            found.append(Line(at + cut, piece, end if is_last else at + cut + len(piece)))
        at = end
    return found


def _read_until(source: Readable, start: int, end: int) -> Block:
    """Read what reaches up to `end`, from `start` or from behind the last place where bytes are missing."""
    found = Block(start, b"")
    at = start
    while at < end:
        piece = source.read(at, end - at)
        data = piece.data[: max(0, end - piece.offset)]
        if not data:
            return Block(end, b"")
        is_joined = piece.offset == found.end
        found = Block(found.offset, found.data + data) if is_joined else Block(piece.offset, data)
        at = piece.offset + len(data)
    return found


def lines_forward(source: Readable, start: int, end: int) -> Iterator[Line]:
    """Yield the lines from `start`, which begins one, up to `end`."""
    for block in blocks_forward(source, start, end, block_bytes=BLOCK_BYTES):
        yield from _lines_in(block)


def line_start(source: Readable, spans: list[tuple[int, int]], offset: int) -> int:
    """Return where the line that holds `offset` begins (for a very long line: within MAX_LINE_BYTES before)."""
    for start, stop in spans:
        if offset < start:
            return start
        if offset < stop:
            lower = max(start, offset - MAX_LINE_BYTES)
            found = _read_until(source, lower, offset)
            return found.offset + found.data.rfind(_NEWLINE) + 1
    return spans[-1][1] if spans else 0


# --- blocks ----------------------------------------------------------------------------------------------------------
def blocks_forward(source: Readable, start: int, end: int, block_bytes: int = SCAN_BYTES) -> Iterator[Block]:
    """Yield all lines from `start`, which begins one, up to `end`."""
    at, rest = start, Block(start, b"")
    while at < end:
        piece = source.read(at, min(block_bytes, end - at))
        data = piece.data[: max(0, end - piece.offset)]
        if not data:
            break
        if piece.offset != at and rest.data:
            yield rest  # bytes are missing here
            rest = Block(piece.offset, b"")
        joined = Block(piece.offset - len(rest.data) if rest.data else piece.offset, rest.data + data)
        at = piece.offset + len(data)
        cut = joined.data.rfind(_NEWLINE) + 1
        if cut == 0 and len(joined.data) >= block_bytes:
            cut = len(joined.data)
        if cut:
            yield Block(joined.offset, joined.data[:cut])
        rest = Block(joined.offset + cut, joined.data[cut:])
    if rest.data:
        yield rest


def blocks_backward(source: Readable, start: int, end: int) -> Iterator[Block]:
    """Yield all lines between the offsets, the last block first. Holds WINDOW_BYTES."""
    high = end
    while high > start:
        low = max(start, high - WINDOW_BYTES)
        found = list(blocks_forward(source, low, high))
        if found and low > start:
            found = _without_head(found)
        yield from reversed(found)
        high = min(found[0].offset, high) if found else low
        if found and found[0].offset <= low:
            high = low


def _without_head(found: list[Block]) -> list[Block]:
    """Leave the part of a line at the beginning to the window before, where there is more than that."""
    head = found[0]
    cut = head.data.find(_NEWLINE) + 1
    if cut == 0 or (cut == len(head.data) and len(found) == 1):
        return found
    return ([Block(head.offset + cut, head.data[cut:])] if cut < len(head.data) else []) + found[1:]


# --- times -----------------------------------------------------------------------------------------------------------
def time_before(source: Readable, spans: list[tuple[int, int]], offset: int, time_of: TimeOf) -> datetime | None:
    """Return the last time that is written within LOOK_BACK_BYTES before `offset`."""
    for line in lines_backward(source, spans, offset):
        if offset - line.offset > LOOK_BACK_BYTES:
            break
        if found := time_of(_head(line)):
            return found
    return None


def find_time(source: Readable, spans: list[tuple[int, int]], at: datetime, time_of: TimeOf) -> int | None:
    """Return the offset of the first line that is not older than `at`, by bisection; the end when all are older.

    Where times do not rise (several writers, a clock set back) it is a line near one. None: no time was met.
    """
    if not spans:
        return None
    low, high = spans[0][0], spans[-1][1]
    has_times = False
    while high - low > BLOCK_BYTES:
        middle = (low + high) // 2
        found = _first_time(source, _after_newline(source, middle, high), high, time_of)
        has_times = has_times or found is not None
        if found is None or found.moment >= at:
            high = middle
        else:
            low = max(found.end, middle)
    for line in lines_forward(source, line_start(source, spans, low), spans[-1][1]):
        moment = time_of(_head(line))
        has_times = has_times or moment is not None
        if (moment is not None and moment >= at) or line.offset > high + LOOK_FAR_BYTES:
            return line.offset if has_times else None
    return spans[-1][1] if has_times else None


class _Timed(NamedTuple):
    end: int
    moment: datetime


def _head(line: Line) -> str:
    return line.raw[:_HEAD_BYTES].decode(errors="replace")


def _after_newline(source: Readable, offset: int, end: int) -> int:
    """Return where the first line after `offset` begins; `offset` itself when none does soon."""
    piece = source.read(offset, min(MAX_LINE_BYTES, max(0, end - offset)))
    found = piece.data.find(_NEWLINE)
    return piece.offset + found + 1 if found >= 0 else piece.offset


def _first_time(source: Readable, start: int, end: int, time_of: TimeOf) -> _Timed | None:
    """Return the first time from `start` on and the end of its line; None when there is none soon."""
    for line in lines_forward(source, start, min(end, start + LOOK_FAR_BYTES)):
        if moment := time_of(_head(line)):
            return _Timed(line.end, moment)
    return None
