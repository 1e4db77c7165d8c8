"""What a role says to whoever started it as a service: ready, alive, stopping; and how it hears that it must stop.

systemd: sd_notify(3), one datagram a word. Windows: the service control manager (`windows`). By hand: nothing.
The variables are taken out of the environment, so that no program a role starts speaks in its name.
"""

import asyncio
import contextlib
import faulthandler
import os
import socket
import sys
from collections.abc import Callable, MutableMapping
from typing import Protocol

from ops_system.runtime.tasks import StopRequest, every

_PULSES = 3  # within one watchdog interval
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Manager(Protocol):
    """The service manager, as a role sees it."""

    def tell_ready(self) -> None:
        """The role does its work now."""

    async def run(self, stop: StopRequest) -> None:
        """Say that the loop is alive as often as asked, ask `stop` when told to; ends only by cancellation."""


class Notifier:
    """See `Manager`; says nothing where `address` is empty. A word that nobody hears changes nothing."""

    def __init__(self, address: str, watchdog_s: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_s = watchdog_s

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> "Notifier":
        """Return the one that systemd asks for, taking its variables out of `environ`."""
        address, pause_us, pid = (environ.pop(name, "") for name in _VARIABLES)
        is_ours = not pid or pid == str(os.getpid())
        return cls(address, int(pause_us) / 1e6 if is_ours and pause_us.isdecimal() else 0.0)

    def tell_ready(self) -> None:
        """See `Manager`."""
        self._send("READY=1")

    async def run(self, stop: StopRequest) -> None:
        """See `Manager`. systemd itself stops by a signal; a stop that hands over to another program is none to it."""
        try:
            if self._address and self._watchdog_s > 0:
                faulthandler.enable()  # a loop that hangs is killed by SIGABRT: say where it hung
                await every(self._watchdog_s / _PULSES, self._pulse, "watchdog")
            await asyncio.Event().wait()
        finally:
            if not stop.is_handover:
                self._send("STOPPING=1")

    async def _pulse(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, word: str) -> None:
        if not self._address or sys.platform == "win32":
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
            speaker.setblocking(False)
            speaker.sendto(word.encode(), self._address)


def with_manager(run: Callable[[Manager], int]) -> int:
    """Run a role under the manager that started it, and return its exit code."""
    if sys.platform == "win32":
        from ops_system.service.windows import as_service

        code = as_service(run)
        if code is not None:
            return code
    return run(Notifier.of(os.environ))
