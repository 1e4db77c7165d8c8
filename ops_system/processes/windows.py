"""Windows: one Job Object per instance, made without KILL_ON_JOB_CLOSE so that services outlive the worker.

The process is made suspended, put into its job, and only then resumed, so nothing it starts can escape. There is no
keeper: a process handle opened by pid tells the exit code to whoever holds it, also after re-adoption; only an end
while no worker lived is told without its code. Ends are learned by RegisterWaitForSingleObject, not by a tick.
Sources: "Job Objects", "Process Security and Access Rights" (Windows API). Unproven on a real Windows.
"""

# ruff: noqa: E402 - the assertion comes first, so that type checkers on other systems skip the rest
import sys

assert sys.platform == "win32"

import asyncio
import ctypes
import logging
import os
import subprocess
from collections.abc import Mapping
from ctypes import wintypes

import psutil

from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId
from ops_system.processes.base import MARKER, Exit, Handle, Identity, Launch, Member, OnExit, OnPid
from ops_system.processes.spec import LimitRules
from ops_system.processes.windows_rules import (
    CREATE_NEW_PROCESS_GROUP,
    CREATE_SUSPENDED,
    CTRL_BREAK_EVENT,
    KILLED,
    exit_of_code,
    filetime,
    is_polite,
    parse_pid_list,
)

_log = logging.getLogger(__name__)

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_ntdll = ctypes.WinDLL("ntdll")

_TERMINATE, _QUERY_LIMITED, _SYNCHRONIZE = 0x0001, 0x1000, 0x00100000
_SET_QUOTA = 0x0100
_INFINITE = 0xFFFFFFFF
_EXECUTE_ONLY_ONCE = 0x00000008
_BASIC_PROCESS_ID_LIST = 3
_STILL_ACTIVE = 259
_MAX_JOB_PIDS = 8192

_WaitCallback = ctypes.WINFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ubyte)

_kernel32.OpenProcess.restype = wintypes.HANDLE
_kernel32.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
_kernel32.CreateJobObjectW.restype = wintypes.HANDLE
_kernel32.CreateJobObjectW.argtypes = (ctypes.c_void_p, wintypes.LPCWSTR)
_kernel32.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
_kernel32.QueryInformationJobObject.argtypes = (
    wintypes.HANDLE,
    ctypes.c_int,
    ctypes.c_void_p,
    wintypes.DWORD,
    ctypes.c_void_p,
)
_kernel32.TerminateProcess.argtypes = (wintypes.HANDLE, wintypes.UINT)
_kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
_kernel32.GetExitCodeProcess.argtypes = (wintypes.HANDLE, ctypes.POINTER(wintypes.DWORD))
_kernel32.GetProcessTimes.argtypes = (wintypes.HANDLE, *(ctypes.POINTER(wintypes.FILETIME),) * 4)
_kernel32.RegisterWaitForSingleObject.argtypes = (
    ctypes.POINTER(wintypes.HANDLE),
    wintypes.HANDLE,
    _WaitCallback,
    ctypes.c_void_p,
    wintypes.ULONG,
    wintypes.ULONG,
)
_kernel32.UnregisterWait.argtypes = (wintypes.HANDLE,)
_kernel32.GenerateConsoleCtrlEvent.argtypes = (wintypes.DWORD, wintypes.DWORD)
_ntdll.NtResumeProcess.argtypes = (wintypes.HANDLE,)


def _error(what: str) -> OSError:
    code = ctypes.get_last_error()
    return OSError(None, f"{what}: {ctypes.FormatError(code)}", None, code)


class _Process:
    """An open process handle, waited for by the system's thread pool."""

    def __init__(self, pid: int) -> None:
        access = _QUERY_LIMITED | _SYNCHRONIZE | _TERMINATE | _SET_QUOTA
        self.handle = _kernel32.OpenProcess(access, False, pid)
        if not self.handle:
            raise _error(f"pid {pid} cannot be opened")
        self.pid = pid
        self._wait = wintypes.HANDLE()
        self._callback: object = None

    def start_time(self) -> int:
        made, ended, kernel, user = (wintypes.FILETIME() for _ in range(4))
        if not _kernel32.GetProcessTimes(self.handle, made, ended, kernel, user):
            raise _error(f"the start time of pid {self.pid} cannot be read")
        return filetime(made.dwLowDateTime, made.dwHighDateTime)

    def exit_code(self) -> int | None:
        """Return the exit code, None while it runs."""
        code = wintypes.DWORD()
        if not _kernel32.GetExitCodeProcess(self.handle, code) or code.value == _STILL_ACTIVE:
            return None
        return code.value

    def on_end(self, loop: asyncio.AbstractEventLoop, told: OnExit) -> None:
        """Tell the exit on the loop. The callback itself runs on a thread of the system's pool."""

        def ended() -> None:
            code = self.exit_code()
            told(Exit() if code is None else exit_of_code(code))

        def signalled(_context: int | None, _timed_out: int) -> None:
            loop.call_soon_threadsafe(ended)

        callback = _WaitCallback(signalled)
        self._callback = callback  # the system calls it later: it must stay alive
        wait = ctypes.byref(self._wait)
        if not _kernel32.RegisterWaitForSingleObject(wait, self.handle, callback, None, _INFINITE, _EXECUTE_ONLY_ONCE):
            raise _error(f"pid {self.pid} cannot be watched")

    def close(self) -> None:
        if self._wait.value:
            _kernel32.UnregisterWait(self._wait)
            self._wait = wintypes.HANDLE()
        if self.handle:
            _kernel32.CloseHandle(self.handle)
            self.handle = None


class _Job:
    """A Job Object; closing our handle leaves its processes alone."""

    def __init__(self) -> None:
        self._handle = _kernel32.CreateJobObjectW(None, None)
        if not self._handle:
            raise _error("a job object cannot be made")

    def take(self, process: int) -> None:
        if not _kernel32.AssignProcessToJobObject(self._handle, process):
            raise _error("the process cannot be put into its job object")

    def pids(self) -> tuple[int, ...]:
        buffer = ctypes.create_string_buffer(8 + _MAX_JOB_PIDS * ctypes.sizeof(ctypes.c_void_p))
        found = _kernel32.QueryInformationJobObject(
            self._handle, _BASIC_PROCESS_ID_LIST, buffer, ctypes.sizeof(buffer), None
        )
        if not found:
            raise _error("the processes of a job object cannot be listed")
        return parse_pid_list(buffer.raw, ctypes.sizeof(ctypes.c_void_p))[1]

    def close(self) -> None:
        _kernel32.CloseHandle(self._handle)


class WindowsPlatform:
    """See `base.Platform`."""

    def __init__(self) -> None:
        self._boot_id = f"boot-{round(psutil.boot_time() / 60)}"  # the boot time wobbles by a second
        self._processes: dict[InstanceId, _Process] = {}
        self._jobs: dict[InstanceId, _Job] = {}

    def open(self) -> None:
        """See `base.Platform`."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """See `base.Platform`."""
        for instance_id in tuple(self._processes):
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
    def spawn(self, launch: Launch, on_pid: OnPid, on_exit: OnExit) -> Handle:
        """See `base.Platform`."""
        self.user_prefix(launch.user)
        job = _Job()
        try:
            child = self._start_suspended(launch)
        except BaseException:
            job.close()
            raise
        process = self._resume_in_job(child, job)
        leader = Identity(self._boot_id, child.pid, process.start_time())
        handle = Handle(launch.instance_id, launch.number, leader, leader)
        self._processes[launch.instance_id], self._jobs[launch.instance_id] = process, job
        process.on_end(self._loop, on_exit)
        self._loop.call_soon(on_pid, handle)
        return handle

    @staticmethod
    def _start_suspended(launch: Launch) -> "subprocess.Popen[bytes]":
        with open(launch.stdout_path, "ab") as out, open(launch.stderr_path, "ab") as err:  # noqa: PTH123 - handed to the child
            return subprocess.Popen(
                launch.argv,
                cwd=launch.dir,
                env={**launch.env, MARKER: launch.instance_id},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                creationflags=CREATE_SUSPENDED | CREATE_NEW_PROCESS_GROUP,
            )

    @staticmethod
    def _resume_in_job(child: "subprocess.Popen[bytes]", job: _Job) -> _Process:
        try:
            process = _Process(child.pid)
            job.take(int(process.handle))
            _ntdll.NtResumeProcess(process.handle)
        except BaseException:
            child.kill()
            job.close()
            raise
        return process

    def readopt(self, handle: Handle, run_dir: str, on_exit: OnExit) -> bool:
        """See `base.Platform`. The old job's name is gone with its handle; its processes are found by marker."""
        if handle.leader is None or not self.is_alive(handle.leader):
            return False
        process = _Process(handle.leader.pid)
        self._processes[handle.instance_id] = process
        process.on_end(self._loop, on_exit)
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
            process = _Process(pid)
        except OSError:
            return None
        try:
            if process.exit_code() is not None:
                return None
            return Identity(self._boot_id, pid, process.start_time())
        finally:
            process.close()

    def is_alive(self, identity: Identity) -> bool:
        """See `base.Platform`."""
        return self.identity(identity.pid) == identity

    def signal(self, identity: Identity, name: str) -> bool:
        """See `base.Platform`. Polite signals become Ctrl-Break to the process group, all others end the process."""
        try:
            process = _Process(identity.pid)
        except PermissionError:
            raise
        except OSError:
            return False
        try:
            if process.exit_code() is not None or process.start_time() != identity.start_time:
                return False
            if is_polite(name):
                return bool(_kernel32.GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, identity.pid))
            return bool(_kernel32.TerminateProcess(process.handle, KILLED))
        finally:
            process.close()

    def members(self, handle: Handle) -> tuple[Member, ...]:
        """See `base.Platform`."""
        return tuple(Member(identity) for identity in self.trees({handle.instance_id: handle})[handle.instance_id])

    def trees(self, handles: Mapping[InstanceId, Handle]) -> dict[InstanceId, tuple[Identity, ...]]:
        """See `base.Platform`. The job knows all; without one (after re-adoption) descendants and marker must do."""
        marked = self._marked_pids() if any(instance_id not in self._jobs for instance_id in handles) else {}
        found: dict[InstanceId, tuple[Identity, ...]] = {}
        for instance_id, handle in handles.items():
            job = self._jobs.get(instance_id)
            pids = set(job.pids()) if job else marked.get(instance_id, set()) | _descendants(handle.leader)
            identities = (self.identity(pid) for pid in sorted(pids))
            found[instance_id] = tuple(identity for identity in identities if identity is not None)
        return found

    def is_surely_empty(self, handle: Handle) -> bool:
        """See `base.Platform`."""
        job = self._jobs.get(handle.instance_id)
        return job is not None and not job.pids()

    def find_marked(self) -> dict[InstanceId, tuple[Member, ...]]:
        """See `base.Platform`."""
        found: dict[InstanceId, tuple[Member, ...]] = {}
        for instance_id, pids in self._marked_pids().items():
            identities = (self.identity(pid) for pid in sorted(pids))
            found[instance_id] = tuple(Member(identity) for identity in identities if identity is not None)
        return {instance_id: members for instance_id, members in found.items() if members}

    def find_start(self, instance_id: InstanceId, members: tuple[Member, ...]) -> tuple[Handle, str | None]:
        """See `base.Platform`. The oldest marked process is the entrypoint."""
        oldest = min(members, key=lambda member: member.identity.start_time).identity
        return Handle(instance_id, 0, oldest, oldest, is_child=False), None

    def unenforced_limits(self, limits: LimitRules) -> tuple[str, ...]:
        """See `base.Platform`."""
        given = {
            "memory": limits.memory_bytes,
            "cpu_percent": limits.cpu_percent,
            "pids": limits.pids,
            "nofile": limits.nofile,
        }
        return tuple(name for name, value in given.items() if value is not None)

    @staticmethod
    def _marked_pids() -> dict[InstanceId, set[int]]:
        found: dict[InstanceId, set[int]] = {}
        for pid in psutil.pids():
            try:
                marker = psutil.Process(pid).environ().get(MARKER)
            except (psutil.Error, OSError):
                continue
            if marker and pid != os.getpid():
                found.setdefault(InstanceId(marker), set()).add(pid)
        return found


def _descendants(leader: Identity | None) -> set[int]:
    if leader is None:
        return set()
    try:
        below = psutil.Process(leader.pid).children(recursive=True)
    except (psutil.Error, OSError):
        below = []
    return {leader.pid, *(process.pid for process in below)}
