"""Linux and macOS: starting through the keeper, signalling by identity, finding a tree. See `base.Platform`."""

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId
from ops_system.processes import procfs
from ops_system.processes.accounts import as_user, user_env
from ops_system.processes.base import MARKER, Exit, Handle, Identity, Launch, Member, OnExit, OnPid
from ops_system.processes.keeper import NAME, PID_FD, SCRIPT, exit_of_status, parse_argv, read_note
from ops_system.processes.keeper import exit_of_code as keeper_exit
from ops_system.processes.procfs import Table
from ops_system.processes.reaper import Reaper, become_subreaper
from ops_system.processes.spec import LimitRules
from ops_system.processes.watch import Watch, make_watch

_log = logging.getLogger(__name__)

_TABLE_AGE_S = 0.010
_SHELL = "/bin/sh"
_DEFAULT_SIGNALS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class _Start:
    """A start under watch."""

    def __init__(self, handle: Handle, run_dir: str, on_exit: OnExit, on_pid: OnPid | None = None) -> None:
        self.handle = handle
        self.run_dir = run_dir
        self.on_exit = on_exit
        self.on_pid = on_pid


class PosixPlatform:
    """See `base.Platform`."""

    def __init__(self) -> None:
        self._boot_id = procfs.read_boot_id()
        self._starts: dict[InstanceId, _Start] = {}
        self._own: set[int] = set()
        self._table: Table = {}
        self._markers: dict[int, str] = {}
        self._table_at_s = -1.0
        self._is_subreaper = False
        self._partial = b""

    # --- opening and closing
    def open(self) -> None:
        """Become the reaper of orphans, and make the pipe on which keepers tell pids."""
        self._loop = asyncio.get_running_loop()
        self._watch: Watch = make_watch()
        self._is_subreaper = become_subreaper() and procfs.read_children(os.getpid()) is not None
        self._reaper = Reaper(self._own.__contains__, self._is_session)
        self._reaper.open()
        self._pipe_read, write = os.pipe()
        self._pipe_write = fcntl.fcntl(write, fcntl.F_DUPFD_CLOEXEC, PID_FD + 10)
        os.close(write)
        os.set_blocking(self._pipe_read, False)
        self._loop.add_reader(self._pipe_read, self._read_pids)

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._pipe_read)
        os.close(self._pipe_read)
        os.close(self._pipe_write)
        self._reaper.close()
        self._watch.close()

    def user_prefix(self, user: str) -> tuple[str, ...]:
        """See `base.Platform`."""
        return tuple(as_user(user))

    def boot_id(self) -> str:
        """See `base.Platform`."""
        return self._boot_id

    # --- starting
    def spawn(self, launch: Launch, on_pid: OnPid, on_exit: OnExit) -> Handle:
        """See `base.Platform`."""
        argv = _keeper_argv(launch)
        env = {**launch.env, **user_env(launch.user), MARKER: launch.instance_id}
        pid = self._spawn_keeper(argv, env, launch)
        self._own.add(pid)
        self._table_at_s = -1.0
        keeper = self.identity(pid) or Identity(self._boot_id, pid, 0)
        handle = Handle(launch.instance_id, launch.number, keeper)
        start = _Start(handle, launch.run_dir, on_exit, on_pid)
        self._starts[launch.instance_id] = start
        self._watch.add(pid, lambda: self._keeper_ended(start))
        return handle

    def _spawn_keeper(self, argv: list[str], env: dict[str, str], launch: Launch) -> int:
        if sys.platform != "linux":
            return self._spawn_portable(argv, env, launch)
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, launch.stdout_path, append, 0o640),
            (os.POSIX_SPAWN_OPEN, 2, launch.stderr_path, append, 0o640),
            (os.POSIX_SPAWN_DUP2, self._pipe_write, PID_FD),
        ]
        return os.posix_spawn(
            _SHELL, argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_DEFAULT_SIGNALS
        )

    def _spawn_portable(self, argv: list[str], env: dict[str, str], launch: Launch) -> int:
        """Start without posix_spawn's setsid, which macOS's Python lacks."""

        def tell_pids_on_fd_3() -> None:
            os.dup2(self._pipe_write, PID_FD)

        with open(launch.stdout_path, "ab") as out, open(launch.stderr_path, "ab") as err:  # noqa: PTH123
            child = subprocess.Popen(
                argv,
                executable=_SHELL,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                pass_fds=(PID_FD,),
                preexec_fn=tell_pids_on_fd_3,  # noqa: PLW1509 - only dup2; no lock is touched before exec
            )
        child.returncode = 0  # waited for by pid below, not by this object
        return child.pid

    def _read_pids(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._pipe_read, 65536):
                *lines, self._partial = (self._partial + data).split(b"\n")
                for line in lines:
                    self._on_pid_line(line)

    def _on_pid_line(self, line: bytes) -> None:
        instance_id, number, pid = line.decode().split(" ")
        start = self._starts.get(InstanceId(instance_id))
        if start is None or start.handle.number != int(number) or start.on_pid is None:
            return
        leader = self.identity(int(pid))
        if leader is None:
            return
        start.handle = msgspec.structs.replace(start.handle, leader=leader)
        start.on_pid(start.handle)

    # --- ending
    def _keeper_ended(self, start: _Start) -> None:
        self._read_pids()
        handle = start.handle
        status = self._wait(handle.keeper.pid)
        code = read_note(Path(start.run_dir, "exit"), handle.number)
        if code is None and status is not None and os.WIFEXITED(status):
            code = os.WEXITSTATUS(status)
        if code is not None:
            start.on_exit(keeper_exit(code))
            return
        leader = handle.leader
        if leader is None or not self.is_alive(leader):
            start.on_exit(Exit())
            return
        _log.warning("the keeper of %s is gone; watching pid %d itself", handle.instance_id, leader.pid)
        self._watch_leader(start, leader)

    def _watch_leader(self, start: _Start, leader: Identity) -> None:
        self._own.add(leader.pid)

        def ended() -> None:
            status = self._wait(leader.pid)
            start.on_exit(Exit() if status is None else exit_of_status(status))

        try:
            self._watch.add(leader.pid, ended)
        except ProcessLookupError:
            self._loop.call_soon(ended)

    def _wait(self, pid: int) -> int | None:
        """Reap `pid`; None when it was not our child."""
        self._own.discard(pid)
        try:
            waited, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return None
        return status if waited == pid else None

    def readopt(self, handle: Handle, run_dir: str, on_exit: OnExit) -> bool:
        """See `base.Platform`."""
        start = _Start(msgspec.structs.replace(handle, is_child=False), run_dir, on_exit)
        if self.is_alive(handle.keeper):
            self._starts[handle.instance_id] = start
            with contextlib.suppress(ProcessLookupError):
                self._watch.add(handle.keeper.pid, lambda: self._keeper_ended(start))
                return True
        if handle.leader is not None and self.is_alive(handle.leader):
            self._starts[handle.instance_id] = start
            self._watch_leader(start, handle.leader)
            return True
        return False

    def read_exit(self, run_dir: str, number: int) -> Exit | None:
        """See `base.Platform`."""
        code = read_note(Path(run_dir, "exit"), number)
        return None if code is None else keeper_exit(code)

    def release(self, instance_id: InstanceId) -> None:
        """See `base.Platform`."""
        start = self._starts.pop(instance_id, None)
        if start is not None:
            self._watch.discard(start.handle.keeper.pid)
            if start.handle.leader is not None:
                self._watch.discard(start.handle.leader.pid)
                self._own.discard(start.handle.leader.pid)
            self._own.discard(start.handle.keeper.pid)

    # --- looking and signalling
    def identity(self, pid: int) -> Identity | None:
        """See `base.Platform`."""
        row = procfs.read_row(pid)
        return None if row is None or row.is_dead else Identity(self._boot_id, pid, row.start_time)

    def is_alive(self, identity: Identity) -> bool:
        """See `base.Platform`."""
        return self.identity(identity.pid) == identity

    def signal(self, identity: Identity, name: str) -> bool:
        """See `base.Platform`. On Linux through a pidfd taken before the check, so the number cannot change owner."""
        number = signal.Signals[name]
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
        """See `base.Platform`. The scan may be up to 10 ms old: an empty tree stays empty."""
        table = self._fresh_table()
        roots = set(self._session_members(table, handle)) | self._marked(handle.instance_id)
        pids = procfs.descendants(table, roots) - {os.getpid(), 1}
        return tuple(
            self._member(table[pid].pid, table[pid].start_time, handle)
            for pid in sorted(pids)
            if self._lives(table, pid)
        )

    def _member(self, pid: int, start_time: int, handle: Handle) -> Member:
        identity = Identity(self._boot_id, pid, start_time)
        return Member(identity, is_keeper=identity == handle.keeper)

    @staticmethod
    def _lives(table: Table, pid: int) -> bool:
        row = table.get(pid)
        return row is not None and not row.is_dead

    def _session_members(self, table: Table, handle: Handle) -> list[int]:
        """Return who is in the keeper's session or group, or is the leader. A reused number proves nothing."""
        keeper = handle.keeper
        found = [] if handle.leader is None or not self.is_alive(handle.leader) else [handle.leader.pid]
        now = table.get(keeper.pid)
        if keeper.boot_id != self._boot_id or (now is not None and now.start_time != keeper.start_time):
            return found
        same = (row.pid for row in table.values() if keeper.pid in {row.sid, row.pgrp})
        return [*found, *same]

    def _marked(self, instance_id: InstanceId) -> set[int]:
        return {pid for pid, marker in self._markers.items() if marker == instance_id}

    def _fresh_table(self) -> Table:
        now_s = self._loop.time()
        if now_s - self._table_at_s > _TABLE_AGE_S:
            self._table = procfs.read_table()
            self._markers = _read_markers(self._table)
            self._table_at_s = now_s
        return self._table

    def trees(self, handles: Mapping[InstanceId, Handle]) -> dict[InstanceId, tuple[Identity, ...]]:
        """See `base.Platform`."""
        table = self._fresh_table()
        sessions = {handle.keeper.pid: str(instance_id) for instance_id, handle in handles.items()}
        found: dict[InstanceId, list[Identity]] = {instance_id: [] for instance_id in handles}
        for pid, owner in procfs.owners(table, self._markers, sessions).items():
            members = found.get(InstanceId(owner))
            if members is not None and pid not in sessions and pid != os.getpid():
                members.append(Identity(self._boot_id, pid, table[pid].start_time))
        return {instance_id: tuple(members) for instance_id, members in found.items()}

    def is_surely_empty(self, handle: Handle) -> bool:
        """See `base.Platform`. As the reaper of orphans, whatever the tree left behind would be our own child now."""
        if not (handle.is_child and self._is_subreaper) or handle.keeper.pid in self._own:
            return False
        children = procfs.read_children(os.getpid())
        if children is None:
            return False
        return all(self._is_foreign(pid, handle.instance_id) for pid in children if pid not in self._own)

    def _is_foreign(self, pid: int, instance_id: InstanceId) -> bool:
        row = procfs.read_row(pid)
        if row is None or row.is_dead:
            return True
        marker = procfs.read_marker(pid)
        return marker is not None and marker != instance_id

    def _is_session(self, sid: int) -> bool:
        return any(start.handle.keeper.pid == sid for start in self._starts.values())

    def find_marked(self) -> dict[InstanceId, tuple[Member, ...]]:
        """See `base.Platform`."""
        table = procfs.read_table()
        found: dict[InstanceId, list[Member]] = {}
        for pid, marker in _read_markers(table).items():
            is_keeper = pid == table[pid].sid and parse_argv(procfs.read_argv(pid)) is not None
            member = Member(Identity(self._boot_id, pid, table[pid].start_time), is_keeper=is_keeper)
            found.setdefault(InstanceId(marker), []).append(member)
        return {instance_id: tuple(members) for instance_id, members in found.items()}

    def find_start(self, instance_id: InstanceId, members: tuple[Member, ...]) -> tuple[Handle, str | None]:
        """See `base.Platform`. The keeper's own command line tells the folder and the number."""
        oldest = min(members, key=lambda member: member.identity.start_time).identity
        keeper = next((member.identity for member in members if member.is_keeper), oldest)
        start = parse_argv(procfs.read_argv(keeper.pid))
        run_dir, number = start or (None, 0)
        children = (row.pid for row in procfs.read_table().values() if row.ppid == keeper.pid and not row.is_dead)
        leader = next((found for pid in children if (found := self.identity(pid)) is not None), None)
        if start is None:
            leader = keeper
        return Handle(instance_id, number, keeper, leader, is_child=False), run_dir

    def unenforced_limits(self, limits: LimitRules) -> tuple[str, ...]:
        """See `base.Platform`. `nofile` is set by the keeper; the rest needs control groups."""
        given = {"memory": limits.memory_bytes, "cpu_percent": limits.cpu_percent, "pids": limits.pids}
        return tuple(name for name, value in given.items() if value is not None)


def _read_markers(table: Table) -> dict[int, str]:
    """Return the marker of each living process that has one; kernel threads (below pid 2) have none."""
    living = (row.pid for row in table.values() if not row.is_dead and row.ppid != 2 and row.pid != os.getpid())  # noqa: PLR2004
    return {pid: marker for pid in living if (marker := procfs.read_marker(pid)) is not None}


def _keeper_argv(launch: Launch) -> list[str]:
    nofile = launch.limits.nofile
    if nofile is not None:
        _check_nofile(nofile)
    head = [_SHELL, "-c", SCRIPT, NAME, launch.run_dir, str(launch.number), launch.dir, launch.instance_id]
    return [*head, "" if nofile is None else str(nofile), *as_user(launch.user), *launch.argv]


def _check_nofile(nofile: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if os.geteuid() != 0 and hard != resource.RLIM_INFINITY and nofile > hard:
        raise Invalid(
            f"limits.nofile {nofile} is above this worker's hard limit {hard}; lower it or raise the worker's"
        )
