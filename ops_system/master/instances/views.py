"""How an instance and its timeline are shown: pure. Called by service, store and API."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from ops_system.master.instances.rules import Record, is_watched_only
from ops_system.master.web.route import ListQuery
from ops_system.model.ids import InstanceId, ModuleId, NodeId, SystemId
from ops_system.model.instances import Desired, HealthState, InstanceEvent, Origin, State
from ops_system.model.reasons import Reason
from ops_system.model.takeover import Takeover


class InstanceQuery(ListQuery, frozen=True):
    """Filters of the list. `state`: one or several, separated by commas; `q` looks into name, id and package."""

    system_id: str = ""
    module_id: str = ""
    node_id: str = ""
    package: str = ""
    version: str = ""
    desired: str = ""
    state: str = ""


class Instance(msgspec.Struct, frozen=True):
    """An instance as the API shows it. `metrics` has the newest values, only those known."""

    id: InstanceId
    system_id: SystemId
    module_id: ModuleId
    node_id: NodeId
    name: str
    package: str
    version: str
    desired: Desired
    state: State
    health: HealthState
    origin: Origin
    pid: int | None
    started_at: datetime | None
    exit_code: int | None
    exit_signal: str | None
    restarts: int
    restarts_in_window: int  # those that still count towards giving up
    next_try_at: datetime | None  # only while it backs off
    reason: Reason | None
    metrics: dict[str, float]
    ports: dict[str, int]
    generation: int
    watched_only: bool  # others start it and we cannot: an end is shown and stays
    can_reload: bool
    takeover: Takeover | None  # how it was taken over; None: by its package, or it is our own
    drained: bool  # stopped because its node is drained; undrain starts it again
    operation_id: str | None  # what is under way
    observed_at: datetime | None
    created_at: datetime


class TimelineEvent(msgspec.Struct, frozen=True):
    """One line of an instance's timeline; `id` rises."""

    id: int
    at: datetime
    kind: str
    state: State
    health: HealthState
    reason: Reason | None
    pid: int | None
    exit_code: int | None
    generation: int

    @classmethod
    def of(cls, event_id: int, event: InstanceEvent) -> "TimelineEvent":
        """Return the line that shows `event`."""
        return cls(
            id=event_id,
            at=event.at,
            kind=event.kind,
            state=event.state,
            health=event.health,
            reason=event.reason,
            pid=event.pid,
            exit_code=event.exit_code,
            generation=event.generation,
        )


def view_of(record: Record, metrics: Mapping[str, float], *, is_heard: bool) -> Instance:
    """Return the instance as the API shows it.

    While its node is silent, or has not reported since the master started, state and health are `unknown` and the rest
    is the last picture.
    """
    spec, seen = record.spec, record.observed
    state = visible_state(record, is_heard=is_heard)
    is_known = state not in {State.UNKNOWN, State.PENDING}
    reason = None if seen is None else seen.reason
    if record.is_drained and state is State.STOPPED:
        reason = NODE_DRAINED
    return Instance(
        id=spec.instance_id,
        system_id=spec.system_id,
        module_id=spec.module_id,
        node_id=record.node_id,
        name=spec.name,
        package=spec.package.name if spec.package else spec.service.name,
        version=spec.package.version if spec.package else spec.service.version,
        desired=spec.desired,
        state=state,
        health=seen.health if seen and is_known else HealthState.UNKNOWN,
        origin=spec.origin,
        pid=seen.pid if seen else None,
        started_at=seen.started_at if seen else None,
        exit_code=seen.exit_code if seen else None,
        exit_signal=seen.exit_signal if seen else None,
        restarts=seen.restarts if seen else 0,
        restarts_in_window=seen.restarts_in_window if seen else 0,
        next_try_at=seen.next_try_at if seen and is_heard else None,
        reason=reason if is_heard else NODE_SILENT,
        metrics=dict(metrics) if is_heard else {},
        ports=spec.service.ports,
        generation=spec.generation,
        watched_only=is_watched_only(spec),
        can_reload=bool(spec.service.hooks.reload),
        takeover=spec.takeover,
        drained=record.is_drained,
        operation_id=record.operation_id,
        observed_at=seen.at if seen else None,
        created_at=record.created_at,
    )


NODE_DRAINED = Reason("node_drained", "stopped because its node is drained; undrain the node to start it again")
NODE_SILENT = Reason("node_silent", "the node has not reported; what runs there is not known")


def visible_state(record: Record, *, is_heard: bool) -> State:
    """Return the state to show: `unknown` while the node is silent or has not reported since the master started."""
    if not is_heard:
        return State.UNKNOWN
    return State.PENDING if record.observed is None else record.observed.state
