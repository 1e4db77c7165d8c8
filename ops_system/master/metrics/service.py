"""Takes samples in, keeps their window, answers queries, and tells those who watch.

`app` registers `ingest` with the links, `watched` with the hub. Nothing here does I/O.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from ops_system.master.bus import Bus, Changed
from ops_system.master.metrics.rules import (
    RING_BYTES,
    WINDOW_S,
    Metrics,
    MetricsQuery,
    Point,
    Rings,
    TimeBase,
    choose_series,
    short_values,
    span_of,
)
from ops_system.master.nodes.events import FalseClaim, NodeRemoved
from ops_system.model.errors import NotFound
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.metrics import INSTANCE_SERIES, NODE_SERIES
from ops_system.protocol.frames import Sample
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import every

K = TypeVar("K", NodeId, InstanceId)

_log = logging.getLogger(__name__)

CORE = 8  # the series of a node that the fleet view shows
INSTANCE_CORE = 2
CURRENT_FOR_S = 10.0
SWEEP_S = 60.0
MAX_EXTRA = 512
_SILENT_S = 3.0  # a sample may be this late before its second counts as unknown
MAX_NAME = 128
FLEET = "metrics:fleet"
NODE_TOPIC = "metrics:node:"
INSTANCE_TOPIC = "metrics:instance:"


class _Kept:
    """The rings of one node or instance, and its newest values."""

    def __init__(self, node_id: NodeId) -> None:
        self.node_id = node_id
        self.rings = Rings()
        self.values: Mapping[str, float] = {}
        self.heard_s = -math.inf  # monotonic


class MetricsBook:
    """The windows of all nodes and instances, within a budget of bytes."""

    def __init__(self, bus: Bus, clock: Clock, *, budget_bytes: int) -> None:
        self._bus = bus
        self._clock = clock
        self._max_rings = budget_bytes // RING_BYTES
        self._rings = 0
        self._nodes: dict[NodeId, _Kept] = {}
        self._instances: dict[InstanceId, _Kept] = {}
        self._bases: dict[NodeId, TimeBase] = {}
        self._watched: Callable[[str], bool] = lambda _topic: False
        self._owner_of: Callable[[InstanceId], NodeId | None] | None = None
        self.refused_values = 0
        self.dropped_samples = 0
        bus.subscribe(NodeRemoved, lambda event: self.forget_node(event.node_id))

    def tell(self, watched: Callable[[str], bool]) -> None:
        """Publish changes of the topics for which `watched` says True."""
        self._watched = watched

    def check_owner(self, owner_of: Callable[[InstanceId], NodeId | None]) -> None:
        """Drop samples of instances that live on another node than the one that sends them."""
        self._owner_of = owner_of

    @property
    def used_bytes(self) -> int:
        """What the windows hold."""
        return self._rings * RING_BYTES

    async def run(self) -> None:
        """Forget now and then what has been silent for a whole window."""

        async def sweep() -> None:
            self.sweep()

        await every(SWEEP_S, sweep, "metrics sweep")

    # --- in -------------------------------------------------------------------------------------------------------
    def ingest(self, node_id: NodeId, sample: Sample) -> None:
        """Take one second of a node. Nothing a worker sends raises."""
        if not math.isfinite(sample.at_s):
            return
        self.dropped_samples += max(0, sample.dropped)
        base = self._bases.setdefault(node_id, TimeBase())
        second = base.second(sample.at_s, self._clock.now().timestamp())
        values = dict(zip(NODE_SERIES, sample.node, strict=False))
        self._put(self._node(node_id), second, {**_tame(sample.extra), **values}, always=NODE_SERIES[:CORE])
        self._tell_node(node_id, second)
        for instance_id, row in sample.instances.items():
            kept = self._instance(node_id, instance_id)
            if kept is not None:
                self._put(kept, second, dict(zip(INSTANCE_SERIES, row, strict=False)), always=())
                self._tell_instance(instance_id, second)

    def _node(self, node_id: NodeId) -> _Kept:
        kept = self._nodes.get(node_id)
        if kept is None:
            kept = self._nodes[node_id] = _Kept(node_id)
        return kept

    def _instance(self, node_id: NodeId, instance_id: InstanceId) -> _Kept | None:
        if self._owner_of is not None and self._owner_of(instance_id) != node_id:
            self._bus.publish(FalseClaim(node_id, instance_id, "metrics"))
            return None
        kept = self._instances.get(instance_id)
        if kept is None or (kept.node_id != node_id and self._owner_of is not None):
            self._forget(self._instances, instance_id)
            kept = self._instances[instance_id] = _Kept(node_id)
        return kept if kept.node_id == node_id else None

    def _put(self, kept: _Kept, second: int, values: Mapping[str, float], *, always: Iterable[str]) -> None:
        for name, value in values.items():
            if name not in kept.rings and math.isfinite(value):
                self._add_series(kept, name, is_certain=name in always)
        kept.rings.put(second, values.items())
        kept.values = values
        kept.heard_s = self._clock.monotonic_s()

    def _add_series(self, kept: _Kept, name: str, *, is_certain: bool) -> None:
        """Add a ring while the budget lasts; the core series of a node are kept in any case."""
        has_room = self._rings < self._max_rings and len(kept.rings) < MAX_EXTRA
        if has_room or is_certain:
            kept.rings.add(name)
            self._rings += 1
            return
        if self.refused_values == 0:
            _log.warning("no room for series %r of node %s: raise logic.metrics_memory", name, kept.node_id)
        self.refused_values += 1

    # --- out ------------------------------------------------------------------------------------------------------
    def query_node(self, node_id: NodeId, query: MetricsQuery) -> Metrics:
        """Return points of a node; empty series when nothing has come. Raises `Invalid`."""
        return self._query(self._nodes.get(node_id), query, NODE_SERIES)

    def query_instance(self, instance_id: InstanceId, query: MetricsQuery) -> Metrics:
        """Return points of an instance; empty series when nothing has come. Raises `Invalid`."""
        return self._query(self._instances.get(instance_id), query, INSTANCE_SERIES)

    def node_of(self, instance_id: InstanceId) -> NodeId:
        """Return the node of an instance, also before its first sample. Raises `NotFound`."""
        kept = self._instances.get(instance_id)
        node_id = kept.node_id if kept is not None else None
        if node_id is None and self._owner_of is not None:
            node_id = self._owner_of(instance_id)
        if node_id is None:
            raise NotFound(f"there is no instance {instance_id}", id=instance_id)
        return node_id

    def current_of_node(self, node_id: NodeId) -> dict[str, float]:
        """Return the newest known values of the fixed series; empty when they are old."""
        return self._current(self._nodes.get(node_id), NODE_SERIES)

    def current_of_instance(self, instance_id: InstanceId) -> dict[str, float]:
        """Return the newest known values; empty when they are old."""
        return self._current(self._instances.get(instance_id), INSTANCE_SERIES)

    def fleet(self) -> list[tuple[str, list[float | None]]]:
        """Return the snapshot of `metrics:fleet`: `node:ID` and `instance:ID` with their core values."""
        nodes = [(f"node:{key}", self._core(kept)) for key, kept in self._nodes.items() if self._is_current(kept)]
        rows = [
            (f"instance:{key}", self._instance_core(kept))
            for key, kept in self._instances.items()
            if self._is_current(kept)
        ]
        return nodes + rows

    # --- for rules ------------------------------------------------------------------------------------------------
    def latest(self, subject: str, series: str) -> tuple[float, float] | None:
        """Return (value, age in seconds) of the newest value of `node:ID` or `instance:ID`; None where unknown."""
        kept = self._find(subject)
        value = kept.values.get(series, math.nan) if kept is not None else math.nan
        if kept is None or not math.isfinite(value):
            return None
        return value, self._clock.monotonic_s() - kept.heard_s

    def window(self, subject: str, series: str, seconds: int) -> list[float | None]:
        """Return the last `seconds` (at most 900) values, one a second, oldest first; None where unknown.

        The window ends with the newest sample, or with this very second once the subject has been silent for 3 s.
        Memory only; empty for a subject that never came.
        """
        kept = self._find(subject)
        if kept is None or kept.rings.newest_s is None:
            return []
        age_s = self._clock.monotonic_s() - kept.heard_s
        last_s = kept.rings.newest_s + (int(age_s) if age_s >= _SILENT_S else 0)
        seconds = max(1, min(seconds, WINDOW_S))
        return short_values((kept.rings.at(series, at) for at in range(last_s - seconds + 1, last_s + 1)), seconds)

    async def history(self, subject: str, series: str, from_s: float, to_s: float, step_s: int) -> list[Point]:
        """Return the points of one series from all tiers, oldest first, gaps absent. Raises `Invalid`."""
        kept = self._find(subject)
        query = MetricsQuery(series=series, from_s=from_s, to_s=to_s, step_s=step_s)
        return self._query(kept, query, ()).series.get(series, [])

    def _find(self, subject: str) -> _Kept | None:
        kind, _, key = subject.partition(":")
        match kind:
            case "node":
                return self._nodes.get(NodeId(key))
            case "instance":
                return self._instances.get(InstanceId(key))
        return None

    def _query(self, kept: _Kept | None, query: MetricsQuery, fixed: Iterable[str]) -> Metrics:
        span = span_of(query, self._clock.now().timestamp())
        rings = kept.rings if kept is not None else Rings()
        return Metrics(
            series={
                name: rings.points(name, span.first_s, span.last_s, span.step_s)
                for name in choose_series(query.series, fixed, rings.names())
            },
            step_s=span.step_s,
            from_s=span.first_s,
            to_s=span.last_s,
            names=rings.names(),
        )

    def _current(self, kept: _Kept | None, names: Iterable[str]) -> dict[str, float]:
        if kept is None or not self._is_current(kept):
            return {}
        values = zip(names, short_values((kept.values.get(name, math.nan) for name in names), WINDOW_S), strict=False)
        return {name: value for name, value in values if value is not None}

    def _is_current(self, kept: _Kept) -> bool:
        return self._clock.monotonic_s() - kept.heard_s < CURRENT_FOR_S

    def _core(self, kept: _Kept) -> list[float | None]:
        return short_values((kept.values.get(name, math.nan) for name in NODE_SERIES[:CORE]), CORE)

    def _instance_core(self, kept: _Kept) -> list[float | None]:
        names = INSTANCE_SERIES[:INSTANCE_CORE]
        return short_values((kept.values.get(name, math.nan) for name in names), INSTANCE_CORE)

    # --- those who watch ------------------------------------------------------------------------------------------
    def _tell_node(self, node_id: NodeId, second: int) -> None:
        kept = self._nodes[node_id]
        if self._watched(FLEET):
            self._bus.publish(Changed(FLEET, f"node:{node_id}", self._core(kept)))
        topic = NODE_TOPIC + node_id
        if self._watched(topic):
            self._bus.publish(Changed(topic, "", _second_of(kept, second)))

    def _tell_instance(self, instance_id: InstanceId, second: int) -> None:
        kept = self._instances[instance_id]
        if self._watched(FLEET):
            self._bus.publish(Changed(FLEET, f"instance:{instance_id}", self._instance_core(kept)))
        topic = INSTANCE_TOPIC + instance_id
        if self._watched(topic):
            self._bus.publish(Changed(topic, "", _second_of(kept, second)))

    # --- forgetting -----------------------------------------------------------------------------------------------
    def forget_node(self, node_id: NodeId) -> None:
        """Drop everything of a node and of the instances on it."""
        self._bases.pop(node_id, None)
        self._forget(self._nodes, node_id)
        for instance_id in [key for key, kept in self._instances.items() if kept.node_id == node_id]:
            self._forget(self._instances, instance_id)

    def sweep(self) -> None:
        """Drop what has been silent for a whole window, and series that no longer come."""
        oldest_s = self._clock.monotonic_s() - WINDOW_S
        for node_id in [key for key, kept in self._nodes.items() if kept.heard_s < oldest_s]:
            self._forget(self._nodes, node_id)
            self._bases.pop(node_id, None)
        for instance_id in [key for key, kept in self._instances.items() if kept.heard_s < oldest_s]:
            self._forget(self._instances, instance_id)
        for kept in (*self._nodes.values(), *self._instances.values()):
            self._rings -= kept.rings.drop_silent()

    def _forget(self, book: dict[K, _Kept], key: K) -> None:
        kept = book.pop(key, None)
        if kept is not None:
            self._rings -= len(kept.rings)


def _tame(extra: Mapping[str, float]) -> dict[str, float]:
    """Keep a worker's own series names within bounds."""
    return {name: value for name, value in extra.items() if name and len(name) <= MAX_NAME and name.isprintable()}


def _second_of(kept: _Kept, second: int) -> dict[str, object]:
    names = list(kept.values)
    values = zip(names, short_values(kept.values.values(), len(names)), strict=True)
    return {"at_s": second, "values": {name: value for name, value in values if value is not None}}
