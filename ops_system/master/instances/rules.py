"""What follows from a wish and a report: pure. Called by the instances service.

    wish       `InstanceSpec` with a generation that rises with every act; what the worker is told
    report     what the worker observed, for the generation it has seen; an older one says nothing about the wish
    action     what an operation waits for; a report ends it, or a newer action does

A report never changes a wish, and a wish never changes what was observed.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

import msgspec

from ops_system.master.operations.rules import TargetEnd
from ops_system.master.systems.secrets import Unsealed
from ops_system.master.templates.rules import SECRET, secrets_in
from ops_system.model.errors import NotAllowed
from ops_system.model.ids import NodeId
from ops_system.model.instances import (
    Desired,
    HealthState,
    InstanceReport,
    InstanceSpec,
    Origin,
    State,
)
from ops_system.model.operations import OperationState
from ops_system.model.placeholders import escape, fill
from ops_system.model.reasons import Reason

DOWNLOAD_PATIENCE_S = 60.0  # a broken download is tried again by the worker; so long the operation waits (trust R19)


class Action(StrEnum):
    """What a person or a rollout asks of one instance."""

    DEPLOY = "deploy"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    KILL = "kill"
    DESTROY = "destroy"
    ADOPT = "adopt"  # take over what others started
    RELEASE = "release"  # forget it and leave its process as it is
    DRAIN = "drain"  # a stop that keeps the wish for later
    UNDRAIN = "undrain"
    UPGRADE = "upgrade"  # another version or definition; what is stopped stays stopped


STEPS: Mapping[Action, tuple[str, ...]] = {
    Action.DEPLOY: ("download", "verify", "unpack", "activate", "start", "prove"),
    Action.START: ("start", "prove"),
    Action.STOP: ("stop",),
    Action.RESTART: ("stop", "start", "prove"),
    Action.KILL: ("stop",),
    Action.DESTROY: ("stop", "remove"),
    Action.ADOPT: ("find", "prove"),
    Action.RELEASE: ("release",),
    Action.DRAIN: ("stop",),
    Action.UNDRAIN: ("start", "prove"),
    Action.UPGRADE: ("upgrade",),
}
"""The steps an operation of each action shows, in order."""


class Record(msgspec.Struct, frozen=True):
    """One instance as it is stored. `is_drained`: stopped because its node is drained; undrain starts it again."""

    node_id: NodeId
    spec: InstanceSpec
    observed: InstanceReport | None
    action: Action | None
    operation_id: str | None
    action_at: datetime | None
    created_at: datetime
    is_drained: bool = False


class EventMark(msgspec.Struct, frozen=True):
    """Up to where a node's events are on disk; `era` rises when its worker began to count anew."""

    era: int
    last_seq: int


def mark_at_link(mark: EventMark, newest_seq: int) -> EventMark:
    """Return the mark after a worker said that `newest_seq` is the newest event it ever wrote."""
    return mark if newest_seq >= mark.last_seq else EventMark(mark.era + 1, 0)


# --- wishes ----------------------------------------------------------------------------------------------------------
def next_wish(spec: InstanceSpec, action: Action, fresh: InstanceSpec | None = None) -> InstanceSpec:
    """Return the wish after `action`, one generation on.

    `fresh` is the definition as it is now: taken over when the process starts anew anyway. Raises `NotAllowed` for an
    instance that is being destroyed.
    """
    check_act(spec, action)
    if spec.desired is Desired.ABSENT and action not in {Action.DESTROY, Action.RELEASE}:
        raise NotAllowed(f"instance {spec.instance_id} is being destroyed; nothing else can be asked of it")
    base = fresh if fresh is not None and takes_fresh(spec, action) else spec
    desired = _DESIRED.get(action, spec.desired)
    is_anew = action is Action.RESTART or (action is Action.UPGRADE and desired is Desired.RUNNING)
    changes = {
        "generation": spec.generation + 1,
        "desired": desired,
        "restart_seq": spec.restart_seq + is_anew,
        "stop_now": action is Action.KILL,
        "lets_go": action is Action.RELEASE,
    }
    return msgspec.structs.replace(base, **changes)


def redelivered(spec: InstanceSpec, fresh: InstanceSpec) -> InstanceSpec:
    """Return the same wish with another definition, one generation on; what runs goes on."""
    return msgspec.structs.replace(
        fresh, generation=spec.generation + 1, desired=spec.desired, restart_seq=spec.restart_seq
    )


def is_watched_only(spec: InstanceSpec) -> bool:
    """Whether others start the process and we cannot."""
    if spec.takeover is not None:
        return spec.takeover.is_watched_only
    return spec.origin is Origin.ADOPTED and not spec.service.entrypoint


def check_act(spec: InstanceSpec, action: Action) -> None:
    """Raise `NotAllowed` for what cannot be asked of this kind of instance."""
    if action is Action.RELEASE and spec.origin is not Origin.ADOPTED:
        raise NotAllowed(f"{spec.name} was started here; only what was taken over can be let go", reason="not_adopted")
    can_restart = not is_watched_only(spec) or (spec.takeover is not None and bool(spec.takeover.restart_command))
    if action is Action.RESTART and not can_restart:
        words = f"{spec.name} is only watched: it was taken over without a start or restart command"
        raise NotAllowed(words, reason="watched_only")


def has_secrets(spec: InstanceSpec) -> bool:
    """Whether something of the wish is filled in on the way to the worker alone."""
    return bool(spec.secret_env) or any(secrets_in(file.content) for file in spec.config_files)


def with_secrets(spec: InstanceSpec, secrets: Unsealed) -> InstanceSpec:
    """Return the wish with secret values filled in, such that no placeholder in them is expanded."""
    plain = {name: escape(value) for name, value in secrets.env.items()}
    values = {f"{SECRET}{name}": value for name, value in secrets.variables.items()}
    return msgspec.structs.replace(
        spec,
        service=msgspec.structs.replace(spec.service, env=spec.service.env | plain),
        config_files=tuple(
            msgspec.structs.replace(file, content=fill(file.content, values)) for file in spec.config_files
        ),
    )


_DESIRED: Mapping[Action, Desired] = {  # an upgrade leaves the wish as it is
    Action.DEPLOY: Desired.RUNNING,
    Action.START: Desired.RUNNING,
    Action.RESTART: Desired.RUNNING,
    Action.STOP: Desired.STOPPED,
    Action.KILL: Desired.STOPPED,
    Action.DESTROY: Desired.ABSENT,
    Action.ADOPT: Desired.RUNNING,
    Action.RELEASE: Desired.ABSENT,
    Action.DRAIN: Desired.STOPPED,
    Action.UNDRAIN: Desired.RUNNING,
}


def wants_start(action: Action) -> bool:
    """Whether the action asks for a running process."""
    return _DESIRED.get(action) is Desired.RUNNING


def takes_fresh(spec: InstanceSpec, action: Action) -> bool:
    """Whether the action starts the process anew, so that an edited definition can come with it."""
    if action is Action.UPGRADE:
        return True
    if not wants_start(action):
        return False
    return action is Action.RESTART or spec.desired is not Desired.RUNNING


def after_cancel(action: Action) -> Action | None:
    """Return what undoes a cancelled action: a stop for what was to start, None where only the waiting ends.

    Raises `NotAllowed` for stops and removals: the process may be gone already.
    """
    match action:
        case Action.DEPLOY | Action.START:
            return Action.STOP
        case Action.ADOPT:
            return Action.RELEASE
        case Action.RESTART | Action.UPGRADE:
            return None
        case Action.UNDRAIN:
            return Action.DRAIN
        case Action.STOP | Action.KILL | Action.DESTROY | Action.RELEASE | Action.DRAIN:
            raise NotAllowed(f"a {action} that was sent cannot be taken back; start or deploy the instance again")
        case _:
            assert_never(action)


# --- reports ---------------------------------------------------------------------------------------------------------
class Take(StrEnum):
    """What to do with a report."""

    ACCEPT = "accept"
    DROP = "drop"  # it speaks of an older wish
    OUTBID = "outbid"  # it speaks of a newer wish than ours (we lost some): ours must rise above it


def judge_report(spec: InstanceSpec, report: InstanceReport) -> Take:
    """Return whether `report` speaks of the present wish. A removal nobody wishes for is outbid as well."""
    if report.generation < spec.generation:
        return Take.DROP
    if report.generation > spec.generation or (report.removed and spec.desired is not Desired.ABSENT):
        return Take.OUTBID
    return Take.ACCEPT


def outbid(spec: InstanceSpec, report: InstanceReport) -> InstanceSpec:
    """Return the same wish with numbers above what the worker has seen."""
    return msgspec.structs.replace(
        spec,
        generation=max(spec.generation, report.generation) + 1,
        restart_seq=max(spec.restart_seq, report.restart_seq),
    )


def needs_apply(spec: InstanceSpec, report: InstanceReport | None) -> bool:
    """Whether the worker that reported this must be told the wish (again)."""
    return report is None or report.generation < spec.generation or report.restart_seq < spec.restart_seq


def has_failed(record: Record, report: InstanceReport) -> bool:
    """Whether this report is the first to say that an instance that ought to run has failed, at this wish."""
    if report.state is not State.FAILED or record.spec.desired is not Desired.RUNNING:
        return False
    before = record.observed
    wish = (report.generation, report.restart_seq)
    return before is None or before.state is not State.FAILED or (before.generation, before.restart_seq) != wish


def is_same_picture(one: InstanceReport | None, other: InstanceReport) -> bool:
    """Whether two reports differ in their time alone."""
    return one is not None and msgspec.structs.replace(one, at=other.at) == other


def judge_action(record: Record, report: InstanceReport) -> TargetEnd | None:
    """Return how the open action ended by an accepted `report`, None while it goes on."""
    if record.action is None or needs_apply(record.spec, report):
        return None
    match record.action:
        case Action.DEPLOY | Action.START | Action.RESTART | Action.UNDRAIN | Action.ADOPT:
            return _judge_start(record, report)
        case Action.STOP | Action.KILL | Action.DRAIN:
            return _judge_stop(report)
        case Action.UPGRADE:
            return _judge_start(record, report) if record.spec.desired is Desired.RUNNING else _judge_stop(report)
        case Action.DESTROY | Action.RELEASE:
            return TargetEnd(OperationState.SUCCEEDED) if report.removed else _judge_cannot_kill(report)
        case _:
            assert_never(record.action)


def _judge_start(record: Record, report: InstanceReport) -> TargetEnd | None:
    if report.state is State.RUNNING:
        proven = report.health is HealthState.HEALTHY or record.spec.service.health.type == "process"
        return TargetEnd(OperationState.SUCCEEDED) if proven else None
    if report.state not in {State.BACKOFF, State.EXITED, State.FAILED}:
        return None
    if report.state is State.BACKOFF and _may_still_download(record, report):
        return None
    return TargetEnd(OperationState.FAILED, report.reason or Reason(report.state, f"the instance is {report.state}"))


def _may_still_download(record: Record, report: InstanceReport) -> bool:
    if report.reason is None or report.reason.code != "download_failed" or record.action_at is None:
        return False
    return report.at - record.action_at < timedelta(seconds=DOWNLOAD_PATIENCE_S)


def _judge_stop(report: InstanceReport) -> TargetEnd | None:
    if report.state is State.STOPPED:
        return TargetEnd(OperationState.SUCCEEDED)
    return _judge_cannot_kill(report)


def _judge_cannot_kill(report: InstanceReport) -> TargetEnd | None:
    if report.reason is not None and report.reason.code in {"cannot_kill", "cannot_remove"}:
        return TargetEnd(OperationState.FAILED, report.reason)
    return None


_AT_REST = frozenset({State.STOPPED, State.EXITED, State.FAILED})


def check_destroy(spec: InstanceSpec, seen: State, *, may_stop: bool) -> None:
    """Raise `NotAllowed` unless the instance may be removed: at rest, or `may_stop`."""
    if may_stop or seen in _AT_REST or (seen is State.PENDING and spec.desired is not Desired.RUNNING):
        return
    raise NotAllowed(
        f"instance {spec.instance_id} ({spec.name}) is {seen}: stop it first, or delete it with ?stop=1",
        state=seen,
    )
