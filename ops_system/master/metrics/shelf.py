"""What memory keeps of all nodes and instances, within a budget of bytes. Used by `service`; no I/O.

The core series of every node have their place in any case; instances, and series that rules look at, while the budget
lasts; what else nodes send while half of it lasts: of a large fleet only the core. Series that rules look at, and nodes
that somebody watches, take the room of what nobody needs.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from ops_system.master.metrics.windows import SERIES_BYTES, TICK_S, WINDOW_S, Rings, TimeBase
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.metrics import NODE_SERIES
from ops_system.runtime.clock import Clock

_log = logging.getLogger(__name__)

K = TypeVar("K", NodeId, InstanceId)

CORE = 8  # the series of a node that the fleet view shows
MAX_EXTRA = 512
MAX_SHAPES = 10_000


class Row(NamedTuple):
    """The names of a sample's values. One for all nodes that send the same: most of a fleet."""

    names: tuple[str, ...]
    places: Mapping[str, int]
    has_core: bool  # the core series come first


_NOTHING = Row((), {}, has_core=False)


class Kept:
    """The rings of one node or instance, and its newest values."""

    __slots__ = (
        "base",
        "heard_s",
        "node_id",
        "rings",
        "row",
        "saved",
        "shape",
        "subject",
        "was_refused",
    )

    def __init__(self, node_id: NodeId, subject: str) -> None:
        self.node_id = node_id
        self.subject = subject  # `node:ID` or `instance:ID`
        self.base = TimeBase()
        self.rings = Rings()
        self.shape = _NOTHING
        self.row: tuple[float, ...] = ()  # the newest values, in the order of `shape.names`
        self.was_refused = False  # there was no room for some of them
        self.heard_s = -math.inf  # monotonic
        self.saved = 0  # the tick from which on history is not written yet

    @property
    def names(self) -> tuple[str, ...]:
        """What the newest values are called."""
        return self.shape.names

    @property
    def values(self) -> dict[str, float]:
        """The newest values by name."""
        return dict(zip(self.shape.names, self.row, strict=True))

    def value(self, name: str) -> float:
        """Return one of the newest values; NaN where it is not known."""
        place = self.shape.places.get(name)
        return math.nan if place is None else self.row[place]


class Shelf:
    """All rings."""

    def __init__(self, clock: Clock, budget_bytes: int) -> None:
        self._clock = clock
        self._max_rings = budget_bytes // SERIES_BYTES
        self._rings = 0
        self._lenders: dict[NodeId, None] = {}  # nodes with series beyond the core, oldest first
        self._always = frozenset(NODE_SERIES[:CORE])
        self._wanted: frozenset[str] = frozenset()
        self._shapes: dict[tuple[str, ...], Row] = {}
        self.nodes: dict[NodeId, Kept] = {}
        self.instances: dict[InstanceId, Kept] = {}
        self._by_subject: dict[str, Kept] = {}
        self.is_watched: Callable[[NodeId], bool] = lambda _node_id: False
        self.refused_values = 0

    @property
    def used_bytes(self) -> int:
        """What the rings hold."""
        return self._rings * SERIES_BYTES

    def want(self, series: Iterable[str]) -> None:
        """Give these series of every node room before others, as long as there is any."""
        self._wanted = frozenset(series)

    def find(self, subject: str) -> Kept | None:
        """Return what is kept of `node:ID` or `instance:ID`."""
        return self._by_subject.get(subject)

    def subjects(self) -> list[str]:
        """Return everything that is kept."""
        return list(self._by_subject)

    def node(self, node_id: NodeId) -> Kept:
        """Return the place of a node; it is made when there is none."""
        kept = self.nodes.get(node_id)
        if kept is None:
            kept = self.nodes[node_id] = Kept(node_id, f"node:{node_id}")
            self._by_subject[kept.subject] = kept
        return kept

    def new_instance(self, instance_id: InstanceId, node_id: NodeId) -> Kept:
        """Return an empty place for an instance; what was kept of it is dropped."""
        self.forget(self.instances, instance_id)
        kept = self.instances[instance_id] = Kept(node_id, f"instance:{instance_id}")
        self._by_subject[kept.subject] = kept
        return kept

    # --- in -------------------------------------------------------------------------------------------------------
    def put_row(self, kept: Kept, second: int, names: tuple[str, ...], row: tuple[float, ...], now_s: float) -> bool:
        """Take one second of a node whose series are those of the last one; False: say it by `put_node`."""
        rings = kept.rings
        if not rings.put_row(second, names, row):
            return False
        if rings.lacks and self._is_worth_trying(kept, second) and any(math.isfinite(row[at]) for at in rings.lacks):
            return False
        kept.row, kept.heard_s = row, now_s
        return True

    def _is_worth_trying(self, kept: Kept, second: int) -> bool:
        """Where there was no room there may be some later, and for what is watched at once."""
        if not kept.was_refused or self.is_watched(kept.node_id):
            return True
        return second % TICK_S == 0 and (self._rings < self._max_rings // 2 or self._lacks_wanted(kept))

    def _lacks_wanted(self, kept: Kept) -> bool:
        return any(kept.names[place] in self._wanted for place in kept.rings.lacks)

    def put_node(self, kept: Kept, second: int, values: Mapping[str, float]) -> None:
        """Take one second of a node."""
        self._put(kept, second, values, self._always)

    def put_instance(self, kept: Kept, second: int, values: Mapping[str, float]) -> None:
        """Take one second of an instance."""
        self._put(kept, second, values, frozenset())

    def _put(self, kept: Kept, second: int, values: Mapping[str, float], always: frozenset[str]) -> None:
        rings = kept.rings
        missing = [name for name, value in values.items() if name not in rings and math.isfinite(value)]
        kept.was_refused = False
        if missing:
            self._add(kept, missing, second, always)
        rings.put(second, values.items())
        kept.shape, kept.row, kept.heard_s = (
            self._shape(tuple(values)),
            tuple(values.values()),
            self._clock.monotonic_s(),
        )
        rings.expect(kept.shape.names)

    def _shape(self, names: tuple[str, ...]) -> Row:
        found = self._shapes.get(names)
        if found is None:
            if len(self._shapes) >= MAX_SHAPES:
                self._shapes.clear()  # those in use stay with the nodes that use them
            found = self._shapes[names] = Row(
                names, {name: place for place, name in enumerate(names)}, names[:CORE] == NODE_SERIES[:CORE]
            )
        return found

    def _add(self, kept: Kept, names: Iterable[str], second: int, always: frozenset[str]) -> None:
        """Add series while the budget lasts; what is certain, or watched, takes room from others."""
        is_all_favoured = not always or self.is_watched(kept.node_id)  # of instances no series is always kept
        for name in names:
            is_certain, is_favoured = name in always, is_all_favoured or name in self._wanted
            limit = self._max_rings if is_favoured else self._max_rings // 2
            has_room = self._rings < limit or ((is_certain or is_favoured) and self._make_room(kept.node_id, limit))
            if is_certain or (has_room and len(kept.rings) < MAX_EXTRA):
                kept.rings.add(name, second)
                self._rings += 1
                if not is_certain:
                    self._lenders.setdefault(kept.node_id)
            else:
                self._refuse(kept, name)

    def _refuse(self, kept: Kept, name: str) -> None:
        if self.refused_values == 0:
            _log.warning("no room for series %r of node %s: raise logic.metrics_memory", name, kept.node_id)
        self.refused_values += 1
        kept.was_refused = True

    def _make_room(self, for_node: NodeId, limit: int) -> bool:
        """Drop the series beyond the core of nodes that nobody watches, until there is room; False: there is none."""
        for node_id in list(self._lenders):
            if node_id == for_node or self.is_watched(node_id):
                continue
            del self._lenders[node_id]
            kept = self.nodes.get(node_id)
            for name in kept.rings.names() if kept is not None else ():
                if kept is not None and name not in self._always and name not in self._wanted:
                    kept.rings.drop(name)
                    self._rings -= 1
            if self._rings < limit:
                return True
        return False

    # --- out ------------------------------------------------------------------------------------------------------
    def forget(self, book: dict[K, Kept], key: K) -> None:
        """Drop what is kept of a node or an instance; `book` is the one it stands in."""
        kept = book.pop(key, None)
        if kept is not None:
            del self._by_subject[kept.subject]
            self._rings -= len(kept.rings)

    def forget_silent(self) -> None:
        """Drop what has been silent for a whole window."""
        oldest_s = self._clock.monotonic_s() - WINDOW_S
        for node_id in [key for key, kept in self.nodes.items() if kept.heard_s < oldest_s]:
            self.forget(self.nodes, node_id)
        for instance_id in [key for key, kept in self.instances.items() if kept.heard_s < oldest_s]:
            self.forget(self.instances, instance_id)

    def drop_silent(self, subject: str) -> None:
        """Drop the series of a node or an instance that no longer come."""
        kept = self.find(subject)
        if kept is not None:
            self._rings -= kept.rings.drop_silent()
