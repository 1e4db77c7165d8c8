"""Commands on nodes (trust S9, S10, S17, S20, S21): each is on record before it is sent, and again when it has ended.

One command answers at once. Many are an operation with one result a node: `run` sends them, at most
`batch_concurrency` at a time; a master that was stopped meanwhile calls those that were under way unknown.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.master.commands import store
from ops_system.master.commands.rules import (
    MANY_OUTPUT_BYTES,
    MANY_TIMEOUT_S,
    ONE_OUTPUT_BYTES,
    ONE_TIMEOUT_S,
    Command,
    CommandAnswer,
    CommandQuery,
    CommandResult,
    CommandRun,
    CommandRunDetails,
    ManyCommand,
    Outcome,
    Output,
    check_command,
    read_text,
    reason_of,
    tail_of,
    title_of,
    to_request,
)
from ops_system.master.commands.runner import Opener, run_through
from ops_system.master.nodes.scope import reached_nodes
from ops_system.master.nodes.service import Nodes
from ops_system.master.operations.rules import TargetEnd, find_target
from ops_system.master.operations.service import Operations
from ops_system.master.web.route import Page, Permission, Principal
from ops_system.model.errors import (
    Forbidden,
    Invalid,
    NotFound,
    OpsError,
    StepUpRequired,
    StorageFull,
    TimedOut,
    Unavailable,
)
from ops_system.model.ids import NodeId
from ops_system.model.operations import ENDED, Operation, OperationState, OperationTarget
from ops_system.model.reasons import Reason
from ops_system.protocol.requests import CommandEnd
from ops_system.storage.database import Database

_log = logging.getLogger(__name__)

T = TypeVar("T")

KIND = "exec."
STEP = "command"
TOPIC = "exec:"
SHOW_EVERY_S = 0.25
RETRY_WRITE_S = 1.0
_CANCELLED = Reason("cancelled", "cancelled by a person")
_UNKNOWN = Reason("result_unknown", "the master was stopped meanwhile; how the command ended is not known")


@dataclass
class _Work:
    """One node's part that has not ended."""

    operation_id: str
    node_id: str
    order: Command
    actor: Principal
    output: Output = field(default_factory=Output)
    task: asyncio.Task[None] | None = None
    is_shown: bool = False


class Commands:
    """The one desk for commands."""

    def __init__(
        self,
        *,
        database: Database,
        audit: Audit,
        bus: Bus,
        nodes: Nodes,
        links: Opener,
        operations: Operations,
        at_once: int,
        has_proof: Callable[[Principal], bool],
    ) -> None:
        self._database = database
        self._audit = audit
        self._bus = bus
        self._nodes = nodes
        self._links = links
        self._operations = operations
        self._slots = asyncio.Semaphore(at_once)
        self._has_proof = has_proof
        self._work: dict[tuple[str, str], _Work] = {}
        self._ready: asyncio.Queue[_Work] = asyncio.Queue()
        operations.control(KIND, self)

    async def run(self) -> None:
        """Send what was ordered until cancelled; first call unknown what a stopped master left."""
        await self._settle_left_over()
        async with asyncio.TaskGroup() as group:
            while True:
                work = await self._ready.get()
                work.task = group.create_task(self._carry_out(work), name=f"command on {work.node_id}")

    # --- one command ----------------------------------------------------------------------------------------------
    async def run_one(self, node_id: str, order: Command, actor: Principal) -> CommandAnswer:
        """Run a command on a node and wait for its end.

        Raises `NotFound`, `Invalid`, `NodeOffline`, `Forbidden` (the node's policy), `TimedOut` with what it had said.
        """
        check_command(order, ONE_TIMEOUT_S)
        node = self._nodes.get(node_id, actor)
        await self._note(actor, node.id, order, "begun", {})
        output = Output()
        try:
            request = to_request(order, actor.name, ONE_OUTPUT_BYTES)
            end = await run_through(self._links, node.id, request, output)
        except OpsError as problem:
            outcome = "denied" if problem.code == "forbidden" else "failed"
            await self._note(actor, node.id, order, outcome, {"reason": problem.code})
            raise
        await self._note(actor, node.id, order, *_verdict(end))
        if end.timed_out:
            said = {"stdout": tail_of(output.stdout), "stderr": tail_of(output.stderr)}
            raise TimedOut(f"the command was killed after {order.timeout_s:g} s, its time limit", **said)
        stdout, stderr = read_text(output.stdout), read_text(output.stderr)
        return CommandAnswer(end.exit_code, stdout, stderr, end.truncated, end.duration_s, end.exit_signal)

    async def _note(
        self, actor: Principal, node_id: str, order: Command, outcome: str, extra: dict[str, object]
    ) -> None:
        details = {"argv": order.argv or order.command, "user": order.user, **extra}
        await self._audit.record_alone(actor, "node.exec", f"node:{node_id}", outcome, details)

    # --- many -----------------------------------------------------------------------------------------------------
    async def run_many(self, order: ManyCommand, actor: Principal) -> Operation:
        """Begin a command on the chosen nodes. Raises `Invalid`, `NotFound`; nothing has begun then."""
        check_command(order, MANY_TIMEOUT_S)
        chosen = self._choose(order, actor)
        targets = [
            OperationTarget("node", node_id, self._nodes.record(node_id).name, node_id, OperationState.PENDING)
            for node_id in chosen
        ]
        async with self._database.transaction() as tx:
            operation = await self._operations.create(
                tx, f"{KIND}run", title=title_of(order), actor=actor, targets=targets, steps=(STEP,)
            )
            await store.insert_run(tx, operation.id, order)
            details = {"argv": order.argv or order.command, "user": order.user, "nodes": len(chosen)}
            await self._audit.record(tx, actor, "nodes.exec", f"operation:{operation.id}", "begun", details)
        self._operations.publish(operation)
        for node_id in chosen:
            work = _Work(operation.id, node_id, order, actor)
            self._work[operation.id, node_id] = work
            self._ready.put_nowait(work)
        return operation

    def _choose(self, order: ManyCommand, actor: Principal) -> list[NodeId]:
        if bool(order.node_ids) == bool(order.labels):
            problem = "$: give either node_ids or labels"
            raise Invalid(problem, problems=[problem])
        if order.node_ids:
            return [self._nodes.get(node_id, actor).id for node_id in dict.fromkeys(order.node_ids)]
        wanted = order.labels.items()
        chosen = [node.id for node in self._nodes.list_all(actor) if wanted <= node.labels.items() and not node.revoked]
        if not chosen:
            raise Invalid("no node carries these labels", problems=["$.labels: no node carries all of them"])
        return chosen

    async def _carry_out(self, work: _Work) -> None:
        """See one node's part to its end, whatever that is."""
        reason: Reason | None = None
        end: CommandEnd | None = None
        try:
            async with self._slots:
                if not await self._begin(work):
                    return
                request = to_request(work.order, work.actor.name, MANY_OUTPUT_BYTES)
                end = await run_through(self._links, work.node_id, request, work.output, lambda: self._show_soon(work))
                reason = reason_of(end, work.order.timeout_s)
        except (Unavailable, TimedOut) as problem:
            reason = Reason("result_unknown", problem.message)
        except OpsError as problem:
            reason = Reason(problem.code, problem.message)
        await self._finish(work, Outcome(end, reason))

    async def _begin(self, work: _Work) -> bool:
        """Set the node's part to work. False: it was cancelled, or the node has left the actor's scope."""
        async with self._database.transaction() as tx:
            operation = await self._operations.read(tx, work.operation_id)
            target = find_target(operation, work.node_id)
            if target is None or target.state in ENDED:
                return False
            self._nodes.get(work.node_id, work.actor)
            operation = await self._operations.begin_target(tx, work.operation_id, work.node_id, STEP, known=operation)
        self._operations.publish(operation)
        return True

    async def _finish(self, work: _Work, outcome: Outcome) -> None:
        state = OperationState.SUCCEEDED if outcome.reason is None else OperationState.FAILED
        operation = await _until_kept(lambda: self._keep(work, state, outcome))
        self._work.pop((work.operation_id, work.node_id), None)
        self._operations.publish(operation)
        self._show(work.operation_id, self._result(work.node_id, state, outcome, work.output, is_tail=True))

    async def _keep(self, work: _Work, state: OperationState, outcome: Outcome) -> Operation:
        """Write a node's end, its output and the audit row in one transaction."""
        async with self._database.transaction() as tx:
            operation = await self._operations.finish_target(
                tx, work.operation_id, work.node_id, TargetEnd(state, outcome.reason)
            )
            await store.save_result(tx, work.operation_id, work.node_id, outcome, work.output)
            verdict, extra = ("failed", {}) if outcome.end is None else _verdict(outcome.end)
            code = {} if outcome.reason is None else {"reason": outcome.reason.code}
            details = {"operation": work.operation_id} | extra | code
            await self._audit.record(tx, work.actor, "node.exec", f"node:{work.node_id}", verdict, details)
        return operation

    async def _settle_left_over(self) -> None:
        for operation in self._operations.list_open():
            if operation.kind.startswith(KIND):
                await _until_kept(functools.partial(self._end_all, operation, OperationState.FAILED, _UNKNOWN))

    async def _end_all(self, operation: Operation, state: OperationState, reason: Reason) -> Operation:
        async with self._database.transaction() as tx:
            operation = await self._operations.read(tx, operation.id)
            for target in operation.targets:
                if target.state not in ENDED:
                    operation = await self._operations.finish_target(
                        tx, operation.id, target.id, TargetEnd(state, reason), known=operation
                    )
        self._operations.publish(operation)
        return operation

    # --- operations' controller -----------------------------------------------------------------------------------
    async def cancel(self, operation: Operation, actor: Principal) -> Operation:
        """Kill what runs, begin nothing more; what was said so far is kept."""
        await self._audit.record_alone(actor, "operation.cancel", f"operation:{operation.id}", "done", {})
        stopped = [self._work.pop(key) for key in [key for key in self._work if key[0] == operation.id]]
        for work in stopped:
            if work.task is not None:
                work.task.cancel()
        async with self._database.transaction() as tx:
            for work in stopped:
                await store.save_result(tx, operation.id, work.node_id, Outcome(reason=_CANCELLED), work.output)
        return await self._end_all(operation, OperationState.CANCELLED, _CANCELLED)

    async def retry(self, operation: Operation, actor: Principal) -> Operation:
        """Run it again where it failed or was cancelled, as a new operation.

        Raises `Forbidden` for who may retry operations but not run commands, `StepUpRequired` without a fresh proof:
        the route itself serves operations of every kind.
        """
        if Permission.EXEC not in actor.permissions:
            message = "running a command again wants the grant exec; an administrator can give it"
            raise Forbidden(message, permission=Permission.EXEC)
        if not self._has_proof(actor):
            raise StepUpRequired("prove your password or TOTP again", operation="retry_operation")
        known = await store.find_run(self._database, operation.id)
        if known is None:
            raise NotFound(f"operation {operation.id} ran no command", id=operation.id)
        again = {OperationState.FAILED, OperationState.CANCELLED}
        node_ids = [target.id for target in operation.targets if target.state in again]
        order = ManyCommand(
            argv=known.argv, command=known.command, timeout_s=known.timeout_s, user=known.user, node_ids=node_ids
        )
        return await self.run_many(order, actor)

    # --- what is shown --------------------------------------------------------------------------------------------
    async def list_page(self, query: CommandQuery, actor: Principal) -> Page[CommandRun]:
        """Return one page of the runs that stayed within the actor's scope."""
        reached = reached_nodes(self._nodes, actor.scope)
        items, total = await store.list_runs(self._database, query, reached)
        return Page(items=items, total=total)

    async def get(self, operation_id: str, actor: Principal) -> CommandRunDetails:
        """Return one run with the end of each node's output. Raises `NotFound`, also beyond the actor's scope."""
        operation = await self._operations.get(operation_id, actor)
        known = await store.find_run(self._database, operation_id)
        if known is None:
            raise NotFound(f"operation {operation_id} ran no command", id=operation_id)
        kept = await store.list_results(self._database, operation_id)
        results = [self._picture(operation, target, kept, is_tail=True) for target in operation.targets]
        return CommandRunDetails(**msgspec.structs.asdict(known), results=results)

    async def get_result(self, operation_id: str, node_id: str, actor: Principal) -> CommandResult:
        """Return one node's result with all it said. Raises `NotFound`."""
        operation = await self._operations.get(operation_id, actor)
        target = find_target(operation, node_id)
        if target is None:
            raise NotFound(f"operation {operation_id} has no node {node_id}", id=node_id)
        kept = await store.list_results(self._database, operation_id)
        return self._picture(operation, target, kept, is_tail=False)

    def _picture(
        self,
        operation: Operation,
        target: OperationTarget,
        kept: dict[str, tuple[Outcome, Output]],
        *,
        is_tail: bool,
    ) -> CommandResult:
        work = self._work.get((operation.id, target.id))
        outcome, output = kept.get(target.id, (Outcome(reason=target.reason), work.output if work else Output()))
        return self._result(target.id, target.state, outcome, output, is_tail=is_tail, name=target.name)

    def _result(  # noqa: PLR0917 - one line of the answer, laid out in one place
        self,
        node_id: str,
        state: OperationState,
        outcome: Outcome,
        output: Output,
        is_tail: bool,
        name: str = "",
    ) -> CommandResult:
        spell: Callable[[bytearray], str] = tail_of if is_tail else read_text
        known, end = self._nodes.find(node_id), outcome.end
        return CommandResult(
            node_id=node_id,
            node_name=name or (known.name if known else node_id),
            state=state,
            stdout=spell(output.stdout),
            stderr=spell(output.stderr),
            is_tail=is_tail,
            exit_code=end.exit_code if end else None,
            exit_signal=end.exit_signal if end else None,
            truncated=end.truncated if end else False,
            duration_s=end.duration_s if end else None,
            reason=outcome.reason,
        )

    def _show_soon(self, work: _Work) -> None:
        """Show what it has said, at most every `SHOW_EVERY_S`."""
        if not work.is_shown:
            work.is_shown = True
            asyncio.get_running_loop().call_later(SHOW_EVERY_S, self._show_now, work)

    def _show_now(self, work: _Work) -> None:
        work.is_shown = False
        if (work.operation_id, work.node_id) in self._work:
            running = OperationState.RUNNING
            self._show(work.operation_id, self._result(work.node_id, running, Outcome(), work.output, is_tail=True))

    def _show(self, operation_id: str, result: CommandResult) -> None:
        self._bus.publish(Changed(f"{TOPIC}{operation_id}", result.node_id, result))


async def _until_kept(write: Callable[[], Awaitable[T]]) -> T:
    """Write again each second while the disk has no room: what has happened comes on record, and the master goes on."""
    while True:
        try:
            return await write()
        except (StorageFull, Unavailable) as problem:
            _log.warning("the end of a command cannot be written yet: %s", problem.message)
            await asyncio.sleep(RETRY_WRITE_S)


def _verdict(end: CommandEnd) -> tuple[str, dict[str, object]]:
    """Return the outcome of an audit row and its details."""
    is_fine = end.exit_code == 0
    return "done" if is_fine else "failed", {"exit_code": end.exit_code, "duration_s": end.duration_s}
