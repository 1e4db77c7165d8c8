"""Which nodes are heard, by the monotonic clock; nothing of it survives the master."""

from datetime import datetime, timedelta

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

    def silent_for(self, seconds: float) -> list[NodeId]:
        """Return the nodes that were heard once, but not for so long."""
        before_s = self._clock.monotonic_s() - seconds
        return [node_id for node_id, heard_s in self._heard_s.items() if heard_s <= before_s]

    def heard_within(self, seconds: float) -> dict[NodeId, datetime]:
        """Return the nodes heard in the last `seconds`, and when that was by the wall clock as it stands now."""
        now, now_s = self._clock.now(), self._clock.monotonic_s()
        silences = ((node_id, now_s - heard_s) for node_id, heard_s in self._heard_s.items())
        return {node_id: now - timedelta(seconds=silent_s) for node_id, silent_s in silences if silent_s <= seconds}

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
        if silent_s is None:
            return None
        last_seen = self._clock.now() - timedelta(seconds=silent_s)
        return Heard(silent_s, self._skew_s.get(node_id), node_id in self._linked, last_seen)
