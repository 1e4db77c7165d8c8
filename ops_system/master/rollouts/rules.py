"""Which instances an action on a system touches, in which waves, and when it goes on: pure.

    wave 1 begins -> every target of it ended -> wave 2 begins -> … -> the operation has ended
                                     | one failed
                                     v
                deploy, start, restart: the later waves are cancelled; stop, destroy: they go on

The state of the targets is the whole state: a master that was killed looks at it and goes on where it stood.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from ops_system.master.instances.rules import Action, Record
from ops_system.master.systems.rules import start_waves
from ops_system.model.ids import InstanceId
from ops_system.model.operations import ENDED, Operation, OperationState, OperationTarget
from ops_system.model.systems import Module


class SystemAction(StrEnum):
    """What can be asked of a whole system."""

    DEPLOY = "deploy"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    DESTROY = "destroy"


HALTING = frozenset({Action.DEPLOY, Action.START, Action.RESTART})
"""Actions whose later waves do not begin after a failure."""

Waves = tuple[tuple[InstanceId, ...], ...]


class Rollout(msgspec.Struct, frozen=True):
    """One action under way. `subject_id`: the system, or the node that is drained.

    `scope`: the labels that limit the person who began it.
    """

    operation_id: str
    subject_id: str
    action: Action
    waves: Waves
    scope: dict[str, str] = {}


class Step(msgspec.Struct, frozen=True):
    """What to do next: begin these targets, or cancel these."""

    begin: tuple[OperationTarget, ...] = ()
    cancel: tuple[OperationTarget, ...] = ()


def next_step(rollout: Rollout, operation: Operation) -> Step:
    """Return what the targets' states call for now; an empty step means to wait, or that all is done."""
    targets = {target.id: target for target in operation.targets}
    has_failed = False
    for wave in rollout.waves:
        members = [targets[instance_id] for instance_id in wave if instance_id in targets]
        pending = tuple(target for target in members if target.state is OperationState.PENDING)
        if pending and has_failed and rollout.action in HALTING:
            return Step(cancel=_pending(operation))
        if pending:
            return Step(begin=pending)
        if any(target.state not in ENDED for target in members):
            return Step()
        has_failed = has_failed or any(target.state is OperationState.FAILED for target in members)
    return Step()


def _pending(operation: Operation) -> tuple[OperationTarget, ...]:
    return tuple(target for target in operation.targets if target.state is OperationState.PENDING)


def plan_waves(modules: Sequence[Module], records: Iterable[Record], action: Action) -> Waves:
    """Return the instances in waves: in start order, backwards for what stops them.

    Instances whose module is gone come with the last wave to start.
    """
    by_module: dict[str, list[InstanceId]] = {}
    for record in records:
        by_module.setdefault(record.spec.module_id, []).append(record.spec.instance_id)
    waves = [
        tuple(instance_id for module in wave for instance_id in by_module.pop(module.id, ()))
        for wave in start_waves(modules)
    ]
    waves.append(tuple(instance_id for orphans in by_module.values() for instance_id in orphans))
    if action in {Action.STOP, Action.DESTROY, Action.DRAIN}:
        waves.reverse()
    return tuple(wave for wave in waves if wave)
