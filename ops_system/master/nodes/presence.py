"""Which nodes are heard, by the monotonic clock; nothing of it survives the master."""

from ops_system.master.nodes.rules import Heard
from ops_system.model.ids import NodeId
from ops_system.runtime.clock import Clock


class Presence:
    """What the frames of each node say about it being there."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard_s: dict[NodeId, float] = {}
        self._skew_s: dict[NodeId, float] = {}
        self._linked: set[NodeId] = set()

    def hear(self, node_id: NodeId) -> None:
        """A frame has come."""
        self._heard_s[node_id] = self._clock.monotonic_s()

    def note_skew(self, node_id: NodeId, skew_s: float) -> None:
        """The node's wall clock is ahead of ours by so much, the way of the frame included."""
        self._skew_s[node_id] = round(skew_s, 3)

    def link(self, node_id: NodeId) -> None:
        """The node has a link."""
        self._linked.add(node_id)

    def unlink(self, node_id: NodeId) -> None:
        """The node has none."""
        self._linked.discard(node_id)

    def linked(self) -> list[NodeId]:
        """Return the nodes with a link."""
        return list(self._linked)

    def forget(self, node_id: NodeId) -> None:
        """The node is no longer on record."""
        self._heard_s.pop(node_id, None)
        self._skew_s.pop(node_id, None)
        self._linked.discard(node_id)

    def silence_s(self, node_id: NodeId) -> float | None:
        """Return how long ago the node was heard; None when it was not since the master started."""
        heard_s = self._heard_s.get(node_id)
        return None if heard_s is None else self._clock.monotonic_s() - heard_s

    def of(self, node_id: NodeId) -> Heard | None:
        """Return what is known; None when the node was not heard since the master started."""
        silent_s = self.silence_s(node_id)
        return None if silent_s is None else Heard(silent_s, self._skew_s.get(node_id), node_id in self._linked)
