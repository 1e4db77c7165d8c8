"""Watchers of the embedded engine: fed as commits happen, from memory when they are a little behind, else from disk.

A watcher that does not read is not fed for ever: past `MAX_WAITING` events it is taken off the feed and reads what it
missed from the history when it comes back. So a slow one costs bounded memory and still misses nothing.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import islice

import msgspec

from ops_system.kv.base import Changes, Event, WatchFilter, WatchRequest
from ops_system.kv.errors import Compacted
from ops_system.kv.ranges import holds
from ops_system.model.errors import Unavailable

MAX_WAITING = 1_000
KEPT_EVENTS, KEPT_BYTES = 20_000, 32 * 1024 * 1024
_PAGE = 1_000

ReadHistory = Callable[[WatchRequest, int, int], Awaitable[Changes]]
"""Reads events from the disk: request, first revision, about how many. Raises Compacted."""


class Recent:
    """The newest revisions' events in memory, one entry a revision with no gap."""

    def __init__(self, revision: int) -> None:
        self.first = revision + 1
        self._kept: deque[Sequence[Event]] = deque()
        self._events = self._bytes = 0

    def add(self, events: Sequence[Event]) -> None:
        """Append the events of the next revision; forget the oldest beyond the bounds."""
        self._kept.append(events)
        self._count(events, 1)
        while self._events > KEPT_EVENTS or self._bytes > KEPT_BYTES:
            self._count(self._kept.popleft(), -1)
            self.first += 1

    def since(self, revision: int, limit: int) -> list[Sequence[Event]]:
        """Return the revisions from `revision` on (not before `first`), at most `limit` of them."""
        start = revision - self.first
        return list(islice(self._kept, start, start + limit))

    def _count(self, events: Sequence[Event], sign: int) -> None:
        self._events += sign * len(events)
        self._bytes += sign * sum(len(event.kv.key) + len(event.kv.value) for event in events)


class Watcher:
    """One open watch; iterate it. `revision` is the newest one when it was opened."""

    def __init__(self, hub: "Hub", request: WatchRequest) -> None:
        self.request = request
        self.revision = hub.revision
        self._hub = hub
        self._waiting: deque[Changes] = deque()
        self._waiting_events = 0
        self._news = asyncio.Event()
        self._resume_at = request.start_revision if 0 < request.start_revision <= hub.revision else 0
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[Changes]:
        """Give what happens, in order. Raises Compacted, and Unavailable when the store closes."""
        while True:
            yield await self.next()

    async def next(self) -> Changes:
        """Wait for the next changes."""
        while True:
            if self._waiting:
                changes = self._waiting.popleft()
                self._waiting_events -= len(changes.events)
                return changes
            if self._closed:
                raise Unavailable("the store is closing; open the watch again elsewhere or later")
            if self._resume_at > self._hub.revision:
                self._resume_at = 0
            if self._resume_at:
                if (changes := await self._catch_up()).events:
                    return changes
                continue
            self._news.clear()
            await self._news.wait()

    def offer(self, revision: int, events: Sequence[Event]) -> None:
        """Take what concerns this watch."""
        if self._resume_at or revision < self.request.start_revision:
            return
        if wanted := self.pick(events):
            if self._waiting_events > MAX_WAITING:
                self._resume_at = revision
                return
            self._waiting.append(Changes(revision, wanted))
            self._waiting_events += len(wanted)
            self._news.set()

    def close(self) -> None:
        """Say that nothing more comes."""
        self._closed = True
        self._news.set()

    def pick(self, events: Sequence[Event]) -> tuple[Event, ...]:
        """Return the events this watch asked for, as it asked for them."""
        request = self.request
        filters = request.filters
        found = []
        for event in events:
            if not holds(request.key, request.range_end, event.kv.key):
                continue
            if filters and (WatchFilter.NODELETE if event.is_delete else WatchFilter.NOPUT) in filters:
                continue
            found.append(event if request.prev_kv else Event(event.kv))
        return tuple(found)

    async def _catch_up(self) -> Changes:
        recent = self._hub.recent
        if self._resume_at < self._hub.compacted:
            raise Compacted(revision=self._hub.compacted)
        if self._resume_at >= recent.first:
            told = recent.since(self._resume_at, _PAGE)
            upto = self._resume_at + len(told) - 1
            changes = Changes(upto, tuple(event for events in told for event in self.pick(events)))
        else:
            read = await self._hub.read_history(self.request, self._resume_at, _PAGE)
            changes = msgspec.structs.replace(read, events=self.pick(read.events))
        self._resume_at = changes.revision + 1
        return changes


class Hub:
    """All watchers. `revision` is the newest one that is durable: nothing newer is told, nor older than `compacted`."""

    def __init__(self, revision: int, compacted: int, read_history: ReadHistory) -> None:
        self.revision = revision
        self.compacted = compacted
        self.read_history = read_history
        self.recent = Recent(revision)
        self._by_key: dict[bytes, set[Watcher]] = {}
        self._ranges: set[Watcher] = set()

    def __len__(self) -> int:
        return len(self._ranges) + sum(map(len, self._by_key.values()))

    def add(self, request: WatchRequest) -> Watcher:
        """Open a watch."""
        watcher = Watcher(self, request)
        self._home(request).add(watcher)
        return watcher

    def remove(self, watcher: Watcher) -> None:
        """Close a watch."""
        home = self._home(watcher.request)
        home.discard(watcher)
        if not home and not watcher.request.range_end:
            del self._by_key[watcher.request.key]

    def publish(self, revision: int, events: Sequence[Event]) -> None:
        """Tell everybody what one durable revision changed."""
        self.revision = revision
        self.recent.add(events)
        concerned = set(self._ranges)
        if self._by_key:
            for event in events:
                concerned |= self._by_key.get(event.kv.key, set())
        for watcher in concerned:
            watcher.offer(revision, events)

    def close(self) -> None:
        """End every watch."""
        for watcher in self._ranges.union(*self._by_key.values()):
            watcher.close()

    def _home(self, request: WatchRequest) -> set[Watcher]:
        return self._ranges if request.range_end else self._by_key.setdefault(request.key, set())
