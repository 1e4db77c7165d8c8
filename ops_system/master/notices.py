"""A piece of the composition root: what of nodes becomes a notice without a rule that somebody could change."""

from ops_system.master.bus import Bus
from ops_system.master.channels.rules import EventKind, Notice
from ops_system.master.nodes.events import NodeStatusChanged
from ops_system.master.nodes.service import Nodes
from ops_system.model.alerts import Severity
from ops_system.model.nodes import NodeStatus
from ops_system.runtime.clock import Clock


class Watchman:
    """Listens on the bus and publishes `Notice`. Silence and failures are told by rules (`alerts`)."""

    def __init__(self, bus: Bus, nodes: Nodes, clock: Clock) -> None:
        self._bus = bus
        self._nodes = nodes
        self._clock = clock
        bus.subscribe(NodeStatusChanged, self._on_node_status)

    def _on_node_status(self, event: NodeStatusChanged) -> None:
        record = self._nodes.find(event.node_id)
        if event.status is not NodeStatus.QUARANTINED or record is None:
            return
        self._bus.publish(
            Notice(
                event=EventKind.NODE_QUARANTINED,
                subject=f"node:{record.id}",
                severity=Severity.CRITICAL,
                code=EventKind.NODE_QUARANTINED,
                params={"name": record.name},
                at=self._clock.now(),
                path=f"/nodes/{record.id}",
            )
        )
