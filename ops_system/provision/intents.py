"""What was begun on a machine's disks and is not known to be done (P3), also by an installer that is no agent. Pure.

    begun ──> done                                        a step of the agent
    begun ──> handed over ──> done                        a distribution's installer: only its own end closes it
                          └─> not done within INSTALLER_S: an operator looks

Used by `rules` and `reports`.
"""

from datetime import datetime

from msgspec.structs import replace

from ops_system.model.errors import Conflict, NotAllowed
from ops_system.model.tasks import Intent, Task, TaskStatus

INSTALLER = "installer"
"""The step that a distribution's installer is."""


def open_intent(task: Task) -> Intent | None:
    """Return the step that was begun and is not known to be done."""
    return next((intent for intent in task.intents if intent.done_at is None), None)


def closed(task: Task, step: str, at: datetime) -> Task:
    """Return the task with this step known to be done."""
    return replace(task, intents=tuple([_done(each, at) if each.step == step else each for each in task.intents]))


def all_closed(task: Task, at: datetime) -> Task:
    """Return the task with nothing under way."""
    return replace(task, intents=tuple([_done(each, at) for each in task.intents]))


def is_handed_over(task: Task) -> bool:
    """Whether a distribution's installer is at work: no agent is expected, its intent stays open until it is done."""
    return task.status is TaskStatus.INSTALLING and task.handed_over_at is not None


def handed_over(task: Task, step: str, at: datetime) -> Task:
    """Return the task in the hands of an installer. Raises NotAllowed unless it was begun and nobody asked to cancel.

    Said again: nothing changes.
    """
    if task.is_cancel_asked:
        raise NotAllowed(f"task of {task.sn}: somebody asked to cancel it", reason="cancel_asked")
    intent = open_intent(task)
    if intent is None or intent.step != step:
        raise NotAllowed(f"task of {task.sn}: {step} was not begun", reason="not_begun")
    return replace(task, handed_over_at=task.handed_over_at or at)


def with_installer_key(task: Task, fence: int, sha256: str) -> Task:
    """Return the task whose installer will show the key with this hash; a former key is void.

    Raises Conflict for an agent with an older fence, NotAllowed once an installer is at work.
    """
    if task.fence != fence:
        raise Conflict(f"task of {task.sn}: another agent is at work", reason="stale_fence")
    if task.status is not TaskStatus.INSTALLING or is_handed_over(task):
        raise NotAllowed(f"task of {task.sn}: nothing is about to be handed to an installer", reason="not_installing")
    return replace(task, installer_sha256=sha256)


def _done(intent: Intent, at: datetime) -> Intent:
    return replace(intent, done_at=at) if intent.done_at is None else intent
