"""Taking a process over, or starting it first: what `Launch` means for an instance that others start. Used by `care`.

    found by its strategy             taken as it is, nothing is started
    in doubt (several, unreadable)    refused: a second copy would be worse
    surely not there                  the start command runs, and its strategy is asked until it is found

The start command runs in a session of its own, with output into the instance's log, and is never waited for: it may be
the service itself. All it starts carries `OPS_ADOPTED`, so that a worker that dies meanwhile runs it no second time.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from ops_system.model.ids import InstanceId
from ops_system.model.reasons import Reason
from ops_system.model.takeover import Takeover
from ops_system.processes import procfs
from ops_system.processes.adopt import NOT_RUNNING, CannotTake, Guard
from ops_system.processes.adopt_find import Tree, find_lookalike, find_tree
from ops_system.processes.adopt_tree import read_started
from ops_system.processes.base import ADOPTED_MARKER, MARKER

FIRST_LOOK_S = 0.02
LAST_LOOK_S = 0.5


class Start(msgspec.Struct, frozen=True):
    """How to find it and how to start it. `argv` is empty for what is only watched; it has the user's prefix."""

    instance_id: InstanceId
    takeover: Takeover
    guard: Guard
    boot_id: str
    argv: tuple[str, ...]
    dir: str
    env: dict[str, str]
    log_path: str


class Found(msgspec.Struct, frozen=True):
    """Who was taken; `is_started`: by our start command."""

    tree: Tree
    is_started: bool


async def find_or_start(start: Start) -> Found:
    """Return the process, started when it did not run. Looks for ever. Raises CannotTake."""
    try:
        return Found(await look(start), is_started=False)
    except CannotTake as problem:
        if problem.reason.code not in NOT_RUNNING:
            raise
        alike = await asyncio.to_thread(find_lookalike, start.takeover, start.guard)
        if alike is not None:
            return Found(Tree(alike, ()), is_started=False)
        if not start.argv:
            words = f"it does not run, and there is no start command: {problem.reason.message}"
            raise CannotTake(Reason("not_running", words)) from None
    is_under_way = bool(await asyncio.to_thread(lambda: read_started(start.instance_id, procfs.read_table())))
    return Found(await _wait(start, None if is_under_way else run_start_command(start)), is_started=True)


async def look(start: Start) -> Tree:
    """Return the process if its strategy finds it. Raises CannotTake."""
    return await asyncio.to_thread(find_tree, start.takeover, start.guard, start.boot_id)


async def _wait(start: Start, ended: Callable[[], int | None] | None) -> Tree:
    pause_s = FIRST_LOOK_S
    while True:
        code = ended() if ended is not None else None
        try:
            return await asyncio.to_thread(find_tree, start.takeover, start.guard, start.boot_id)
        except CannotTake as problem:
            if code:
                words = f"the start command ended with code {code}; its output is in stdout"
                raise CannotTake(Reason("start_command_failed", words, {"exit_code": code})) from problem
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, LAST_LOOK_S)


def run_start_command(start: Start) -> Callable[[], int | None]:
    """Run it and let go; the result tells its exit code, None while it runs. Raises CannotTake."""
    env = {name: text for name, text in start.env.items() if name != MARKER} | {ADOPTED_MARKER: start.instance_id}
    try:
        with Path(start.log_path).open("ab") as log:
            child = subprocess.Popen(
                start.argv,
                cwd=start.dir,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except (OSError, ValueError) as problem:
        words = f"the start command cannot be run: {problem}"
        raise CannotTake(Reason("start_command_failed", words)) from None
    if os.name == "nt":
        return child.poll
    child.returncode = 0  # waited for by pid, not by this object
    return _Ended(child.pid)


class _Ended:
    """Asks for the end of a child once it has come; the reaper of orphans may have taken it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._code: int | None = None

    def __call__(self) -> int | None:
        if self._code is None:
            try:
                status = wait_for_child(self._pid)
            except ChildProcessError:
                self._code = 0
            else:
                self._code = None if status is None else os.waitstatus_to_exitcode(status)
        return self._code


def wait_for_child(pid: int) -> int | None:
    """Reap a child that has ended and return its wait(2) status, None while it runs. Raises ChildProcessError."""
    if sys.platform == "win32":
        raise ChildProcessError(pid)
    else:  # noqa: RET506 - mypy takes code behind an early end for unreachable on one system
        waited, status = os.waitpid(pid, os.WNOHANG)
        return status if waited == pid else None
