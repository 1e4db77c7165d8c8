"""Boot services of Windows, and how a role that runs as one speaks with the service control manager (SCM).

    SCM -> this program -> StartServiceCtrlDispatcherW (blocks) -> ServiceMain, on a thread of its own: the role
                                                                     ready -> SERVICE_RUNNING
        -> handler: STOP, SHUTDOWN -> the role's StopRequest -> SERVICE_STOPPED

What the role starts lies in jobs of its own and outlives it. Source: "Service Program Tasks" (Windows API).
"""

# ruff: noqa: E402 - the assertion comes first, so that type checkers on other systems skip the rest
import sys

assert sys.platform == "win32"

import asyncio
import contextlib
import ctypes
import os
import subprocess
import winreg
from collections.abc import Callable
from ctypes import wintypes
from pathlib import Path

from ops_system.model.errors import Unavailable
from ops_system.model.nodes import BootService
from ops_system.runtime.tasks import StopRequest
from ops_system.service import windows_scm
from ops_system.service.base import Change, Unit, describe
from ops_system.service.manager import Manager
from ops_system.service.units import windows_command_line
from ops_system.service.windows_scm import OWN_PROCESS, RUNNING, START_PENDING, STOP_PENDING, STOPPED, Status, advapi32

_WITHIN_S = 30.0
_KEY = r"SYSTEM\CurrentControlSet\Services\{}"
_ACCEPT_STOP, _ACCEPT_SHUTDOWN = 0x1, 0x4
_NOT_IMPLEMENTED = 120
_SPECIFIC_ERROR = 1066
_NOT_FROM_SCM = 1063
_PATIENCE_MS = 30_000

_ServiceMain = ctypes.WINFUNCTYPE(None, wintypes.DWORD, ctypes.POINTER(wintypes.LPWSTR))
_Handler = ctypes.WINFUNCTYPE(wintypes.DWORD, wintypes.DWORD, wintypes.DWORD, ctypes.c_void_p, ctypes.c_void_p)


class _Entry(ctypes.Structure):
    _fields_ = (("name", wintypes.LPWSTR), ("main", _ServiceMain))


advapi32.RegisterServiceCtrlHandlerExW.restype = wintypes.HANDLE
advapi32.RegisterServiceCtrlHandlerExW.argtypes = (wintypes.LPCWSTR, _Handler, ctypes.c_void_p)
advapi32.SetServiceStatus.argtypes = (wintypes.HANDLE, ctypes.POINTER(Status))
advapi32.StartServiceCtrlDispatcherW.argtypes = (ctypes.POINTER(_Entry),)


class WindowsServices:
    """See `base.BootServices`. Services belong to the whole system here: administrators alone may install them."""

    def check(self) -> None:
        """See `base.BootServices`."""
        windows_scm.check_rights()

    def install(self, unit: Unit, *, may_start: bool) -> Change:
        """See `base.BootServices`."""
        name, line = f"ops-{unit.role}", windows_command_line(unit)
        was, before = self.status(unit.role), self._command_line(f"ops-{unit.role}")
        windows_scm.ensure(name, line, unit.description)
        log_file = {f"OPS_{unit.role.upper()}_LOG_FILE": unit.log_file} if unit.log_file else {}
        self._set_environment(name, {**log_file, **unit.environment})
        if was.state == "active" and before != line:
            windows_scm.stop(name, _WITHIN_S)
        may_start = may_start or was.state == "active"
        if may_start:
            windows_scm.start(name, _WITHIN_S)
        done = describe(was, is_new=before is None, is_same=before == line)
        return Change(done, self.status(unit.role), hints=() if may_start else ("start_later",))

    def remove(self, role: str) -> Change:
        """See `base.BootServices`."""
        found, name = self.status(role), f"ops-{role}"
        if found.state == "absent":
            return Change("absent", found)
        windows_scm.stop(name, _WITHIN_S)
        windows_scm.delete(name)
        return Change("removed", BootService("windows", "absent", name, found.path))

    def status(self, role: str) -> BootService:
        """See `base.BootServices`."""
        name = f"ops-{role}"
        line = self._command_line(name)
        if line is None:
            return BootService("windows", "absent", name)
        is_active = windows_scm.state_of(name) != windows_scm.STOPPED
        return BootService("windows", "active" if is_active else "enabled", name, line)

    def has_word(self, role: str, word: str) -> bool:
        """See `base.BootServices`."""
        return subprocess.list2cmdline([word]) in (self._command_line(f"ops-{role}") or "")

    @staticmethod
    def _command_line(name: str) -> str | None:
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _KEY.format(name)) as key:
                return str(winreg.QueryValueEx(key, "ImagePath")[0])
        except OSError:
            return None

    @staticmethod
    def _set_environment(name: str, environment: dict[str, str]) -> None:
        """The manager adds these to the service's environment."""
        lines = [f"{key}={value}" for key, value in sorted(environment.items())]
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _KEY.format(name), 0, winreg.KEY_SET_VALUE) as key:
            winreg.SetValueEx(key, "Environment", 0, winreg.REG_MULTI_SZ, lines)


class _ServiceManager:
    """See `manager.Manager`: tells the SCM, and hears it on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._handler = _Handler(self._on_control)  # kept: the SCM calls it for as long as we live
        self._handle = advapi32.RegisterServiceCtrlHandlerExW(name, self._handler, None)
        self._state = START_PENDING
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: StopRequest | None = None
        self.tell(START_PENDING)

    def tell_ready(self) -> None:
        """See `manager.Manager`."""
        self.tell(RUNNING)

    async def run(self, stop: StopRequest) -> None:
        """See `manager.Manager`."""
        self._loop, self._stop = asyncio.get_running_loop(), stop
        await asyncio.Event().wait()

    def tell(self, state: int, code: int = 0) -> None:
        """Tell the SCM how it stands; a code other than 0 makes it restart the service."""
        self._state = state
        accepts = _ACCEPT_STOP | _ACCEPT_SHUTDOWN if state == RUNNING else 0
        is_changing = state in {START_PENDING, STOP_PENDING}
        win32_code = _SPECIFIC_ERROR if code else 0
        status = Status(OWN_PROCESS, state, accepts, win32_code, code, is_changing, _PATIENCE_MS * is_changing)
        advapi32.SetServiceStatus(self._handle, ctypes.byref(status))

    def _on_control(self, control: int, _kind: int, _data: object, _context: object) -> int:
        match control:
            case 1 | 5:  # STOP, SHUTDOWN
                self.tell(STOP_PENDING)
                if self._loop is not None and self._stop is not None:
                    with contextlib.suppress(RuntimeError):  # the loop has just ended
                        self._loop.call_soon_threadsafe(self._stop.ask, "the service manager")
                return 0
            case 4:  # INTERROGATE: the manager repeats what it was last told
                return 0
            case _:
                return _NOT_IMPLEMENTED


def as_service(run: Callable[[Manager], int]) -> int | None:
    """Run a role as the service the SCM has started us for; None, at once, when somebody else has started us."""
    codes: list[int] = []

    def service_main(_count: int, arguments: "ctypes.Array[wintypes.LPWSTR]") -> None:
        _give_streams()
        manager = _ServiceManager(str(arguments[0]))
        code = 1
        try:
            code = run(manager)
        finally:
            codes.append(code)
            manager.tell(STOPPED, code)

    main = _ServiceMain(service_main)
    table = (_Entry * 2)(_Entry("", main), _Entry(None, _ServiceMain()))  # the only service of a process needs no name
    if advapi32.StartServiceCtrlDispatcherW(table):
        return codes[0] if codes else 1
    number = ctypes.get_last_error()
    if number != _NOT_FROM_SCM:
        raise Unavailable(f"the service control manager does not answer ({ctypes.FormatError(number).strip()})")
    return None


def _give_streams() -> None:
    """A service has no console: what is printed goes nowhere instead of failing."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:
            setattr(sys, stream, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for as long as we live
