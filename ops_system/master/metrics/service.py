"""Takes samples in, keeps their window, has history written, answers queries, and tells those who watch.

`features` registers `ingest` with the links, `watched` with the hub. Files are the business of `history`.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ops_system.master.bus import Bus, Changed
from ops_system.master.metrics.charts import Point, short_values
from ops_system.master.metrics.history import History
from ops_system.master.metrics.layout import Answer, Asked, answer, reaches_back, remember
from ops_system.master.metrics.rules import Metrics, MetricsQuery, choose_series, has_all, span_of
from ops_system.master.metrics.shelf import CORE, Kept, Shelf
from ops_system.master.metrics.tiers import Batch, cut_batches, group_names
from ops_system.master.metrics.windows import WINDOW_S, Rings
from ops_system.master.nodes.events import FalseClaim, NodeRemoved
from ops_system.model.errors import NotFound
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.metrics import INSTANCE_SERIES, NODE_SERIES
from ops_system.protocol.frames import Sample
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import every

INSTANCE_CORE = 2
CURRENT_FOR_S = 10.0
TURN_S = 1.0
SWEEP_TURNS = 60  # each subject is written once in so many turns
PIECE = 10  # subjects that are written in one go: a millisecond
TRIM_TURNS = 600
_SILENT_S = 3.0  # a sample may be this late before its second counts as unknown
LOOK_S = 0.1
MAX_NAME = 128
_CORE_TEXT = b"[" + b",".join([b"%.7g"] * CORE) + b"]"
FLEET = "metrics:fleet"
NODE_TOPIC = "metrics:node:"
INSTANCE_TOPIC = "metrics:instance:"


class MetricsBook:
    """The windows of all nodes and instances, within a budget of bytes."""

    def __init__(self, bus: Bus, clock: Clock, *, budget_bytes: int, history: History | None = None) -> None:
        self._bus = bus
        self._clock = clock
        self._files = history
        self._shelf = Shelf(clock, budget_bytes)
        self._shelf.is_watched = lambda node_id: self._watched(NODE_TOPIC + node_id)
        self._watched: Callable[[str], bool] = lambda _topic: False
        self._put: Callable[[str, str, Any], None] = self._publish
        self._owner_of: Callable[[InstanceId], NodeId | None] | None = None
        self._is_node: Callable[[NodeId], bool] = lambda _node_id: True
        self._waiting: list[str] = []
        self._ahead_s = 0.0  # the wall clock before the monotonic one
        self._look_at_s = -math.inf  # when to compare them again
        self.dropped_samples = 0
        bus.subscribe(NodeRemoved, lambda event: self.forget_node(event.node_id))

    def tell(self, watched: Callable[[str], bool], put: Callable[[str, str, Any], None] | None = None) -> None:
        """Tell changes of the topics for which `watched` says True: to `put` (topic, key, data), or on the bus."""
        self._watched = watched
        self._put = put or self._publish

    def _publish(self, topic: str, key: str, data: Any) -> None:
        self._bus.publish(Changed(topic, key, data))

    def check_owner(self, owner_of: Callable[[InstanceId], NodeId | None]) -> None:
        """Drop samples of instances that live on another node than the one that sends them."""
        self._owner_of = owner_of

    def check_nodes(self, is_node: Callable[[NodeId], bool]) -> None:
        """Drop the history of nodes for which `is_node` says False."""
        self._is_node = is_node

    def want(self, series: Iterable[str]) -> None:
        """Keep these series of every node in memory before others: rules look at their past."""
        self._shelf.want(series)

    @property
    def used_bytes(self) -> int:
        """What the windows hold."""
        return self._shelf.used_bytes

    @property
    def refused_values(self) -> int:
        """How many values found no room."""
        return self._shelf.refused_values

    async def run(self) -> None:
        """Forget now and then what has been silent for a whole window, and have history written."""
        turns = 0

        async def turn() -> None:
            nonlocal turns
            turns += 1
            await self._tend(TURN_S)
            if self._files is not None and turns % TRIM_TURNS == 1:
                await self._files.trim(self._is_known)

        try:
            await every(TURN_S, turn, "metrics")
        finally:
            self.save_rest()

    def save_rest(self) -> None:
        """Write everything that history does not have yet, blocking: nothing more will come."""
        if self._files is None:
            return
        subjects = self._shelf.subjects()
        for subject in subjects:
            if (kept := self._shelf.find(subject)) is not None:
                kept.rings.finish()
        self._files.save_now([(subject, self._cut(subject)) for subject in subjects])

    # --- in -------------------------------------------------------------------------------------------------------
    def ingest(self, node_id: NodeId, sample: Sample) -> None:
        """Take one second of a node. Nothing a worker sends raises."""
        if not math.isfinite(sample.at_s):
            return
        if sample.dropped > 0:
            self.dropped_samples += sample.dropped
        shelf, extra, now_s = self._shelf, sample.extra, self._clock.monotonic_s()
        here = shelf.nodes.get(node_id) or shelf.node(node_id)
        second = here.base.second(sample.at_s, self._unix_s(now_s))
        names, row = NODE_SERIES + tuple(extra), sample.node + tuple(extra.values())
        if len(names) != len(row) or not shelf.put_row(here, second, names, row, now_s):
            shelf.put_node(here, second, _values_of(sample))
        self._tell_node(node_id, here, second)
        for instance_id, row in sample.instances.items():
            kept = self._instance(node_id, instance_id)
            if kept is not None:
                self._shelf.put_instance(kept, second, dict(zip(INSTANCE_SERIES, row, strict=False)))
                self._tell_instance(instance_id, kept, second)

    def _unix_s(self, now_s: float) -> float:
        """Return the wall clock, looked at now and then only: thousands of samples come each second."""
        if now_s >= self._look_at_s:
            self._ahead_s, self._look_at_s = self._clock.now().timestamp() - now_s, now_s + LOOK_S
        return now_s + self._ahead_s

    def _instance(self, node_id: NodeId, instance_id: InstanceId) -> Kept | None:
        if self._owner_of is not None and self._owner_of(instance_id) != node_id:
            self._bus.publish(FalseClaim(node_id, instance_id, "metrics"))
            return None
        kept = self._shelf.instances.get(instance_id)
        if kept is None or (kept.node_id != node_id and self._owner_of is not None):
            kept = self._shelf.new_instance(instance_id, node_id)
        return kept if kept.node_id == node_id else None

    # --- out ------------------------------------------------------------------------------------------------------
    def query_node(self, node_id: NodeId, query: MetricsQuery) -> Metrics:
        """Return what memory holds of a node; empty series when nothing has come. Raises `Invalid`."""
        return self._query(self._shelf.nodes.get(node_id), query, NODE_SERIES)

    def query_instance(self, instance_id: InstanceId, query: MetricsQuery) -> Metrics:
        """Return what memory holds of an instance; empty series when nothing has come. Raises `Invalid`."""
        return self._query(self._shelf.instances.get(instance_id), query, INSTANCE_SERIES)

    async def ask_node(self, node_id: NodeId, query: MetricsQuery) -> Metrics:
        """Return points of a node from all tiers; empty series when nothing has come. Raises `Invalid`."""
        return await self._ask(f"node:{node_id}", self._shelf.nodes.get(node_id), query, NODE_SERIES)

    async def ask_instance(self, instance_id: InstanceId, query: MetricsQuery) -> Metrics:
        """Return points of an instance from all tiers. Raises `Invalid`."""
        return await self._ask(
            f"instance:{instance_id}", self._shelf.instances.get(instance_id), query, INSTANCE_SERIES
        )

    def node_of(self, instance_id: InstanceId) -> NodeId:
        """Return the node of an instance, also before its first sample. Raises `NotFound`."""
        kept = self._shelf.instances.get(instance_id)
        node_id = kept.node_id if kept is not None else None
        if node_id is None and self._owner_of is not None:
            node_id = self._owner_of(instance_id)
        if node_id is None:
            raise NotFound(f"there is no instance {instance_id}", id=instance_id)
        return node_id

    def current_of_node(self, node_id: NodeId) -> dict[str, float]:
        """Return the newest known values of the fixed series; empty when they are old."""
        return self._current(self._shelf.nodes.get(node_id), NODE_SERIES)

    def current_of_instance(self, instance_id: InstanceId) -> dict[str, float]:
        """Return the newest known values; empty when they are old."""
        return self._current(self._shelf.instances.get(instance_id), INSTANCE_SERIES)

    def fleet(self) -> Iterator[tuple[str, list[float | None] | msgspec.Raw]]:
        """Yield the snapshot of `metrics:fleet`: `node:ID` and `instance:ID` with their core values as they are then.

        Time may pass between two of them: thousands are read part by part.
        """
        for node_id, kept in list(self._shelf.nodes.items()):
            if self._is_current(kept):
                yield f"node:{node_id}", self._core(kept)
        for instance_id, kept in list(self._shelf.instances.items()):
            if self._is_current(kept):
                yield f"instance:{instance_id}", self._instance_core(kept)

    # --- for rules ------------------------------------------------------------------------------------------------
    def latest(self, subject: str, series: str) -> tuple[float, float] | None:
        """Return (value, age in seconds) of the newest value of `node:ID` or `instance:ID`; None where unknown."""
        kept = self._shelf.find(subject)
        value = kept.value(series) if kept is not None else math.nan
        if kept is None or not math.isfinite(value):
            return None
        return value, self._clock.monotonic_s() - kept.heard_s

    def fresh(self, subjects: Sequence[str], series: str, within_s: float) -> list[float | None]:
        """Return the newest value of each `node:ID` or `instance:ID`; None where it is unknown, or not that new."""
        find, after_s = self._shelf.find, self._clock.monotonic_s() - within_s
        values: list[float | None] = []
        for subject in subjects:
            kept, value = find(subject), None
            if kept is not None and kept.heard_s > after_s and (place := kept.shape.places.get(series)) is not None:
                value = kept.row[place]
            values.append(value if value == value else None)  # noqa: PLR0124 - only NaN differs from itself
        return values

    def newest(self, subject: str) -> tuple[Mapping[str, float], float] | None:
        """Return all newest values of `node:ID` or `instance:ID` and their age in seconds; None: none came."""
        kept = self._shelf.find(subject)
        return None if kept is None else (kept.values, self._clock.monotonic_s() - kept.heard_s)

    def window(self, subject: str, series: str, seconds: int) -> list[float | None]:
        """Return the last `seconds` (at most 900) values, one a second, oldest first; None where unknown.

        The window ends with the newest sample, or with this very second once the subject has been silent for 3 s.
        Memory only; empty for a subject that never came.
        """
        kept = self._shelf.find(subject)
        if kept is None or kept.rings.newest_s is None:
            return []
        age_s = self._clock.monotonic_s() - kept.heard_s
        last_s = kept.rings.newest_s + (int(age_s) if age_s >= _SILENT_S else 0)
        seconds = max(1, min(seconds, WINDOW_S))
        return short_values((kept.rings.at(series, at) for at in range(last_s - seconds + 1, last_s + 1)), seconds)

    async def history(self, subject: str, series: str, from_s: float, to_s: float, step_s: int) -> list[Point]:
        """Return the points of one series from all tiers, oldest first, gaps absent. Raises `Invalid`."""
        query = MetricsQuery(series=series, from_s=from_s, to_s=to_s, step_s=step_s)
        found = await self._ask(subject, self._shelf.find(subject), query, ())
        return found.series.get(series, [])

    def _query(self, kept: Kept | None, query: MetricsQuery, fixed: tuple[str, ...]) -> Metrics:
        asked = Asked(span_of(query, self._clock.now().timestamp()), query.series, fixed, query.agg == "max")
        rings = kept.rings if kept is not None else Rings()
        names = choose_series(query.series, fixed, rings.names())
        return _metrics(asked, answer(asked, remember(rings, names), (), ()), rings)

    async def _ask(self, subject: str, kept: Kept | None, query: MetricsQuery, fixed: tuple[str, ...]) -> Metrics:
        asked = Asked(span_of(query, self._clock.now().timestamp()), query.series, fixed, query.agg == "max")
        rings = kept.rings if kept is not None else Rings()
        names = choose_series(query.series, fixed, rings.names())
        memory = remember(rings, names)
        is_whole = bool(names) and has_all(query.series, names) and reaches_back(memory, names, asked.span.first_s)
        if self._files is None or is_whole:
            return self._query(kept, query, fixed)
        return _metrics(asked, await self._files.answer(subject, asked, memory), rings)

    def _current(self, kept: Kept | None, names: Iterable[str]) -> dict[str, float]:
        if kept is None or not self._is_current(kept):
            return {}
        values = zip(names, short_values(map(kept.value, names), WINDOW_S), strict=False)
        return {name: value for name, value in values if value is not None}

    def _is_current(self, kept: Kept) -> bool:
        return self._clock.monotonic_s() - kept.heard_s < CURRENT_FOR_S

    def _core(self, kept: Kept) -> list[float | None] | msgspec.Raw:
        """Return the core values for JSON; written out at once where all are known, as thousands are each second."""
        if kept.shape.has_core and b"n" not in (text := _CORE_TEXT % kept.row[:CORE]):  # neither nan nor inf
            return msgspec.Raw(text)
        return short_values(map(kept.value, NODE_SERIES[:CORE]), CORE)

    def _instance_core(self, kept: Kept) -> list[float | None]:
        names = INSTANCE_SERIES[:INSTANCE_CORE]
        return short_values(map(kept.value, names), INSTANCE_CORE)

    # --- those who watch ------------------------------------------------------------------------------------------
    def _tell_node(self, node_id: NodeId, kept: Kept, second: int) -> None:
        if self._watched(FLEET):
            self._put(FLEET, f"node:{node_id}", self._core(kept))
        topic = NODE_TOPIC + node_id
        if self._watched(topic):
            self._put(topic, "", _second_of(kept, second))

    def _tell_instance(self, instance_id: InstanceId, kept: Kept, second: int) -> None:
        if self._watched(FLEET):
            self._put(FLEET, f"instance:{instance_id}", self._instance_core(kept))
        topic = INSTANCE_TOPIC + instance_id
        if self._watched(topic):
            self._put(topic, "", _second_of(kept, second))

    # --- history --------------------------------------------------------------------------------------------------
    async def _tend(self, within_s: float) -> None:
        """Look after the next share of the subjects, all of them once a minute, in pieces over this time.

        A piece holds the loop, or a thread that keeps the loop from running, for a millisecond.
        """
        if not self._waiting:
            self._shelf.forget_silent()
            self._waiting = self._shelf.subjects()
        share = 1 + (len(self._shelf.nodes) + len(self._shelf.instances)) // SWEEP_TURNS
        now, self._waiting = self._waiting[:share], self._waiting[share:]
        pieces = [now[first : first + PIECE] for first in range(0, len(now), PIECE)]
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(within_s / (len(pieces) + 1))
            for subject in piece:
                self._shelf.drop_silent(subject)
            await self._keep_history(piece)
        if self._files is not None:
            await self._files.sweep()

    async def _keep_history(self, subjects: Iterable[str]) -> None:
        if self._files is None:
            return
        cuts = [(subject, batches) for subject in subjects if (batches := self._cut(subject))]
        closed = {subject: self._closed_of(subject) for subject, _ in cuts}
        if await self._files.save(cuts):
            for subject, tick in closed.items():
                if (kept := self._shelf.find(subject)) is not None:
                    kept.saved = tick

    def _cut(self, subject: str) -> list[Batch]:
        """Return the rows of a subject that history does not have yet: an hour at most."""
        kept = self._shelf.find(subject)
        if kept is None:
            return []
        names = kept.rings.names() if subject.startswith("node:") else INSTANCE_SERIES[:INSTANCE_CORE]
        first = max(kept.saved, kept.rings.first_tick) if kept.saved <= kept.rings.closed else kept.rings.first_tick
        return cut_batches(kept.rings, group_names(name for name in names if name in kept.rings), first)

    def _closed_of(self, subject: str) -> int:
        kept = self._shelf.find(subject)
        return kept.rings.closed if kept is not None else 0

    def _is_known(self, subject: str) -> bool:
        kind, _, key = subject.partition(":")
        if kind == "node":
            return self._is_node(NodeId(key))
        return self._owner_of is None or self._owner_of(InstanceId(key)) is not None

    # --- forgetting -----------------------------------------------------------------------------------------------
    def forget_node(self, node_id: NodeId) -> None:
        """Drop everything of a node and of the instances on it, history too."""
        self._shelf.forget(self._shelf.nodes, node_id)
        gone = [key for key, kept in self._shelf.instances.items() if kept.node_id == node_id]
        for instance_id in gone:
            self._shelf.forget(self._shelf.instances, instance_id)
        if self._files is not None:
            for subject in (f"node:{node_id}", *(f"instance:{key}" for key in gone)):
                self._files.forget(subject)


def _metrics(asked: Asked, found: Answer, rings: Rings) -> Metrics:
    span = asked.span
    return Metrics(
        series=found.series,
        step_s=span.step_s,
        from_s=span.first_s,
        to_s=span.last_s,
        names=list(dict.fromkeys((*rings.names(), *found.in_files))),
    )


def _values_of(sample: Sample) -> dict[str, float]:
    """Return all series of a sample; the worker's own names are kept within bounds and do not hide the fixed ones."""
    values = dict(zip(NODE_SERIES, sample.node, strict=False))
    for name, value in sample.extra.items():
        if name and len(name) <= MAX_NAME and name.isprintable():
            values.setdefault(name, value)
    return values


def _second_of(kept: Kept, second: int) -> dict[str, object]:
    values = zip(kept.names, short_values(kept.row, len(kept.row)), strict=True)
    return {"at_s": second, "values": {name: value for name, value in values if value is not None}}
