"""The service control manager's own calls: make, change, start, stop, delete and look at a service. Used by `windows`.

Source: "Service Functions" (Windows API, advapi32).
"""

# ruff: noqa: E402 - the assertion comes first, so that type checkers on other systems skip the rest
import sys

assert sys.platform == "win32"

import contextlib
import ctypes
import time
from collections.abc import Iterator
from ctypes import wintypes

from ops_system.model.errors import Unavailable

OWN_PROCESS = 0x10
STOPPED, START_PENDING, STOP_PENDING, RUNNING = 1, 2, 3, 4
DOES_NOT_EXIST, NOT_ACTIVE, ALREADY_RUNNING = 1060, 1062, 1056
_ALL_ACCESS, _QUERY, _CONNECT = 0xF01FF, 0x4, 0x1
_MANAGER_ALL = 0xF003F
_AUTO_START, _NORMAL_ERROR = 2, 1
_CONTROL_STOP = 1
_DESCRIPTION, _FAILURE_ACTIONS, _FAILURE_FLAG = 1, 2, 4
_RESTART = 1
_RESTART_AFTER_MS = (1000, 5000, 30_000)
_FORGET_FAILURES_S = 86_400
_LOOK_EVERY_S = 0.1

advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)
for _name, _result in (
    ("OpenSCManagerW", wintypes.HANDLE),
    ("OpenServiceW", wintypes.HANDLE),
    ("CreateServiceW", wintypes.HANDLE),
):
    getattr(advapi32, _name).restype = _result
advapi32.OpenServiceW.argtypes = (wintypes.HANDLE, wintypes.LPCWSTR, wintypes.DWORD)
advapi32.CloseServiceHandle.argtypes = (wintypes.HANDLE,)
advapi32.DeleteService.argtypes = (wintypes.HANDLE,)
advapi32.StartServiceW.argtypes = (wintypes.HANDLE, wintypes.DWORD, ctypes.c_void_p)
advapi32.ControlService.argtypes = (wintypes.HANDLE, wintypes.DWORD, ctypes.c_void_p)
advapi32.QueryServiceStatus.argtypes = (wintypes.HANDLE, ctypes.c_void_p)
advapi32.ChangeServiceConfig2W.argtypes = (wintypes.HANDLE, wintypes.DWORD, ctypes.c_void_p)
_TEXT = wintypes.LPCWSTR
advapi32.CreateServiceW.argtypes = (
    wintypes.HANDLE, _TEXT, _TEXT, wintypes.DWORD, wintypes.DWORD, wintypes.DWORD, wintypes.DWORD, _TEXT,
    _TEXT, ctypes.c_void_p, _TEXT, _TEXT, _TEXT,
)  # fmt: skip
advapi32.ChangeServiceConfigW.argtypes = (
    wintypes.HANDLE, wintypes.DWORD, wintypes.DWORD, wintypes.DWORD, _TEXT,
    _TEXT, ctypes.c_void_p, _TEXT, _TEXT, _TEXT, _TEXT,
)  # fmt: skip


class Status(ctypes.Structure):
    """SERVICE_STATUS."""

    _fields_ = tuple(
        (name, wintypes.DWORD)
        for name in ("kind", "state", "accepts", "exit_code", "specific_code", "check_point", "wait_hint_ms")
    )


class _Description(ctypes.Structure):
    _fields_ = (("text", wintypes.LPWSTR),)


class _Action(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int), ("delay_ms", wintypes.DWORD))


class _FailureActions(ctypes.Structure):
    _fields_ = (
        ("reset_s", wintypes.DWORD),
        ("message", wintypes.LPWSTR),
        ("command", wintypes.LPWSTR),
        ("count", wintypes.DWORD),
        ("actions", ctypes.POINTER(_Action)),
    )


def check_rights() -> None:
    """Raise Unavailable for one who may not make services."""
    with _manager(_MANAGER_ALL):
        pass


def ensure(name: str, command_line: str, description: str) -> None:
    """Make the service or change it: started at boot, restarted after a failure. Raises Unavailable."""
    with _manager(_MANAGER_ALL) as manager:
        handle = advapi32.OpenServiceW(manager, name, _ALL_ACCESS)
        if not handle and ctypes.get_last_error() == DOES_NOT_EXIST:
            handle = advapi32.CreateServiceW(
                manager, name, description, _ALL_ACCESS, OWN_PROCESS, _AUTO_START, _NORMAL_ERROR, command_line,
                None, None, None, None, None,
            )  # fmt: skip
        _check(handle, f"make the service {name}")
        with _closing(handle):
            changed = advapi32.ChangeServiceConfigW(
                handle, OWN_PROCESS, _AUTO_START, _NORMAL_ERROR, command_line, None, None, None, None, None, description
            )
            _check(changed, f"change the service {name}")
            _describe(handle, description)


def _describe(handle: int, description: str) -> None:
    """What Windows may lack and a service can do without."""
    actions = (_Action * len(_RESTART_AFTER_MS))(*(_Action(_RESTART, delay_ms) for delay_ms in _RESTART_AFTER_MS))
    on_failure = _FailureActions(_FORGET_FAILURES_S, None, None, len(actions), actions)
    also_on_exit_code = wintypes.BOOL(True)
    advapi32.ChangeServiceConfig2W(handle, _DESCRIPTION, ctypes.byref(_Description(description)))
    advapi32.ChangeServiceConfig2W(handle, _FAILURE_ACTIONS, ctypes.byref(on_failure))
    advapi32.ChangeServiceConfig2W(handle, _FAILURE_FLAG, ctypes.byref(also_on_exit_code))


def start(name: str, within_s: float) -> None:
    """Start the service and wait until it runs. Raises Unavailable."""
    with _service(name, _ALL_ACCESS) as handle:
        if not advapi32.StartServiceW(handle, 0, None) and ctypes.get_last_error() != ALREADY_RUNNING:
            _check(0, f"start the service {name}")
        state = _wait(handle, START_PENDING, within_s)
    if state != RUNNING:
        raise Unavailable(f"the service {name} does not run; look at its log file", state=state)


def stop(name: str, within_s: float) -> None:
    """Stop the service and wait until it has. Raises Unavailable."""
    with _service(name, _ALL_ACCESS) as handle:
        told = advapi32.ControlService(handle, _CONTROL_STOP, ctypes.byref(Status()))
        if not told and ctypes.get_last_error() != NOT_ACTIVE:
            _check(0, f"stop the service {name}")
        if _wait(handle, STOP_PENDING, within_s) != STOPPED:
            raise Unavailable(f"the service {name} does not stop within {within_s:.0f} s")


def delete(name: str) -> None:
    """Remove the service. Raises Unavailable."""
    with _service(name, _ALL_ACCESS) as handle:
        _check(advapi32.DeleteService(handle), f"remove the service {name}")


def state_of(name: str) -> int:
    """Return the service's state, STOPPED where it cannot be asked."""
    try:
        with _service(name, _QUERY) as handle:
            return _state(handle)
    except Unavailable:
        return STOPPED


def _wait(handle: int, while_state: int, within_s: float) -> int:
    """Return the first state that is another one; a running service is told to stop a moment before it says so."""
    deadline_s = time.monotonic() + within_s
    passing = {while_state, RUNNING} if while_state == STOP_PENDING else {while_state}
    while (state := _state(handle)) in passing and time.monotonic() < deadline_s:
        time.sleep(_LOOK_EVERY_S)
    return state


def _state(handle: int) -> int:
    status = Status()
    _check(advapi32.QueryServiceStatus(handle, ctypes.byref(status)), "ask for the state of a service")
    return int(status.state)


@contextlib.contextmanager
def _manager(access: int) -> Iterator[int]:
    handle = advapi32.OpenSCManagerW(None, None, access)
    _check(handle, "open the service control manager")
    with _closing(handle):
        yield handle


@contextlib.contextmanager
def _service(name: str, access: int) -> Iterator[int]:
    with _manager(_CONNECT) as manager:
        handle = advapi32.OpenServiceW(manager, name, access)
        _check(handle, f"open the service {name}")
        with _closing(handle):
            yield handle


@contextlib.contextmanager
def _closing(handle: int) -> Iterator[None]:
    try:
        yield
    finally:
        advapi32.CloseServiceHandle(handle)


def _check(answer: int | None, what: str) -> None:
    if not answer:
        number = ctypes.get_last_error()
        said = ctypes.FormatError(number).strip()
        raise Unavailable(f"cannot {what}: {said} ({number}); run this as administrator", number=number)
