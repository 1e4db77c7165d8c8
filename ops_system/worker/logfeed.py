"""One log as it is written, for a stream to the master: whole while it is slow, with counted gaps in a flood.

Used by `logs`. Memory is bounded by one chunk. At most RATE_BYTES_PER_S are sent, more than anybody reads; what lags
further than MAX_LAG_BYTES behind is counted and left out. The lines themselves stay in the log and can be read there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec

from ops_system.processes.loglines import SCAN_BYTES, Readable
from ops_system.processes.tail import Follower, Log
from ops_system.protocol.logs import LogDropped, LogPlace
from ops_system.protocol.pieces import MAX_PIECE_BYTES, Channel, encode_piece

QUICK_S, SLOW_S = 0.03, 0.25
RATE_BYTES_PER_S = MAX_PIECE_BYTES / QUICK_S  # a piece a look: 2 MB/s
MAX_LAG_BYTES = 4 * 1024 * 1024
KEPT_BYTES = 256 * 1024  # what is sent of a flood: its end

Write = Callable[[bytes], Awaitable[None]]


async def feed(log: Log, offset: int | None, write: Write) -> None:
    """Write what comes from `offset` on (None: the end) until cancelled. Raises like `tail.read_lines`."""
    follower = await Follower.at_end(log) if offset is None else Follower(log, offset)
    await write(_place(follower.offset))
    pause_s = QUICK_S
    while True:
        before = follower.offset
        data = await follower.read(MAX_PIECE_BYTES)
        gap_bytes = follower.offset - len(data) - before
        if data and gap_bytes:
            await write(_dropped(0, gap_bytes) + _place(before + gap_bytes))
        if data:
            await write(encode_piece(Channel.STDOUT, data))
        if len(data) == MAX_PIECE_BYTES:
            await _skip(log, follower, write)
        pause_s = QUICK_S if data else min(SLOW_S, pause_s * 1.5)
        await asyncio.sleep(pause_s)


async def _skip(log: Log, follower: Follower, write: Write) -> None:
    """Go near the end when that is too far away."""
    found = await asyncio.to_thread(_count_lines, log, follower.offset)
    if found is not None:
        lines, at = found
        gap_bytes, follower.offset = at - follower.offset, at
        await write(_dropped(lines, gap_bytes) + _place(at))


def _count_lines(source: Readable, offset: int) -> tuple[int, int] | None:
    """Return how many lines end before the place to go on at, and that; None when the end is near enough."""
    spans = source.spans()
    end = spans[-1][1] if spans else offset
    if end - offset <= MAX_LAG_BYTES:
        return None
    lines, at, target = 0, offset, end - KEPT_BYTES
    last_line_end = target
    while at < target:
        piece = source.read(at, min(SCAN_BYTES, target - at))
        data = piece.data[: max(0, target - piece.offset)]
        if not data:
            break
        lines += data.count(b"\n")
        if (newline := data.rfind(b"\n")) >= 0:
            last_line_end = piece.offset + newline + 1
        at = piece.offset + len(data)
    return lines, last_line_end


def _place(offset: int) -> bytes:
    zone = datetime.now(UTC).astimezone().utcoffset()
    return _control(LogPlace(offset, zone.total_seconds() if zone else 0.0))


def _dropped(lines: int, size_bytes: int) -> bytes:
    return _control(LogDropped(lines, size_bytes))


def _control(word: LogPlace | LogDropped) -> bytes:
    return encode_piece(Channel.CONTROL, msgspec.json.encode(word))
