"""Reads the live window for the gates of a rollout."""

from ops_system.master.instances.rules import Record
from ops_system.master.metrics.service import MetricsBook
from ops_system.master.upgrades.gates import BASELINE_S, judge, mean_of
from ops_system.master.upgrades.rules import Target, Upgrade, is_gated
from ops_system.model.ids import InstanceId
from ops_system.model.reasons import Reason
from ops_system.model.stamps import to_ms
from ops_system.runtime.clock import Clock


class Meter:
    """What instances use, second by second."""

    def __init__(self, metrics: MetricsBook, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    def baseline(self, upgrade: Upgrade, instance_id: InstanceId) -> dict[str, float]:
        """Return the mean of the last minute of each series that a gate looks at; what is unknown is absent."""
        means = {
            gate.series: mean_of(self._window(instance_id, gate.series, BASELINE_S)) for gate in upgrade.strategy.gates
        }
        return {series: mean for series, mean in means.items() if mean is not None}

    def fault(self, upgrade: Upgrade, target: Target, record: Record | None) -> Reason | None:
        """Return the first gate that an instance does not pass, once the watch has lasted for the gate's window."""
        if not is_gated(upgrade, target, record):
            return None
        assert upgrade.bake_until_ms is not None
        left_s = (upgrade.bake_until_ms - to_ms(self._clock.now())) / 1000
        due = [gate for gate in upgrade.strategy.gates if upgrade.strategy.bake_s - left_s >= gate.window_s]
        faults = (
            judge(
                gate,
                self._window(target.instance_id, gate.series, gate.window_s),
                target.baseline,
                is_last=left_s <= 0,
            )
            for gate in due
        )
        return next((fault for fault in faults if fault is not None), None)

    def _window(self, instance_id: InstanceId, series: str, seconds: int) -> list[float | None]:
        return self._metrics.window(f"instance:{instance_id}", series, seconds)
