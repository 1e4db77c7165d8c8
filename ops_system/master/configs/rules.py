"""What a change of configuration means for an instance: pure.

only files differ, it runs, it has a reload command    reload
anything else differs, it runs                         restart
it does not run                                        at_start: it takes the change with its next start
the module plans another version                       rollout: a rollout brings both

They get it in waves: instances of one system and one place in its start order. Inside a wave at most `max_parallel` are
at work at once; the first failure lets none begin any more, and those at work go on to their end.
"""

from collections.abc import Collection, Iterable
from enum import StrEnum

import msgspec

from ops_system.master.configs.foresight import Sight
from ops_system.master.templates.rules import diff_of
from ops_system.master.upgrades.rules import Change
from ops_system.model.errors import Invalid
from ops_system.model.formats import Fault
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.instances import Desired, InstanceSpec
from ops_system.model.operations import OperationState, OperationTarget
from ops_system.model.reasons import Reason
from ops_system.model.systems import Module

FILES = "config_files"
MAX_PARALLEL = 100


class How(StrEnum):
    """How an instance gets a change."""

    NONE = "none"
    RELOAD = "reload"
    RESTART = "restart"
    AT_START = "at_start"
    ROLLOUT = "rollout"


NOW = frozenset({How.RELOAD, How.RESTART})


class Reach(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which instances are meant: those that mount a template, or those of a system, a module, or one. Exactly one."""

    template_id: str = ""
    system_id: str = ""
    module_id: str = ""
    instance_id: str = ""


class ConfigLook(Reach, frozen=True, forbid_unknown_fields=True):
    """What to look at. With `template_id`: as if this text, or this version, were approved."""

    content: str | None = None
    version: int | None = None


class ConfigApply(Reach, frozen=True, forbid_unknown_fields=True):
    """Whom to bring up to date, at most `max_parallel` at once. With `template_id`: `version` is approved first."""

    version: int | None = None
    max_parallel: int = 1


class PreviewBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For which instance, and which text: `content`, or a version (none: the newest)."""

    instance_id: str
    content: str | None = None
    version: int | None = None


class TemplatePreview(msgspec.Struct, frozen=True):
    """A text as the instance would get it. Secrets are masked; `fault`: it is not of its format then."""

    content: str
    fault: Fault | None
    masked: list[str]


class MountChange(msgspec.Struct, frozen=True):
    """How one mounted file changes: a unified diff, variables filled in and all else as written."""

    path: str
    diff: str


class Impact(msgspec.Struct, frozen=True):
    """One instance that would change. `problems` stand in the way; `changes`: what else of its definition differs."""

    instance_id: InstanceId
    system_id: str
    module: str
    node_id: NodeId
    node_name: str
    how: How
    files: list[MountChange]
    changes: list[Change]
    problems: list[Reason]


class ImpactPlan(msgspec.Struct, frozen=True):
    """What a change reaches. `unchanged`: how many instances are as they would be already."""

    items: list[Impact]
    unchanged: int
    reloads: int
    restarts: int


class Waves(msgspec.Struct, frozen=True):
    """How an operation goes through its instances: wave after wave, inside one at most `max_parallel` at once."""

    max_parallel: int
    waves: list[list[str]]


def check_reach(reach: Reach) -> None:
    """Raise `Invalid` unless exactly one thing is named."""
    named = [reach.template_id, reach.system_id, reach.module_id, reach.instance_id]
    if sum(map(bool, named)) != 1:
        words = "$: exactly one of template_id, system_id, module_id, instance_id"
        raise Invalid(words, problems=[words])


def check_parallel(max_parallel: int) -> None:
    """Raise `Invalid` unless so many instances may be at work at once."""
    if not 1 <= max_parallel <= MAX_PARALLEL:
        words = f"$.max_parallel: between 1 and {MAX_PARALLEL}"
        raise Invalid(words, problems=[words])


def waves_of(max_parallel: int, placed: Iterable[tuple[tuple[str, int], str]]) -> Waves:
    """Return the waves of instances that stand in start order, each with its system and its place in that order."""
    waves: dict[tuple[str, int], list[str]] = {}
    for place, instance_id in placed:
        waves.setdefault(place, []).append(instance_id)
    return Waves(max_parallel, list(waves.values()))


def keep_of(waves: Waves, instance_ids: Collection[str]) -> Waves:
    """Return the waves with these instances alone."""
    kept = [[one for one in wave if one in instance_ids] for wave in waves.waves]
    return Waves(waves.max_parallel, [wave for wave in kept if wave])


def is_halted(target: OperationTarget, targets: Iterable[OperationTarget]) -> bool:
    """Return whether this one may not begin any more: another failed. What is at work goes on to its end."""
    has_begun = target.state is not OperationState.PENDING
    return not has_begun and any(one.state is OperationState.FAILED for one in targets)


def how_of(sight: Sight, module: Module) -> How:
    """Return how an instance gets what it would be."""
    spec = sight.record.spec
    if spec.package is not None and spec.package.version != module.version:
        return How.ROLLOUT
    if not sight.changes:
        return How.NONE
    if spec.desired is not Desired.RUNNING:
        return How.AT_START
    is_files_alone = all(change.field == FILES for change in sight.changes)
    return How.RELOAD if is_files_alone and spec.service.hooks.reload else How.RESTART


def file_changes(before: InstanceSpec, after: InstanceSpec) -> list[MountChange]:
    """Return every mounted file that differs, new and dropped ones too."""
    old = {file.path: file.content for file in before.config_files}
    new = {file.path: file.content for file in after.config_files}
    return [
        MountChange(path, diff_of(old.get(path, ""), new.get(path, ""), (path, path)))
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    ]


def plan_of(items: list[Impact], unchanged: int) -> ImpactPlan:
    """Return the plan with its counts."""
    hows = [item.how for item in items]
    return ImpactPlan(items, unchanged, hows.count(How.RELOAD), hows.count(How.RESTART))
