"""What happens to instances, for the features above. Published on the bus by this feature alone, after the commit."""

import msgspec

from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.reasons import Reason


class InstanceFailed(msgspec.Struct, frozen=True):
    """An instance that ought to run has come to rest as `failed`: nothing starts it again by itself."""

    instance_id: InstanceId
    node_id: NodeId
    name: str
    reason: Reason | None
