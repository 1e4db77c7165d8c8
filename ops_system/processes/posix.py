"""Linux and macOS: starting through the keeper, signalling by identity, finding a tree. See `base.Platform`."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ops_system.model.ids import InstanceId
from ops_system.processes import procfs
from ops_system.processes.accounts import as_user
from ops_system.processes.base import Exit, Handle, Identity, Launch, Member, OnExit, OnPid
from ops_system.processes.cgroups import Groups, find_hierarchies
from ops_system.processes.keeper import Fields
from ops_system.processes.keepers import Keepers, end_half_born, end_keeper
from ops_system.processes.notes import exit_of_status, read_note
from ops_system.processes.oom import Explainer
from ops_system.processes.prologue import make_request
from ops_system.processes.reaper import Reaper, become_subreaper
from ops_system.processes.scan import Scanner, is_foreign, oldest
from ops_system.processes.spec import LimitRules
from ops_system.processes.watch import Watch, make_watch

_log = logging.getLogger(__name__)

GROUP_IDLE_S = 5.0
KEEPER_ANSWER_S = 30.0  # a keeper silent for so long hangs, and is not only slow: a start it was asked for fails
_END_S = 1.0
_NOTE_TRIES = 20
_NOTE_PAUSE_S = 0.05


class _Start:
    """A start under watch. `is_kept`: the keeper this worker talks to is its parent and tells how it ends."""

    def __init__(self, handle: Handle, run_dir: str, on_exit: OnExit, on_pid: OnPid | None = None) -> None:
        self.handle = handle
        self.run_dir = run_dir
        self.on_exit = on_exit
        self.on_pid = on_pid
        self.is_kept = False
        self.is_over = False
        self.deadline: asyncio.Handle | None = None

    def cancel_deadline(self) -> None:
        """Nothing is owed any more."""
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


class PosixPlatform:
    """See `base.Platform`."""

    def __init__(self) -> None:
        self._boot_id = procfs.read_boot_id()
        self._scanner = Scanner(self._boot_id)
        self._starts: dict[InstanceId, _Start] = {}
        self._told: dict[InstanceId, Fields] = {}  # by the keeper of the last worker
        self._own: set[int] = set()  # the keeper and its entrypoints: theirs to wait for, whoever inherits them

    # --- opening and closing
    def open(self, state_dir: Path) -> None:
        """Become the reaper of orphans, and ask the keeper of the last worker what lives."""
        self._loop = asyncio.get_running_loop()
        self._watch: Watch = make_watch()
        become_subreaper()
        self._reaper = Reaper(self._own.__contains__, self._is_session)
        self._reaper.open()
        self._keepers = Keepers(state_dir, self._on_frame, self._on_keeper_lost)
        for fields in self._keepers.connect():
            self._told[InstanceId(fields[1].decode())] = fields
        self._sweeping: asyncio.TimerHandle | None = None
        self._keeper: Identity | None = None
        self._know_keeper()
        self._groups = Groups(state_dir, find_hierarchies(state_dir))
        self._ends = Explainer(self._groups.has_oom_kill)

    def close(self) -> None:
        """Stop watching."""
        for start in self._starts.values():
            start.cancel_deadline()
        pid, is_idle = self._keepers.pid, not self._starts
        is_child = self._keepers.is_child
        self._keepers.close()
        if pid is not None and is_child and is_idle:
            end_keeper(pid, _END_S)
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._groups.remove_idle()
        self._reaper.close()
        self._watch.close()
        self._ends.close()

    def _know_keeper(self) -> None:
        pid = self._keepers.pid
        if self._keeper is None and pid is not None:
            self._own.add(pid)
            self._keeper = self._scanner.identity(pid)

    def user_prefix(self, user: str) -> tuple[str, ...]:
        """See `base.Platform`."""
        return tuple(as_user(user))

    def boot_id(self) -> str:
        """See `base.Platform`."""
        return self._boot_id

    # --- starting
    def make_ready(self) -> None:
        """See `base.Platform`. Starts the keeper."""
        try:
            self._keepers.begin()
        except OSError as error:
            _log.warning("the keeper cannot be started now: %s", error)
        else:
            self._know_keeper()
        self._groups.make_ready()

    def spawn(self, launch: Launch, on_pid: OnPid, on_exit: OnExit) -> Handle:
        """See `base.Platform`. The keeper answers; until then the start has no leader."""
        self._keepers.send(self._make_request(launch))
        self._know_keeper()
        self._scanner.expire()
        who = self._keeper or Identity(self._boot_id, 0, 0)
        handle = Handle(launch.instance_id, launch.number, who, is_child=self._keepers.is_child)
        start = _Start(handle, launch.run_dir, on_exit, on_pid)
        start.is_kept = True
        start.deadline = self._loop.call_later(KEEPER_ANSWER_S, self._end_keeper, start)
        self._starts[launch.instance_id] = start
        return handle

    def _make_request(self, launch: Launch) -> bytes:
        groups = self._groups.make(launch.instance_id, launch.limits)
        try:
            return make_request(launch, groups, self._groups.plain(launch.instance_id))
        except BaseException:
            self._groups.remove(launch.instance_id)
            raise

    def _on_frame(self, fields: Fields) -> None:
        if fields[0] not in {b"started", b"ended"}:
            return
        start = self._starts.get(InstanceId(fields[1].decode()))
        if start is None or start.is_over or start.handle.number != int(fields[2]):
            return
        if fields[0] == b"ended":
            self._finish(start, exit_of_status(int(fields[3])))
        else:
            self._started(start, Identity(self._boot_id, int(fields[3]), int(fields[4])))

    def _started(self, start: _Start, leader: Identity) -> None:
        start.cancel_deadline()
        if leader.start_time == 0:
            leader = self._scanner.identity(leader.pid) or leader
        start.handle = msgspec.structs.replace(start.handle, leader=leader)
        self._own.add(leader.pid)
        self._watch_leader(start, leader)
        if start.on_pid is not None:
            start.on_pid(start.handle)

    # --- ending
    def _watch_leader(self, start: _Start, leader: Identity) -> None:
        """Be told by the kernel too: a keeper that hangs or is gone cannot hide an end."""
        try:
            self._watch.add(leader.pid, lambda: self._leader_ended(start))
        except ProcessLookupError:
            self._leader_ended(start)
            return
        if not self._scanner.is_alive(leader):
            self._watch.discard(leader.pid)
            self._leader_ended(start)

    def _leader_ended(self, start: _Start) -> None:
        if start.is_over or start.deadline is not None:
            return
        if start.is_kept:
            start.deadline = self._loop.call_later(KEEPER_ANSWER_S, self._end_keeper, start)
        else:
            start.deadline = self._loop.call_soon(self._end_without_keeper, start)

    def _end_without_keeper(self, start: _Start, tries: int = _NOTE_TRIES) -> None:
        """Learn the end from whoever knows: we inherited the process, or its keeper notes it, maybe in a moment."""
        if start.is_over:
            return
        leader = start.handle.leader
        status = None if leader is None else self._wait(leader.pid)
        end = exit_of_status(status) if status is not None else self.read_exit(start.run_dir, start.handle.number)
        if end is None and tries > 0:
            start.deadline = self._loop.call_later(_NOTE_PAUSE_S, self._end_without_keeper, start, tries - 1)
        else:
            self._finish(start, end or Exit())

    def _finish(self, start: _Start, end: Exit) -> None:
        start.is_over = True
        self._let_go(start)
        start.on_exit(self._ends.explain(start.handle.instance_id, end, start.handle.leader))

    def _let_go(self, start: _Start) -> None:
        start.cancel_deadline()
        leader = start.handle.leader
        if leader is not None:
            self._watch.discard(leader.pid)
            self._own.discard(leader.pid)

    @staticmethod
    def _wait(pid: int) -> int | None:
        """Reap `pid`; None when it is not our child."""
        try:
            waited, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return None
        return status if waited == pid else None

    def _end_keeper(self, start: _Start) -> None:
        """It owes an answer: end it, so that its children come to us and tell themselves."""
        start.deadline = None
        if self._keeper is not None and start.is_kept:
            _log.error("the keeper (pid %d) has not answered for %g s; it is ended", self._keeper.pid, KEEPER_ANSWER_S)
            self.signal(self._keeper, "SIGKILL")
        else:
            self._end_without_keeper(start)

    def _on_keeper_lost(self) -> None:
        """Go on without: its children are ours now, or init's. A start it never answered is looked for."""
        gone, self._keeper = self._keeper, None
        if gone is not None:
            end_keeper(gone.pid, _END_S)
            self._own.discard(gone.pid)
        self._scanner.expire()
        end_half_born()
        for start in tuple(self._starts.values()):
            start.is_kept = False
            if start.is_over:
                continue
            start.cancel_deadline()
            if start.handle.leader is None:
                self._look_for(start)
            elif not self.is_alive(start.handle.leader):
                self._end_without_keeper(start)

    def _look_for(self, start: _Start) -> None:
        members = self._scanner.members(start.handle)
        if members:
            self._started(start, oldest(members))
        else:
            self._end_without_keeper(start)

    # --- finding again
    def readopt(self, handle: Handle, run_dir: str, on_exit: OnExit) -> bool:
        """See `base.Platform`."""
        leader = handle.leader
        if leader is None or not self.is_alive(leader):
            return False
        start = _Start(handle, run_dir, on_exit)
        start.is_kept = self._told_leader(handle.instance_id) == leader
        self._starts[handle.instance_id] = start
        self._own.add(leader.pid)
        self._watch_leader(start, leader)
        return True

    def _told_leader(self, instance_id: InstanceId) -> Identity | None:
        fields = self._told.get(instance_id)
        if fields is None or fields[0] != b"started":
            return None
        return Identity(self._boot_id, int(fields[3]), int(fields[4]))

    def read_exit(self, run_dir: str, number: int) -> Exit | None:
        """See `base.Platform`."""
        instance_id = InstanceId(Path(run_dir).name)
        told = self._told.get(instance_id)
        if told is not None and told[0] == b"ended" and int(told[2]) == number:
            return self._ends.explain(instance_id, exit_of_status(int(told[3])))
        status = read_note(Path(run_dir, "exit"), number)
        return None if status is None else self._ends.explain(instance_id, exit_of_status(status))

    def find_marked(self) -> dict[InstanceId, tuple[Member, ...]]:
        """See `base.Platform`. The keeper's word counts beside: amid an exec a process shows no marker for a moment.

        So does the group: who is in it belongs to the instance, whatever became of its environment.
        """
        found = self._scanner.find_marked()
        for instance_id, pids in self._groups.left().items():
            marked = found.get(instance_id, ())
            others = pids - {member.identity.pid for member in marked}
            hidden = tuple(Member(identity) for pid in others if (identity := self._scanner.identity(pid)) is not None)
            if hidden:
                found[instance_id] = (*marked, *hidden)
        for instance_id in self._told:
            leader = self._told_leader(instance_id)
            members = found.get(instance_id, ())
            is_found = any(member.identity == leader for member in members)
            if leader is not None and not is_found and self.is_alive(leader):
                found[instance_id] = (*members, Member(leader, is_leader=True))
        return found

    def find_start(self, instance_id: InstanceId, members: tuple[Member, ...]) -> Handle:
        """See `base.Platform`. The keeper tells the number; without it the oldest process is the start."""
        leader = oldest(tuple(member for member in members if member.is_leader) or members)
        number = int(self._told[instance_id][2]) if self._told_leader(instance_id) == leader else 0
        return Handle(instance_id, number, self._keeper or leader, leader, is_child=False)

    def release(self, instance_id: InstanceId) -> None:
        """See `base.Platform`."""
        start = self._starts.pop(instance_id, None)
        self._told.pop(instance_id, None)
        if start is not None:
            start.is_over = True
            self._let_go(start)
        if not self._groups.release(instance_id) and self._sweeping is None:
            self._sweeping = self._loop.call_later(GROUP_IDLE_S, self._sweep_groups)

    def _sweep_groups(self) -> None:
        self._sweeping = None
        self._groups.remove_idle()

    # --- looking and signalling
    def identity(self, pid: int) -> Identity | None:
        """See `base.Platform`."""
        return self._scanner.identity(pid)

    def is_alive(self, identity: Identity) -> bool:
        """See `base.Platform`."""
        return self._scanner.is_alive(identity)

    def signal(self, identity: Identity, name: str) -> bool:
        """See `base.Platform`. On Linux through a pidfd taken before the check, so the number cannot change owner."""
        number = signal.Signals[name]
        if identity.pid <= 0:
            return False
        try:
            if sys.platform != "linux":
                return self._signal_by_number(identity, number)
            fd = os.pidfd_open(identity.pid)
            try:
                if not self.is_alive(identity):
                    return False
                signal.pidfd_send_signal(fd, number)
            finally:
                os.close(fd)
        except ProcessLookupError:
            return False
        return True

    def _signal_by_number(self, identity: Identity, number: int) -> bool:
        """Check, then signal: between the two lies a moment that only Linux can close."""
        is_alive = self.is_alive(identity)
        if is_alive:
            os.kill(identity.pid, number)
        return is_alive

    def members(self, handle: Handle) -> tuple[Member, ...]:
        """See `base.Platform`. A start the keeper has not answered yet counts as a member nobody can signal."""
        start = self._starts.get(handle.instance_id)
        if start is not None and not start.is_over and start.handle.leader is None:
            return (Member(Identity(self._boot_id, 0, 0)),)
        grouped = self._groups.pids(handle.instance_id)
        return self._scanner.members(start.handle if start is not None else handle, grouped)

    def kill_at_once(self, handle: Handle) -> None:
        """See `base.Platform`. By cgroup.kill, where the instance has a group."""
        self._groups.kill(handle.instance_id)

    def trees(self, handles: Mapping[InstanceId, Handle]) -> dict[InstanceId, tuple[Identity, ...]]:
        """See `base.Platform`. What our keeper started is walked from its leader and the orphans the keeper took in."""
        kept = {key: leader for key in handles if (leader := self._kept_leader(key)) is not None}
        rest = {key: handle for key, handle in handles.items() if key not in kept}
        found = self._scanner.trees(rest) if rest else {}
        return {**found, **self._scanner.walk(kept, self._orphans())} if kept else found

    def _kept_leader(self, instance_id: InstanceId) -> Identity | None:
        start = self._starts.get(instance_id)
        return start.handle.leader if start is not None and start.is_kept and self._keepers.is_reaper else None

    def _orphans(self) -> list[int]:
        children = procfs.read_children(self._keeper.pid) if self._keeper is not None else None
        return [pid for pid in children or () if pid not in self._own]

    def is_surely_empty(self, handle: Handle) -> bool:
        """See `base.Platform`. The keeper reaps orphans, so whatever the tree left behind would be its child now."""
        start = self._starts.get(handle.instance_id)
        if start is None or not (start.is_over and start.is_kept and self._keepers.is_reaper) or self._keeper is None:
            return False
        children = procfs.read_children(self._keeper.pid)
        if children is None or self._groups.pids(handle.instance_id):
            return False
        return all(is_foreign(pid, handle.instance_id) for pid in children if pid not in self._own)

    def _is_session(self, sid: int) -> bool:
        leaders = (start.handle.leader for start in self._starts.values())
        return any(leader is not None and leader.pid == sid for leader in leaders)

    def unenforced_limits(self, limits: LimitRules) -> tuple[str, ...]:
        """See `base.Platform`. `nofile` and the like are set before the exec; the rest needs control groups."""
        return self._groups.unenforced(limits)
