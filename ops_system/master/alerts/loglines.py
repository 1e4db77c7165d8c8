"""Counts new lines of logs that match the patterns of rules. The workers look, each from a kept place on.

For each node there is one stream `log.watch`: the worker tells hits at once, with the offset up to which it has looked.
Both are kept together: whatever is interrupted (the link, a worker, the master), looking goes on there, so no line is
missed and none counts twice.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from ops_system.master.alerts import store
from ops_system.master.alerts.fleet import InstanceFacts
from ops_system.master.alerts.views import LogPlace, StoredRule
from ops_system.model.alerts import Condition
from ops_system.model.errors import NodeOffline, OpsError, StorageFull, Unavailable
from ops_system.model.ids import InstanceId
from ops_system.model.reasons import Reason
from ops_system.protocol.logs import FromLogWatch, LogCounted, LogNotCounted, WatchedLog, WatchLogs
from ops_system.protocol.pieces import PieceReader
from ops_system.runtime.clock import Clock
from ops_system.runtime.streams import Stream
from ops_system.runtime.tasks import every, spawn
from ops_system.storage.database import Database

_log = logging.getLogger(__name__)

RETRY_S = 1.0
REST_S = 60.0  # after a worker that cannot look: an older one
SAVE_EVERY_S = 5.0
STEPS = 60  # of a window
MAX_WATCHED = 500  # logs in all; rules beyond are logged and get no hits

Key = tuple[str, str]  # rule and instance


class Opener(Protocol):
    """The part of the links that this needs."""

    def open_stream(self, node_id: str, kind: str, body: msgspec.Struct) -> Stream:
        """Open a stream to a node. Raises `NodeOffline`."""
        ...


@dataclass(slots=True, eq=False)
class _Watched:
    """One log under one rule. `at`: it was looked through so far; None: it begins with what is written now.

    `hits` are counted in STEPS of a window: until when, in seconds of the monotonic clock, and how many.
    """

    rule_id: str
    instance_id: str
    node_id: str
    condition: Condition
    at: int | None = None
    hits: deque[tuple[float, int]] = field(default_factory=deque)
    last: Reason | None = None

    def add(self, number: int, now_s: float) -> None:
        """Count hits."""
        step_s = self.condition.window_s / STEPS
        until_s = (now_s // step_s + 1) * step_s
        if self.hits and self.hits[-1][0] >= until_s:
            until_s, known = self.hits.pop()
            number += known
        self.hits.append((until_s, number))

    def forget(self, now_s: float) -> None:
        """Forget hits that count no more."""
        while self.hits and self.hits[0][0] < now_s - self.condition.window_s:
            self.hits.popleft()

    def place(self, ahead_s: float) -> LogPlace | None:
        """Return what is kept over a restart of the master; the wall clock is so far ahead of the monotonic one."""
        hits = tuple((round(until_s + ahead_s), number) for until_s, number in self.hits)
        return None if self.at is None else LogPlace(self.at, hits)


@dataclass(slots=True, eq=False)
class _Open:
    """What is asked of one node."""

    watched: tuple[_Watched, ...]
    stream: Stream


class LogLooker:
    """All logs that rules are about. `on_hit` is called when lines matched."""

    def __init__(self, links: Opener, clock: Clock, database: Database) -> None:
        self._links = links
        self._clock = clock
        self._database = database
        self._since = clock.now()
        self._watched: dict[Key, _Watched] = {}
        self._saved: dict[Key, LogPlace] = {}
        self._open: dict[str, _Open] = {}
        self._rests_until_s: dict[str, float] = {}
        self._changed = asyncio.Event()
        self.on_hit: Callable[[], None] = lambda: None

    async def load(self) -> None:
        """Read how far logs were looked through when the master stopped."""
        self._saved = await store.list_log_places(self._database)

    def watch(self, wanted: Iterable[tuple[StoredRule, InstanceFacts]]) -> None:
        """Look at these from now on. What is known of others is forgotten."""
        found: dict[Key, _Watched] = {}
        for rule, facts in wanted:
            key, condition = (rule.id, facts.id), rule.body.condition
            known = self._watched.get(key)
            is_same = known is not None and (known.node_id, known.condition) == (facts.node_id, condition)
            found[key] = known if known and is_same else self._begin(rule, facts, is_changed=known is not None)
        if len(found) > MAX_WATCHED:
            _log.warning("rules watch %d logs; only %d are looked at: narrow their scope", len(found), MAX_WATCHED)
        self._watched = dict(sorted(found.items())[:MAX_WATCHED])
        self._changed.set()

    def _begin(self, rule: StoredRule, facts: InstanceFacts, *, is_changed: bool) -> _Watched:
        """An instance younger than its rule is looked at from its first line on."""
        is_young = facts.created_at >= max(rule.updated_at, self._since)
        begin = LogPlace(0) if is_young else None
        place = None if is_changed else self._saved.get((rule.id, facts.id), begin)
        made = _Watched(rule.id, facts.id, facts.node_id, rule.body.condition, place.offset if place else None)
        ahead_s = self._ahead_s()
        made.hits.extend((until_s - ahead_s, number) for until_s, number in (place.hits if place else ()))
        return made

    def count(self, rule_id: str, instance_id: str) -> tuple[int, Reason | None]:
        """Return the lines that matched lately, and the newest of them."""
        watched = self._watched.get((rule_id, instance_id))
        if watched is None:
            return 0, None
        watched.forget(self._clock.monotonic_s())
        return sum(number for _, number in watched.hits), watched.last

    async def run(self) -> None:
        """Keep a stream open to every node that has logs to look at, until cancelled."""
        async with asyncio.TaskGroup() as group:
            spawn(group, every(SAVE_EVERY_S, self.save, "places of log rules"), "places of log rules")
            while True:
                self._changed.clear()
                self._reconcile(group)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S):
                        await self._changed.wait()

    async def save(self) -> None:
        """Write how far logs were looked through, where that has changed."""
        now_s, ahead_s = self._clock.monotonic_s(), self._ahead_s()
        for one in self._watched.values():
            one.forget(now_s)
        places = {key: one.place(ahead_s) for key, one in self._watched.items()}
        changed: dict[Key, LogPlace | None] = {key: at for key, at in places.items() if at != self._saved.get(key)}
        changed |= {key: None for key in self._saved if key not in places}
        if not changed:
            return
        try:
            async with self._database.transaction() as tx:
                await store.save_log_places(tx, changed)
        except (StorageFull, Unavailable) as problem:
            _log.warning("how far log rules have looked is not kept: %s", problem.message)
            return
        self._saved = {key: at for key, at in places.items() if at is not None}

    def _ahead_s(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic_s()

    # --- streams --------------------------------------------------------------------------------------------------
    def _reconcile(self, group: asyncio.TaskGroup) -> None:
        """Open, close and open anew what is needed."""
        wanted: dict[str, list[_Watched]] = {}
        for one in self._watched.values():
            wanted.setdefault(one.node_id, []).append(one)
        for node_id, opened in list(self._open.items()):
            if opened.watched != tuple(wanted.get(node_id, ())):
                del self._open[node_id]
                opened.stream.close()
        now_s = self._clock.monotonic_s()
        for node_id, watched in wanted.items():
            if node_id not in self._open and now_s >= self._rests_until_s.get(node_id, 0.0):
                self._begin_stream(group, node_id, tuple(watched))

    def _begin_stream(self, group: asyncio.TaskGroup, node_id: str, watched: tuple[_Watched, ...]) -> None:
        logs = tuple(
            WatchedLog(
                InstanceId(one.instance_id), one.condition.log, one.condition.pattern, one.condition.regex, one.at
            )
            for one in watched
        )
        try:
            stream = self._links.open_stream(node_id, "log.watch", WatchLogs(logs))
        except OpsError as problem:
            self._trouble(node_id, problem)
            return
        self._open[node_id] = _Open(watched, stream)
        spawn(group, self._carry(node_id, self._open[node_id]), f"log rules of {node_id}")

    async def _carry(self, node_id: str, opened: _Open) -> None:
        """Take what a worker tells until the stream ends, or another one is opened in its place."""
        reader = PieceReader()
        try:
            async for data in opened.stream:
                for _channel, piece in reader.feed(data):
                    if self._open.get(node_id) is not opened:
                        return
                    self._take(opened.watched, msgspec.json.decode(piece, type=FromLogWatch))
        except OpsError as problem:
            self._trouble(node_id, problem)
        except (msgspec.MsgspecError, IndexError) as problem:
            self._rests_until_s[node_id] = self._clock.monotonic_s() + REST_S
            _log.warning("node %s tells nonsense of logs: %s", node_id, problem)
        finally:
            opened.stream.close()
            if self._open.get(node_id) is opened:
                del self._open[node_id]

    def _trouble(self, node_id: str, problem: OpsError) -> None:
        if isinstance(problem, NodeOffline | Unavailable):
            return  # it comes back; looking goes on where it was
        self._rests_until_s[node_id] = self._clock.monotonic_s() + REST_S
        _log.warning("logs of node %s are not looked at for rules: %s", node_id, problem.message)

    def _take(self, watched: tuple[_Watched, ...], word: FromLogWatch) -> None:
        one = watched[word.index]
        match word:
            case LogNotCounted():
                _log.warning("alert rule %s cannot look at %s: %s", one.rule_id, one.instance_id, word.message)
            case LogCounted():
                one.at = word.position
                if word.missed_bytes:
                    _log.warning("%d bytes of a log of %s were rotated away unread", word.missed_bytes, one.instance_id)
                if word.hits:
                    one.add(word.hits, self._clock.monotonic_s())
                    one.last = Reason("log_line", word.line, {"line": word.line})
                    self.on_hit()
