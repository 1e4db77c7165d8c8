"""Searching a log with its old files, a block at a time: bounded in memory and time, told where to go on.

Used by the worker's `logs`. The blocks are read and unpacked in a thread; see `matching` for what looks at them.
"""

import asyncio
from collections.abc import Callable, Iterator

from ops_system.processes.loglines import (
    Block,
    Readable,
    TimeOf,
    blocks_backward,
    blocks_forward,
    find_time,
    line_start,
    time_before,
)
from ops_system.processes.matching import Matcher
from ops_system.processes.tail import Log, opened
from ops_system.protocol.logs import LogHits, LogLine, SearchLog

MAX_HITS = 2000
MAX_HITS_BYTES = 512 * 1024
MAX_HIT_BYTES = 4096
MAX_WITHIN_S = 20.0


async def search(log: Log, wish: SearchLog, matcher: Matcher, time_of: TimeOf, clock: Callable[[], float]) -> LogHits:
    """Look from `wish.start` on until the hits, the time or the log come to an end. Raises like `read_lines`."""
    deadline_s = clock() + min(wish.within_s, MAX_WITHIN_S)
    with opened(log) as source:
        low, high, total = await asyncio.to_thread(_range, source, wish, time_of)
        blocks = blocks_forward(source, low, high) if wish.is_forward else blocks_backward(source, low, high)
        found = _Found(wish)
        edge = low if wish.is_forward else high
        while not found.is_full and (block := await asyncio.to_thread(next, blocks, None)) is not None:
            edge = found.take(block, await matcher.find(block.data))
            if clock() >= deadline_s:
                break
        else:
            edge = edge if found.is_full else high if wish.is_forward else low
        hits = await asyncio.to_thread(lambda: tuple(_shown(source, found.hits, time_of)))
    left = high - edge if wish.is_forward else edge - low
    return LogHits(hits, next=edge if left > 0 else None, done_bytes=total - left, total_bytes=total)


def _range(source: Readable, wish: SearchLog, time_of: TimeOf) -> tuple[int, int, int]:
    """Return from where to where to look now, and how many bytes the whole search has."""
    spans = source.spans()
    if not spans:
        return 0, 0, 0
    first, last = spans[0][0], spans[-1][1]
    if wish.since is not None:
        first = find_time(source, spans, wish.since, time_of) or first
    if wish.until is not None:
        found = find_time(source, spans, wish.until, time_of)
        last = last if found is None else max(first, found)
    if wish.start is None:
        return first, last, last - first
    start = line_start(source, spans, min(max(wish.start, first), last)) if wish.start < last else last
    return (max(first, start), last, last - first) if wish.is_forward else (first, max(first, start), last - first)


class _Found:
    """The hits so far."""

    def __init__(self, wish: SearchLog) -> None:
        self._is_forward = wish.is_forward
        self._limit = max(1, min(wish.limit, MAX_HITS))
        self._size_bytes = 0
        self.hits: list[tuple[int, bytes]] = []

    @property
    def is_full(self) -> bool:
        """Whether no more fit into the answer."""
        return len(self.hits) >= self._limit or self._size_bytes > MAX_HITS_BYTES

    def take(self, block: Block, starts: list[int]) -> int:
        """Take in the hits of a block in the order of the search; return how far that went."""
        for start in starts if self._is_forward else reversed(starts):
            raw = block.data[start : start + MAX_HIT_BYTES].split(b"\n", 1)[0]
            self.hits.append((block.offset + start, raw))
            self._size_bytes += len(raw)
            if self.is_full:
                return _end_of_line(block, start) if self._is_forward else block.offset + start
        return block.end if self._is_forward else block.offset


def _end_of_line(block: Block, start: int) -> int:
    found = block.data.find(b"\n", start)
    return block.end if found < 0 else block.offset + found + 1


def _shown(source: Readable, hits: list[tuple[int, bytes]], time_of: TimeOf) -> Iterator[LogLine]:
    """Yield the hits with their times; one without has the last before it."""
    spans = source.spans()
    for offset, raw in hits:
        text = raw.decode(errors="replace").removesuffix("\r")
        yield LogLine(time_of(text) or time_before(source, spans, offset, time_of), text, offset)
