"""The worker's own update (trust S14, S21): fetched, verified and tried, handed over to, proven by a link.

    idle --order--> fetch --> verify --> switch: handover by execve (`switch`) --> prove --link--> idle
                      |          |                                                   |
                      refused, broken: the outcome says why                          none in time: the way back

`read` answers at any time; the master asks while an order is open. Nothing here touches services.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from ops_system import __version__
from ops_system.model.errors import Conflict, Forbidden, NotAllowed
from ops_system.model.packages import PackageRef
from ops_system.model.reasons import Reason
from ops_system.model.versions import is_newer
from ops_system.processes.commands import run_command
from ops_system.processes.spec import PrepareFailed
from ops_system.protocol.requests import ReadUpdate, UpdateState, UpdateWorker
from ops_system.runtime.tasks import StopRequest
from ops_system.service.surroundings import clean_environment
from ops_system.worker.fetch import PackageStore
from ops_system.worker.fingerprint.base import arch_name, os_name
from ops_system.worker.placement import inner_path
from ops_system.worker.policy import Policy
from ops_system.worker.programs import Outcome, Pending, Program, ProgramState, proven, returned
from ops_system.worker.switch import Seat, hash_program, load_state, pending_of, save_state, state_path

_log = logging.getLogger(__name__)

TRY_WITHIN_S = 60.0
RETRY_SAVE_S = 5.0
_STEPS = {"download": "fetch", "verify": "verify", "unpack": "verify"}


class Updates:
    """See the module. `linked` returns once there is a link; `why_not_linked` says what is in its way."""

    def __init__(
        self,
        work_dir: Path,
        seat: Seat | None,
        policy: Policy,
        packages: PackageStore,
        *,
        linked: Callable[[], Awaitable[object]],
        why_not_linked: Callable[[], str],
        version: str = __version__,
    ) -> None:
        self._path = state_path(work_dir)
        self._seat = seat
        self._policy = policy
        self._packages = packages
        self._linked = linked
        self._why_not_linked = why_not_linked
        self._version = version
        self._state = load_state(self._path)
        self._order: UpdateWorker | None = None
        self._ordered = asyncio.Event()
        self._progress = ("fetch", 0, 0)

    def packages_in_use(self) -> frozenset[str]:
        """Return the packages that are programs of this node."""
        ordered = frozenset({self._order.package.sha256}) if self._order else frozenset()
        return self._state.packages() | ordered

    # --- answers --------------------------------------------------------------------------------------------------
    async def begin(self, order: UpdateWorker) -> UpdateState:
        """Answer `update.begin`. Raises Forbidden (the node's policy), NotAllowed, Conflict."""
        known = await self.read(ReadUpdate())
        if known.order_id == order.order_id:
            return known
        self._check(order)
        if self._order is not None or self._state.pending is not None:
            raise Conflict("another update of this worker is under way; wait for its end")
        self._order, self._progress = order, ("fetch", 0, order.package.size_bytes)
        self._ordered.set()
        return await self.read(ReadUpdate())

    async def read(self, _question: ReadUpdate) -> UpdateState:
        """Answer `update.state`."""
        pending, outcome = self._state.pending, self._state.outcome
        if self._order is not None:
            return UpdateState(self._order.order_id, self._version, *self._progress)
        if pending is not None:
            return UpdateState(pending.order_id, self._version, "prove")
        if outcome is not None:
            return UpdateState(outcome.order_id, self._version, is_ended=True, reason=outcome.reason)
        return UpdateState("", self._version)

    def _check(self, order: UpdateWorker) -> None:
        self._policy.check_self_update()
        ref = order.package
        if self._seat is None:
            words = "it runs from source, or on Windows; update it by hand"
            raise NotAllowed(f"this worker is no executable that can hand over to another: {words}")
        if not is_newer(ref.version, self._version):
            raise NotAllowed(f"version {ref.version} is not newer than {self._version}, which runs here")
        if order.os not in {"any", os_name()} or order.arch not in {"any", arch_name()}:
            raise NotAllowed(f"the package is for {order.os} {order.arch}, this node is {os_name()} {arch_name()}")
        refusal = self._policy.refusal_of_package(ref)
        if refusal is not None:
            raise Forbidden(refusal.message, **refusal.params)

    # --- life -----------------------------------------------------------------------------------------------------
    async def run(self, stop: StopRequest) -> None:
        """Prove this program where that is due, then carry out orders until cancelled."""
        if self._seat is not None and (pending := pending_of(self._seat)) is not None:
            await self._prove(pending, stop)
        while True:
            await self._ordered.wait()
            self._ordered.clear()
            order = self._order
            assert order is not None
            _log.info("update to %s: begun", order.package.version)
            try:
                program = await self._make_ready(order)
                pending = Pending(order.order_id, program, order.prove_within_s)
                state = ProgramState(self._state.current, self._state.previous, pending)
                await asyncio.to_thread(save_state, self._path, state)
            except PrepareFailed as problem:
                await self._end(order, problem.reason)
            except OSError as problem:
                await self._end(order, Reason("update_failed", f"{self._path.parent}: {problem}"))
            else:
                self._progress = ("switch", 0, 0)
                stop.ask(f"version {program.version} takes over", is_handover=True)

    async def _prove(self, pending: Pending, stop: StopRequest) -> None:
        try:
            async with asyncio.timeout(pending.prove_within_s):
                await self._linked()
        except TimeoutError:
            words = f"no link to the master within {pending.prove_within_s:g} s: {self._why_not_linked()}"
            _log.error("version %s is given up: %s", self._version, words)
            await self._keep(returned(self._state, Reason("update_failed", words)))
            stop.ask("back to what ran before", is_handover=True)
            await asyncio.Event().wait()
        else:
            _log.info("version %s has proven itself", self._version)
            await self._keep(proven(self._state))

    async def _make_ready(self, order: UpdateWorker) -> Program:
        """Fetch, verify and try the program. Raises PrepareFailed, OSError."""
        folder = await self._packages.ensure(order.package, self._note)
        self._progress = ("verify", 0, 0)
        path = folder / inner_path(order.entrypoint)
        if not path.is_file():
            words = f'the package has no file "{order.entrypoint}"'
            raise PrepareFailed(Reason("entrypoint_missing", words, {"entrypoint": order.entrypoint}))
        await try_version(path, order.package)
        file_sha256 = await asyncio.to_thread(hash_program, str(path))
        return Program(order.package.version, order.package.sha256, str(path), file_sha256)

    def _note(self, step: str, bytes_done: int, bytes_total: int) -> None:
        self._progress = (_STEPS.get(step, "verify"), bytes_done, bytes_total)

    async def _end(self, order: UpdateWorker, reason: Reason) -> None:
        _log.warning("update to %s: %s", order.package.version, reason.message)
        outcome = Outcome(order.order_id, order.package.version, reason)
        await self._keep(ProgramState(self._state.current, self._state.previous, outcome=outcome))
        self._order = None

    async def _keep(self, state: ProgramState) -> None:
        """Remember `state`, on the disk first, however long that takes."""
        while True:
            try:
                await asyncio.to_thread(save_state, self._path, state)
            except OSError as problem:
                _log.warning("%s: %s", self._path, problem)
                await asyncio.sleep(RETRY_SAVE_S)
            else:
                self._state = state
                return


async def try_version(path: Path, ref: PackageRef) -> None:
    """Have the program say its version: it must start here, and be what its package says. Raises PrepareFailed."""
    try:
        async with asyncio.timeout(TRY_WITHIN_S):
            said = await run_command((str(path), "--version"), str(path.parent), clean_environment(os.environ))
    except (OSError, ValueError, TimeoutError) as problem:
        words = str(problem) or f"no answer within {TRY_WITHIN_S:.0f} s"
        raise PrepareFailed(Reason("update_failed", f"the new program does not run here: {words}")) from problem
    if said.code != 0 or said.last_line.split()[-1:] != [ref.version]:
        words = f"asked for its version, {ref.version}, the new program said {said.last_line!r} (exit {said.code})"
        raise PrepareFailed(Reason("update_failed", words))
