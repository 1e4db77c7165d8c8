"""Drives open operations that bring configuration to instances: wave after wave, the first failure ends it.

    pending -> look again -> reload: the new definition is told, files are written, the reload command runs
                          -> restart: the instance starts anew and is proven

A reload that a killed master may have asked for is asked for again; that does no harm. All else is in the targets.
"""

import asyncio
import logging
from collections.abc import Iterator
from typing import Protocol, TypeVar

import msgspec

from ops_system.master.bus import Bus, Changed
from ops_system.master.configs import store
from ops_system.master.configs.foresight import Foresight, Sight
from ops_system.master.configs.rules import How, Waves, how_of, is_halted
from ops_system.master.instances.aftermath import Aftermath
from ops_system.master.instances.rules import Action, Record
from ops_system.master.instances.service import Instances
from ops_system.master.operations.rules import TargetEnd, find_target
from ops_system.master.operations.service import TOPIC as OPERATIONS_TOPIC
from ops_system.master.operations.service import Operations
from ops_system.master.systems.service import Systems
from ops_system.master.web.route import Principal
from ops_system.model.errors import Conflict, NodeOffline, NotFound, OpsError, StorageFull, TimedOut, Unavailable
from ops_system.model.instances import Desired
from ops_system.model.operations import ENDED, Operation, OperationState, OperationTarget
from ops_system.model.reasons import Reason
from ops_system.protocol.requests import ReconfigureInstance, Reloaded
from ops_system.runtime.tasks import spawn
from ops_system.storage.database import Database, Transaction

_log = logging.getLogger(__name__)

KIND = "config.apply"
STEPS = ("reload", "stop", "start", "prove")
RELOAD_WITHIN_S = 70.0  # the worker gives the command 60 s
ARRIVE_WITHIN_S = 30.0  # so long the wish may take to arrive
ASK_EVERY_S = 0.2
RETRY_S = 1.0
MAX_OUTPUT = 500
_MASTER = Principal(kind="local", id="master", name="master")
_DONE = TargetEnd(OperationState.SUCCEEDED)
_HALTED = TargetEnd(OperationState.CANCELLED, Reason("earlier_failed", "an earlier instance failed"))

T = TypeVar("T")


class Asker(Protocol):
    """The part of the links that this needs."""

    async def request(
        self, node_id: str, kind: str, body: msgspec.Struct, reply_type: type[T], timeout_s: float = ...
    ) -> T:
        """Ask a node. Raises `NodeOffline`, `TimedOut`, or what the worker answers."""
        ...


class Driver:
    """The one driver. `run` ends only by cancellation."""

    def __init__(
        self,
        *,
        database: Database,
        systems: Systems,
        instances: Instances,
        operations: Operations,
        foresight: Foresight,
        links: Asker,
        bus: Bus,
    ) -> None:
        self._database = database
        self._systems = systems
        self._instances = instances
        self._operations = operations
        self._foresight = foresight
        self._links = links
        self._jobs: asyncio.Queue[str] = asyncio.Queue()
        self._bells: dict[str, list[asyncio.Event]] = {}  # one for each lane
        bus.subscribe(Changed, self._on_changed)

    def _on_changed(self, event: Changed) -> None:
        if event.topic == OPERATIONS_TOPIC:
            for bell in self._bells.get(event.key, ()):
                bell.set()

    def begin(self, operation_id: str) -> None:
        """See this operation to its end."""
        self._jobs.put_nowait(operation_id)

    async def run(self) -> None:
        """See operations to their end until cancelled; first those that a stopped master left."""
        for operation in self._operations.list_open():
            if operation.kind == KIND:
                self.begin(operation.id)
        async with asyncio.TaskGroup() as group:
            while True:
                operation_id = await self._jobs.get()
                spawn(group, self._carry_out(operation_id), f"configuration {operation_id}")

    async def _carry_out(self, operation_id: str) -> None:
        self._bells[operation_id] = []
        try:
            waves = await self._waves_of(operation_id)
            for wave in waves.waves:
                await self._carry_wave(operation_id, wave, waves.max_parallel)
        finally:
            del self._bells[operation_id]

    async def _waves_of(self, operation_id: str) -> Waves:
        waves = await store.find(self._database, operation_id)
        if waves is not None:
            return waves
        targets = (await self._operations.get(operation_id)).targets
        return Waves(1, [[target.id for target in targets]])

    async def _carry_wave(self, operation_id: str, wave: list[str], max_parallel: int) -> None:
        left = iter(wave)
        async with asyncio.TaskGroup() as group:
            for lane in range(min(max_parallel, len(wave))):
                spawn(group, self._carry_lane(operation_id, left), f"configuration {operation_id} {lane}")

    async def _carry_lane(self, operation_id: str, left: Iterator[str]) -> None:
        """See one target after the other to its end; `left` is shared by the lanes of a wave."""
        bell = asyncio.Event()
        self._bells[operation_id].append(bell)
        for target_id in left:
            await self._see_to_end(operation_id, target_id, bell)
        self._bells[operation_id].remove(bell)

    async def _see_to_end(self, operation_id: str, target_id: str, bell: asyncio.Event) -> None:
        """See one target to its end, however long the database cannot be written."""
        while True:
            try:
                return await self._one(operation_id, target_id, bell)
            except (StorageFull, Unavailable) as problem:
                _log.warning("configuration %s waits: %s", operation_id, problem.message)
                await asyncio.sleep(RETRY_S)

    async def _one(self, operation_id: str, target_id: str, bell: asyncio.Event) -> None:
        after = Aftermath()
        reload: Record | None = None
        async with self._database.transaction() as tx:
            operation = await self._operations.read(tx, operation_id)
            target = find_target(operation, target_id)
            if target is None or target.state in ENDED:
                return
            if is_halted(target, operation.targets):
                await self._end(tx, operation_id, target_id, _HALTED, after)
            else:
                reload = await self._begin(tx, operation, target, after)
        self._instances.release(after)
        if reload is not None:
            await self._finish(operation_id, target_id, await self._reload(reload))
        await self._wait(operation_id, target_id, bell)

    async def _begin(
        self, tx: Transaction, operation: Operation, target: OperationTarget, after: Aftermath
    ) -> Record | None:
        """Begin one instance; return it when its reload command is to run."""
        try:
            record = await self._instances.find_record(tx, target.id)
            if record.operation_id == operation.id:
                return None  # its restart was under way when the master stopped
            module = await self._systems.get_module(record.spec.module_id, tx)
            sight = next(iter(await self._foresight.look(tx, [record], [module], _MASTER)), None)
            if sight is None:
                raise NotFound(f"{record.spec.name} is being removed", id=target.id)
            how, reason = how_of(sight, module), self._hindrance(sight)
            if reason is not None:
                await self._end(tx, operation.id, target.id, TargetEnd(OperationState.FAILED, reason), after)
            elif how is How.RELOAD and sight.fresh is not None:
                await after.begin_target(self._operations, tx, operation.id, target.id, "reload")
                return await self._instances.redeliver(tx, record, sight.fresh, after)
            elif how is How.RESTART:
                await self._instances.begin(tx, record, Action.RESTART, operation.id, after)
            elif record.spec.desired is Desired.RUNNING and record.spec.service.hooks.reload:
                await after.begin_target(self._operations, tx, operation.id, target.id, "reload")
                return record  # told already, by a master that was killed or a try that failed: once more does no harm
            else:
                await self._end(tx, operation.id, target.id, _DONE, after)
        except OpsError as problem:
            reason = Reason(problem.code, problem.message)
            await self._end(tx, operation.id, target.id, TargetEnd(OperationState.FAILED, reason), after)
        return None

    def _hindrance(self, sight: Sight) -> Reason | None:
        if sight.problems:
            return sight.problems[0]
        if sight.record.action is not None:
            return Reason("busy", f"a {sight.record.action} of this instance is under way; retry after it")
        if self._instances.is_reachable(sight.record.node_id) is False:
            return Reason("node_offline", "the node is silent; retry when it is back", {"node": sight.record.node_id})
        return None

    async def _reload(self, record: Record) -> TargetEnd:
        body = ReconfigureInstance(record.spec.instance_id, record.spec.generation)
        try:
            answer = await self._ask(record, body)
        except OpsError as problem:
            return TargetEnd(OperationState.FAILED, Reason(problem.code, problem.message))
        if answer.exit_code == 0:
            return _DONE
        words = f"the reload command ended with {answer.exit_code}: {answer.output[-MAX_OUTPUT:].strip()}"
        return TargetEnd(OperationState.FAILED, Reason("reload_failed", words, {"code": answer.exit_code}))

    async def _ask(self, record: Record, body: ReconfigureInstance) -> Reloaded:
        """Ask until the wish has arrived on the node. Raises what the worker answers, `NodeOffline`, `TimedOut`."""
        until_s = asyncio.get_running_loop().time() + ARRIVE_WITHIN_S
        while True:
            try:
                return await self._links.request(
                    record.node_id, "instances.reconfigure", body, Reloaded, RELOAD_WITHIN_S
                )
            except (NodeOffline, TimedOut, Conflict):
                if asyncio.get_running_loop().time() >= until_s:
                    raise
            await asyncio.sleep(ASK_EVERY_S)

    async def _finish(self, operation_id: str, target_id: str, end: TargetEnd) -> None:
        after = Aftermath()
        async with self._database.transaction() as tx:
            await self._end(tx, operation_id, target_id, end, after)
        self._instances.release(after)

    async def _end(self, tx: Transaction, operation_id: str, target_id: str, end: TargetEnd, after: Aftermath) -> None:
        await after.end_target(self._operations, tx, operation_id, target_id, end)

    async def _wait(self, operation_id: str, target_id: str, bell: asyncio.Event) -> None:
        """Return when the target has ended: a restart ends by what the instance reports."""
        while True:
            bell.clear()
            target = find_target(await self._operations.get(operation_id), target_id)
            if target is None or target.state in ENDED:
                return
            await bell.wait()
