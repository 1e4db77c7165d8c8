"""Which topics exist, who watches them, and when changes go out. Fed by the bus (`Changed`) and by metrics (`put`).

A change waits at most `Topic.interval_s` for others to go with it. A topic nobody watches costs one dictionary look-up
per change; its log lives on for `KEEP_S` after the last viewer, so that a short break resumes without a snapshot.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from ops_system.master.bus import Bus, Changed
from ops_system.master.live.log import TopicLog
from ops_system.master.live.rules import Topic, find_topic
from ops_system.master.web.route import Principal
from ops_system.runtime.clock import Clock

KEEP_S = 60.0
BURST = 0.5  # of an interval: what comes a little early is not held back to the next one


class Watcher(Protocol):
    """What the hub knows of a viewer."""

    principal: Principal

    def wake(self, log: TopicLog) -> None:
        """The log has something new."""
        ...

    def end(self, code: str, message: str) -> None:
        """Close the socket now."""
        ...


class _Watched:
    """A topic's log with its viewers, and when what was put into it is told."""

    def __init__(self, log: TopicLog) -> None:
        self.log = log
        self.watchers: set[Watcher] = set()
        self.timer: asyncio.TimerHandle | None = None
        self.next_s = 0.0
        self.forget: asyncio.TimerHandle | None = None


class Hub:
    """The one hub. `app` registers the topics."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self.clock = clock
        self._topics: list[Topic] = []
        self._watched: dict[str, _Watched] = {}
        self._watchers: set[Watcher] = set()
        bus.subscribe(Changed, self._on_changed)

    def register(self, topic: Topic) -> None:
        """Offer a family of topics."""
        self._topics.append(topic)

    def is_watched(self, name: str) -> bool:
        """Return whether changes of this topic are wanted."""
        return name in self._watched

    @property
    def viewers(self) -> int:
        """How many sockets are open."""
        return len(self._watchers)

    def find(self, name: str, principal: Principal) -> Topic:
        """Return the family of a topic. Raises `NotFound`, `Forbidden`."""
        return find_topic(self._topics, name, principal)

    # --- viewers --------------------------------------------------------------------------------------------------
    def enter(self, watcher: Watcher) -> None:
        """A socket is open."""
        self._watchers.add(watcher)

    def leave(self, watcher: Watcher, names: Iterable[str]) -> None:
        """A socket is gone."""
        self._watchers.discard(watcher)
        for name in list(names):
            self.unwatch(name, watcher)

    def watch(self, name: str, topic: Topic, watcher: Watcher) -> TopicLog:
        """Start to tell `watcher` about a topic."""
        watched = self._watched.get(name)
        if watched is None:
            watched = self._watched[name] = _Watched(TopicLog(name, topic))
        if watched.forget is not None:
            watched.forget.cancel()
            watched.forget = None
        watched.watchers.add(watcher)
        return watched.log

    def unwatch(self, name: str, watcher: Watcher) -> None:
        """Stop telling `watcher`; the log is kept for a while when nobody is left."""
        watched = self._watched.get(name)
        if watched is None:
            return
        watched.watchers.discard(watcher)
        if not watched.watchers and watched.forget is None:
            watched.forget = asyncio.get_running_loop().call_later(KEEP_S, self._forget, name)

    def close_sessions(self, session_ids: Iterable[str]) -> None:
        """End the sockets of sessions and tokens that are no longer valid (trust S7)."""
        gone = set(session_ids)
        for watcher in list(self._watchers):
            if watcher.principal.session_id in gone or watcher.principal.id in gone:
                watcher.end("unauthenticated", "the session is over; log in again")

    # --- changes --------------------------------------------------------------------------------------------------
    def put(self, topic: str, key: str, data: Any) -> None:
        """Take a change past the bus: thousands of metrics each second concern nobody else."""
        watched = self._watched.get(topic)
        if watched is None:
            return
        watched.log.put(key, data)
        if watched.timer is None:
            self._schedule(watched)

    def _on_changed(self, change: Changed) -> None:
        self.put(change.topic, change.key, change.data)

    def _schedule(self, watched: _Watched) -> None:
        loop = asyncio.get_running_loop()
        interval_s, now_s = watched.log.topic.interval_s, loop.time()
        due_s = max(now_s, watched.next_s - BURST * interval_s)
        watched.next_s = max(now_s, watched.next_s) + interval_s
        watched.timer = loop.call_at(due_s, self._flush, watched)

    def _flush(self, watched: _Watched) -> None:
        watched.timer = None
        watched.log.commit()
        self._wake_next(watched.log, iter(tuple(watched.watchers)))

    def _wake_next(self, log: TopicLog, rest: Iterator[Watcher]) -> None:
        """Wake one viewer a turn of the loop: what all of a large fleet's viewers are sent at once would pause it."""
        watcher = next(rest, None)
        if watcher is not None:
            watcher.wake(log)
            asyncio.get_running_loop().call_soon(self._wake_next, log, rest)

    def _forget(self, name: str) -> None:
        watched = self._watched.get(name)
        if watched is not None and not watched.watchers:
            if watched.timer is not None:
                watched.timer.cancel()
            del self._watched[name]
