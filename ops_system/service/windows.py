"""Boot services of Windows: `sc.exe` installs, and the service control manager speaks with the running role.

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
from collections.abc import Callable, MutableMapping
from ctypes import wintypes
from pathlib import Path

from ops_system.model.errors import Unavailable
from ops_system.model.nodes import BootService
from ops_system.runtime.tasks import StopRequest
from ops_system.service.base import Change, Unit, describe
from ops_system.service.commands import Run, run_command
from ops_system.service.manager import Manager
from ops_system.service.units import windows_command_line

_WITHIN_S = 30.0
_VARIABLE = "OPS_SERVICE_NAME"
_KEY = r"SYSTEM\CurrentControlSet\Services\{}"
_DOES_NOT_EXIST, _NOT_ACTIVE, _ALREADY_RUNNING = 1060, 1062, 1056
_OWN_PROCESS = 0x10
_STOPPED, _START_PENDING, _STOP_PENDING, _RUNNING = 1, 2, 3, 4
_ACCEPT_STOP, _ACCEPT_SHUTDOWN = 0x1, 0x4
_NOT_IMPLEMENTED = 120
_SPECIFIC_ERROR = 1066
_PATIENCE_MS = 30_000

_advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)
_ServiceMain = ctypes.WINFUNCTYPE(None, wintypes.DWORD, ctypes.POINTER(wintypes.LPWSTR))
_Handler = ctypes.WINFUNCTYPE(wintypes.DWORD, wintypes.DWORD, wintypes.DWORD, ctypes.c_void_p, ctypes.c_void_p)


class _Entry(ctypes.Structure):
    _fields_ = (("name", wintypes.LPWSTR), ("main", _ServiceMain))


class _Status(ctypes.Structure):
    _fields_ = tuple(
        (name, wintypes.DWORD)
        for name in ("kind", "state", "accepts", "exit_code", "specific_code", "check_point", "wait_hint_ms")
    )


_advapi32.RegisterServiceCtrlHandlerExW.restype = wintypes.HANDLE
_advapi32.RegisterServiceCtrlHandlerExW.argtypes = (wintypes.LPCWSTR, _Handler, ctypes.c_void_p)
_advapi32.SetServiceStatus.argtypes = (wintypes.HANDLE, ctypes.POINTER(_Status))
_advapi32.StartServiceCtrlDispatcherW.argtypes = (ctypes.POINTER(_Entry),)


def service_name(environ: MutableMapping[str, str]) -> str:
    """Return as which service this process was started, empty when by hand; what it starts shall not know."""
    return environ.pop(_VARIABLE, "")


class WindowsServices:
    """See `base.BootServices`. Services belong to the whole system here: administrators alone may install them."""

    def __init__(self, run: Run = run_command) -> None:
        self._run = run

    def install(self, unit: Unit, *, may_start: bool) -> Change:
        """See `base.BootServices`."""
        name, line = f"ops-{unit.role}", windows_command_line(unit)
        was, before = self.status(unit.role), self._command_line(f"ops-{unit.role}")
        self._sc("config" if before is not None else "create", name, "binPath=", line, "start=", "auto")
        self._sc("description", name, unit.description)
        self._sc("failure", name, "reset=", "86400", "actions=", "restart/1000/restart/5000/restart/30000")
        self._sc("failureflag", name, "1", may_fail=True)
        log_file = {f"OPS_{unit.role.upper()}_LOG_FILE": unit.log_file} if unit.log_file else {}
        self._set_environment(name, {**log_file, **unit.environment, _VARIABLE: name})
        if was.state == "active" and before != line:
            self._sc("stop", name, may_fail=True)
        if may_start or was.state == "active":
            self._sc("start", name, fine=(_ALREADY_RUNNING,))
        hints = () if may_start or was.state == "active" else ("start_later",)
        done = describe(was, is_new=before is None, is_same=before == line)
        return Change(done, self.status(unit.role), hints=hints)

    def remove(self, role: str) -> Change:
        """See `base.BootServices`."""
        found, name = self.status(role), f"ops-{role}"
        if found.state == "absent":
            return Change("absent", found)
        self._sc("stop", name, fine=(_NOT_ACTIVE,), may_fail=True)
        self._sc("delete", name)
        return Change("removed", BootService("windows", "absent", name))

    def status(self, role: str) -> BootService:
        """See `base.BootServices`."""
        name = f"ops-{role}"
        line = self._command_line(name)
        if line is None:
            return BootService("windows", "absent", name)
        answer = self._run(("sc.exe", "query", name), _WITHIN_S)
        return BootService("windows", "active" if "RUNNING" in answer.stdout else "enabled", name, line)

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

    def _sc(self, *words: str, fine: tuple[int, ...] = (), may_fail: bool = False) -> None:
        answer = self._run(("sc.exe", *words), _WITHIN_S)
        if answer.returncode not in (0, *fine) and not may_fail:
            said = " ".join((answer.stderr or answer.stdout).split())
            raise Unavailable(f"sc {words[0]} {words[1]} failed ({said}); run this as administrator", said=said)


class _ServiceManager:
    """See `manager.Manager`: tells the SCM, and hears it on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._handler = _Handler(self._on_control)  # kept: the SCM calls it for as long as we live
        self._handle = _advapi32.RegisterServiceCtrlHandlerExW(name, self._handler, None)
        self._state = _START_PENDING
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: StopRequest | None = None
        self.tell(_START_PENDING)

    def tell_ready(self) -> None:
        """See `manager.Manager`."""
        self.tell(_RUNNING)

    async def run(self, stop: StopRequest) -> None:
        """See `manager.Manager`."""
        self._loop, self._stop = asyncio.get_running_loop(), stop
        await asyncio.Event().wait()

    def tell(self, state: int, code: int = 0) -> None:
        """Tell the SCM how it stands; a code other than 0 makes it restart the service."""
        self._state = state
        accepts = _ACCEPT_STOP | _ACCEPT_SHUTDOWN if state == _RUNNING else 0
        is_changing = state in {_START_PENDING, _STOP_PENDING}
        win32_code = _SPECIFIC_ERROR if code else 0
        status = _Status(_OWN_PROCESS, state, accepts, win32_code, code, is_changing, _PATIENCE_MS * is_changing)
        _advapi32.SetServiceStatus(self._handle, ctypes.byref(status))

    def _on_control(self, control: int, _kind: int, _data: object, _context: object) -> int:
        match control:
            case 1 | 5:  # STOP, SHUTDOWN
                self.tell(_STOP_PENDING)
                if self._loop is not None and self._stop is not None:
                    with contextlib.suppress(RuntimeError):  # the loop has just ended
                        self._loop.call_soon_threadsafe(self._stop.ask, "the service manager")
                return 0
            case 4:  # INTERROGATE: the manager repeats what it was last told
                return 0
            case _:
                return _NOT_IMPLEMENTED


def as_service(name: str, run: Callable[[Manager], int]) -> int:
    """Run a role as the service `name` and return its exit code. Raises Unavailable when the SCM does not know us."""
    codes: list[int] = []
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # a service has no console
            setattr(sys, stream, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for as long as we live

    def service_main(_count: int, _arguments: object) -> None:
        manager = _ServiceManager(name)
        code = 1
        try:
            code = run(manager)
        finally:
            codes.append(code)
            manager.tell(_STOPPED, code)

    main = _ServiceMain(service_main)
    table = (_Entry * 2)(_Entry(name, main), _Entry(None, _ServiceMain()))
    if not _advapi32.StartServiceCtrlDispatcherW(table):
        raise Unavailable(f"{name} is a service: start it by: sc start {name}")
    return codes[0] if codes else 1
