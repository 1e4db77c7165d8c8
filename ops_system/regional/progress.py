"""What many installing machines tell in few transactions: what comes in at about one time goes together.

A transaction holds only when every task in it is still what the picture says;
when one is not, each is done by itself, as any other change of a task. So are calls that the picture forbids, or by
which nothing changes: about these the store is asked.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

from ops_system.kv.base import Compare, PutRequest, Store, TxnRequest
from ops_system.kv.swap import Write, guard
from ops_system.model.errors import OpsError
from ops_system.model.tasks import Progress, Task, TaskStatus
from ops_system.protocol.agent import BeginCall, CompleteCall, InstallCompleteCall, ProgressCall
from ops_system.provision import rules
from ops_system.provision.documents import chunk_writes, task_writes
from ops_system.provision.log_tail import with_lines
from ops_system.regional.gathering import Asked, Gathering
from ops_system.regional.journal import Call
from ops_system.regional.mirror import Mirror
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import spawn

GATHER_S = 0.025  # a machine tells its progress every few seconds
AT_ONCE = 3  # transactions
MAX_TOGETHER, MAX_WRITES = 100, 120  # of the 128 that etcd takes
MAX_BYTES = 1_000_000  # etcd takes 1.5 MiB


def applied(task: Task, call: Call, at: datetime) -> tuple[Task, tuple[str, ...]]:
    """Return the task after a call and what fell out of its log, by the rules. Raises Conflict, NotAllowed."""
    match call:
        case BeginCall():
            return rules.begin_step(task, call, at), ()
        case CompleteCall():
            return rules.complete_step(task, call, at), ()
        case InstallCompleteCall():
            return rules.finish(task, call, at), ()
        case ProgressCall():
            return _with_progress(task, call, at)


def _with_progress(task: Task, call: ProgressCall, at: datetime) -> tuple[Task, tuple[str, ...]]:
    if call.task_id != task.task_id or (task.status is TaskStatus.INSTALLING and call.fence != task.fence):
        raise rules.stale_fence(task, call.fence)
    shown = Progress(call.step, call.percent, call.message, at, call.bytes_done, call.bytes_total)
    return with_lines(rules.with_progress(task, shown, at), call.lines, at)


_Said = Asked[Call, None]


class _Change(NamedTuple):
    """One machine's part of a transaction."""

    said: _Said
    guard: Compare
    after: Task
    writes: list[Write]


class CallBatches:
    """Takes calls and tells the store. `alone` does one by itself, by the task as it stands in the store."""

    def __init__(self, store: Store, mirror: Mirror, clock: Clock, alone: Callable[[Call], Awaitable[object]]) -> None:
        self._store, self._mirror, self._clock, self._alone = store, mirror, clock, alone
        self._gathering: Gathering[Call, None] = Gathering(self._tell_all, GATHER_S, MAX_TOGETHER, AT_ONCE)
        self.transactions = 0

    async def tell(self, call: Call) -> None:
        """Return when the store has it. Raises as `AgentBook` does. One call of a machine at a time."""
        await self._gathering.ask(call)

    async def run(self) -> None:
        """Tell the store, for ever."""
        await self._gathering.run()

    async def _tell_all(self, batch: list[_Said]) -> None:
        at = self._clock.now()
        changes = [change for said in batch if (change := self._change_of(said, at)) is not None]
        told = {change.said for change in changes}
        alone = [said for said in batch if said not in told]
        for piece in _cut(changes):
            if await self._in_one(piece):
                for change in piece:
                    change.said.tell(None)
            else:
                alone += [change.said for change in piece]
        async with asyncio.TaskGroup() as group:
            for said in alone:
                spawn(group, self._by_itself(said), f"call of {said.question.sn}")

    async def _by_itself(self, said: _Said) -> None:
        try:
            await self._alone(said.question)
        except OpsError as error:
            said.fail(error)
        else:
            said.tell(None)

    def _change_of(self, said: _Said, at: datetime) -> _Change | None:
        """Return what a call changes; None for one that the picture cannot tell, or forbids: the store says why."""
        kv, task = self._mirror.stored(said.question.sn)
        if kv is None or task is None:
            return None
        try:
            after, spilled = applied(task, said.question, at)
        except OpsError:
            return None
        writes = [*task_writes(task, after), *chunk_writes(task, after, spilled)]
        return _Change(said, guard(kv.key, kv), after, writes) if writes else None

    async def _in_one(self, changes: list[_Change]) -> bool:
        """Whether one transaction took them all."""
        guards = tuple([change.guard for change in changes])
        writes = tuple([write for change in changes for write in change.writes])
        with self._mirror.holding([guard.key for guard in guards]):
            done = await self._store.txn(TxnRequest(guards, writes))
            self.transactions += 1
            if done.succeeded:
                for change in changes:
                    self._mirror.see_task(change.after, done.revision)
        return done.succeeded


def _cut(changes: list[_Change]) -> list[list[_Change]]:
    """Return the changes in pieces that a transaction takes."""
    pieces: list[list[_Change]] = []
    left_writes = left_bytes = 0
    for change in changes:
        size_bytes = _size_bytes(change.writes)
        if not pieces or len(change.writes) > left_writes or size_bytes > left_bytes:
            pieces.append([])
            left_writes, left_bytes = MAX_WRITES, MAX_BYTES
        pieces[-1].append(change)
        left_writes, left_bytes = left_writes - len(change.writes), left_bytes - size_bytes
    return pieces


def _size_bytes(writes: list[Write]) -> int:
    return sum(len(write.value) for write in writes if isinstance(write, PutRequest))
