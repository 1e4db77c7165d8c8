"""Progress of many machines in few transactions: what came in while the store was busy goes together.

An update that comes alone goes at once. A transaction holds only when every task in it is
still what the picture says; when one is not, each is done by itself, as any other change of a task.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

from ops_system.kv.base import Compare, KeyValue, PutRequest, Store, TxnRequest
from ops_system.kv.swap import Write, guard
from ops_system.model.errors import OpsError, Unavailable
from ops_system.model.tasks import Progress, Task, TaskStatus
from ops_system.protocol.agent import ProgressCall
from ops_system.provision import rules
from ops_system.provision.documents import chunk_writes, task_writes
from ops_system.provision.log_tail import with_lines
from ops_system.regional.mirror import Mirror
from ops_system.runtime.clock import Clock

MAX_TOGETHER, MAX_WRITES = 40, 100
MAX_BYTES = 1_000_000  # etcd takes 1.5 MiB


def applied(task: Task, call: ProgressCall, at: datetime) -> tuple[Task, tuple[str, ...]]:
    """Return the task with a progress and what fell out of its log. Raises Conflict `stale_fence`, NotAllowed."""
    if call.task_id != task.task_id or (task.status is TaskStatus.INSTALLING and call.fence != task.fence):
        raise rules.stale_fence(task, call.fence)
    shown = Progress(call.step, call.percent, call.message, at, call.bytes_done, call.bytes_total)
    return with_lines(rules.with_progress(task, shown, at), call.lines, at)


class _Said:
    """One update on its way."""

    def __init__(self, call: ProgressCall) -> None:
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

    guard: Compare
    writes: list[Write]


class ProgressBatches:
    """Takes updates and tells the store. `alone` does one by itself, by the task as it stands in the store."""

    def __init__(
        self, store: Store, mirror: Mirror, clock: Clock, alone: Callable[[ProgressCall], Awaitable[object]]
    ) -> None:
        self._store, self._mirror, self._clock, self._alone = store, mirror, clock, alone
        self._waiting: list[_Said] = []
        self._wake = asyncio.Event()
        self.transactions = 0

    async def tell(self, call: ProgressCall) -> None:
        """Return when the store has it. Raises as `AgentBook.progress`. One update of a machine at a time."""
        said = _Said(call)
        self._waiting.append(said)
        self._wake.set()
        await said.answer

    async def run(self) -> None:
        """Tell the store, for ever."""
        while True:
            await self._wake.wait()
            batch, self._waiting = self._waiting[:MAX_TOGETHER], self._waiting[MAX_TOGETHER:]
            if not self._waiting:
                self._wake.clear()
            try:
                await self._tell_all([said for said in batch if not said.answer.done()])
            except (OpsError, TimeoutError) as error:
                for said in batch:
                    said.done(error)
            finally:
                for said in batch:
                    said.done(Unavailable("the regional client is stopping"))

    async def _tell_all(self, batch: list[_Said]) -> None:
        at = self._clock.now()
        made = {said: change for said in batch if (change := self._change_of(said.call, at)) is not None}
        if not await self._in_one(list(made.values())):
            made = {}
        for said in batch:
            if said in made:
                said.done()
            else:
                await self._by_itself(said)

    async def _by_itself(self, said: _Said) -> None:
        try:
            await self._alone(said.call)
        except (OpsError, TimeoutError) as error:
            said.done(error)
        else:
            said.done()

    def _change_of(self, call: ProgressCall, at: datetime) -> _Change | None:
        """Return what an update changes; None for one that the picture cannot tell, or forbids: the store says why."""
        kv, task = self._mirror.stored(call.sn)
        if kv is None or task is None:
            return None
        try:
            after, spilled = applied(task, call, at)
        except OpsError:
            return None
        return _Change(guard(kv.key, kv), [*task_writes(task, after), *chunk_writes(task, after, spilled)])

    async def _in_one(self, changes: list[_Change]) -> bool:
        """Whether one transaction took them all."""
        writes = [write for change in changes for write in change.writes]
        if len(writes) > MAX_WRITES or _size_bytes(writes) > MAX_BYTES:
            return False
        if not writes:
            return True
        done = await self._store.txn(TxnRequest(tuple([change.guard for change in changes]), tuple(writes)))
        self.transactions += 1
        if done.succeeded:
            for change in changes:
                for write in change.writes:
                    if isinstance(write, PutRequest) and write.key == change.guard.key:
                        self._mirror.see(KeyValue(write.key, mod_revision=done.revision, version=1, value=write.value))
        return done.succeeded


def _size_bytes(writes: list[Write]) -> int:
    return sum(len(write.value) for write in writes if isinstance(write, PutRequest))
