"""Operations: written by the features that act, watched by people. Each change of state is one transaction.

A feature creates an operation inside the transaction that stores its wish, and ends targets inside the transaction that
stores the observation; after the commit it calls `publish`. Progress in between lives in memory: it is shown, at most
four times a second, and written with the next change of state. What must follow an end (the next wave) hears of it
over the bus.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

import msgspec

from ops_system.master.bus import Bus, Changed
from ops_system.master.operations import store
from ops_system.master.operations.lines import LOG_LINES, OperationLine, Pace, line_of, lines_between, pace_after
from ops_system.master.operations.rules import (
    OperationQuery,
    TargetEnd,
    TargetProgress,
    find_target,
    overlay,
    settle,
    with_progress,
    with_target,
)
from ops_system.master.web.route import ListQuery, Page, Principal
from ops_system.model.errors import NotAllowed, NotFound
from ops_system.model.ids import OperationId, spell_id
from ops_system.model.operations import ENDED, Operation, OperationState, OperationStep, OperationTarget
from ops_system.model.stamps import to_ms
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Transaction

PROGRESS_INTERVAL_S = 0.25
KEEP_ENDED = timedelta(days=90)
TOPIC = "operations"
REMEMBERED = 5000  # operations whose nodes are known without asking the disk
_UNKNOWN: frozenset[str | None] = frozenset({None})  # a target without a node lies in no scope


class Controller(Protocol):
    """What the feature that owns a kind of operation can do about one. Each raises `NotAllowed` with the reason."""

    async def cancel(self, operation: Operation, actor: Principal) -> Operation:
        """Take back what can be taken back; return the operation as it is then."""
        ...

    async def retry(self, operation: Operation, actor: Principal) -> Operation:
        """Do the failed part again; return the new operation."""
        ...


@runtime_checkable
class Pauser(Protocol):
    """What a controller of operations that can wait offers as well."""

    async def pause(self, operation: Operation, actor: Principal) -> Operation:
        """Begin nothing new."""
        ...

    async def resume(self, operation: Operation, actor: Principal) -> Operation:
        """Go on."""
        ...


class Operations:
    """The one book of operations."""

    def __init__(self, database: Database, bus: Bus, clock: Clock) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._reached: Callable[[Mapping[str, str]], Collection[str] | None] = lambda _scope: None
        self._nodes: OrderedDict[str, frozenset[str | None]] = OrderedDict()
        self._open: dict[OperationId, Operation] = {}
        self._fresh: dict[OperationId, dict[str, TargetProgress]] = {}
        self._paces: dict[OperationId, dict[str, Pace]] = {}
        self._said: dict[OperationId, list[OperationLine]] = {}
        self._controllers: dict[str, Controller] = {}
        self._waiting: set[OperationId] = set()
        self._quiet: set[OperationId] = set()

    async def load(self) -> None:
        """Take up the operations that had not ended when the master stopped; forget those ended long ago."""
        async with self._database.transaction() as tx:
            await store.sweep(tx, to_ms(self._clock.now() - KEEP_ENDED))
        self._open = {operation.id: operation for operation in await store.list_open(self._database)}

    def limit(self, reached_nodes: Callable[[Mapping[str, str]], Collection[str] | None]) -> None:
        """Ask here which nodes a scope reaches; None: every node."""
        self._reached = reached_nodes

    def control(self, kind_prefix: str, controller: Controller) -> None:
        """Let `controller` cancel and retry operations whose kind begins with `kind_prefix`."""
        self._controllers[kind_prefix] = controller

    async def create(
        self,
        tx: Transaction,
        kind: str,
        *,
        title: str,
        actor: Principal,
        targets: Iterable[OperationTarget],
        steps: Iterable[str],
    ) -> Operation:
        """Write a new operation inside `tx`. Call `publish` after the commit."""
        now = self._clock.now()
        pending = OperationState.PENDING
        operation = Operation(
            id=OperationId(spell_id("op", secrets.token_bytes(10))),
            kind=kind,
            title=title,
            state=pending,
            reverted=False,
            steps=tuple(OperationStep(name=name, state=pending) for name in steps),
            targets=tuple(targets),
            error=None,
            created_at=now,
            updated_at=now,
            ended_at=None,
            created_by=actor.name,
        )
        operation = settle(operation, now)
        await store.insert(tx, operation)
        await store.add_lines(tx, operation.id, lines_between(None, operation))
        return operation

    async def begin_target(
        self, tx: Transaction, operation_id: str, target_id: str, step: str, *, known: Operation | None = None
    ) -> Operation:
        """Set a pending target to work inside `tx`. `known`: the operation as an earlier call in `tx` returned it."""
        fields = {"state": OperationState.RUNNING, "step": step}
        return await self._change(tx, known or await self.read(tx, operation_id), target_id, fields)

    async def finish_target(
        self, tx: Transaction, operation_id: str, target_id: str, end: TargetEnd, *, known: Operation | None = None
    ) -> Operation:
        """End one target inside `tx`; one that has ended stays as it is. The last one ends the operation.

        `known`: the operation as an earlier call in `tx` returned it; it saves reading many targets again.
        """
        fields = {"state": end.state, "reason": end.reason, "bytes_per_s": 0.0, "eta_s": None}
        return await self._change(tx, known or await self.read(tx, operation_id), target_id, fields)

    async def _change(
        self, tx: Transaction, operation: Operation, target_id: str, fields: Mapping[str, Any]
    ) -> Operation:
        target = find_target(operation, target_id)
        if target is None or target.state in ENDED:
            return operation
        changed = msgspec.structs.replace(target, **fields)
        after = settle(with_target(operation, changed), self._clock.now())
        await store.save(tx, after, [changed])
        await self._write_lines(tx, operation, after)
        return after

    async def _write_lines(self, tx: Transaction, before: Operation, after: Operation) -> None:
        """Write what was said since the last change, and what this one says."""
        await store.add_lines(tx, after.id, [*self._said.pop(after.id, ()), *lines_between(before, after)])

    async def mark(
        self, tx: Transaction, operation: Operation, *, is_paused: bool | None = None, is_reverted: bool | None = None
    ) -> Operation:
        """Pause, resume, or note that everything was taken back, inside `tx`; None leaves a mark as it is."""
        marked = msgspec.structs.replace(
            operation,
            is_paused=operation.is_paused if is_paused is None else is_paused,
            reverted=operation.reverted if is_reverted is None else is_reverted,
        )
        marked = settle(marked, self._clock.now())
        await store.save(tx, marked, ())
        await self._write_lines(tx, operation, marked)
        return marked

    async def read(self, tx: Transaction, operation_id: str) -> Operation:
        """Return one operation as it is inside `tx`. Raises `NotFound`."""
        operation = await store.find(tx, operation_id)
        if operation is None:
            raise NotFound(f"there is no operation {operation_id}", id=operation_id)
        return overlay(operation, self._live(operation.id))

    def publish(self, *operations: Operation) -> None:
        """Show operations as they are after a commit."""
        for operation in operations:
            if operation.state in ENDED:
                self._open.pop(operation.id, None)
                self._fresh.pop(operation.id, None)
                self._paces.pop(operation.id, None)
                self._said.pop(operation.id, None)
                self._waiting.discard(operation.id)
            else:
                self._open[operation.id] = operation
            self._note_nodes(operation)
            self._bus.publish(Changed(TOPIC, operation.id, operation))

    def advance(self, operation_id: str, target_id: str, step: str, bytes_done: int = 0, bytes_total: int = 0) -> None:
        """Note how far a running target is: in memory, shown at most every `PROGRESS_INTERVAL_S`."""
        known_id = OperationId(operation_id)
        operation = self._open.get(known_id)
        if operation is not None:
            paces = self._paces.setdefault(known_id, {})
            if target_id not in paces or paces[target_id].step != step:
                self._say(operation, target_id, step)
            pace = paces[target_id] = pace_after(paces.get(target_id), step, bytes_done, self._clock.monotonic_s())
            progress = TargetProgress(step, bytes_done, bytes_total, pace.bytes_per_s)
            self._fresh.setdefault(known_id, {})[target_id] = progress
            self._show_soon(known_id)

    def _say(self, operation: Operation, target_id: str, step: str) -> None:
        """Keep a line for the log: it is written with the next change of state."""
        target = find_target(operation, target_id)
        if target is None or target.state in ENDED or target.step == step:
            return
        said = self._said.setdefault(operation.id, [])
        said.append(line_of(target, self._clock.now(), step))
        del said[:-LOG_LINES]

    def _live(self, operation_id: OperationId) -> Operation | None:
        """Return the newest picture of an open operation; what came since the last one is laid in."""
        operation, fresh = self._open.get(operation_id), self._fresh.pop(operation_id, None)
        if operation is not None and fresh:
            operation = self._open[operation_id] = settle(with_progress(operation, fresh), self._clock.now())
        return operation

    def _show_soon(self, operation_id: OperationId) -> None:
        if operation_id in self._quiet:
            self._waiting.add(operation_id)
            return
        self._quiet.add(operation_id)
        self._bus.publish(Changed(TOPIC, operation_id, self._live(operation_id)))
        asyncio.get_running_loop().call_later(PROGRESS_INTERVAL_S, self._end_quiet, operation_id)

    def _end_quiet(self, operation_id: OperationId) -> None:
        self._quiet.discard(operation_id)
        if operation_id in self._waiting:
            self._waiting.discard(operation_id)
            self._show_soon(operation_id)

    async def get(self, operation_id: str, actor: Principal | None = None) -> Operation:
        """Return one operation with its newest progress. Raises `NotFound`, also beyond the actor's scope."""
        operation = await store.find(self._database, operation_id)
        if operation is not None:
            self._note_nodes(operation)
        if operation is None or (actor is not None and not self.is_visible(operation_id, actor)):
            raise NotFound(f"there is no operation {operation_id}", id=operation_id)
        return overlay(operation, self._live(operation.id))

    def is_visible(self, operation_id: str, actor: Principal) -> bool:
        """Whether every target of an operation lies within the actor's scope. Known of what was shown lately."""
        reached = self._reached(actor.scope)
        return reached is None or self._nodes.get(operation_id, _UNKNOWN) <= set(reached)

    def _note_nodes(self, operation: Operation) -> None:
        self._nodes[operation.id] = frozenset(target.node_id for target in operation.targets)
        self._nodes.move_to_end(operation.id)
        while len(self._nodes) > REMEMBERED:
            self._nodes.popitem(last=False)

    async def list_page(self, query: OperationQuery, actor: Principal | None = None) -> Page[Operation]:
        """Return one page within the actor's scope, the newest first unless `sort` says otherwise."""
        reached = None if actor is None else self._reached(actor.scope)
        items, total = await store.list_page(self._database, query, reached)
        for item in items:
            self._note_nodes(item)
        return Page(items=[overlay(item, self._live(item.id)) for item in items], total=total)

    async def list_log(self, operation_id: str, query: ListQuery, actor: Principal) -> Page[OperationLine]:
        """Return one page of an operation's log, the newest line first. Raises `NotFound`, also beyond the scope."""
        operation = await self.get(operation_id, actor)
        fresh = list(reversed(self._said.get(operation.id, ())))
        shown = fresh[query.offset : query.offset + query.limit]
        rest = max(0, query.offset - len(fresh))
        written, total = await store.list_lines(self._database, operation_id, query.limit - len(shown), rest)
        return Page(items=[*shown, *written], total=total + len(fresh))

    def list_open(self) -> list[Operation]:
        """Return what has not ended, the oldest first."""
        return [live for operation_id in list(self._open) if (live := self._live(operation_id)) is not None]

    async def cancel(self, operation_id: str, actor: Principal) -> Operation:
        """Cancel what can be cancelled. Raises `NotFound`, `NotAllowed` (ended, or its kind cannot)."""
        operation = await self.get(operation_id, actor)
        if operation.state in ENDED:
            raise NotAllowed(f"operation {operation_id} has ended ({operation.state}); there is nothing to cancel")
        return await self._controller(operation, "cancelled").cancel(operation, actor)

    async def retry(self, operation_id: str, actor: Principal) -> Operation:
        """Do the failed part of an ended operation again, as a new one. Raises `NotFound`, `NotAllowed`."""
        operation = await self.get(operation_id, actor)
        if operation.state not in {OperationState.FAILED, OperationState.CANCELLED}:
            raise NotAllowed(
                f"operation {operation_id} is {operation.state}; only a failed or cancelled one is retried"
            )
        return await self._controller(operation, "retried").retry(operation, actor)

    async def pause(self, operation_id: str, actor: Principal) -> Operation:
        """Begin nothing new. Raises `NotFound`, `NotAllowed` (ended, paused already, or its kind cannot)."""
        operation = await self.get(operation_id, actor)
        if operation.state in {*ENDED, OperationState.PAUSED}:
            raise NotAllowed(f"operation {operation_id} is {operation.state}; it cannot be paused")
        return await self._pauser(operation).pause(operation, actor)

    async def resume(self, operation_id: str, actor: Principal) -> Operation:
        """Go on. Raises `NotFound`, `NotAllowed` (not paused, or its kind cannot)."""
        operation = await self.get(operation_id, actor)
        pauser = self._pauser(operation)
        if operation.state is not OperationState.PAUSED:
            raise NotAllowed(f"operation {operation_id} is {operation.state}, not paused")
        return await pauser.resume(operation, actor)

    def _pauser(self, operation: Operation) -> Pauser:
        for prefix, controller in self._controllers.items():
            if operation.kind.startswith(prefix) and isinstance(controller, Pauser):
                return controller
        raise NotAllowed(
            f"an operation of kind {operation.kind} cannot be paused or resumed: its parts go out together; cancel it",
            reason="cannot_pause",
            kind=operation.kind,
        )

    def _controller(self, operation: Operation, verb: str) -> Controller:
        for prefix, controller in self._controllers.items():
            if operation.kind.startswith(prefix):
                return controller
        raise NotAllowed(f"an operation of kind {operation.kind} cannot be {verb}", kind=operation.kind)
