"""What many installing machines tell in few transactions: what came in while the store was busy goes together.

A call that comes alone goes at once. A transaction holds only when every task in it is still what the picture says;
when one is not, each is done by itself, as any other change of a task. So are calls that the picture forbids, or by
which nothing changes: about these the store is asked.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

from ops_system.kv.base import Compare, PutRequest, Store, TxnRequest
from ops_system.kv.swap import Write, guard
from ops_system.model.errors import OpsError, Unavailable
from ops_system.model.tasks import Progress, Task, TaskStatus
from ops_system.protocol.agent import BeginCall, CompleteCall, InstallCompleteCall, ProgressCall
from ops_system.provision import rules
from ops_system.provision.documents import chunk_writes, task_writes
from ops_system.provision.log_tail import with_lines
from ops_system.regional.journal import STORE_AWAY, STORE_WITHIN_S, Call
from ops_system.regional.mirror import Mirror
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import spawn

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


class _Said:
    """One call on its way."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(self, error: BaseException | None = None) -> None:
        if self.answer.done():
            return  # who asked has gone
        if error is None:
            self.answer.set_result(None)
        else:
            self.answer.set_exception(error)


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
        self._waiting: list[_Said] = []
        self._wake = asyncio.Event()
        self.transactions = 0

    async def tell(self, call: Call) -> None:
        """Return when the store has it. Raises as `AgentBook` does. One call of a machine at a time."""
        said = _Said(call)
        self._waiting.append(said)
        self._wake.set()
        await said.answer

    async def run(self) -> None:
        """Tell the store, for ever."""
        try:
            while True:
                await self._wake.wait()
                batch = self._take(MAX_TOGETHER)
                try:
                    await self._tell_all([said for said in batch if not said.answer.done()])
                except STORE_AWAY as error:  # who waits would only meet the same
                    _answer([*batch, *self._take(len(self._waiting))], error)
                except OpsError as error:
                    _answer(batch, error)
                finally:
                    _answer(batch, Unavailable("the regional client is stopping"))
        finally:
            _answer(self._take(len(self._waiting)), Unavailable("the regional client is stopping"))

    def _take(self, count: int) -> list[_Said]:
        """Return who waits longest."""
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        if not self._waiting:
            self._wake.clear()
        return taken

    async def _tell_all(self, batch: list[_Said]) -> None:
        at = self._clock.now()
        changes = [change for said in batch if (change := self._change_of(said, at)) is not None]
        told = {change.said for change in changes}
        alone = [said for said in batch if said not in told]
        for piece in _cut(changes):
            if await self._in_one(piece):
                for change in piece:
                    change.said.done()
            else:
                alone += [change.said for change in piece]
        async with asyncio.TaskGroup() as group:
            for said in alone:
                spawn(group, self._by_itself(said), f"call of {said.call.sn}")

    async def _by_itself(self, said: _Said) -> None:
        try:
            async with asyncio.timeout(STORE_WITHIN_S):
                await self._alone(said.call)
        except (OpsError, TimeoutError) as error:
            said.done(error)
        else:
            said.done()

    def _change_of(self, said: _Said, at: datetime) -> _Change | None:
        """Return what a call changes; None for one that the picture cannot tell, or forbids: the store says why."""
        kv, task = self._mirror.stored(said.call.sn)
        if kv is None or task is None:
            return None
        try:
            after, spilled = applied(task, said.call, at)
        except OpsError:
            return None
        writes = [*task_writes(task, after), *chunk_writes(task, after, spilled)]
        return _Change(said, guard(kv.key, kv), after, writes) if writes else None

    async def _in_one(self, changes: list[_Change]) -> bool:
        """Whether one transaction took them all."""
        writes = tuple([write for change in changes for write in change.writes])
        async with asyncio.timeout(STORE_WITHIN_S):
            done = await self._store.txn(TxnRequest(tuple([change.guard for change in changes]), writes))
        self.transactions += 1
        if done.succeeded:
            for change in changes:
                self._mirror.see_task(change.after, done.revision)
        return done.succeeded


def _answer(said: list[_Said], error: BaseException) -> None:
    """Tell all who are not answered yet what went wrong."""
    for each in said:
        each.done(error)


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
