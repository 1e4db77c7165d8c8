"""Who may begin to install (P2, P4, P8): several agents judged at one instant, by one count of the installing. Pure.

Used by `agents`; the refusals that a region tells an agent stand here, too.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from ops_system.kv.base import KeyValue, PutRequest
from ops_system.kv.swap import Write
from ops_system.model.errors import Conflict, NotAllowed, NotFound, OpsError
from ops_system.model.machines import AgentLease
from ops_system.model.tasks import Task, TaskStatus
from ops_system.provision import rules
from ops_system.provision.documents import decoded, encode, task_writes
from ops_system.provision.keys import MachineKeys

TWO_AGENTS = "two_agents"
FENCES_TOGETHER = 30  # each four writes and two compares, of at most 128
MAX_BYTES = 1_000_000  # etcd takes 1.5 MiB


class FenceWish(msgspec.Struct, frozen=True):
    """An agent that wants to install. `max_installs`: how many may at once in its data centre.

    `known_fence`: of the task when it asked. A newer one that this boot holds came from a try whose answer got lost:
    it is the answer, and nothing is raised again, for the agent may be at work under it already.
    """

    sn: str
    boot_id: str
    max_installs: int
    known_fence: int | None = None


class TooMuchAtOnce(Exception):
    """The documents of several machines do not go into one transaction."""


class FenceRound:
    """One judgement: `rule` sees task and lease of each of `names`; `outcomes` has what came of each wish."""

    def __init__(self, idc: str, names: Sequence[str], wishes: Sequence[FenceWish], count: int, at: datetime) -> None:
        self._idc, self._names, self._wishes, self._at = idc, names, wishes, at
        self._count, self._installing = count, count
        self.outcomes: list[Task | Exception] = []

    def rule(self, seen: tuple[KeyValue | None, ...]) -> list[Write]:
        """Return the writes of those who may. Raises TooMuchAtOnce for several machines that are too large together."""
        self._installing, self.outcomes = self._count, []
        before = {sn: decoded(seen[2 * number], Task) for number, sn in enumerate(self._names)}
        held = {sn: decoded(seen[2 * number + 1], AgentLease) for number, sn in enumerate(self._names)}
        after = dict(before)
        for wish in self._wishes:
            try:
                after[wish.sn] = made = self._judge(wish, after[wish.sn], held[wish.sn])
                self.outcomes.append(made)
            except OpsError as error:
                self.outcomes.append(error)
        writes: list[Write] = []
        for sn, task in after.items():
            lease = held[sn]
            if task is None or lease is None or task is before[sn]:
                continue
            lease_key = MachineKeys(self._idc, sn).lease
            held_now = encode(replace(lease, fence=task.fence))
            writes += [*task_writes(before[sn], task), PutRequest(lease_key, held_now, ignore_lease=True)]
        if len(self._names) > 1 and _size_bytes(writes) > MAX_BYTES:
            raise TooMuchAtOnce
        return writes

    def _judge(self, wish: FenceWish, task: Task | None, lease: AgentLease | None) -> Task:
        """Return the task in the hands of this agent. Raises NotFound, Conflict, NotAllowed."""
        if task is None:
            raise no_task(self._idc, wish.sn)
        if lease is None or lease.boot_id != wish.boot_id:
            raise lease_lost(wish.sn)
        if lease.rival_boot_id:
            raise two_agents(wish.sn)
        is_newer = wish.known_fence is not None and task.fence > wish.known_fence
        if is_newer and task.status is TaskStatus.INSTALLING and lease.fence == task.fence:
            return task
        made = rules.take_fence(task, wish.boot_id, self._at)
        if task.status is TaskStatus.INSTALLING:
            return made
        if self._installing >= wish.max_installs:
            raise _too_many(self._idc, wish.max_installs)
        self._installing += 1
        return made


def _size_bytes(writes: Sequence[Write]) -> int:
    return sum(len(write.value) for write in writes if isinstance(write, PutRequest))


def no_task(idc: str, sn: str) -> NotFound:
    """Return the refusal for a machine without a task."""
    return NotFound(f"no task for machine {sn} in {idc}", idc=idc, sn=sn)


def lease_lost(sn: str) -> Conflict:
    """Return the refusal for an agent whose lease ended."""
    return Conflict(f"the lease of machine {sn} is not this agent's any more; report again", reason="lease_lost")


def two_agents(sn: str) -> Conflict:
    """Return the refusal for the second agent of a machine (P5)."""
    return Conflict(
        f"another agent with serial number {sn} is alive; wait until its lease has run out", reason=TWO_AGENTS
    )


def _too_many(idc: str, limit: int) -> NotAllowed:
    return NotAllowed(
        f"{limit} machines of {idc} are being installed now; this one waits", reason="max_installs", limit=limit
    )
