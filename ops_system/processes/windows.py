"""Windows: one named Job Object per instance, without KILL_ON_JOB_CLOSE, so that services outlive the worker.

    make suspended ──> put into its job ──> resume          nothing it starts can escape
                            │
                            └─ the process gets a look-only handle of its job: a restarted worker opens it by name

There is no keeper: whoever holds a process handle reads its exit code, also after re-adoption; only an end while no
worker lived is told without its code. Ends are learned by RegisterWaitForSingleObject, not by a tick. Each instance has
a hidden console of its own, so that closing the worker's ends nothing and Ctrl-Break reaches nobody else.
What could be proven of this, and where, stands in docs/windows.md.
"""

# ruff: noqa: E402 - the assertion comes first, so that type checkers on other systems skip the rest
import sys

assert sys.platform == "win32"

import asyncio
import logging
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec
import psutil

from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId
from ops_system.processes import windows_break
from ops_system.processes.base import MARKER, Exit, Handle, Identity, Launch, Member, OnExit, OnPid
from ops_system.processes.spec import LimitRules
from ops_system.processes.windows_api import Job, Process, list_processes, open_append, parents_of_all, read_boot_id
from ops_system.processes.windows_rules import (
    CREATE_NEW_PROCESS_GROUP,
    CREATE_NO_WINDOW,
    CREATE_SUSPENDED,
    DETACHED_PROCESS,
    KILLED,
    check_batch,
    descendants,
    exit_of_code,
    is_polite,
    job_name,
)

_log = logging.getLogger(__name__)

_CONSOLE_HOST = "conhost.exe"


class WindowsPlatform:
    """See `base.Platform`."""

    def __init__(self) -> None:
        self._boot_id = read_boot_id()
        self._processes: dict[InstanceId, Process] = {}
        self._jobs: dict[InstanceId, Job] = {}

    def open(self, state_dir: Path) -> None:  # noqa: ARG002 - jobs need no folder
        """See `base.Platform`."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """See `base.Platform`."""
        for instance_id in {*self._processes, *self._jobs}:
            self.release(instance_id)

    def boot_id(self) -> str:
        """See `base.Platform`."""
        return self._boot_id

    def user_prefix(self, user: str) -> tuple[str, ...]:
        """See `base.Platform`. Running as another user needs a password or a service account on Windows: refused."""
        if user and user.lower() != os.environ.get("USERNAME", "").lower():
            raise Invalid(f'cannot run as "{user}": on Windows a service runs as the worker\'s own user')
        return ()

    # --- starting and ending
    def make_ready(self) -> None:
        """See `base.Platform`. There is nothing to make ready."""

    def spawn(self, launch: Launch, on_pid: OnPid, on_exit: OnExit) -> Handle:
        """See `base.Platform`."""
        self.user_prefix(launch.user)
        check_batch(launch.argv)
        job = Job.make(job_name(launch.instance_id))
        try:
            process = _start_in(job, launch)
        except BaseException:
            job.close()
            raise
        self.release(launch.instance_id)
        self._processes[launch.instance_id], self._jobs[launch.instance_id] = process, job
        leader = Identity(self._boot_id, process.pid, process.start_time())
        handle = Handle(launch.instance_id, launch.number, leader, leader)
        self._watch(process, on_exit)
        self._loop.call_soon(on_pid, handle)
        return handle

    def _watch(self, process: Process, on_exit: OnExit) -> None:
        process.on_end(self._loop, lambda code: on_exit(Exit() if code is None else exit_of_code(code)))

    def readopt(self, handle: Handle, run_dir: str, on_exit: OnExit) -> bool:
        """See `base.Platform`. Where nobody holds the job any more, its processes are found by marker."""
        job = Job.find(job_name(handle.instance_id))
        if job is not None:
            self._jobs[handle.instance_id] = job
        if handle.leader is None or not self.is_alive(handle.leader):
            return False
        self._processes[handle.instance_id] = process = Process(handle.leader.pid)
        self._watch(process, on_exit)
        _log.debug("%s is watched again; its notes are in %s", handle.instance_id, run_dir)
        return True

    def read_exit(self, run_dir: str, number: int) -> Exit | None:
        """See `base.Platform`. Nobody notes an end while no worker lives."""
        _log.debug("no exit note of start %d in %s on Windows", number, run_dir)
        return None

    def release(self, instance_id: InstanceId) -> None:
        """See `base.Platform`."""
        process, job = self._processes.pop(instance_id, None), self._jobs.pop(instance_id, None)
        if process is not None:
            process.close()
        if job is not None:
            job.close()

    # --- looking and signalling
    def identity(self, pid: int) -> Identity | None:
        """See `base.Platform`."""
        try:
            with Process(pid) as process:
                return None if process.has_ended() else Identity(self._boot_id, pid, process.start_time())
        except OSError:
            return None

    def is_alive(self, identity: Identity) -> bool:
        """See `base.Platform`."""
        return self.identity(identity.pid) == identity

    def signal(self, identity: Identity, name: str) -> bool:
        """See `base.Platform`. Polite signals become Ctrl-Break to the process group; others end the process."""
        try:
            process = Process(identity.pid)
        except PermissionError:
            raise
        except OSError:
            return False
        with process:
            if process.has_ended() or process.start_time() != identity.start_time:
                return False
            if is_polite(name):
                _send_break(identity.pid)
                return True
            return process.terminate(KILLED)

    def members(self, handle: Handle) -> tuple[Member, ...]:
        """See `base.Platform`."""
        return tuple(Member(identity) for identity in self.trees({handle.instance_id: handle})[handle.instance_id])

    def trees(self, handles: Mapping[InstanceId, Handle]) -> dict[InstanceId, tuple[Identity, ...]]:
        """See `base.Platform`. The job knows all; without one (nobody held it) descendants and marker must do."""
        marked = self._marked_pids() if any(instance_id not in self._jobs for instance_id in handles) else {}
        found: dict[InstanceId, tuple[Identity, ...]] = {}
        for instance_id, handle in handles.items():
            job = self._jobs.get(instance_id)
            pids = set(job.pids()) if job else marked.get(instance_id, set()) | self._below(handle.leader)
            found[instance_id] = self._identities(pids)
        return found

    def _identities(self, pids: set[int]) -> tuple[Identity, ...]:
        identities = (self.identity(pid) for pid in sorted(pids))
        return tuple(identity for identity in identities if identity is not None)

    def _below(self, leader: Identity | None) -> set[int]:
        """Return the leader, while it is still the same process, and its descendants."""
        if leader is None or not self.is_alive(leader):
            return set()
        parents = parents_of_all()
        identities = ((pid, self.identity(pid)) for pid in parents)
        ages = {pid: identity.start_time for pid, identity in identities if identity is not None}
        return descendants(leader.pid, parents, ages)

    def is_surely_empty(self, handle: Handle) -> bool:
        """See `base.Platform`."""
        job = self._jobs.get(handle.instance_id)
        return job is not None and not job.pids()

    def kill_at_once(self, handle: Handle) -> None:
        """See `base.Platform`."""
        job = self._jobs.get(handle.instance_id)
        if job is not None:
            job.terminate(KILLED)

    def find_marked(self) -> dict[InstanceId, tuple[Member, ...]]:
        """See `base.Platform`."""
        marked = self._marked_pids().items()
        found = {instance_id: tuple(map(Member, self._identities(pids))) for instance_id, pids in marked}
        return {instance_id: members for instance_id, members in found.items() if members}

    def find_start(self, instance_id: InstanceId, members: tuple[Member, ...]) -> Handle:
        """See `base.Platform`. The oldest marked process is the entrypoint."""
        oldest = min(members, key=lambda member: member.identity.start_time).identity
        return Handle(instance_id, 0, oldest, oldest, is_child=False)

    def unenforced_limits(self, limits: LimitRules) -> tuple[str, ...]:
        """See `base.Platform`. None of them: what Job Objects could limit was not proven anywhere yet."""
        names = (field.removesuffix("_bytes") for field in limits.__struct_fields__)
        return tuple(
            name for name, value in zip(names, msgspec.structs.astuple(limits), strict=True) if value is not None
        )

    @staticmethod
    def _marked_pids() -> dict[InstanceId, set[int]]:
        """Return who has the marker in its environment, but for console hosts: they are the system's and end alone."""
        found: dict[InstanceId, set[int]] = {}
        for pid, (_, program) in list_processes().items():
            marker = None if pid == os.getpid() or program.lower() == _CONSOLE_HOST else _read_marker(pid)
            if marker:
                found.setdefault(InstanceId(marker), set()).add(pid)
        return found


def _read_marker(pid: int) -> str | None:
    try:
        return psutil.Process(pid).environ().get(MARKER)
    except (psutil.Error, OSError):
        return None


def _start_in(job: Job, launch: Launch) -> Process:
    """Start suspended, put into the job, resume. What could not be put there is ended before it ran."""
    child = _start_suspended(launch)
    try:
        process = Process(child.pid, is_ours=True)
        try:
            job.take(process)
            process.resume()
        except BaseException:
            process.close()
            raise
    except BaseException:
        child.kill()
        raise
    finally:
        child.returncode = 0  # waited for by our own handle, not by this object
    return process


def _start_suspended(launch: Launch) -> "subprocess.Popen[bytes]":
    with (
        os.fdopen(open_append(launch.stdout_path), "ab", buffering=0) as out,
        os.fdopen(open_append(launch.stderr_path), "ab", buffering=0) as err,
    ):
        return subprocess.Popen(
            launch.argv,
            cwd=launch.dir,
            env={**launch.env, MARKER: launch.instance_id},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            creationflags=CREATE_SUSPENDED | CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW,
        )


def _send_break(pid: int) -> None:
    """Have a small process join the group's console and send Ctrl-Break there."""
    is_frozen = getattr(sys, "frozen", False)
    itself = [sys.executable, windows_break.FLAG] if is_frozen else [sys.executable, "-m", windows_break.__name__]
    child = subprocess.Popen(
        [*itself, str(pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        creationflags=DETACHED_PROCESS,
    )
    child.returncode = 0  # nobody waits for it
