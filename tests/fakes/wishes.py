"""Wishes of a master for tests of the worker."""

from typing import Any

from ops_system.model.ids import InstanceId, ModuleId, SystemId
from ops_system.model.instances import Desired, InstanceSpec
from ops_system.model.manifest import Manifest
from ops_system.model.packages import PackageRef

PACKAGE = PackageRef("web", "1.0.0", "0" * 64, 10, "")


def wish(
    instance_id: str = "inst_1", generation: int = 1, desired: Desired = Desired.RUNNING, **changes: Any
) -> InstanceSpec:
    """Return a wish for a minimal service."""
    fields: dict[str, Any] = {"service": Manifest("web", "1.0.0", entrypoint="run.sh"), "package": PACKAGE, **changes}
    return InstanceSpec(InstanceId(instance_id), generation, desired, SystemId("s"), ModuleId("m"), "web", **fields)
