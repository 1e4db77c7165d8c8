"""Carries out what takes long, one at a time, each as an operation: make, verify, restore. Used by the service."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ops_system.master.audit.service import Audit
from ops_system.master.backups.making import sweep_work, work_folder
from ops_system.master.backups.progress import Cancelled, Progress
from ops_system.master.operations.rules import TargetEnd
from ops_system.master.operations.service import Operations
from ops_system.master.web.route import Principal
from ops_system.model.errors import Conflict, NotAllowed, OpsError, StorageFull, Unavailable
from ops_system.model.operations import Operation, OperationState, OperationTarget
from ops_system.model.reasons import Reason
from ops_system.storage.blobs.incoming import os_errors
from ops_system.storage.database import Database

_log = logging.getLogger(__name__)

KIND = "backup."
TARGET = "backup"
RETRY_WRITE_S = 1.0
_STOPPED = Reason("master_stopped", "the master was stopped meanwhile; nothing has changed, begin again")
_CANCELLED = Reason("cancelled", "cancelled by a person")

Work = Callable[[Path, Progress], Awaitable[None]]
"""Does the work in a fresh folder, which goes with everything in it when it ends."""


@dataclass(slots=True)
class _Job:
    operation: Operation
    steps: tuple[str, ...]
    work: Work
    actor: Principal
    progress: Progress
    is_settled: bool = False  # past the point where it can be called off


class Desk:
    """The one worker on backups, and the operations' controller."""

    def __init__(self, *, database: Database, audit: Audit, operations: Operations, folder: Path) -> None:
        self._database = database
        self._audit = audit
        self._operations = operations
        self._folder = folder
        self._present: _Job | None = None
        self._is_claimed = False
        self._ready: asyncio.Queue[_Job] = asyncio.Queue()
        operations.control(KIND, self)

    async def run(self) -> None:
        """Do what is asked for until cancelled; first call off what a stopped master left."""
        await asyncio.to_thread(sweep_work, self._folder)
        for operation in self._operations.list_open():
            if operation.kind.startswith(KIND):
                await self._call_off(operation)
        while True:
            job = await self._ready.get()
            await self._carry_out(job)
            self._present = None

    async def _call_off(self, operation: Operation) -> None:
        end = TargetEnd(OperationState.FAILED, _STOPPED)
        self._operations.publish(await _until_kept(lambda: self._end(operation, end, None)))

    async def begin(  # noqa: PLR0917 - what an operation is made of
        self, kind: str, title: str, name: str, steps: Iterable[str], actor: Principal, work: Work
    ) -> Operation:
        """Begin `work` as an operation. Raises Conflict while another one is under way."""
        if self._present is not None:
            present = self._present.operation.id
            message = f"another backup or restore is under way (operation {present}); wait for its end"
            raise Conflict(message, reason="backup_busy", operation=present)
        steps = tuple(steps)
        pending = OperationTarget(TARGET, TARGET, name, None, OperationState.PENDING)
        async with self._claimed(), self._database.transaction() as tx:
            operation = await self._operations.create(
                tx, f"{KIND}{kind}", title=title, actor=actor, targets=[pending], steps=steps
            )
            await self._audit.record(tx, actor, f"{KIND}{kind}", f"backup:{name}", "begun", {"operation": operation.id})
        self._present = _Job(operation, steps, work, actor, self._follow(operation.id))
        self._operations.publish(operation)
        self._ready.put_nowait(self._present)
        return operation

    def _follow(self, operation_id: str) -> Progress:
        def show(step: str, done_bytes: int, total_bytes: int) -> None:
            self._operations.advance(operation_id, TARGET, step, done_bytes, total_bytes)

        return Progress(show)

    @contextlib.asynccontextmanager
    async def _claimed(self) -> AsyncIterator[None]:
        """Keep the second of two requests away while the first writes its operation."""
        if self._is_claimed:
            raise Conflict("another backup or restore is just beginning", reason="backup_busy")
        self._is_claimed = True
        try:
            yield
        finally:
            self._is_claimed = False

    def settle(self, operation_id: str) -> None:
        """From here on the present work cannot be called off."""
        if self._present is not None and self._present.operation.id == operation_id:
            self._present.is_settled = True

    # --- one job --------------------------------------------------------------------------------------------------
    async def _carry_out(self, job: _Job) -> None:
        job.operation = await _until_kept(lambda: self._begin(job))
        self._operations.publish(job.operation)
        end = await self._do(job)
        self._operations.publish(await _until_kept(lambda: self._end(job.operation, end, job.actor)))

    async def _begin(self, job: _Job) -> Operation:
        async with self._database.transaction() as tx:
            return await self._operations.begin_target(tx, job.operation.id, TARGET, job.steps[0])

    async def _do(self, job: _Job) -> TargetEnd:
        try:
            async with work_folder(self._folder) as folder:
                try:
                    with os_errors(folder):
                        await job.work(folder, job.progress)
                finally:
                    job.progress.cancel()  # a thread that outlives its task stops at its next megabyte
        except Cancelled:
            return TargetEnd(OperationState.CANCELLED, _CANCELLED)
        except OpsError as problem:
            _log.warning("%s: %s", job.operation.kind, problem.message)
            code = str(problem.details.get("reason") or problem.code)
            return TargetEnd(OperationState.FAILED, Reason(code, problem.message))
        return TargetEnd(OperationState.SUCCEEDED)

    async def _end(self, operation: Operation, end: TargetEnd, actor: Principal | None) -> Operation:
        async with self._database.transaction() as tx:
            ended = await self._operations.finish_target(tx, operation.id, TARGET, end)
            if actor is not None:
                outcome = "done" if end.state is OperationState.SUCCEEDED else "failed"
                details = {"operation": operation.id, "reason": end.reason.code if end.reason else ""}
                name = operation.targets[0].name
                await self._audit.record(tx, actor, operation.kind, f"backup:{name}", outcome, details)
        return ended

    # --- operations' controller -----------------------------------------------------------------------------------
    async def cancel(self, operation: Operation, actor: Principal) -> Operation:
        """Call it off; nothing half made stays. Raises NotAllowed once a restore is being put in place."""
        job = self._present
        if job is None or job.operation.id != operation.id or job.is_settled:
            raise NotAllowed("it cannot be called off any more: its last step is being done", reason="last_step")
        await self._audit.record_alone(actor, "operation.cancel", f"operation:{operation.id}", "done", {})
        job.progress.cancel()
        return operation

    async def retry(self, operation: Operation, actor: Principal) -> Operation:
        """Not offered: a passphrase is not kept. Raises NotAllowed."""
        del actor
        raise NotAllowed(
            f"operation {operation.id} is not done again by itself: begin a new one under Backups", reason="begin_anew"
        )


async def _until_kept(write: Callable[[], Awaitable[Operation]]) -> Operation:
    """Write again each second while the disk has no room: what has happened comes on record."""
    while True:
        try:
            return await write()
        except (StorageFull, Unavailable) as problem:
            _log.warning("an operation on backups cannot be written yet: %s", problem.message)
            await asyncio.sleep(RETRY_WRITE_S)
