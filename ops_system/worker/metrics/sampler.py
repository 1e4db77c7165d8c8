"""One pass a second over the machine and every instance. `app` gives it the readers and takes the samples."""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from ops_system.model.ids import InstanceId
from ops_system.protocol.frames import Sample
from ops_system.runtime.tasks import every
from ops_system.worker.metrics.pace import Pace
from ops_system.worker.metrics.rates import (
    InstanceUse,
    NodeCounters,
    extra_row,
    instance_row,
    node_row,
    stamp_s,
)

_log = logging.getLogger(__name__)


class Counters(Protocol):
    """Reads the machine. `pace` tells how slow that is."""

    pace: Pace

    def read(self) -> NodeCounters:
        """Return one reading. Raises OSError."""

    def close(self) -> None:
        """Give back what is kept open."""


ReadInstances = Callable[[], Mapping[InstanceId, InstanceUse]]


def local_counters() -> Counters:
    """Return the reader of the system this runs on."""
    if sys.platform == "linux":
        from ops_system.worker.metrics.linux import LinuxCounters

        return LinuxCounters()
    else:  # noqa: RET505 - mypy takes code behind an early return for unreachable on one system
        from ops_system.worker.metrics.portable import PortableCounters

        return PortableCounters()


class Sampler:
    """Keeps the last reading of everything, and the last sample for the status port."""

    def __init__(
        self,
        counters: Counters,
        read_instances: ReadInstances,
        on_sample: Callable[[Sample], None],
        *,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._counters = counters
        self._read_instances = read_instances
        self._on_sample = on_sample
        self._wall_s = wall_s
        self._node: NodeCounters | None = None
        self._instances: Mapping[InstanceId, InstanceUse] = {}
        self._at_s: float | None = None
        self.last: Sample | None = None

    @property
    def pace(self) -> Pace:
        """How long a pass takes, and how many were slow."""
        return self._counters.pace

    async def run(self, interval_s: float) -> None:
        """Sample at a steady pace until cancelled."""
        try:
            await every(interval_s, lambda: self._tick(interval_s), "sampler")
        finally:
            self._counters.close()

    async def _tick(self, interval_s: float) -> None:
        try:
            sample = self.sample(interval_s)
        except Exception as problem:  # noqa: BLE001 - numbers that cannot be read must not end the care of services
            _log.warning("no sample this second: %s: %s", type(problem).__name__, problem)
            return
        self._on_sample(sample)

    def sample(self, interval_s: float) -> Sample:
        """Read everything once and return what it means since the last call. Raises what a system's reader raises."""
        node, instances = self._counters.read(), self._read_instances()
        self._at_s = stamp_s(self._at_s, self._wall_s(), interval_s)
        elapsed_s = node.at_s - self._node.at_s if self._node else 0.0
        sample = Sample(
            at_s=self._at_s,
            node=node_row(self._node, node),
            extra=extra_row(self._node, node),
            instances={
                instance_id: instance_row(self._instances.get(instance_id, {}), tree, elapsed_s)
                for instance_id, tree in instances.items()
            },
        )
        self._node, self._instances, self.last = node, instances, sample
        return sample
