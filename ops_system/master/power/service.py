"""Power orders (issue: an operation each), the ways to BMCs, and what a BMC tells now.

One order at a time on one machine, whichever master took it: a wish in the store says so until its deadline. A master
that is stopped takes its open orders up again; a restart of which nobody knows whether it was sent is not repeated.
"""

import asyncio
import functools
import logging
from collections.abc import Callable
from datetime import timedelta

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.operations.rules import TargetEnd, find_target
from ops_system.master.operations.service import Operations
from ops_system.master.outbound.client import Outbound
from ops_system.master.power.base import BmcLine
from ops_system.master.power.driver import Driver
from ops_system.master.power.ipmi import Ipmi
from ops_system.master.power.manual import Manual, by_hand
from ops_system.master.power.redfish import Redfish
from ops_system.master.power.rules import (
    DEADLINE_S,
    HARSH,
    KIND_PREFIX,
    STEPS,
    Bmc,
    BmcSettings,
    Power,
    PowerAction,
    PowerOrder,
    PowerWish,
    Way,
    action_of,
    check_settings,
    fits,
    may_repeat,
    title_of,
)
from ops_system.master.power.store import BmcBook
from ops_system.master.web.route import Principal
from ops_system.model.errors import NotAllowed, NotFound, OpsError, StepUpRequired, StorageFull, TimedOut, Unavailable
from ops_system.model.operations import ENDED, Operation, OperationState, OperationTarget
from ops_system.model.reasons import Reason
from ops_system.model.tasks import BOOTS_AGENT, TaskStatus
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import spawn
from ops_system.storage.database import Database

_log = logging.getLogger(__name__)

RETRY_WRITE_S = 5.0
LOOK_WITHIN_S = 15.0
_MASTER = Principal(kind="local", id="master", name="master")
_CANCELLED = Reason("cancelled", "cancelled by a person; what was sent to the machine stays sent")
_UNKNOWN = Reason("result_unknown", "the master was stopped meanwhile; look at the machine before ordering it again")


class _Job(msgspec.Struct, frozen=True):
    operation_id: str
    idc: str
    sn: str
    action: PowerAction
    actor: Principal

    @property
    def target(self) -> str:
        """As its operation names it."""
        return f"{self.idc}/{self.sn}"


class PowerDesk:
    """The one desk for the power of bare machines."""

    def __init__(
        self,
        *,
        database: Database,
        audit: Audit,
        operations: Operations,
        outbound: Outbound,
        book: BmcBook,
        clock: Clock,
        has_proof: Callable[[Principal], bool],
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._database = database
        self._audit = audit
        self._operations = operations
        self._outbound = outbound
        self._book = book
        self._clock = clock
        self._has_proof = has_proof
        self._deadline_s = deadline_s
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._work: dict[str, asyncio.Task[None]] = {}
        operations.control(KIND_PREFIX, self)

    # --- ways to BMCs ---------------------------------------------------------------------------------------------
    async def get_bmc(self, idc: str, sn: str, actor: Principal) -> Bmc:
        """Return what is set, without its password. Raises NotFound."""
        _check_scope(actor, idc, sn)
        return self._book.shown(idc, sn, await self._book.get(idc, sn))

    async def set_bmc(self, idc: str, sn: str, settings: BmcSettings, actor: Principal) -> Bmc:
        """Set the way to a machine's BMC; nothing is called. Raises Invalid with every fault."""
        _check_scope(actor, idc, sn)
        check_settings(settings)
        details = {"bmc_kind": settings.kind, "address": settings.address, "pin": settings.certificate_sha256}
        await self._audit.record_alone(actor, "bmc.set", f"machine:{idc}/{sn}", "begun", details)
        record = await self._book.put(idc, sn, settings, actor.name, self._clock.now())
        await self._audit.record_alone(actor, "bmc.set", f"machine:{idc}/{sn}", "done", details)
        return self._book.shown(idc, sn, record)

    async def remove_bmc(self, idc: str, sn: str, actor: Principal) -> None:
        """Forget it. Raises NotFound."""
        _check_scope(actor, idc, sn)
        record = await self._book.get(idc, sn)
        details = {"bmc_kind": record.kind, "address": record.address}
        await self._audit.record_alone(actor, "bmc.delete", f"machine:{idc}/{sn}", "done", details)
        await self._book.remove(idc, sn)

    # --- looking --------------------------------------------------------------------------------------------------
    async def look(self, idc: str, sn: str, actor: Principal) -> Power:
        """Ask the BMC now. Raises NotFound, NotAllowed, Unavailable, TimedOut."""
        _check_scope(actor, idc, sn)
        record = await self._book.get(idc, sn)
        line = self._line(self._book.open(idc, sn, record))
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                identity, state = await line.identify(), await line.state()
        except TimeoutError as problem:
            raise TimedOut(f"the BMC {record.address} gave no answer within {LOOK_WITHIN_S:g} s") from problem
        machine, now = await self._book.machine(idc, sn), self._clock.now()
        return Power(
            idc=idc,
            sn=sn,
            kind=record.kind,
            state=state,
            at=now,
            identity=identity,
            is_this_machine=fits(identity, sn, machine),
            wish=await self._book.wish(idc, sn, now),
        )

    def _line(self, way: Way) -> BmcLine:
        match way.kind:
            case "redfish":
                return Redfish(self._outbound, way)
            case "ipmi":
                return Ipmi(self._outbound, way)
            case "manual":
                return Manual()

    # --- orders ---------------------------------------------------------------------------------------------------
    async def check_auto(self, idc: str, sn: str) -> None:
        """Raise NotFound without a BMC, NotAllowed (`power_manual`) where people walk."""
        if (await self._book.get(idc, sn)).kind == "manual":
            raise by_hand()

    async def boot(self, idc: str, sn: str, actor: Principal) -> None:
        """Order one boot from the network for a task; what is in the way is logged, and told by the operation."""
        try:
            await self.order(idc, sn, PowerOrder(PowerAction.NETBOOT), actor)
        except OpsError as problem:
            _log.warning("%s in %s is not booted for its task: %s", sn, idc, problem.message)

    async def order(self, idc: str, sn: str, order: PowerOrder, actor: Principal) -> Operation:
        """Begin an order. Raises NotFound, Conflict (`power_busy`), NotAllowed, StepUpRequired."""
        _check_scope(actor, idc, sn)
        await self.check_auto(idc, sn)
        await self._check_may(idc, sn, order, actor)
        await self._book.check_free(idc, sn, self._clock.now())
        operation = await self._create(idc, sn, order, actor)
        job = _Job(operation.id, idc, sn, order.action, actor)
        try:
            await self._take(job)
        except OpsError as problem:
            await self._finish(job, reason_of(problem))
            raise
        self._jobs.put_nowait(job)
        return operation

    async def _take(self, job: _Job) -> None:
        now = self._clock.now()
        until = now + timedelta(seconds=self._deadline_s)
        await self._book.begin(job.idc, job.sn, PowerWish(job.action, job.operation_id, job.actor.name, until), now)

    async def _check_may(self, idc: str, sn: str, order: PowerOrder, actor: Principal) -> None:
        """Ask for a proof where work is ended; do not pull the plug on an installation by mistake."""
        task = await self._book.task(idc, sn)
        is_installing = task is not None and task.status is TaskStatus.INSTALLING
        if is_installing and order.action is not PowerAction.ON and not order.force:
            raise NotAllowed(f"{sn} is being installed: cancel its task first, or say force", reason="installing")
        is_expected = task is not None and task.status in BOOTS_AGENT and not is_installing
        is_harsh = order.action in HARSH or (order.action is PowerAction.NETBOOT and not is_expected)
        if is_harsh and not self._has_proof(actor):
            raise StepUpRequired("prove your password or TOTP again", operation="order_power")

    async def _create(self, idc: str, sn: str, order: PowerOrder, actor: Principal) -> Operation:
        target = OperationTarget("machine", f"{idc}/{sn}", sn, None, OperationState.PENDING)
        async with self._database.transaction() as tx:
            operation = await self._operations.create(
                tx,
                KIND_PREFIX + order.action.value,
                title=title_of(order.action, idc, sn),
                actor=actor,
                targets=[target],
                steps=STEPS,
            )
            details = {"operation": operation.id, "force": order.force}
            await self._audit.record(tx, actor, operation.kind, f"machine:{target.id}", "begun", details)
        self._operations.publish(operation)
        return operation

    # --- work -----------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """See orders to their end until cancelled; first those that a stopped master left."""
        async with asyncio.TaskGroup() as group:
            for operation in self._operations.list_open():
                if operation.kind.startswith(KIND_PREFIX):
                    spawn(group, self._take_up(operation), f"take up {operation.id}")
            while True:
                job = await self._jobs.get()
                work = self._work[job.operation_id] = spawn(group, self._carry_out(job), f"power {job.target}")
                work.add_done_callback(functools.partial(self._forget, job.operation_id))

    def _forget(self, operation_id: str, _work: "asyncio.Task[None]") -> None:
        self._work.pop(operation_id, None)

    async def _take_up(self, operation: Operation) -> None:
        action = action_of(operation.kind)
        for target in operation.targets:
            if target.state in ENDED:
                continue
            idc, _, sn = target.id.partition("/")
            job = _Job(operation.id, idc, sn, action, _MASTER)
            if target.state is OperationState.PENDING or may_repeat(action):
                self._jobs.put_nowait(job)
            else:
                await self._finish(job, _UNKNOWN)

    async def _carry_out(self, job: _Job) -> None:
        reason: Reason | None = None
        trouble = ""
        try:
            async with asyncio.timeout(self._deadline_s):
                driver = await self._driver(job)
                if driver is None:
                    return
                try:
                    await driver.carry_out(job.action)
                finally:
                    trouble = f"; last: {driver.last_trouble}" if driver.last_trouble else ""
        except TimeoutError:
            words = f"the machine was not as wished within {self._deadline_s:g} s{trouble}"
            reason = Reason("power_deadline", words, {"seconds": self._deadline_s})
        except OpsError as problem:
            reason = reason_of(problem)
        await self._finish(job, reason)

    async def _driver(self, job: _Job) -> Driver | None:
        """Set the operation to work. None: it was cancelled. Raises Conflict when another order is at work by now."""
        await self._take(job)
        way = self._book.open(job.idc, job.sn, await self._book.get(job.idc, job.sn))
        machine = await self._book.machine(job.idc, job.sn)
        async with self._database.transaction() as tx:
            operation = await self._operations.begin_target(tx, job.operation_id, job.target, STEPS[0])
        target = find_target(operation, job.target)
        if target is None or target.state in ENDED:
            return None
        self._operations.publish(operation)

        def tell(step: str) -> None:
            self._operations.advance(job.operation_id, job.target, step)

        return Driver(self._line(way), job.sn, machine, self._clock, tell)

    async def _finish(self, job: _Job, reason: Reason | None) -> None:
        """Give the machine free and write the end down, however long the disk is full or the store away."""
        while True:
            try:
                await self._write_end(job, reason)
                return await self._book.end(job.idc, job.sn, job.operation_id)
            except (StorageFull, Unavailable) as problem:
                _log.warning("the end of the power order on %s waits: %s", job.target, problem.message)
                await asyncio.sleep(RETRY_WRITE_S)

    async def _write_end(self, job: _Job, reason: Reason | None) -> None:
        state = OperationState.SUCCEEDED if reason is None else OperationState.FAILED
        if reason is _CANCELLED:
            state = OperationState.CANCELLED
        details = {"operation": job.operation_id} | ({} if reason is None else {"reason": reason.code})
        outcome = "done" if reason is None else "failed"
        async with self._database.transaction() as tx:
            before = await self._operations.read(tx, job.operation_id)
            target = find_target(before, job.target)
            if target is None or target.state in ENDED:
                return
            end = TargetEnd(state, reason)
            operation = await self._operations.finish_target(tx, job.operation_id, job.target, end, known=before)
            kind = KIND_PREFIX + job.action.value
            await self._audit.record(tx, job.actor, kind, f"machine:{job.target}", outcome, details)
        self._operations.publish(operation)

    # --- operations' controller -----------------------------------------------------------------------------------
    async def cancel(self, operation: Operation, actor: Principal) -> Operation:
        """Look and order no further; what was sent stays sent."""
        await self._audit.record_alone(actor, "operation.cancel", f"operation:{operation.id}", "done", {})
        work = self._work.pop(operation.id, None)
        if work is not None:
            work.cancel()
        for target in operation.targets:
            idc, _, sn = target.id.partition("/")
            await self._finish(_Job(operation.id, idc, sn, action_of(operation.kind), actor), _CANCELLED)
        return await self._operations.get(operation.id)

    async def retry(self, operation: Operation, actor: Principal) -> Operation:
        """Order it again, as a new operation. Raises what `order` raises."""
        idc, _, sn = operation.targets[0].id.partition("/")
        return await self.order(idc, sn, PowerOrder(action_of(operation.kind)), actor)


def reason_of(problem: OpsError) -> Reason:
    """Return why an order failed, with the finer code where there is one."""
    return Reason(str(problem.details.get("reason") or problem.code), problem.message)


def _check_scope(actor: Principal, idc: str, sn: str) -> None:
    """Raise NotFound for a machine beyond the labels that the actor is limited to: idc and sn are a machine's own."""
    labels = {"idc": idc, "sn": sn}
    if any(labels.get(key) != value for key, value in actor.scope.items()):
        raise NotFound(f"no BMC is set for {sn} in {idc}", idc=idc, sn=sn)
