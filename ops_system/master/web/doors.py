"""The two listeners: plain HTTP on the loopback from the start, TLS for the network once an administrator exists."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable

from aiohttp import web

from ops_system.master.web.server import Front
from ops_system.model.errors import SafetyRefusal, Unavailable
from ops_system.runtime.connection import Listener, bind

LOOPBACK = "127.0.0.1"
HANDLERS_MAY_TAKE_S = 2.0  # at the end; twice: once to finish, once to notice that they are cancelled
LOOK_AGAIN_S = 0.5
TRY_AGAIN_S = 5.0

_log = logging.getLogger(__name__)


class Doors:
    """`open_plain` before anybody is promised anything, then `run` until cancelled.

    `may_open_tls` is asked until it says yes; `tls` makes the context (blocking); `on_tls` hears the port.
    """

    def __init__(
        self,
        front: Front,
        *,
        listen: str,
        tls_port: int,
        may_open_tls: Callable[[], bool],
        tls: Callable[[], ssl.SSLContext],
        on_tls: Callable[[int], None],
    ) -> None:
        self._front = front
        self.listen = listen
        self._wanted_tls_port = tls_port
        self._may_open_tls = may_open_tls
        self._tls = tls
        self._on_tls = on_tls
        self._trouble = ""
        self._knocked = asyncio.Event()
        self._is_closed = False
        self._runner = web.AppRunner(front.application(), shutdown_timeout=HANDLERS_MAY_TAKE_S)
        self._plain = Listener(self._runner)
        self._network = Listener(self._runner)

    @property
    def port(self) -> int:
        """The port of the plain listener."""
        return self._plain.port

    @property
    def tls_port(self) -> int:
        """The port of the TLS listener; 0 while it is closed."""
        return self._network.port

    def knock(self) -> None:
        """Look now whether the TLS door may be opened."""
        self._knocked.set()

    async def check(self) -> None:
        """Raise `Unavailable` while the TLS listener ought to be open and is not."""
        if self._trouble:
            raise Unavailable(self._trouble)

    async def open(self, plain: socket.socket) -> None:
        """Serve on the loopback; on the network too where an administrator exists.

        Raises `SafetyRefusal` when the TLS port is taken.
        """
        await self._runner.setup()
        if self._may_open_tls():
            await self._open_tls()
        await self._plain.open(plain)

    async def run(self) -> None:
        """Open the TLS door when it may be opened; at the end close both and let handlers finish."""
        try:
            await self._wait_for_tls()
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Accept nobody any more, end sockets, wait a little for handlers. A second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._plain.close()
        self._network.close()
        self._front.close_sockets()
        await self._runner.cleanup()

    async def _wait_for_tls(self) -> None:
        while not self.tls_port:
            if not self._may_open_tls():
                await self._wait_for_knock()
                continue
            try:
                await self._open_tls()
            except SafetyRefusal as refusal:
                if not self._trouble:
                    _log.error("%s", refusal.message)
                self._trouble = refusal.message
                await asyncio.sleep(TRY_AGAIN_S)
        self._trouble = ""

    async def _wait_for_knock(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN_S):
                await self._knocked.wait()
        self._knocked.clear()

    async def _open_tls(self) -> None:
        with contextlib.ExitStack() as undo:
            sock = undo.enter_context(bind(self.listen, self._wanted_tls_port))
            context = await asyncio.to_thread(self._tls)
            await self._network.open(sock, context)
            undo.pop_all()
        self._on_tls(self.tls_port)
