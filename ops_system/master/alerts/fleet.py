"""What rules need to know of nodes and instances, held in memory and kept up by the bus. Used by `watch` and `desk`."""

from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from ops_system.master.bus import Bus, Changed
from ops_system.master.instances.views import Instance
from ops_system.master.nodes.rules import Node
from ops_system.model.alerts import IDC, Alert
from ops_system.model.instances import Desired, HealthState, State
from ops_system.model.nodes import NodeStatus
from ops_system.model.reasons import Reason

_HEARD = frozenset({NodeStatus.ONLINE, NodeStatus.SUSPECT})
CERTIFICATES = {"certificate:ca": "CA", "certificate:server": "server"}


class NodeFacts(msgspec.Struct, frozen=True):
    """A node. `is_known`: its silence means something; it was heard at some time and nobody revoked it."""

    id: str
    name: str
    labels: dict[str, str]
    status: NodeStatus
    is_known: bool
    was_heard: bool  # since the master started


class InstanceFacts(msgspec.Struct, frozen=True):
    """An instance as last shown."""

    id: str
    node_id: str
    name: str
    system_id: str
    module_id: str
    desired: Desired
    state: State
    health: HealthState
    restarts: int  # those that still count towards giving up
    reason: Reason | None
    created_at: datetime


class Names(msgspec.Struct, frozen=True):
    """How an alert names its subject."""

    name: str
    node_id: str = ""
    node_name: str = ""
    instance_id: str = ""
    system_id: str = ""
    module_id: str = ""
    labels: dict[str, str] = {}


class Fleet:
    """All nodes and instances.

    `version` rises when the set, labels, names or silence of any changed; `roster` only when rules may be about others.
    """

    def __init__(self, bus: Bus, nodes: Iterable[Node], instances: Iterable[Instance]) -> None:
        self.nodes: dict[str, NodeFacts] = {}
        self.instances: dict[str, InstanceFacts] = {}
        self.version = 0
        self.roster = 0
        self.on_change: Callable[[], None] = lambda: None  # a state is different: worth a look at once
        for node in nodes:
            self._keep_node(node)
        for instance in instances:
            self._keep_instance(instance)
        bus.subscribe(Changed, self._on_changed)

    def is_silent(self, node_id: str) -> bool:
        """The node is on record and not heard as it should be."""
        node = self.nodes.get(node_id)
        return node is not None and node.status is not NodeStatus.ONLINE

    def silent(self) -> frozenset[str]:
        """Return the nodes that are on record and not heard as they should be."""
        return frozenset(key for key, node in self.nodes.items() if node.status is not NodeStatus.ONLINE)

    def names(self, subject: str) -> Names:
        """Return how to name `node:ID`, `instance:ID`, `idc:NAME` or `certificate:…`."""
        kind, _, key = subject.partition(":")
        if kind == "certificate":
            return Names(CERTIFICATES[subject])
        if kind == IDC:
            return Names(key, labels={IDC: key})
        instance = self.instances.get(key) if kind == "instance" else None
        node = self.nodes.get(instance.node_id if instance else key)
        node_id, node_name, labels = (node.id, node.name, node.labels) if node else ("", "", {})
        if instance is None:
            return Names(node_name or key, node_id, node_name, labels=labels)
        return Names(
            instance.name, instance.node_id, node_name, instance.id, instance.system_id, instance.module_id, labels
        )

    def is_muted(self, alert: Alert) -> bool:
        """The node of an alert is silent: what is known of it is old."""
        return bool(alert.node_id) and self.is_silent(alert.node_id)

    def _on_changed(self, change: Changed) -> None:
        if change.topic == "nodes":
            if change.data is None:
                self.nodes.pop(change.key, None)
                self._note_change()
            else:
                self._keep_node(change.data)
        elif change.topic == "instances":
            if change.data is None:
                self.instances.pop(change.key, None)
                self._note_change()
            else:
                self._keep_instance(change.data)

    def _note_change(self, *, is_roster: bool = True) -> None:
        self.version += 1
        self.roster += is_roster

    def _keep_node(self, node: Node) -> None:
        before = self.nodes.get(node.id)
        facts = NodeFacts(
            id=node.id,
            name=node.name,
            labels=node.labels,
            status=node.status,
            is_known=not node.revoked and node.clone_of is None and node.last_seen is not None,
            was_heard=node.status in _HEARD or (before is not None and before.was_heard),
        )
        if facts != before:
            self.nodes[node.id] = facts
            is_same_subject = before is not None and (before.labels, before.is_known) == (facts.labels, facts.is_known)
            self._note_change(is_roster=not is_same_subject)
            self.on_change()

    def _keep_instance(self, instance: Instance) -> None:
        before = self.instances.get(instance.id)
        self.instances[instance.id] = InstanceFacts(
            id=instance.id,
            node_id=instance.node_id,
            name=instance.name,
            system_id=instance.system_id,
            module_id=instance.module_id,
            desired=instance.desired,
            state=instance.state,
            health=instance.health,
            restarts=instance.restarts_in_window,
            reason=instance.reason,
            created_at=instance.created_at,
        )
        if before is None or before.node_id != instance.node_id:
            self._note_change()
        if before is None or (before.state, before.health) != (instance.state, instance.health):
            self.on_change()
