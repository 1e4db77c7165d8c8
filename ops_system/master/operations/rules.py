"""How the parts of an operation become its whole: pure. Called by the service.

Only targets are written to; the states of the steps and of the operation follow from them:

    target:     pending -> running -> succeeded | failed | cancelled
    step:       what the furthest and the slowest target say about it
    operation:  ended once every target has ended; failed before cancelled before succeeded
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

import msgspec

from ops_system.master.operations.lines import time_left_s
from ops_system.master.web.route import ListQuery
from ops_system.model.operations import ENDED, Operation, OperationState, OperationStep, OperationTarget
from ops_system.model.reasons import Reason


class OperationQuery(ListQuery, frozen=True):
    """Filters of the list. `state`: one or several, separated by commas; `kind`: a part of it; `target`: an id."""

    state: str = ""
    kind: str = ""
    target: str = ""


def settle(operation: Operation, now: datetime) -> Operation:
    """Return the operation with state, steps, error and stamps that follow from its targets."""
    state = operation_state(operation.targets)
    if operation.is_paused and state not in ENDED:
        state = OperationState.PAUSED
    names = [step.name for step in operation.steps]
    steps = tuple(
        _stamped(step, step_state(names, index, operation.targets, state), now)
        for index, step in enumerate(operation.steps)
    )
    ended_at = (operation.ended_at or now) if state in ENDED else None
    error = first_error(operation.targets) if state is OperationState.FAILED else None
    return msgspec.structs.replace(operation, state=state, steps=steps, error=error, updated_at=now, ended_at=ended_at)


def operation_state(targets: Sequence[OperationTarget]) -> OperationState:
    """Return what the targets make of the whole; no target at all is a success."""
    states = {target.state for target in targets}
    if states <= ENDED:
        for worst in (OperationState.FAILED, OperationState.CANCELLED):
            if worst in states:
                return worst
        return OperationState.SUCCEEDED
    return OperationState.PENDING if states == {OperationState.PENDING} else OperationState.RUNNING


def step_state(
    names: Sequence[str], index: int, targets: Sequence[OperationTarget], whole: OperationState
) -> OperationState:
    """Return the state of the step at `index`: done when all are past it, failed where a target broke off."""
    places = [(place_of(names, target), target.state) for target in targets]
    if any(place == index and state is OperationState.FAILED for place, state in places):
        return OperationState.FAILED
    counted = [place for place, state in places if state is not OperationState.CANCELLED]
    if whole in ENDED:
        is_done = whole is OperationState.SUCCEEDED or (bool(counted) and min(counted) > index)
        return OperationState.SUCCEEDED if is_done else OperationState.CANCELLED
    if counted and min(counted) > index:
        return OperationState.SUCCEEDED
    return OperationState.RUNNING if any(place >= index for place in counted) else OperationState.PENDING


def place_of(names: Sequence[str], target: OperationTarget) -> int:
    """Return the index of the step the target is in: -1 before the first, `len(names)` past the last."""
    if target.state is OperationState.SUCCEEDED:
        return len(names)
    if target.step in names:
        return names.index(target.step)
    return -1 if target.state in {OperationState.PENDING, OperationState.CANCELLED} else 0


def first_error(targets: Sequence[OperationTarget]) -> Reason | None:
    """Return why the first failed target failed."""
    failed = (target for target in targets if target.state is OperationState.FAILED)
    return next((target.reason for target in failed if target.reason is not None), None)


def with_target(operation: Operation, changed: OperationTarget) -> Operation:
    """Return the operation with the target of the same id replaced."""
    targets = tuple(changed if target.id == changed.id else target for target in operation.targets)
    return msgspec.structs.replace(operation, targets=targets)


class TargetEnd(msgspec.Struct, frozen=True):
    """How a target ended, and why where it is no success."""

    state: OperationState
    reason: Reason | None = None


class TargetProgress(msgspec.Struct, frozen=True):
    """How far a running target is inside its step."""

    step: str
    bytes_done: int
    bytes_total: int
    bytes_per_s: float = 0.0


def with_progress(operation: Operation, fresh: Mapping[str, TargetProgress]) -> Operation:
    """Return the operation with newer progress in the targets that run.

    A worker's step that is none of the operation's (a rollout has coarser ones) leaves the target in the step it is in.
    """
    names = {step.name for step in operation.steps}
    targets = tuple(
        _advanced(target, news, names)
        if target.state is OperationState.RUNNING and (news := fresh.get(target.id)) is not None
        else target
        for target in operation.targets
    )
    return msgspec.structs.replace(operation, targets=targets)


def _advanced(target: OperationTarget, news: TargetProgress, names: AbstractSet[str]) -> OperationTarget:
    step = news.step if news.step in names else target.step
    return msgspec.structs.replace(
        target,
        step=step,
        bytes_done=news.bytes_done,
        bytes_total=news.bytes_total,
        bytes_per_s=round(news.bytes_per_s, 1),
        eta_s=time_left_s(news.bytes_done, news.bytes_total, news.bytes_per_s),
    )


def find_target(operation: Operation, target_id: str) -> OperationTarget | None:
    """Return the target with this id."""
    return next((target for target in operation.targets if target.id == target_id), None)


def overlay(operation: Operation, live: Operation | None) -> Operation:
    """Return the operation with the finer progress (step and bytes) of `live` in targets that still run."""
    if live is None or operation.state in ENDED:
        return operation
    newer = {target.id: target for target in live.targets}
    targets = tuple(_with_progress(target, newer.get(target.id)) for target in operation.targets)
    merged = msgspec.structs.replace(operation, targets=targets, steps=live.steps)
    return settle(merged, max(live.updated_at, operation.updated_at))


def _with_progress(target: OperationTarget, newer: OperationTarget | None) -> OperationTarget:
    if newer is None or target.state is not OperationState.RUNNING:
        return target
    return msgspec.structs.replace(
        target,
        step=newer.step,
        bytes_done=newer.bytes_done,
        bytes_total=newer.bytes_total,
        bytes_per_s=newer.bytes_per_s,
        eta_s=newer.eta_s,
    )


def _stamped(step: OperationStep, state: OperationState, now: datetime) -> OperationStep:
    if state is step.state:
        return step
    is_begun = state is not OperationState.PENDING and state is not OperationState.CANCELLED
    started_at = step.started_at or (now if is_begun else None)
    ended_at = (step.ended_at or now) if state in ENDED else None
    return OperationStep(name=step.name, state=state, started_at=started_at, ended_at=ended_at)
