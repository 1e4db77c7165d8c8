"""Counts lines that match, for rules of the master: each log from a kept place on, so that no line is missed.

One `log.watch` stream, one log after the other; what was looked through is told with the place it ends at, hits at
once. Memory is bounded by a block. A line counts once it is whole, or nothing was added to it for a while.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import msgspec

from ops_system.model.errors import Invalid, NotFound, OpsError, Unavailable
from ops_system.model.ids import InstanceId
from ops_system.processes.loglines import MAX_LINE_BYTES, Block, Readable, blocks_forward
from ops_system.processes.matching import Matchers
from ops_system.processes.tail import Log, opened
from ops_system.protocol.logs import FromLogWatch, LogCounted, LogNotCounted, WatchedLog
from ops_system.protocol.pieces import Channel, encode_piece

LOOK_EVERY_S = 0.5
TELL_EVERY_S = 5.0  # a place without hits; they are told at once
MAX_LOOK_BYTES = 16 * 1024 * 1024  # of one log before the others have their turn
UNFINISHED_S = 5.0
REST_S = 60.0  # after trouble: an expression that explodes costs two seconds of a core
MAX_LINE_CHARS = 300


@dataclass(slots=True)
class _Watched:
    """One log. `at`: the line there is the next to be looked at; None: not known yet."""

    index: int
    wish: WatchedLog
    at: int | None
    told_at: int | None = None
    told_s: float = 0.0
    end: int = 0  # of an unfinished line, seen first at `end_s`
    end_s: float = 0.0
    rests_until_s: float = 0.0


@dataclass(slots=True)
class _Look:
    """What one look has found."""

    hits: int = 0
    line: str = ""
    missed_bytes: int = 0


class LogWatch:
    """One stream. `find` gives a log, `clock` is monotonic."""

    def __init__(
        self,
        find: Callable[[InstanceId, str], Log],
        write: Callable[[bytes], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._find = find
        self._write = write
        self._clock = clock
        self._matchers = Matchers()

    async def run(self, logs: Iterable[WatchedLog]) -> None:
        """Look until cancelled."""
        watched = [_Watched(index, wish, wish.start) for index, wish in enumerate(logs)]
        try:
            while True:
                is_behind = False
                for one in watched:
                    is_behind |= await self._look_at(one)
                await asyncio.sleep(0 if is_behind else LOOK_EVERY_S)
        finally:
            await self._matchers.close()

    async def _look_at(self, one: _Watched) -> bool:
        """Look through what is new in one log; return whether there is more already."""
        now_s = self._clock()
        if now_s < one.rests_until_s:
            return False
        try:
            log = self._find(one.wish.instance_id, one.wish.name)
            if one.at is None:
                one.at = await asyncio.to_thread(_line_under_way, log)
            return await self._read_on(one, one.at, log)
        except NotFound:
            one.at = 0 if one.at is None else one.at  # not written yet: all of it will be new
            await self._tell(one, _Look())
        except (Invalid, Unavailable) as problem:
            await self._give_up(one, problem)
        return False

    async def _read_on(self, one: _Watched, at: int, log: Log) -> bool:
        quick = log.read_live(at, 1)
        if quick is not None and not quick.data:
            await self._tell(one, _Look())
            return False
        look, read_bytes = _Look(), 0
        with opened(log) as source:
            blocks = await asyncio.to_thread(lambda: blocks_forward(source, *_range(source, at)))
            try:
                while (block := await asyncio.to_thread(next, blocks, None)) is not None:
                    look.missed_bytes += max(0, block.offset - at)
                    whole = self._whole(one, block)
                    await self._count(one, look, block.data[:whole])
                    one.at = at = block.offset + whole
                    read_bytes += whole
            finally:
                await self._tell(one, look)
        return read_bytes >= MAX_LOOK_BYTES

    def _whole(self, one: _Watched, block: Block) -> int:
        """Return how much of a block is lines that will not change any more."""
        whole = block.data.rfind(b"\n") + 1
        if whole == len(block.data) or len(block.data) - whole >= MAX_LINE_BYTES:
            return len(block.data)
        if one.end != block.end:
            one.end, one.end_s = block.end, self._clock()
        is_quiet = self._clock() - one.end_s >= UNFINISHED_S
        return len(block.data) if is_quiet else whole

    async def _count(self, one: _Watched, look: _Look, data: bytes) -> None:
        if not data:
            return
        matcher = await self._matchers.get(one.wish.text, is_regex=one.wish.is_regex)
        starts = await matcher.find(data)
        if starts:
            look.hits += len(starts)
            raw = data[starts[-1] : starts[-1] + 4 * MAX_LINE_CHARS].split(b"\n", 1)[0]
            look.line = raw.decode(errors="replace").removesuffix("\r")[:MAX_LINE_CHARS]

    async def _tell(self, one: _Watched, look: _Look) -> None:
        """Say how far it was looked, at once when there is something to say."""
        assert one.at is not None
        now_s = self._clock()
        is_due = one.told_at is None or (one.at != one.told_at and now_s - one.told_s >= TELL_EVERY_S)
        if look.hits or look.missed_bytes or is_due:
            one.told_at, one.told_s = one.at, now_s
            await self._say(LogCounted(one.index, one.at, look.hits, look.line, look.missed_bytes))

    async def _give_up(self, one: _Watched, problem: OpsError) -> None:
        """Rest; what is written until then is left out."""
        await self._matchers.drop(one.wish.text, is_regex=one.wish.is_regex)
        one.at, one.told_at, one.rests_until_s = None, None, self._clock() + REST_S
        await self._say(LogNotCounted(one.index, problem.code, problem.message))

    async def _say(self, word: FromLogWatch) -> None:
        await self._write(encode_piece(Channel.CONTROL, msgspec.json.encode(word)))


def _range(source: Readable, at: int) -> tuple[int, int]:
    """Return from where to where to look now. A log that is shorter than it was has begun anew."""
    spans = source.spans()
    first, end = (spans[0][0], spans[-1][1]) if spans else (at, at)
    start = first if at > end else at
    return start, min(end, start + MAX_LOOK_BYTES)


def _line_under_way(log: Readable) -> int:
    """Return where the line begins that is being written; the end, when the last one is whole."""
    spans = log.spans()
    if not spans:
        return 0
    first, end = spans[-1]
    lower = max(first, end - MAX_LINE_BYTES)
    tail = log.read(lower, end - lower)
    newline = tail.data.rfind(b"\n")
    return tail.offset + newline + 1 if newline >= 0 else first if lower == first else end
