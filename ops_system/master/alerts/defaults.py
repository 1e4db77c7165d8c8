"""The rules a new master begins with. Administrators change them, switch them off or delete them like any other."""

from ops_system.model.alerts import SILENT, Condition, ConditionKind, Grouping, NewRule, Severity
from ops_system.model.instances import State
from ops_system.model.nodes import NodeStatus

NODE_OFFLINE = "node_offline"
INSTANCE_FAILED = "instance_failed"


def _level(kind: ConditionKind, series: str, fire: float, clear: float, window_s: int = 0) -> Condition:
    return Condition(kind=kind, series=series, fire_level=fire, clear_level=clear, window_s=window_s)


DEFAULTS: dict[str, NewRule] = {
    NODE_OFFLINE: NewRule(
        name="Node offline",
        condition=Condition(kind=ConditionKind.NODE_STATUS, states=(NodeStatus.OFFLINE,)),
        severity=Severity.CRITICAL,
    ),
    "idc_silent": NewRule(
        name="Data centre not heard",
        condition=Condition(kind=ConditionKind.IDC_STATUS, states=(SILENT,)),
        severity=Severity.CRITICAL,
        for_s=60,  # a restart of its regional client, or a standby that takes over, is none
    ),
    INSTANCE_FAILED: NewRule(
        name="Instance failed",
        condition=Condition(kind=ConditionKind.INSTANCE_STATE, states=(State.FAILED,)),
        severity=Severity.CRITICAL,
    ),
    "crash_loop": NewRule(
        name="Crash loop",
        condition=Condition(kind=ConditionKind.INSTANCE_RESTARTS, fire_level=3, clear_level=0),
        keep_firing_for_s=60,
    ),
    "unhealthy": NewRule(
        name="Instance unhealthy",
        condition=Condition(kind=ConditionKind.INSTANCE_HEALTH, states=("unhealthy",)),
        for_s=60,
        enabled=False,  # liveness restarts it anyhow; for those who want to hear of it first
    ),
    "disk_full": NewRule(
        name="Disk almost full",
        condition=_level(ConditionKind.NODE_METRIC, "disk_percent", 90, 85),
        for_s=60,
    ),
    "memory_high": NewRule(
        name="Memory almost full",
        condition=_level(ConditionKind.NODE_METRIC, "mem_percent", 95, 90),
        for_s=300,
    ),
    "certificate": NewRule(
        name="Certificate expires soon",
        condition=Condition(kind=ConditionKind.CERTIFICATE, op="<", fire_level=14),
        group=Grouping(repeat_s=86_400),
    ),
}
