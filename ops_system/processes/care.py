"""One instance in care: carries out what `lifecycle.decide` says and tells it what happened. Made by `supervisor`.

Its mailbox is handled at once and to the end on the loop, so a restart waits for no tick; what takes time (preparing,
hooks, probes, emptying a tree) runs as one named task per errand and answers with an event.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Coroutine
from typing import Any, assert_never

from ops_system.model.errors import NotAllowed, OpsError
from ops_system.model.instances import Desired, InstanceReport
from ops_system.model.reasons import Reason
from ops_system.processes import lifecycle
from ops_system.processes.adopt_care import AdoptedCare
from ops_system.processes.base import Exit, Handle, Launch
from ops_system.processes.commands import CommandResult
from ops_system.processes.crashes import Ending
from ops_system.processes.errands import Clocks, Errands
from ops_system.processes.journal import RunRecord
from ops_system.processes.keeping import LastRecord
from ops_system.processes.ports import explain_taken
from ops_system.processes.preparing import prepare, remove
from ops_system.processes.probing import keep_probing
from ops_system.processes.spec import PreparedInstance, RunSpec
from ops_system.processes.states import (
    Action,
    CancelLaunch,
    CancelPrepare,
    CancelTimers,
    Emit,
    Event,
    Exited,
    FilesRemoved,
    KillTree,
    LaunchError,
    LetGo,
    Look,
    Prepare,
    PrepareDone,
    ProbeFailed,
    ProbePassed,
    RemoveFiles,
    SetTimer,
    Spawned,
    Stage,
    StartProbe,
    StopPolitely,
    StopProbe,
    Timer,
    TreeAlive,
    TreeEmpty,
    View,
)
from ops_system.processes.states import Launch as LaunchAction
from ops_system.processes.surroundings import (
    EntrypointMissing,
    Surroundings,
    make_env,
    make_launch,
    run_hook,
    run_within_limit,
)
from ops_system.processes.telling import Telling
from ops_system.processes.trees import empty_tree, wait_for_exit

_log = logging.getLogger(__name__)


class Care:
    """Shell around one `View`."""

    def __init__(self, around: Surroundings, spec: RunSpec, record: RunRecord | None) -> None:
        self._around = around
        self._loop = asyncio.get_running_loop()
        self.view = View(spec, restarts=record.restarts, history=record.history) if record else View(spec)
        self.handle: Handle | None = None
        self._number = record.number if record else int(around.clock().timestamp())
        self._launched: RunSpec | None = record.spec if record else None  # what runs, while the wish may be newer
        self._prepared: PreparedInstance | None = record.prepared if record else None
        self._exited = asyncio.Event()
        self._spawned_s: float | None = None  # None: an earlier supervisor started it
        self._inbox: deque[Event] = deque()
        self._is_deciding = False
        self._clocks = Clocks(self.post)
        self._errands = Errands(around.group, spec.instance_id)
        self._telling = Telling(around)
        self._record = LastRecord(around.store, around.platform.boot_id(), record)
        self._adopted = AdoptedCare(self, around)

    # --- the mailbox
    def post(self, event: Event) -> None:
        """Handle `event` now, or right after the one being handled."""
        self._inbox.append(event)
        if self._is_deciding:
            return
        self._is_deciding = True
        try:
            while self._inbox:
                self._decide(self._inbox.popleft())
        finally:
            self._is_deciding = False
        self._keep()
        self._telling.tell(self.view)

    def _decide(self, event: Event) -> None:
        before = self.view
        self.view, actions = lifecycle.decide(before, event, self._loop.time(), self._around.dice())
        if isinstance(event, Exited) and self.view.ended is not None:
            self._note_crash(before)
        for action in actions:
            self._do(action)

    def _note_crash(self, before: View) -> None:
        ending = Ending(
            before=before,
            after=self.view,
            spec=self._launched or before.spec,
            handle=self.handle,
            env_names=self._env(self._prepared) if self._prepared else (),
            at=self._around.clock(),
            running_s=None if self._spawned_s is None else self._loop.time() - self._spawned_s,
            own_pid=os.getpid(),
        )
        self._telling.tell_crash(ending)

    def report(self) -> InstanceReport:
        """Return the newest picture."""
        return self._telling.newest(self.view)

    def close(self) -> None:
        """Switch the clocks off; processes go on."""
        self._clocks.cancel_all()

    # --- what is kept on disk
    def _keep(self) -> None:
        if self._launched is None or self.view.stage in {Stage.REMOVED, Stage.LAUNCHING}:
            return  # there is nothing to find again; what is being launched was kept before it was asked for
        spec = self._launched if self.handle else self.view.spec
        self._record.keep(self.view, spec, self.handle, self._number, self._prepared)

    # --- what is to be done
    def _do(self, action: Action) -> None:  # noqa: C901, PLR0912 - one line an action
        match action:
            case Prepare():
                self._errands.start("prepare", self._prepare())
            case CancelPrepare():
                self._errands.cancel("prepare")
            case LaunchAction():
                self._launch()
            case CancelLaunch():
                self._cancel_launch()
            case StopPolitely():
                self._stop_politely()
            case KillTree(post_stop):
                self._kill_tree(post_stop)
            case StartProbe():
                self._errands.start("probe", self._probe())
            case StopProbe():
                self._errands.cancel("probe")
            case SetTimer(timer, delay_s):
                self._set_timer(timer, delay_s)
            case CancelTimers():
                self._clocks.cancel_all()
            case Emit(kind, reason):
                self.emit(kind, reason)
            case Look():
                self._errands.start("look", self._adopted.look_again())
            case LetGo():
                self._let_go()
            case RemoveFiles():
                self._errands.start("remove", self._remove())
            case _:
                assert_never(action)

    def start_errand(self, name: str, errand: Coroutine[Any, Any, None]) -> None:
        """Run it beside, in the place of an older one of that name."""
        self._errands.start(name, errand)

    def _set_timer(self, timer: Timer, delay_s: float) -> None:
        if timer is Timer.BACKOFF:
            self._telling.note_next_try(delay_s)
        self._clocks.set(timer, delay_s)

    def note(self, reason: Reason) -> None:
        """Write a line into the timeline."""
        self.emit("state", reason)

    def emit(self, kind: str, reason: Reason | None) -> None:
        """Write a line of the timeline."""
        self._telling.emit(self.view, kind, reason)

    # --- preparing and removing
    async def _prepare(self) -> None:
        outcome = await prepare(self._around, self.view.spec)
        if isinstance(outcome, PreparedInstance):
            self._prepared = outcome
            self.post(PrepareDone())
        else:
            self.post(outcome)

    async def _remove(self) -> None:
        problem = await remove(self._around, self.view.spec)
        if problem is not None:
            self.post(problem)
            return
        self._record.remove(self.view.spec.instance_id)
        self._prepared = self._launched = None
        self.post(FilesRemoved())

    # --- starting
    def _launch(self) -> None:
        if self.view.spec.takeover is not None:
            self._launched = self.view.spec
            self._errands.start("launch", self._adopted.launch())
            return
        taken = explain_taken(self.view.spec.ports)
        if taken is not None:
            self.post(LaunchError(taken))
        elif self.view.spec.pre_start:
            self._errands.start("launch", self._launch_after_hook())
        else:
            self._spawn()

    async def _launch_after_hook(self) -> None:
        failure = await self.run_hook("pre_start", self.view.spec.pre_start)
        if failure is not None:
            self.post(LaunchError(failure))
            return
        self._spawn()

    def _cancel_launch(self) -> None:
        if "launch" in self._errands and self.handle is None:
            self._errands.cancel("launch")
            self.post(LaunchError(Reason("stop_requested", "the start was called off")))

    def _spawn(self) -> None:
        try:
            launch = self._make_launch()
            # kept before it is asked for, so that an end nobody hears of is known by its note
            self._record.keep(self.view, self.view.spec, None, self._number, self._prepared)
            self._exited.clear()
            self._spawned_s = self._loop.time()
            self.handle = self._around.platform.spawn(launch, self._on_pid, self.has_ended)
            self._telling.tell_unenforced(self.view, self._launched)
            self._launched = self.view.spec
        except EntrypointMissing as error:
            self.post(LaunchError(Reason("entrypoint_missing", str(error))))
        except (OSError, ValueError) as error:
            self.post(LaunchError(Reason("spawn_failed", f"cannot be started: {error}")))
        except OpsError as error:
            self.post(LaunchError(Reason("spawn_refused", error.message)))

    def _make_launch(self) -> Launch:
        prepared, spec = self._prepared, self.view.spec
        assert prepared is not None
        self._number += 1
        run_dir = self._around.store.run_dir(spec.instance_id)
        return make_launch(spec, prepared, self._number, run_dir, self._env(prepared))

    @property
    def prepared(self) -> PreparedInstance | None:
        """Where the instance's files are."""
        return self._prepared

    def next_number(self) -> int:
        """Return the number of the next start."""
        self._number += 1
        return self._number

    def command_env(self) -> dict[str, str]:
        """Return the environment of the instance's commands. Only once it is prepared."""
        assert self._prepared is not None
        return self._env(self._prepared)

    def _env(self, prepared: PreparedInstance) -> dict[str, str]:
        return make_env(self.view.spec, prepared, self._around.inherited_env)

    def command_prefix(self) -> tuple[str, ...]:
        """Return what goes before a command to run it as the instance's user. Raises Invalid."""
        return self._around.platform.user_prefix(self.view.spec.user)

    def _on_pid(self, handle: Handle) -> None:
        self.handle = handle
        assert handle.leader is not None
        self.post(Spawned(handle.leader.pid, self._around.clock()))

    def has_ended(self, end: Exit) -> None:
        """Tell the life cycle that the leader has ended."""
        self._exited.set()
        self.post(Exited(end.code, end.signal, end.oom))

    def adopt(self, handle: Handle, run_dir: str) -> bool:
        """Watch a start of an earlier supervisor. False: it has ended."""
        self._number = max(self._number, handle.number)
        self.handle = handle
        self._exited.clear()
        on_exit = self._adopted.on_exit if handle.is_adopted else self.has_ended
        is_watched = self._around.platform.readopt(handle, run_dir, on_exit)
        if not is_watched:
            self._exited.set()
        return is_watched

    # --- stopping
    def _stop_politely(self) -> None:
        takeover = self.view.spec.takeover
        if takeover is not None and self.handle is not None:
            self._around.platform.members(self.handle)  # it remembers them: what loses its parent now is not lost
        if takeover is not None and takeover.restart_command and self.view.is_restart_wanted:
            self._errands.start("stop", self._adopted.restart(takeover.restart_command))
        elif self._prepared is not None and self._prepared.stop_argv:
            self._errands.start("stop", self._run_stop_command(self._prepared.stop_argv))
        else:
            self.signal_leader()

    def signal_leader(self) -> None:
        """Send the stop signal."""
        leader = self.handle.leader if self.handle else None
        if leader is None:
            return
        try:
            self._around.platform.signal(leader, self.view.spec.stop.signal)
        except (PermissionError, KeyError) as error:
            _log.warning("%s: cannot send %s: %s", self.view.spec.instance_id, self.view.spec.stop.signal, error)

    async def _run_stop_command(self, argv: tuple[str, ...]) -> None:
        failure = await self.run_hook("stop command", argv)
        if failure is not None and self.view.stage is Stage.STOPPING:
            self.emit("stop", failure)
            self.signal_leader()

    async def run_hook(self, name: str, argv: tuple[str, ...]) -> Reason | None:
        """Run a command of the instance; None: it went well."""
        prepared = self._prepared
        if prepared is None:
            return None
        return await run_hook(name, argv, prepared, self._env(prepared), self.command_prefix)

    async def run_beside(self, argv: tuple[str, ...]) -> CommandResult:
        """Run a command beside the running instance. Raises NotAllowed, Invalid, TimedOut."""
        prepared, spec = self._prepared, self.view.spec
        if self.view.stage is not Stage.RUNNING or prepared is None:
            raise NotAllowed(f"instance {spec.instance_id} ({spec.source.name}) is {self.view.state}, not running")
        return await run_within_limit((*self.command_prefix(), *argv), prepared, self._env(prepared))

    def _let_go(self) -> None:
        """Stop watching. A command of ours that is at work is not ended: it may be the service itself."""
        self._errands.cancel_all()
        self._around.platform.release(self.view.spec.instance_id)
        self.handle = None

    # --- emptying the tree
    def _kill_tree(self, post_stop: bool) -> None:
        handle = self.handle
        if self.view.spec.takeover is not None:
            if self.view.spec.is_watched_only and self.view.spec.desired is Desired.RUNNING:
                self._tree_is_empty()  # nothing will be started, so nothing of it needs to go
                return
            if handle is None:
                handle = self._adopted.rest()
                self._exited.set()
        is_empty = handle is None or (self._exited.is_set() and self._around.platform.is_surely_empty(handle))
        if is_empty and not post_stop:
            self._tree_is_empty()
        else:
            self._errands.start("kill", self._empty_tree(handle, post_stop))

    async def _empty_tree(self, handle: Handle | None, post_stop: bool) -> None:
        if handle is not None:
            await empty_tree(self._around.platform, handle, lambda pids: self.post(TreeAlive(pids)))
            await wait_for_exit(self._exited)
        self._errands.cancel("stop")
        if post_stop:
            failure = await self.run_hook("post_stop", self.view.spec.post_stop)
            if failure is not None:
                self.emit("stop", failure)
        self._tree_is_empty()

    def _tree_is_empty(self) -> None:
        self._errands.cancel("stop")
        self._around.platform.release(self.view.spec.instance_id)
        self.handle = None
        self.post(TreeEmpty())

    # --- probing
    async def _probe(self) -> None:
        prepared = self._prepared
        cwd = prepared.dir if prepared else "/"
        env = self._env(prepared) if prepared else {}
        await keep_probing(self.view.spec.probe, cwd, env, self.command_prefix(), self._take_answer)

    def _take_answer(self, answer: ProbePassed | ProbeFailed) -> bool | None:
        self.post(answer)
        if not self._errands.is_current("probe"):
            return None  # the answer itself ended the probing
        return self.view.stage is Stage.STARTING
