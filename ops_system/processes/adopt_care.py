"""The errands of an instance that others started: take it over, follow a successor, restart by command, look again.

Made by `care`, which decides nothing here either: what happened is posted, `lifecycle` judges it.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from ops_system.model.errors import OpsError
from ops_system.model.instances import Desired
from ops_system.model.reasons import Reason
from ops_system.processes.adopt import CannotTake
from ops_system.processes.adopt_facts import read_started_at
from ops_system.processes.adopt_find import Tree
from ops_system.processes.adopt_start import FIRST_LOOK_S, LAST_LOOK_S, Start, find_or_start, look
from ops_system.processes.base import Exit, Handle, Identity
from ops_system.processes.spec import PreparedInstance
from ops_system.processes.states import Event, LaunchError, Reappeared, Spawned, Stage, View
from ops_system.processes.surroundings import STDOUT_NAME, Surroundings

LOOK_EVERY_S = 2.0
_NOBODY = -1


class Cared(Protocol):
    """What is asked of `care.Care`."""

    view: View
    handle: Handle | None

    @property
    def prepared(self) -> PreparedInstance | None:
        """Where the instance's files are."""
        ...

    def post(self, event: Event) -> None:
        """Handle an event."""
        ...

    def start_errand(self, name: str, errand: Coroutine[Any, Any, None]) -> None:
        """Run it beside, in the place of an older one of that name."""
        ...

    def next_number(self) -> int:
        """Return the number of the next start."""
        ...

    def adopt(self, handle: Handle, run_dir: str) -> bool:
        """Watch this process. False: it has ended."""
        ...

    def has_ended(self, end: Exit) -> None:
        """Tell the life cycle that the leader has ended."""
        ...

    def emit(self, kind: str, reason: Reason | None) -> None:
        """Write a line of the timeline."""
        ...

    def signal_leader(self) -> None:
        """Send the stop signal."""
        ...

    def command_env(self) -> dict[str, str]:
        """Return the environment of the instance's commands."""
        ...

    def command_prefix(self) -> tuple[str, ...]:
        """Return what goes before a command to run it as the instance's user. Raises Invalid."""
        ...

    async def run_hook(self, name: str, argv: tuple[str, ...]) -> Reason | None:
        """Run a command of the instance; None: it went well."""
        ...


class AdoptedCare:
    """See the module."""

    def __init__(self, care: Cared, around: Surroundings) -> None:
        self._care = care
        self._around = around
        self._is_restarting = False
        self._unsaid: Exit | None = None  # the end of the former leader while the restart command is at work

    def _start(self, *, is_free_tree: bool = True) -> Start:
        """Return how it is found. Without `is_free_tree` what belongs to it now is out of bounds, too.

        Raises Invalid when the instance's user does not exist.
        """
        care, spec = self._care, self._care.view.spec
        prepared = care.prepared
        assert spec.takeover is not None
        assert prepared is not None
        return Start(
            instance_id=spec.instance_id,
            takeover=spec.takeover,
            guard=self._around.guard(spec.instance_id if is_free_tree else None),
            boot_id=self._around.platform.boot_id(),
            argv=(*care.command_prefix(), *prepared.argv) if prepared.argv else (),
            dir=prepared.dir,
            env=care.command_env(),
            log_path=str(Path(prepared.log_dir, STDOUT_NAME)),
        )

    # --- taking over ----------------------------------------------------------------------------------------------
    async def launch(self) -> None:
        """Take the process over, started when it does not run. Answers with Spawned or LaunchError."""
        try:
            found = await find_or_start(self._start())
        except CannotTake as problem:
            self._care.post(LaunchError(problem.reason))
        except OpsError as problem:
            self._care.post(LaunchError(Reason("spawn_refused", problem.message)))
        else:
            if not self._take(found.tree, is_found=not found.is_started):
                reason = Reason("process_gone", f"pid {found.tree.leader.pid} ended while it was taken over")
                self._care.post(LaunchError(reason))

    def _take(self, tree: Tree, *, is_found: bool) -> bool:
        """Take a process into care. False: it has ended meanwhile."""
        leader = tree.leader
        identity = self._around.platform.identity(leader.pid)
        if identity is None or (leader.start_time and identity.start_time != leader.start_time):
            return False
        instance_id = self._care.view.spec.instance_id
        handle = Handle(instance_id, self._care.next_number(), identity, identity, is_child=False, is_adopted=True)
        if not self._care.adopt(handle, str(self._around.store.run_dir(instance_id))):
            return False
        self._care.post(Spawned(leader.pid, read_started_at(leader) or self._around.clock(), is_found=is_found))
        return True

    def rest(self) -> Handle:
        """Return a handle of what the start command left behind, when no leader was found."""
        nobody = Identity(self._around.platform.boot_id(), _NOBODY, 0)
        return Handle(self._care.view.spec.instance_id, 0, nobody, nobody, is_child=False, is_adopted=True)

    # --- its end --------------------------------------------------------------------------------------------------
    def on_exit(self, end: Exit) -> None:
        """The leader has ended. While nobody asked for that, another may have taken its place."""
        if self._is_restarting:
            self._unsaid = end
        elif self._care.view.stage in {Stage.STARTING, Stage.RUNNING}:
            self._care.start_errand("follow", self._follow(end))
        else:
            self._care.has_ended(end)

    async def _follow(self, end: Exit) -> None:
        """Take the successor. By name an orphan of the dead one would look like one; a PID file names it for sure."""
        takeover = self._care.view.spec.takeover
        is_named = takeover is not None and takeover.strategy == "pidfile"
        try:
            is_followed = self._take(await look(self._start(is_free_tree=is_named)), is_found=True)
        except (CannotTake, OpsError):
            is_followed = False
        if not is_followed:
            self._care.has_ended(end)

    async def look_again(self) -> None:
        """Look now and then whether it runs again, until it does or is wanted no more."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            view = self._care.view
            if view.stage is not Stage.IDLE or view.spec.desired is not Desired.RUNNING:
                return
            if self._care.prepared is not None and await self._is_there():
                self._care.post(Reappeared())
                return

    async def _is_there(self) -> bool:
        try:
            await look(self._start())
        except (CannotTake, OpsError):
            return False
        return True

    # --- restart --------------------------------------------------------------------------------------------------
    async def restart(self, argv: tuple[str, ...]) -> None:
        """Run the restart command and take what it leaves running; when it fails, stop politely instead."""
        former = self._care.handle
        self._is_restarting, self._unsaid = True, None
        try:
            failure = await self._care.run_hook("restart command", argv)
            if failure is None:
                await self._take_next(former)
                return
            self._care.emit("stop", failure)
            self._care.signal_leader()
        finally:
            self._say_end_of(former)

    def _say_end_of(self, former: Handle | None) -> None:
        self._is_restarting = False
        if self._unsaid is not None and self._care.handle is former:
            self._care.has_ended(self._unsaid)

    async def _take_next(self, former: Handle | None) -> None:
        """Wait for what the command started. One that kept its process and only renewed its children is fine, too."""
        pause_s = FIRST_LOOK_S
        while self._care.view.stage is Stage.STOPPING:
            with contextlib.suppress(CannotTake):
                tree = await look(self._start())
                is_former = former is not None and tree.leader.pid == former.keeper.pid
                if (not is_former or pause_s >= LAST_LOOK_S) and self._take(tree, is_found=True):
                    return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LAST_LOOK_S)
