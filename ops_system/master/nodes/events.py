"""What happens to nodes, for the features above. Published on the bus by this feature alone."""

import msgspec

from ops_system.master.web.route import Principal
from ops_system.model.ids import NodeId
from ops_system.model.nodes import NodeStatus


class NodeLinked(msgspec.Struct, frozen=True):
    """A worker has proven itself; frames can be sent."""

    node_id: NodeId
    connection_epoch: int


class NodeUnlinked(msgspec.Struct, frozen=True):
    """The link is gone. Whether the node is offline is told by `NodeStatusChanged`, later."""

    node_id: NodeId


class NodeStatusChanged(msgspec.Struct, frozen=True):
    """The node is heard, or is not, in the words of the contract."""

    node_id: NodeId
    status: NodeStatus


class NodeDraining(msgspec.Struct, frozen=True):
    """Somebody asked to drain the node, or to take it back into service."""

    node_id: NodeId
    is_draining: bool
    actor: Principal


class FalseClaim(msgspec.Struct, frozen=True):
    """A worker spoke of an instance that is not its own, or said what cannot be; it was dropped."""

    node_id: NodeId
    instance_id: str
    fault: str


class NodeEnrolled(msgspec.Struct, frozen=True):
    """A worker has used a join token: `labels` are those of its node now, the token's included."""

    node_id: NodeId
    join_token_id: str
    labels: dict[str, str]


class NodeRemoved(msgspec.Struct, frozen=True):
    """The node is no longer on record; forget what belongs to it."""

    node_id: NodeId
