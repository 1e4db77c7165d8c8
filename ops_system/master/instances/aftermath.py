"""What a transaction on instances leads to once it is on disk: pictures, operations, frames. Used by the service."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from ops_system.master.bus import Bus, Changed
from ops_system.master.instances.events import InstanceFailed
from ops_system.master.instances.rules import Record, has_secrets, with_secrets
from ops_system.master.instances.views import Instance, TimelineEvent, view_of
from ops_system.master.operations.rules import TargetEnd
from ops_system.master.operations.service import Operations
from ops_system.master.systems.secrets import Unsealed
from ops_system.model.errors import Unavailable
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.instances import Desired, InstanceSpec
from ops_system.model.operations import Operation
from ops_system.protocol.codec import Frame
from ops_system.protocol.frames import Apply
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Transaction

TOPIC = "instances"
APPLY_LIFE = timedelta(minutes=10)  # trust S15: an older command is refused; the next snapshot brings a fresh one

_log = logging.getLogger(__name__)

SecretsOf = Callable[[InstanceSpec], Unsealed]
MetricsOf = Callable[[InstanceId], Mapping[str, float]]


class Sender(Protocol):
    """The way of frames to the workers."""

    def send(self, node_id: str, frame: Frame) -> bool:
        """Queue a frame for a node; False when it has no link."""
        ...


@dataclass(slots=True)
class Aftermath:
    """Collected inside a transaction, released after it. The newest picture of each thing wins."""

    records: dict[InstanceId, Record] = field(default_factory=dict)
    gone: list[InstanceId] = field(default_factory=list)
    operations: dict[str, Operation] = field(default_factory=dict)
    lines: list[tuple[InstanceId, TimelineEvent]] = field(default_factory=list)
    wishes: dict[InstanceId, Record] = field(default_factory=dict)
    frames: list[tuple[NodeId, Frame]] = field(default_factory=list)
    failed: list[InstanceFailed] = field(default_factory=list)

    def show(self, record: Record) -> None:
        """Publish this picture."""
        self.records[record.spec.instance_id] = record

    def tell(self, record: Record) -> None:
        """Publish this picture and send its wish to the worker."""
        self.show(record)
        self.wishes[record.spec.instance_id] = record

    async def begin_target(
        self, operations: Operations, tx: Transaction, operation_id: str, target_id: str, step: str
    ) -> None:
        """Set a target of an operation to work; the operation is read once a transaction."""
        known = self.operations.get(operation_id)
        self.note(await operations.begin_target(tx, operation_id, target_id, step, known=known))

    async def end_target(
        self, operations: Operations, tx: Transaction, operation_id: str, target_id: str, end: TargetEnd
    ) -> None:
        """End a target of an operation; the operation is read once a transaction."""
        known = self.operations.get(operation_id)
        self.note(await operations.finish_target(tx, operation_id, target_id, end, known=known))

    def note(self, operation: Operation) -> None:
        """Publish this operation."""
        self.operations[operation.id] = operation


class Announcer:
    """Releases aftermaths. `heard`: the nodes whose reports count, kept by the service."""

    def __init__(self, *, operations: Operations, links: Sender, bus: Bus, clock: Clock) -> None:
        self._operations = operations
        self._links = links
        self._bus = bus
        self._clock = clock
        self.heard: set[NodeId] = set()
        self.metrics_of: MetricsOf = lambda _instance_id: {}
        self.secrets_of: SecretsOf = lambda _spec: Unsealed()

    def view(self, record: Record) -> Instance:
        """Return the instance as it is shown now."""
        metrics = self.metrics_of(record.spec.instance_id)
        return view_of(record, metrics, is_heard=record.node_id in self.heard)

    def release(self, after: Aftermath) -> None:
        """Send and publish; call it after the commit."""
        for record in after.wishes.values():
            self.send_wish(record.node_id, record.spec)
        for node_id, frame in after.frames:
            self._links.send(node_id, frame)
        for record in after.records.values():
            self._bus.publish(Changed(TOPIC, record.spec.instance_id, self.view(record)))
        for instance_id in after.gone:
            self._bus.publish(Changed(TOPIC, instance_id, None))
        for instance_id, line in after.lines:
            self._bus.publish(Changed(f"events:instance:{instance_id}", str(line.id), line))
        for failure in after.failed:
            self._bus.publish(failure)
        self._operations.publish(*after.operations.values())

    def send_wish(self, node_id: NodeId, spec: InstanceSpec) -> None:
        """Tell a worker this wish; not now when one of its secrets cannot be read."""
        try:
            frame = self.apply_frame(node_id, spec)
        except Unavailable as problem:
            _log.error("the wish for %s (%s) is not sent: %s", spec.instance_id, spec.name, problem.message)
            return
        self._links.send(node_id, frame)

    def apply_frame(self, node_id: NodeId, spec: InstanceSpec) -> Apply:
        """Return the frame that tells a worker this wish, secrets filled in, good from now. Raises `Unavailable`."""
        now = self._clock.now()
        if has_secrets(spec) and spec.desired is not Desired.ABSENT:
            spec = with_secrets(spec, self.secrets_of(spec))
        return Apply(node_id=node_id, issued_at=now, expires_at=now + APPLY_LIFE, spec=spec)
