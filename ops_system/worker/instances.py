"""What should run here: the wishes on disk, which of two is newer, and the supervisor that carries them out.

    state/desired/<instance id>.json    one `InstanceSpec` each; an absent one is a tombstone until it is forgotten

A wish is on the disk before anything is done about it, and the worker reconciles to the disk at start, with the master
away for ever if need be (R6). `uplink` brings wishes and asks for reports; `app` builds it.
"""

import asyncio
import errno
import logging
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import msgspec

from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.instances import Desired, HealthState, InstanceEvent, InstanceReport, InstanceSpec, Origin, State
from ops_system.model.reasons import Reason
from ops_system.processes.spec import RunSpec
from ops_system.protocol.frames import Apply
from ops_system.runtime.files import remove_durably, write_atomic
from ops_system.worker.status import InstanceStatus

_log = logging.getLogger(__name__)

CLOCK_TOLERANCE = timedelta(seconds=30)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")


class Supervision(Protocol):
    """What is asked of `processes.supervisor`."""

    async def apply(self, spec: RunSpec) -> None:
        """Carry out a wish; repeating one is harmless."""

    async def forget(self, instance_id: InstanceId) -> None:
        """Drop what is known of a removed instance."""

    def reports(self) -> tuple[InstanceReport, ...]:
        """Return the newest report of each instance."""

    def pending_events(self, after_seq: int = ..., limit: int = ...) -> tuple[InstanceEvent, ...]:
        """Return the unacknowledged events above `after_seq`, oldest first."""

    @property
    def last_event_seq(self) -> int:
        """The number of the newest event ever written."""

    def ack_events(self, seq: int) -> None:
        """The events up to `seq` are kept elsewhere now."""


def is_newer(new: InstanceSpec, kept: InstanceSpec | None) -> bool:
    """Return whether a wish replaces the kept one: by generation, then by the count of restarts wished for."""
    return kept is None or (new.generation, new.restart_seq) > (kept.generation, kept.restart_seq)


def refusal(frame: Apply, node_id: NodeId, server_now: datetime) -> str:
    """Return why a wish must not be taken (S15), empty when it may. `server_now` is the master's clock."""
    return fault_of(frame, node_id) or untimely(frame, server_now)


def fault_of(frame: Apply, node_id: NodeId) -> str:
    """Return why a wish can never be taken here."""
    if not _ID.match(frame.spec.instance_id):
        return "its id cannot be the name of a folder"
    if frame.node_id != node_id:
        return f"it is for node {frame.node_id}"
    return ""


def untimely(frame: Apply, server_now: datetime) -> str:
    """Return why it is not the time of a wish. The master's clock may have been moved since it was last heard."""
    if server_now > frame.expires_at + CLOCK_TOLERANCE:
        return f"it expired at {frame.expires_at.isoformat()}"
    if frame.issued_at > server_now + CLOCK_TOLERANCE:
        return f"it was issued at {frame.issued_at.isoformat()}, which is still to come"
    return ""


class Order(Protocol):
    """What is asked of `starts.OrderedStarts`."""

    def begin(self, wishes: Iterable[InstanceSpec]) -> tuple[InstanceSpec, ...]:
        """Hold back what waits for others, and return the wishes in the order to hand them out."""

    def free(self, instance_id: InstanceId) -> None:
        """Hold this instance back no longer."""


class DesiredStore:
    """The wishes, on disk and in memory. What cannot be read is told and skipped, never saved as an empty state."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._specs: dict[InstanceId, InstanceSpec] = {}

    def load(self) -> None:
        """Read every wish. Raises OSError when the folder itself cannot be read."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(self._folder.glob("*.json")):
            try:
                spec = msgspec.json.decode(path.read_bytes(), type=InstanceSpec)
            except (OSError, msgspec.MsgspecError) as problem:
                _log.error("%s cannot be read (%s); kept as it is until the master sends it again", path, problem)
                continue
            self._specs[spec.instance_id] = spec

    def get(self, instance_id: InstanceId) -> InstanceSpec | None:
        """Return the kept wish."""
        return self._specs.get(instance_id)

    def is_wanted(self, instance_id: InstanceId) -> bool:
        """Whether the instance is kept here and not on its way out."""
        spec = self._specs.get(instance_id)
        return spec is not None and spec.desired is not Desired.ABSENT

    def in_start_order(self) -> list[InstanceSpec]:
        """Return all wishes, those to start first in front."""
        return sorted(self._specs.values(), key=lambda spec: (spec.start_order, spec.instance_id))

    def packages_in_use(self) -> frozenset[str]:
        """Return the SHA-256 of every package an instance needs."""
        wished = (spec.package for spec in self._specs.values() if spec.desired is not Desired.ABSENT)
        return frozenset(package.sha256 for package in wished if package is not None)

    async def save(self, spec: InstanceSpec) -> None:
        """Have the wish on the disk when this returns. Raises OSError, and then nothing is kept."""
        await asyncio.to_thread(write_atomic, self._path(spec.instance_id), msgspec.json.encode(spec))
        self._specs[spec.instance_id] = spec

    async def remove(self, instance_id: InstanceId) -> None:
        """Forget the wish."""
        await asyncio.to_thread(remove_durably, self._path(instance_id))
        self._specs.pop(instance_id, None)

    def _path(self, instance_id: InstanceId) -> Path:
        return self._folder / f"{instance_id}.json"


class Instances:
    """See the module."""

    def __init__(
        self,
        node_id: NodeId,
        store: DesiredStore,
        supervisor: Supervision,
        *,
        starts: Order,
        resolve: Callable[[InstanceSpec], RunSpec],
        on_report: Callable[[InstanceReport], None],
    ) -> None:
        self._unsaved: dict[InstanceId, InstanceSpec] = {}
        self._on_report = on_report
        self._node_id = node_id
        self._store = store
        self._supervisor = supervisor
        self._starts = starts
        self._resolve = resolve

    async def reconcile(self) -> None:
        """Hand every kept wish to the supervisor, in the order they shall come up."""
        for spec in self._starts.begin(self._store.in_start_order()):
            await self._supervisor.apply(self._resolve(spec))

    async def remove_all(self) -> None:
        """Wish everything away, what started last first; what was taken over is let go and runs on.

        Raises OSError when a wish cannot be kept.
        """
        for spec in reversed(self._store.in_start_order()):
            is_foreign = spec.origin is Origin.ADOPTED
            gone = msgspec.structs.replace(
                spec, desired=Desired.ABSENT, lets_go=is_foreign, generation=spec.generation + 1
            )
            await self._store.save(gone)
            await self._supervisor.apply(self._resolve(gone))

    # --- from the master ------------------------------------------------------------------------------------------
    async def on_apply(self, frame: Apply, server_now: datetime) -> bool:
        """Keep a newer wish, then carry it out. One that is not ours or has expired is refused and logged.

        True: only its time speaks against it; ask again when the master's clock has been heard anew.
        """
        spec = frame.spec
        if why := refusal(frame, self._node_id, server_now):
            _log.warning("refused a wish for %s (%s): %s", spec.instance_id, spec.name, why)
            return not fault_of(frame, self._node_id)
        if is_newer(spec, self._unsaved.get(spec.instance_id) or self._store.get(spec.instance_id)):
            await self._take(spec)
        return False

    async def retry_unsaved(self) -> None:
        """Try again to keep the wishes for which the disk had no room. Call it every few seconds."""
        for spec in tuple(self._unsaved.values()):
            await self._take(spec)

    async def _take(self, spec: InstanceSpec) -> None:
        try:
            await self._store.save(spec)
        except OSError as problem:
            self._tell_unsaved(spec, problem)
            return
        self._unsaved.pop(spec.instance_id, None)
        self._starts.free(spec.instance_id)
        await self._supervisor.apply(self._resolve(spec))

    def _tell_unsaved(self, spec: InstanceSpec, problem: OSError) -> None:
        """Say once that a wish waits; an instance that runs already keeps its own picture."""
        if self._unsaved.get(spec.instance_id) == spec:
            return
        self._unsaved[spec.instance_id] = spec
        message = f"the wish cannot be kept on the node's disk ({problem.strerror}); it is tried again until it can"
        _log.error("%s (%s): %s", spec.instance_id, spec.name, message)
        if all(report.instance_id != spec.instance_id for report in self.reports()):
            reason = Reason("storage_full" if problem.errno == errno.ENOSPC else "storage_failed", message)
            self._on_report(
                InstanceReport(
                    instance_id=spec.instance_id,
                    generation=spec.generation,
                    state=State.PENDING,
                    health=HealthState.UNKNOWN,
                    at=datetime.now(UTC),
                    restart_seq=spec.restart_seq,
                    reason=reason,
                    version=spec.service.version,
                )
            )

    async def on_forget(self, instance_id: InstanceId) -> None:
        """Drop the tombstone of a removed instance; anything else is kept."""
        spec = self._store.get(instance_id)
        if spec is not None and spec.desired is not Desired.ABSENT:
            _log.warning("asked to forget %s, which is wished to be %s; kept", instance_id, spec.desired)
            return
        try:
            await self._store.remove(instance_id)
        except OSError as problem:
            _log.error("the tombstone of %s stays: %s", instance_id, problem)
            return
        await self._supervisor.forget(instance_id)

    async def on_events_ack(self, seq: int) -> None:
        """The master keeps the events up to `seq`."""
        self._supervisor.ack_events(seq)

    # --- pictures -------------------------------------------------------------------------------------------------
    def reports(self) -> tuple[InstanceReport, ...]:
        """Return the newest report of every instance."""
        return self._supervisor.reports()

    def events_after(self, seq: int, limit: int) -> tuple[InstanceEvent, ...]:
        """Return up to `limit` unacknowledged events above `seq`."""
        return self._supervisor.pending_events(seq, limit)

    def last_event_seq(self) -> int:
        """Return the number of the newest event."""
        return self._supervisor.last_event_seq

    def statuses(self) -> tuple[InstanceStatus, ...]:
        """Return wish and observation of every instance, by name."""
        return join_statuses(self._store.in_start_order(), self.reports())


def join_statuses(wishes: Iterable[InstanceSpec], reports: Iterable[InstanceReport]) -> tuple[InstanceStatus, ...]:
    """Return one line for each instance that has both a wish and a report, but for those already removed."""
    specs = {spec.instance_id: spec for spec in wishes}
    rows = [
        InstanceStatus(
            instance_id=report.instance_id,
            name=specs[report.instance_id].name,
            version=report.version,
            desired=specs[report.instance_id].desired,
            state=report.state,
            health=report.health,
            pid=report.pid,
            restarts=report.restarts,
            reason=report.reason,
        )
        for report in reports
        if report.instance_id in specs and not report.removed
    ]
    return tuple(sorted(rows, key=lambda row: (row.name, row.instance_id)))
