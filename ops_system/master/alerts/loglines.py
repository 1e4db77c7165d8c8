"""Counts new lines of logs that match the patterns of rules. The workers look (`logs.search`), bounded in time.

Every `LOOK_EVERY_S` each watched log is asked for its end; where it has grown, the worker looks through what is new. An
expression that takes too long is killed there and the rule gets no hits. What was written before the first look, while
the node was away, or while the master was, is not looked at.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from ops_system.master.alerts.views import StoredRule
from ops_system.model.alerts import Condition
from ops_system.model.errors import Invalid, NotFound, OpsError
from ops_system.model.ids import InstanceId
from ops_system.model.reasons import Reason
from ops_system.protocol.requests import LogHits, LogLines, ReadLog, SearchLog
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import every, spawn

_log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_EVERY_S = 5.0
ANSWER_WITHIN_S = 15.0
MAX_HITS = 1000  # counted in one look
MAX_WATCHED = 500  # logs in all; rules beyond are logged and get no hits
AT_ONCE = 16
MAX_LINE = 300


class Asker(Protocol):
    """The part of the links that this needs."""

    async def request(
        self, node_id: str, kind: str, body: msgspec.Struct, reply_type: type[T], timeout_s: float = ...
    ) -> T:
        """Ask a node. Raises `NodeOffline`, `TimedOut`, or what the worker answers."""
        ...


@dataclass(slots=True)
class _Watched:
    """One log under one rule. `end`: how far it was looked through."""

    rule_id: str
    instance_id: str
    node_id: str
    condition: Condition
    end: int | None = None
    hits: deque[tuple[float, int]] = field(default_factory=deque)
    last: Reason | None = None


class LogLooker:
    """All logs that rules are about."""

    def __init__(self, links: Asker, clock: Clock) -> None:
        self._links = links
        self._clock = clock
        self._watched: dict[tuple[str, str], _Watched] = {}

    def watch(self, wanted: Iterable[tuple[StoredRule, str, str]]) -> None:
        """Look at these from now on: rule, instance, its node. What is known of others is forgotten."""
        found: dict[tuple[str, str], _Watched] = {}
        for rule, instance_id, node_id in wanted:
            key, condition = (rule.id, instance_id), rule.body.condition
            known = self._watched.get(key)
            is_same = known is not None and (known.node_id, known.condition) == (node_id, condition)
            found[key] = known if known and is_same else _Watched(rule.id, instance_id, node_id, condition)
        if len(found) > MAX_WATCHED:
            _log.warning("rules watch %d logs; only %d are looked at: narrow their scope", len(found), MAX_WATCHED)
        self._watched = dict(sorted(found.items())[:MAX_WATCHED])

    def count(self, rule_id: str, instance_id: str, window_s: float) -> tuple[int, Reason | None]:
        """Return the lines that matched lately, and the newest of them."""
        watched = self._watched.get((rule_id, instance_id))
        if watched is None:
            return 0, None
        oldest_s = self._clock.monotonic_s() - window_s
        while watched.hits and watched.hits[0][0] < oldest_s:
            watched.hits.popleft()
        return sum(number for _, number in watched.hits), watched.last

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        await every(LOOK_EVERY_S, self.look, "log rules")

    async def look(self) -> None:
        """Look through what is new in every watched log."""
        room = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for watched in list(self._watched.values()):
                spawn(group, self._look_at(watched, room), f"log rule {watched.rule_id}")

    async def _look_at(self, watched: _Watched, room: asyncio.Semaphore) -> None:
        async with room:
            try:
                await self._advance(watched)
            except NotFound:
                watched.end = 0  # not written yet: all of it will be new
            except Invalid as problem:
                _log.warning("alert rule %s cannot look at logs: %s", watched.rule_id, problem.message)
            except OpsError as problem:
                _log.debug("log of %s is not looked at: %s", watched.instance_id, problem.message)

    async def _advance(self, watched: _Watched) -> None:
        before, instance_id = watched.end, InstanceId(watched.instance_id)
        body = ReadLog(instance_id=instance_id, name=watched.condition.log, tail=1)
        end = (await self._ask(watched, "logs.read", body, LogLines)).end_offset
        watched.end = end
        if before is None or end <= before:
            return
        condition = watched.condition
        wish = SearchLog(
            instance_id=instance_id,
            name=condition.log,
            text=condition.pattern,
            is_regex=condition.regex,
            is_forward=True,
            start=before,
            limit=MAX_HITS,
        )
        found = await self._ask(watched, "logs.search", wish, LogHits)
        fresh = [line for line in found.hits if before <= line.offset < end]
        if fresh:
            watched.hits.append((self._clock.monotonic_s(), len(fresh)))
            line = fresh[-1].text[:MAX_LINE]
            watched.last = Reason("log_line", line, {"line": line})

    async def _ask(self, watched: _Watched, kind: str, body: msgspec.Struct, answer: type[T]) -> T:
        return await self._links.request(watched.node_id, kind, body, answer, ANSWER_WITHIN_S)
