"""The Windows calls behind `windows`, by ctypes: process handles, Job Objects, the process table, append-only files.

Sources: "Process and Thread Functions", "Job Objects", "Tool Help Library", "File Access Rights" (Windows API);
NtQuerySystemInformation and NtResumeProcess as psutil and the Windows headers use them. Unproven on a real Windows.
"""

# ruff: noqa: E402 - the assertion comes first, so that type checkers on other systems skip the rest
import sys

assert sys.platform == "win32"

import asyncio
import contextlib
import ctypes
import msvcrt
import os
from collections.abc import Callable, Mapping
from ctypes import wintypes
from typing import Self

from ops_system.processes.procfs import Row, Table
from ops_system.processes.windows_rules import boot_id_of, filetime, parse_pid_list

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_ntdll = ctypes.WinDLL("ntdll")

_TERMINATE, _SET_QUOTA, _DUPLICATE = 0x0001, 0x0100, 0x0040
_SUSPEND_RESUME, _QUERY_LIMITED, _SYNCHRONIZE = 0x0800, 0x1000, 0x00100000
_WATCH = _QUERY_LIMITED | _SYNCHRONIZE | _TERMINATE
_OWN = _WATCH | _SET_QUOTA | _DUPLICATE | _SUSPEND_RESUME
_JOB_ALL, _JOB_QUERY = 0x001F001F, 0x0004
_FILE_APPEND_DATA, _SHARE_ALL, _OPEN_ALWAYS, _NORMAL = 0x0004, 0x0007, 4, 0x80
_INFINITE, _EXECUTE_ONLY_ONCE, _WAIT_FOR_CALLBACKS = 0xFFFFFFFF, 0x00000008, ctypes.c_void_p(-1)
_SIGNALLED = 0
_BASIC_PROCESS_ID_LIST, _TIME_OF_DAY = 3, 3
_MORE_DATA = 234
_SNAPSHOT_PROCESSES = 0x0002
_FIRST_JOB_PIDS = 1024

_WaitCallback = ctypes.WINFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ubyte)


class _ProcessEntry(ctypes.Structure):
    """PROCESSENTRY32W."""

    _fields_ = (
        ("dwSize", wintypes.DWORD),
        ("cntUsage", wintypes.DWORD),
        ("th32ProcessID", wintypes.DWORD),
        ("th32DefaultHeapID", ctypes.c_void_p),
        ("th32ModuleID", wintypes.DWORD),
        ("cntThreads", wintypes.DWORD),
        ("th32ParentProcessID", wintypes.DWORD),
        ("pcPriClassBase", wintypes.LONG),
        ("dwFlags", wintypes.DWORD),
        ("szExeFile", wintypes.WCHAR * 260),
    )


def _declare(name: str, result: type, *arguments: object) -> None:
    function = getattr(_kernel32, name)
    function.restype = result
    function.argtypes = arguments


_HANDLE, _BOOL, _DWORD, _VOID = wintypes.HANDLE, wintypes.BOOL, wintypes.DWORD, ctypes.c_void_p
_declare("OpenProcess", _HANDLE, _DWORD, _BOOL, _DWORD)
_declare("TerminateProcess", _BOOL, _HANDLE, wintypes.UINT)
_declare("GetExitCodeProcess", _BOOL, _HANDLE, ctypes.POINTER(_DWORD))
_declare("GetProcessTimes", _BOOL, _HANDLE, *(ctypes.POINTER(wintypes.FILETIME),) * 4)
_declare("WaitForSingleObject", _DWORD, _HANDLE, _DWORD)
_declare("RegisterWaitForSingleObject", _BOOL, _VOID, _HANDLE, _WaitCallback, _VOID, _DWORD, _DWORD)
_declare("UnregisterWaitEx", _BOOL, _HANDLE, _VOID)
_declare("CloseHandle", _BOOL, _HANDLE)
_declare("GetCurrentProcess", _HANDLE)
_declare("DuplicateHandle", _BOOL, _HANDLE, _HANDLE, _HANDLE, _VOID, _DWORD, _BOOL, _DWORD)
_declare("CreateJobObjectW", _HANDLE, _VOID, wintypes.LPCWSTR)
_declare("OpenJobObjectW", _HANDLE, _DWORD, _BOOL, wintypes.LPCWSTR)
_declare("AssignProcessToJobObject", _BOOL, _HANDLE, _HANDLE)
_declare("TerminateJobObject", _BOOL, _HANDLE, wintypes.UINT)
_declare("QueryInformationJobObject", _BOOL, _HANDLE, ctypes.c_int, _VOID, _DWORD, _VOID)
_declare("CreateToolhelp32Snapshot", _HANDLE, _DWORD, _DWORD)
_declare("Process32FirstW", _BOOL, _HANDLE, ctypes.POINTER(_ProcessEntry))
_declare("Process32NextW", _BOOL, _HANDLE, ctypes.POINTER(_ProcessEntry))
_declare("CreateFileW", _HANDLE, wintypes.LPCWSTR, _DWORD, _DWORD, _VOID, _DWORD, _DWORD, _HANDLE)
_ntdll.NtResumeProcess.argtypes = (_HANDLE,)
_ntdll.NtQuerySystemInformation.argtypes = (ctypes.c_int, _VOID, wintypes.ULONG, _VOID)


def _error(what: str) -> OSError:
    """Return the last error as Python's own class for it, such as PermissionError."""
    code = ctypes.get_last_error()
    return OSError(None, f"{what}: {ctypes.FormatError(code).strip()}", None, code)


class Process:
    """An open process handle; while it is open the number belongs to nobody else. Raises OSError: no such process."""

    def __init__(self, pid: int, *, is_ours: bool = False) -> None:
        self.handle: int | None = _kernel32.OpenProcess(_OWN if is_ours else _WATCH, False, pid)
        if not self.handle:
            raise _error(f"pid {pid} cannot be opened")
        self.pid = pid
        self._wait = wintypes.HANDLE()
        self._callback: object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_time(self) -> int:
        """Return when it was made, in 100 ns since 1601."""
        made, ended, kernel, user = (wintypes.FILETIME() for _ in range(4))
        if not _kernel32.GetProcessTimes(self.handle, made, ended, kernel, user):
            raise _error(f"the start time of pid {self.pid} cannot be read")
        return filetime(made.dwLowDateTime, made.dwHighDateTime)

    def has_ended(self) -> bool:
        """Tell by the handle, not by the exit code: 259 means "still active" only until somebody exits with it."""
        return bool(_kernel32.WaitForSingleObject(self.handle, 0) == _SIGNALLED)

    def exit_code(self) -> int | None:
        """Return the exit code, None while it runs."""
        code = wintypes.DWORD()
        if not self.has_ended() or not _kernel32.GetExitCodeProcess(self.handle, code):
            return None
        return code.value

    def resume(self) -> None:
        """Let a process go that was made suspended."""
        if _ntdll.NtResumeProcess(self.handle) < 0:
            raise _error(f"pid {self.pid} cannot be resumed")

    def terminate(self, code: int) -> bool:
        """End this one process at once."""
        return bool(_kernel32.TerminateProcess(self.handle, code))

    def on_end(self, loop: asyncio.AbstractEventLoop, told: Callable[[int | None], None]) -> None:
        """Tell the exit code on the loop. The callback itself runs on a thread of the system's pool."""

        def ended() -> None:
            if self.handle:
                told(self.exit_code())

        def signalled(_context: int | None, _timed_out: int) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to be told
                loop.call_soon_threadsafe(ended)

        self._callback = callback = _WaitCallback(signalled)  # the system calls it later: it must stay alive
        wait = ctypes.byref(self._wait)
        if not _kernel32.RegisterWaitForSingleObject(wait, self.handle, callback, None, _INFINITE, _EXECUTE_ONLY_ONCE):
            raise _error(f"pid {self.pid} cannot be watched")

    def close(self) -> None:
        """Stop watching; a callback under way is waited for."""
        if self._wait.value:
            _kernel32.UnregisterWaitEx(self._wait, _WAIT_FOR_CALLBACKS)
            self._wait = wintypes.HANDLE()
        if self.handle:
            _kernel32.CloseHandle(self.handle)
            self.handle = None


class Job:
    """A Job Object. Closing our handle leaves its processes alone; its name lives as long as anybody's handle."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @classmethod
    def make(cls, name: str) -> "Job":
        """Make it, or open the one of that name: then what is still in it stays in care."""
        handle = _kernel32.CreateJobObjectW(None, name)
        if not handle:
            raise _error(f"the job object {name} cannot be made")
        return cls(handle)

    @classmethod
    def find(cls, name: str) -> "Job | None":
        """Open it by name; None when nobody holds it any more."""
        handle = _kernel32.OpenJobObjectW(_JOB_ALL, False, name)
        return cls(handle) if handle else None

    def take(self, process: Process) -> None:
        """Put a process in, and hand it a handle that may only look: so the name outlives us."""
        if not _kernel32.AssignProcessToJobObject(self._handle, process.handle):
            raise _error("the process cannot be put into its job object")
        theirs = wintypes.HANDLE()
        ours = _kernel32.GetCurrentProcess()
        _kernel32.DuplicateHandle(
            ours, self._handle, process.handle, ctypes.byref(theirs), _JOB_QUERY, True, 0
        )  # the new handle is inherited by what the process starts; without it members are found by marker

    def pids(self) -> tuple[int, ...]:
        """Return all processes in the job."""
        room = _FIRST_JOB_PIDS
        while True:
            buffer = ctypes.create_string_buffer(8 + room * ctypes.sizeof(ctypes.c_void_p))
            size = ctypes.sizeof(buffer)
            is_whole = _kernel32.QueryInformationJobObject(self._handle, _BASIC_PROCESS_ID_LIST, buffer, size, None)
            if not is_whole and ctypes.get_last_error() != _MORE_DATA:
                raise _error("the processes of a job object cannot be listed")
            assigned, pids = parse_pid_list(buffer.raw, ctypes.sizeof(ctypes.c_void_p))
            if is_whole:
                return pids
            room = max(2 * room, assigned + _FIRST_JOB_PIDS)

    def terminate(self, code: int) -> bool:
        """End all processes in the job at once."""
        return bool(_kernel32.TerminateJobObject(self._handle, code))

    def close(self) -> None:
        """Let go of it."""
        _kernel32.CloseHandle(self._handle)


def open_append(path: str) -> int:
    """Open a file as a descriptor that can only append, and let others rename, truncate and delete it meanwhile.

    With FILE_APPEND_DATA alone each write goes to the end, as with O_APPEND; the C library only imitates that.
    """
    handle = _kernel32.CreateFileW(
        path, _FILE_APPEND_DATA | _SYNCHRONIZE, _SHARE_ALL, None, _OPEN_ALWAYS, _NORMAL, None
    )
    if handle is None or handle == wintypes.HANDLE(-1).value:
        raise _error(f"{path} cannot be opened")
    return msvcrt.open_osfhandle(handle, os.O_APPEND | os.O_BINARY | os.O_NOINHERIT)


def parents_of_all() -> dict[int, int]:
    """Return pid -> pid of the parent it had at its start, for all processes."""
    return {pid: parent for pid, (parent, _) in list_processes().items()}


def list_processes() -> dict[int, tuple[int, str]]:
    """Return pid -> (pid of the parent it had at its start, file name of its program), for all processes."""
    snapshot = _kernel32.CreateToolhelp32Snapshot(_SNAPSHOT_PROCESSES, 0)
    if snapshot is None or snapshot == wintypes.HANDLE(-1).value:
        raise _error("the processes cannot be listed")
    entry = _ProcessEntry(dwSize=ctypes.sizeof(_ProcessEntry))
    found: dict[int, tuple[int, str]] = {}
    try:
        is_more = _kernel32.Process32FirstW(snapshot, entry)
        while is_more:
            found[entry.th32ProcessID] = (entry.th32ParentProcessID, entry.szExeFile)
            is_more = _kernel32.Process32NextW(snapshot, entry)
    finally:
        _kernel32.CloseHandle(snapshot)
    return found


def read_row(pid: int, parents: Mapping[int, int] | None = None) -> Row | None:
    """Return the process as `procfs` tells of it; None when it has ended or is not ours to look at."""
    parents = parents_of_all() if parents is None else parents
    try:
        with Process(pid) as process:
            if process.has_ended():
                return None
            return Row(pid, parents.get(pid, 0), pgrp=0, sid=0, start_time=process.start_time(), is_dead=False)
    except OSError:
        return None


def read_table() -> Table:
    """Return all processes that may be looked at."""
    parents = parents_of_all()
    return {pid: row for pid in parents if (row := read_row(pid, parents)) is not None}


def read_boot_id() -> str:
    """Return what changes with each boot and with nothing else. Raises OSError."""
    buffer = ctypes.create_string_buffer(48)
    if _ntdll.NtQuerySystemInformation(_TIME_OF_DAY, buffer, ctypes.sizeof(buffer), None) < 0:
        raise OSError("Windows does not tell when it was booted (NtQuerySystemInformation)")
    return boot_id_of(buffer.raw)
