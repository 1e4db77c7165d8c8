"""A piece of the composition root: what of nodes and instances becomes a notice for channels."""

import asyncio
from datetime import datetime

from ops_system.master.bus import Bus
from ops_system.master.channels.rules import EventKind, Notice, Severity
from ops_system.master.instances.events import InstanceFailed
from ops_system.master.nodes.events import NodeStatusChanged
from ops_system.master.nodes.service import Nodes
from ops_system.model.nodes import NodeStatus
from ops_system.runtime.clock import Clock

RETURN_WITHIN_S = 120.0  # so long workers may take to come back after a start (trust R10 says 60)
_EVENTS = {NodeStatus.OFFLINE: EventKind.NODE_OFFLINE, NodeStatus.QUARANTINED: EventKind.NODE_QUARANTINED}


class Watchman:
    """Listens on the bus and publishes `Notice`."""

    def __init__(self, bus: Bus, nodes: Nodes, clock: Clock) -> None:
        self._bus = bus
        self._nodes = nodes
        self._clock = clock
        bus.subscribe(NodeStatusChanged, self._on_node_status)
        bus.subscribe(InstanceFailed, self._on_failure)

    async def run(self, return_within_s: float = RETURN_WITHIN_S) -> None:
        """Look once which nodes did not come back after the start: their silence began while nobody listened."""
        await asyncio.sleep(return_within_s)
        for node in self._nodes.list_all():
            if node.status is NodeStatus.OFFLINE and node.last_seen is not None:
                self._tell_of_node(node.id, node.status, node.last_seen)
        await asyncio.Event().wait()

    def _on_node_status(self, event: NodeStatusChanged) -> None:
        self._tell_of_node(event.node_id, event.status)

    def _tell_of_node(self, node_id: str, status: NodeStatus, since: datetime | None = None) -> None:
        kind, record = _EVENTS.get(status), self._nodes.find(node_id)
        if kind is None or record is None or record.is_revoked:
            return  # a revoked node falls silent because somebody wanted it to
        self._bus.publish(
            Notice(
                event=kind,
                subject=f"node:{record.id}",
                severity=Severity.CRITICAL,
                code=kind,
                params={"name": record.name},
                at=self._clock.now(),
                path=f"/nodes/{record.id}",
                since=since,
            )
        )

    def _on_failure(self, event: InstanceFailed) -> None:
        record = self._nodes.find(event.node_id)
        self._bus.publish(
            Notice(
                event=EventKind.INSTANCE_FAILED,
                subject=f"instance:{event.instance_id}",
                severity=Severity.CRITICAL,
                code=EventKind.INSTANCE_FAILED,
                params={"name": event.name, "node": record.name if record else event.node_id},
                at=self._clock.now(),
                lines=(event.reason.message,) if event.reason else (),
                path=f"/instances/{event.instance_id}",
            )
        )
