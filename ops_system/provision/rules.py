"""The moves of a task, as pure functions: what was true, what was said, what is true then. Used by `TaskBook`.

Each returns the task as it is after; the very same object means that nothing is to be written, so whoever repeats
himself (an answer that got lost, a journal that is replayed) changes nothing. Each raises NotAllowed or Conflict for
what may not be; `details["reason"]` is a stable code.
"""

from datetime import datetime, timedelta

from msgspec.structs import replace

from ops_system.model.errors import Conflict, NotAllowed
from ops_system.model.reasons import Reason
from ops_system.model.tasks import (
    BOOTS_AGENT,
    DEADLINES_S,
    FINISHED,
    INSTALLER_S,
    InstallSpec,
    Intent,
    Progress,
    StatusChange,
    Task,
    TaskId,
    TaskStatus,
    check_move,
)
from ops_system.protocol.agent import BeginCall, CompleteCall, InstallCompleteCall
from ops_system.provision.intents import INSTALLER, all_closed, closed, handed_over, is_handed_over, open_intent

HISTORY_KEPT, STEPS_KEPT, INTENTS_KEPT = 100, 64, 64
MESSAGE_CHARS = 500
AGENT_SILENT = "agent_silent"
WRITES_NO_SYSTEM = frozenset({"rescue", "hardware_test"})
_S = TaskStatus
_SEALED_WHILE = frozenset({_S.APPROVED, _S.INSTALLING})
_RETRIED = frozenset({_S.FAILED, _S.REJECTED, _S.CANCELLED, _S.NEEDS_OPERATOR})


def new_task(
    *,
    task_id: TaskId,
    idc: str,
    sn: str,
    mac: str,
    install: InstallSpec,
    by: str,
    at: datetime,
    tags: dict[str, str] | None = None,
) -> Task:
    """Return a task that waits for its machine. Names must have been checked."""
    return Task(
        task_id=task_id,
        idc=idc,
        sn=sn,
        mac=mac,
        os_type=install.os_type,
        os_version=install.os_version,
        status=_S.PENDING,
        created_at=at,
        updated_at=at,
        created_by=by,
        install=install,
        disk_layout=install.disk_layout,
        network=install.network,
        tags=tags or {},
        status_history=(StatusChange(_S.PENDING, at, by),),
        deadline_at=at + timedelta(seconds=DEADLINES_S[_S.PENDING]),
    )


def move(task: Task, after: TaskStatus, *, by: str, at: datetime, reason: Reason | None = None) -> Task:
    """Return the task in another status, with the deadline of that status. Raises NotAllowed.

    Going back to `pending` or `pending_approval` ends an approval; leaving `approved` and `installing` drops what was
    sealed for the agent.
    """
    check_move(task, after)
    return replace(
        task,
        status=after,
        updated_at=at,
        reason=reason,
        status_history=(*task.status_history, StatusChange(after, at, by, reason))[-HISTORY_KEPT:],
        deadline_at=deadline_of(task, after, at),
        approval=None if after in {_S.PENDING, _S.PENDING_APPROVAL} else task.approval,
        sealed_enrolment=task.sealed_enrolment if after in _SEALED_WHILE else "",
    )


def deadline_of(task: Task, status: TaskStatus, at: datetime) -> datetime | None:
    """Return until when a status may last; None: for ever."""
    if status is _S.COMPLETED and not calls_home(task):
        return None
    seconds = INSTALLER_S if is_handed_over(task) and status is _S.INSTALLING else DEADLINES_S.get(status)
    return None if seconds is None else at + timedelta(seconds=seconds)


def calls_home(task: Task) -> bool:
    """Whether the new system brings a worker that will enrol."""
    return task.install.enrol and task.install.method not in WRITES_NO_SYSTEM


def gets_worker(task: Task) -> bool:
    """Whether an enrolment is sealed for the agent: for the new system, or for a rescue out of RAM."""
    return calls_home(task) or (task.install.enrol and task.install.method == "rescue")


def boot(task: Task, *, by: str, at: datetime) -> Task:
    """The machine asks for its boot file: `pending` becomes `booting`."""
    return move(task, _S.BOOTING, by=by, at=at) if task.status is _S.PENDING else task


# --- what an agent says -----------------------------------------------------------------------------------------------
def with_progress(task: Task, progress: Progress, at: datetime) -> Task:
    """Keep the newest progress of a step, and the order in which steps began. It never changes the status (P1)."""
    _check_alive(task)
    shown = replace(
        progress,
        step=progress.step[:64],
        percent=min(100.0, max(0.0, progress.percent)),
        message=progress.message[:MESSAGE_CHARS],
        at=progress.at or at,
    )
    steps = {each.step: each for each in task.progress}
    steps[shown.step] = shown
    return _heard(replace(task, progress=tuple(steps.values())[-STEPS_KEPT:]), at)


def take_fence(task: Task, boot_id: str, at: datetime) -> Task:
    """Let an agent at the machine: `approved` becomes `installing`, the approval is used, the fence rises (P2, P4).

    An agent that comes back (its machine booted again) may take a new fence as long as nothing destructive was ever
    begun in this attempt; then never again by itself (P3).
    """
    by = f"agent:{task.sn}"
    if task.status is _S.INSTALLING:
        if task.is_cancel_asked:
            raise NotAllowed(f"task of {task.sn} is being cancelled", reason="cancel_asked")
        if task.intents:
            raise NotAllowed(
                f"task of {task.sn}: agent {boot_id} may not begin again, disks were written already", reason="written"
            )
        _check_sealed(task)
        return _heard(replace(task, fence=task.fence + 1), at)
    _check_approved(task, at)
    _check_sealed(task)
    moved = move(task, _S.INSTALLING, by=by, at=at)
    approval = moved.approval and replace(moved.approval, used_at=at)
    return replace(moved, fence=task.fence + 1, approval=approval, is_cancel_asked=False)


def begin_step(task: Task, call: BeginCall, at: datetime) -> Task:
    """Record an intent before its effect (P3). Said again while it is open: nothing new, still allowed.

    Raises Conflict for a stale fence; NotAllowed when the step was done already, another one is open, a disk is not
    approved, a cancel was asked, or the task is not installing.
    """
    _check_holder(task, call.fence, call.task_id)
    if task.is_cancel_asked:
        raise NotAllowed(f"task of {task.sn}: somebody asked to cancel it", reason="cancel_asked")
    if not call.is_destructive:
        return _heard(task, at)
    known = next((intent for intent in task.intents if intent.step == call.operation), None)
    if known and known.done_at:
        raise NotAllowed(f"task of {task.sn}: {call.operation} is done, it is never done twice", reason="step_done")
    if known:
        return task
    if other := open_intent(task):
        raise NotAllowed(f"task of {task.sn}: {other.step} is not done yet", reason="intent_open", step=other.step)
    approved = task.approval.disks if task.approval else ()
    if strange := sorted(set(call.disks) - set(approved)):
        raise NotAllowed(
            f"task of {task.sn}: disk {strange[0]} is not approved", reason="disk_not_approved", disks=strange
        )
    if len(task.intents) >= INTENTS_KEPT:
        raise NotAllowed(f"task of {task.sn}: more than {INTENTS_KEPT} destructive steps", reason="too_many_steps")
    intent = Intent(call.operation, call.fence, call.disks, at)
    return _heard(replace(task, intents=(*task.intents, intent)), at)


def complete_step(task: Task, call: CompleteCall, at: datetime) -> Task:
    """Close the intent of a step that succeeded. A step that failed leaves it open: nobody knows what lies there.

    One that hands over leaves it open too: the installer writes from now on, and only its end closes it. Raises
    NotAllowed when that step was not begun, or a cancel was asked: then nothing is started.
    """
    _check_holder(task, call.fence)
    if call.success and call.hands_over:
        task = handed_over(task, call.operation, at)
    elif call.success:
        task = closed(task, call.operation, at)
    before = next((each for each in task.progress if each.step == call.operation), None)
    percent = 100.0 if call.success else before.percent if before else 0.0
    shown = Progress(call.operation, percent, call.message or (before.message if before else ""))
    if before:
        shown = replace(shown, bytes_done=before.bytes_done, bytes_total=before.bytes_total)
    return with_progress(task, shown, at)


def finish(task: Task, call: InstallCompleteCall, at: datetime) -> Task:
    """End the installation as its agent says. `completed` flips the boot gate in the same write (P7).

    Raises NotAllowed for `completed` with an open intent, Conflict for a stale fence. Said again: nothing changes.
    """
    after = TaskStatus(call.status)
    if call.fence != task.fence:
        raise stale_fence(task, call.fence)
    if task.status is after:
        return task
    if after is _S.COMPLETED and is_handed_over(task):
        return _end_installer(task, by=f"installer:{task.sn}", at=at)
    if after is _S.COMPLETED and (intent := open_intent(task)):
        raise NotAllowed(f"task of {task.sn}: {intent.step} was begun and is not done", reason="intent_open")
    if after is _S.COMPLETED:
        return move(task, after, by=f"agent:{task.sn}", at=at)
    reason = Reason(call.code or f"agent_{after}", call.message[:MESSAGE_CHARS] or f"the agent says: {after}")
    if after is _S.CANCELLED and not task.is_cancel_asked:
        raise NotAllowed(f"task of {task.sn}: nobody asked to cancel it", reason="not_asked")
    return move(task, after, by=f"agent:{task.sn}", at=at, reason=reason)


def _end_installer(task: Task, *, by: str, at: datetime) -> Task:
    """What a distribution's installer began is closed with its end."""
    done = with_progress(all_closed(task, at), Progress(INSTALLER, 100.0, "the installer is done"), at)
    return move(done, _S.COMPLETED, by=by, at=at)


# --- what people and clocks say ---------------------------------------------------------------------------------------
def reject(task: Task, *, by: str, at: datetime, why: str = "") -> Task:
    """Refuse the wipe."""
    reason = Reason("rejected", why) if why else Reason("rejected_by", f"rejected by {by}", {"by": by})
    return move(task, _S.REJECTED, by=by, at=at, reason=reason)


def ask_cancel(task: Task, *, by: str, at: datetime, why: str = "") -> Task:
    """End a task, at once where nothing was written; else its agent stops before its next step.

    A distribution's installer hears nothing: the task ends at once, and what it installs may never join.
    """
    if is_handed_over(task):
        words = f"{why or f'cancelled by {by}'}; the installer on the machine goes on until it is switched off"
        return move(task, _S.CANCELLED, by=by, at=at, reason=Reason("cancelled_in_installer", words))
    if task.status is _S.INSTALLING and task.intents:
        return task if task.is_cancel_asked else replace(task, is_cancel_asked=True, updated_at=at)
    reason = Reason("cancelled_why", why) if why else Reason("cancelled", f"cancelled by {by}")
    return move(task, _S.CANCELLED, by=by, at=at, reason=reason)


def retry(task: Task, *, by: str, at: datetime, why: str = "") -> Task:
    """Begin the next attempt: everything is asked again, the fence goes on rising. Raises NotAllowed."""
    if task.status not in _RETRIED:
        raise NotAllowed(
            f"task of {task.sn} is {task.status}: only what failed, was rejected, cancelled or needs an operator is "
            "tried again",
            status=task.status.value,
        )
    reason = Reason("retried", why) if why else None
    moved = move(task, _S.PENDING, by=by, at=at, reason=reason)
    return replace(
        moved,
        attempt=task.attempt + 1,
        progress=(),
        intents=(),
        is_cancel_asked=False,
        handed_over_at=None,
        installer_sha256="",
        enrolment_id="",
        node_id="",
        called_home_at=None,
    )


def after_deadline(task: Task, at: datetime) -> Task:
    """Return the task as its deadline leaves it (P8); unchanged while there is time."""
    if task.deadline_at is None or at < task.deadline_at:
        return task
    if task.status is _S.APPROVED:
        words = "nobody began before the approval ran out"
        return move(task, _S.PENDING_APPROVAL, by="master", at=at, reason=Reason("approval_expired", words))
    if task.status is _S.COMPLETED:
        reason = Reason("no_call_home", "the new system did not call home in time")
    elif is_handed_over(task):
        reason = Reason("installer_silent", "the installer did not say that it is done in time")
    else:
        reason = Reason(f"deadline_{task.status}", f"{task.status} for longer than it may be")
    return move(task, _S.NEEDS_OPERATOR, by="master", at=at, reason=reason)


def agent_gone(task: Task, at: datetime) -> Task:
    """Return the task after its agent's lease ran out.

    Written and not known to be done: an operator looks (P3). Cancelled between two steps: cancelled. Else it is said.
    Given to an installer: it went as it should, and only the deadline calls somebody.
    """
    if is_handed_over(task):
        return task
    if task.status is _S.INSTALLING and (intent := open_intent(task)):
        words = f"the agent went silent while {intent.step} was under way"
        return move(task, _S.NEEDS_OPERATOR, by="master", at=at, reason=Reason("agent_gone", words))
    if task.status is _S.INSTALLING and task.is_cancel_asked:
        return move(task, _S.CANCELLED, by="master", at=at, reason=Reason("cancelled", "cancelled; the agent is gone"))
    waits = task.status in {_S.PENDING_APPROVAL, _S.APPROVED, _S.INSTALLING}
    if not waits or (task.reason and task.reason.code == AGENT_SILENT):
        return task
    return replace(task, reason=Reason("agent_silent", "the agent is not heard any more"), updated_at=at)


def quarantine(task: Task, at: datetime) -> Task:
    """Two agents claim the machine (P5): whatever was going on waits for a person."""
    if task.status in FINISHED or task.status is _S.NEEDS_OPERATOR:
        return task
    words = "two machines or agents report the same serial number at the same time"
    return move(task, _S.NEEDS_OPERATOR, by="master", at=at, reason=Reason("two_agents", words))


def called_home(task: Task, node_id: str, at: datetime) -> Task:
    """The new system enrolled as a node: the last thing that was waited for.

    One that an installer was to make is made then, also when nobody heard its installer say so.
    """
    if task.node_id:
        return task
    if is_handed_over(task):
        task = _end_installer(task, by="master", at=at)
    deadline = None if task.status is _S.COMPLETED else task.deadline_at
    return replace(task, node_id=node_id, called_home_at=at, updated_at=at, deadline_at=deadline)


# --- shared -----------------------------------------------------------------------------------------------------------
def stale_fence(task: Task, fence: int) -> Conflict:
    """Return the refusal of an agent that another one has followed."""
    return Conflict(
        f"task of {task.sn}: fence {fence} is not the one that counts ({task.fence}): stop",
        reason="stale_fence",
        fence=task.fence,
    )


def _check_holder(task: Task, fence: int, task_id: str = "") -> None:
    if (task_id and task_id != task.task_id) or fence != task.fence:
        raise stale_fence(task, fence)
    if task.status is not _S.INSTALLING:
        raise NotAllowed(
            f"task of {task.sn} is {task.status}: nothing may be done to its disks",
            reason="not_installing",
            status=task.status.value,
        )


def _check_alive(task: Task) -> None:
    if task.status not in BOOTS_AGENT:
        raise NotAllowed(
            f"task of {task.sn} is {task.status}: it takes no progress", reason="not_running", status=task.status.value
        )


def _check_approved(task: Task, at: datetime) -> None:
    approval = task.approval
    if task.status is not _S.APPROVED or approval is None:
        raise NotAllowed(
            f"task of {task.sn} is {task.status}: it is not approved", reason="not_approved", status=task.status.value
        )
    if approval.used_at is not None:
        raise NotAllowed(f"the approval of {task.sn} was used already", reason="approval_used")
    if at >= approval.expires_at:
        raise NotAllowed(f"the approval of {task.sn} has expired", reason="approval_expired")


def _check_sealed(task: Task) -> None:
    """What was sealed to an earlier boot opens no more: the control plane seals it anew first."""
    if task.enrolment_id and not task.sealed_enrolment:
        raise NotAllowed(
            f"task of {task.sn}: its enrolment is not sealed to this boot yet; ask again soon", reason="not_sealed"
        )


def _heard(task: Task, at: datetime) -> Task:
    """The agent is alive: its silence is forgotten, and while it installs its time begins anew."""
    is_silent = task.reason is not None and task.reason.code == AGENT_SILENT
    deadline = deadline_of(task, task.status, at) if task.status is _S.INSTALLING else task.deadline_at
    return replace(task, updated_at=at, deadline_at=deadline, reason=None if is_silent else task.reason)
