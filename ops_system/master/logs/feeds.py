"""Logs that somebody follows: one stream on the link for each, however many look, and a bounded box for each viewer.

A viewer that does not read loses its oldest lines, which are counted; nobody else notices. Lines are gathered for
`BATCH_S` and encoded once for all, so that a flood becomes few messages.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from ops_system.master.logs.rules import Dropped, FollowedLines, FollowEnd, FollowEnded, LineSplitter
from ops_system.model.errors import OpsError
from ops_system.model.logtimes import LineTimes, fixed_zone
from ops_system.protocol.logs import FromLogFeed, LogDropped, LogPlace
from ops_system.protocol.pieces import Channel, PieceReader
from ops_system.runtime.streams import Stream
from ops_system.runtime.tasks import spawn

BATCH_S = 0.05
MAX_BATCH_LINES = 1000
MAX_WAITING_BYTES = 1024 * 1024  # of one viewer

Key = tuple[str, str]  # instance and log


class Message(NamedTuple):
    """A text frame for viewers. `lines` is what is lost with it; `is_end`: of its log, `is_last`: of everything."""

    text: str
    lines: int = 0
    is_end: bool = False
    is_last: bool = False


class Box:
    """What one viewer has yet to read. Never grows beyond MAX_WAITING_BYTES and a message."""

    def __init__(self) -> None:
        self._waiting: deque[Message] = deque()
        self._size_bytes = 0
        self._dropped_lines = 0
        self._filled = asyncio.Event()

    def put(self, message: Message) -> None:
        """Add a message, dropping the oldest lines where there is no room."""
        self._waiting.append(message)
        self._size_bytes += len(message.text)
        while self._size_bytes > MAX_WAITING_BYTES and len(self._waiting) > 1:
            oldest = self._waiting.popleft()
            self._size_bytes -= len(oldest.text)
            self._dropped_lines += oldest.lines
        self._filled.set()

    async def take(self) -> Message:
        """Return the next message, waiting for one; first how many lines were dropped before it."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        if self._dropped_lines:
            lines, self._dropped_lines = self._dropped_lines, 0
            return Message(encoded(Dropped(lines)), lines)
        message = self._waiting.popleft()
        self._size_bytes -= len(message.text)
        return message


class _Feed:
    """One stream and who looks."""

    def __init__(self, key: Key, stream: Stream) -> None:
        self.key = key
        self.stream = stream
        self.boxes: set[Box] = set()
        self.placed = asyncio.Event()  # the worker has said where it begins, or it has ended

    def tell(self, message: Message) -> None:
        """Give everybody a message."""
        for box in self.boxes:
            box.put(message)


class Feeds:
    """All followed logs. `run` is a part of the master."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._feeds: dict[Key, _Feed] = {}
        self._now = now
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Carry lines until cancelled."""
        async with asyncio.TaskGroup() as self._group:
            await asyncio.Event().wait()

    def __len__(self) -> int:
        return len(self._feeds)

    def has(self, key: Key) -> bool:
        """Whether somebody follows this log already."""
        return key in self._feeds

    def join(self, key: Key, box: Box, open_stream: Callable[[], Stream]) -> asyncio.Event:
        """Let `box` hear what is written once the returned event is set, and perhaps some before it.

        It is set as well when the log cannot be followed, which the box hears. Raises what opening raises.
        """
        feed = self._feeds.get(key)
        if feed is None:
            assert self._group is not None, "the part `log feeds` is not running"
            feed = _Feed(key, open_stream())
            self._feeds[key] = feed
            spawn(self._group, self._carry(feed), f"log feed {key[0]} {key[1]}")
        feed.boxes.add(box)
        return feed.placed

    def leave(self, key: Key, box: Box) -> None:
        """Let `box` hear no more; the last one ends the stream."""
        feed = self._feeds.get(key)
        if feed is None or box not in feed.boxes:
            return
        feed.boxes.discard(box)
        if not feed.boxes:
            del self._feeds[key]
            feed.stream.close()

    @contextlib.contextmanager
    def joined(self, key: Key, box: Box, open_stream: Callable[[], Stream]) -> Iterator[asyncio.Event]:
        """Join for the body of the `with` block; yields the event of `join`."""
        placed = self.join(key, box, open_stream)
        try:
            yield placed
        finally:
            self.leave(key, box)

    async def _carry(self, feed: _Feed) -> None:
        """Read the stream to its end and tell why it ended."""
        end = FollowEnd("", "the log is not followed any more")
        try:
            async for message in messages(feed.stream, feed.key[0], self._now(), feed.placed.set):
                feed.tell(message)
        except OpsError as problem:
            end = FollowEnd(problem.code, problem.message)
        finally:
            feed.stream.close()
            if self._feeds.get(feed.key) is feed:
                del self._feeds[feed.key]
            feed.placed.set()
        feed.tell(Message(encoded(FollowEnded(end, feed.key[0])), is_end=True))


def encoded(frame: msgspec.Struct) -> str:
    """Return a text frame."""
    return msgspec.json.encode(frame).decode()


async def messages(
    stream: Stream, instance_id: str, now: datetime, on_place: Callable[[], None]
) -> AsyncIterator[Message]:
    """Yield what a worker's stream says, lines gathered for `BATCH_S`, until it ends; raises what ended it.

    `on_place` is called whenever the worker says where the next bytes stand: first of all, and after each gap.
    """
    loop = asyncio.get_running_loop()
    reader, batch, due_s = PieceReader(), _Batch(instance_id, now, on_place), 0.0
    is_open = True
    while is_open:
        was_empty = not batch.lines
        try:
            async with asyncio.timeout_at(None if was_empty else due_s):
                for channel, data in reader.feed(await anext(stream)):
                    batch.take(channel, data)
        except TimeoutError:
            pass
        except StopAsyncIteration:
            batch.flush()
            is_open = False
        if was_empty and batch.lines:
            due_s = loop.time() + BATCH_S
        for message in batch.ready(is_due=not is_open or loop.time() >= due_s):
            yield message


class _Batch:
    """Gathers lines and tells of gaps at their place."""

    def __init__(self, instance_id: str, now: datetime, on_place: Callable[[], None]) -> None:
        self._instance_id = instance_id
        self._now = now
        self._on_place = on_place
        self._splitter = LineSplitter()
        self._full: list[Message] = []
        self.lines = self._splitter.lines

    def take(self, channel: Channel, data: bytes) -> None:
        """Take in a piece."""
        if channel is not Channel.CONTROL:
            self._splitter.feed(data)
            return
        match msgspec.json.decode(data, type=FromLogFeed):
            case LogPlace(offset, utc_offset_s):
                self.flush()
                self._splitter.begin(offset, LineTimes(fixed_zone(utc_offset_s), self._now).of)
                self._on_place()
            case LogDropped(lines, size_bytes):
                self.flush()
                self._full += self._cut(1)
                self._full.append(Message(encoded(Dropped(lines, size_bytes, self._instance_id)), lines))

    def flush(self) -> None:
        """Count what has no end yet as a line."""
        self._splitter.flush()

    def ready(self, *, is_due: bool) -> list[Message]:
        """Return what is to be sent now."""
        found = self._full + self._cut(1 if is_due else MAX_BATCH_LINES)
        self._full = []
        return found

    def _cut(self, least: int) -> list[Message]:
        found = []
        while len(self.lines) >= least:
            part = self.lines[:MAX_BATCH_LINES]
            del self.lines[:MAX_BATCH_LINES]
            found.append(Message(encoded(FollowedLines(part, self._instance_id)), len(part)))
        return found
