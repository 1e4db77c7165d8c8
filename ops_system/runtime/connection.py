"""The outer skin: sockets, TLS, and clients that send half a request and wait (trust S20).

aiohttp has no time limit for headers or bodies; `WatchedConnection` adds both. `Listener` binds one address to it.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import StreamReader, web
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from ops_system.model.errors import SafetyRefusal

HEADER_TIMEOUT_S = 10.0
IDLE_BODY_TIMEOUT_S = 30.0
KEEP_ALIVE_S = 60.0
MAX_HEADER_BYTES = 16 * 1024
TLS_HANDSHAKE_TIMEOUT_S = 10.0
_BACKLOG = 4096  # connections that wait while the loop is busy: a fleet that comes back; asyncio's own number is 100


class WatchedConnection(RequestHandler):
    """One client connection.

    Headers must be complete `header_timeout_s` after their first byte and fit `MAX_HEADER_BYTES`; a body must not stop
    for `idle_body_s` while we are willing to read.
    """

    __slots__ = ("_due_at", "_header_bytes", "_header_timeout_s", "_heard_at", "_idle_body_s", "_newest_body", "_watch")

    def __init__(
        self,
        manager: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        header_timeout_s: float,
        idle_body_s: float,
        **options: Any,
    ) -> None:
        super().__init__(manager, loop=loop, **options)
        self._header_timeout_s = header_timeout_s
        self._idle_body_s = idle_body_s
        self._due_at: float | None = None  # when the headers under way must be complete
        self._header_bytes = 0
        self._heard_at = 0.0
        self._newest_body: StreamReader = EMPTY_PAYLOAD  # of the last request whose headers came
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock of the first request."""
        super().connection_made(transport)
        self._heard_at = self._loop.time()
        self._due_at = self._heard_at + self._header_timeout_s
        self._arm(self._header_timeout_s)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the clock."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed aiohttp, and note whether headers are still under way."""
        if self._payload_parser is not None:  # a WebSocket has its own heartbeat
            if self._watch is not None:
                self._disarm()
            super().data_received(data)
            return
        before, was_in_body = self._request_count, self._has_body_under_way()
        super().data_received(data)
        if self._upgraded:
            return
        self._heard_at = self._loop.time()
        if self._request_count != before:
            self._due_at, self._header_bytes = None, 0
            self._newest_body = self._messages[-1][1]
            self._arm(self._idle_body_s)
        elif data and not was_in_body:  # aiohttp feeds itself empty data to look at its buffer again
            self._note_header_part(len(data))

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp itself refuses (a broken request line, say) in the product's words."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun; the connection is closed")
        if isinstance(exc, ConnectionError) and (self.transport is None or self.transport.is_closing()):
            raise ConnectionError("the peer left before the answer began") from exc
        if exc is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log_exception("error outside any route", exc_info=exc)
        code = "invalid" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "internal"
        text = (message or HTTPStatus(status).phrase).splitlines()[0]
        body = msgspec.json.encode({"code": code, "message": text, "details": {}})
        answer = web.Response(status=status, body=body, content_type="application/json")
        answer.force_close()
        return answer

    def _note_header_part(self, size_bytes: int) -> None:
        self._header_bytes += size_bytes
        if self._due_at is None:
            self._due_at = self._heard_at + self._header_timeout_s
            self._arm(self._header_timeout_s)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _refuse(self, status: HTTPStatus) -> None:
        if isinstance(self.transport, asyncio.WriteTransport):
            line = f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            self.transport.write(line.encode())
        self.force_close()

    def _disarm(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _arm(self, delay_s: float) -> None:
        self._disarm()
        self._watch = self._loop.call_later(delay_s, self._check)

    def _check(self) -> None:
        self._watch = None
        now = self._loop.time()
        if self._due_at is not None:
            self._check_headers(now)
        elif self._has_body_under_way():
            silent_s = now - self._heard_at
            if silent_s >= self._idle_body_s and not self._reading_paused:
                self.force_close()
            else:
                self._arm(max(self._idle_body_s - silent_s, 1.0))

    def _check_headers(self, now: float) -> None:
        if self._due_at is not None and now < self._due_at:
            self._arm(self._due_at - now)
        elif self._request_in_progress:
            self._arm(self._header_timeout_s)  # sent ahead, behind a request that is still being answered
        elif self._header_bytes:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.force_close()  # connected and said nothing

    def _has_body_under_way(self) -> bool:
        return not self._newest_body.is_eof()


def bind(address: str, port: int) -> socket.socket:
    """Return a listening-to-be TCP socket. Raises `SafetyRefusal` naming the port when it is taken or forbidden."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # On Windows SO_REUSEADDR would let a second master steal the port.
        option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
        sock.bind((address, port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _refusal(address, port, error) from error
    return sock


def _refusal(address: str, port: int, error: OSError) -> SafetyRefusal:
    if error.errno == errno.EADDRINUSE:
        in_use = "port {port} on {address} is in use by another program; stop it, or choose another port"
        return SafetyRefusal(in_use, port=port, address=address)
    if error.errno == errno.EACCES:
        low = "port {port} on {address} needs more rights; choose a port above 1023"
        return SafetyRefusal(low, port=port, address=address)
    other = "cannot listen on {address} port {port}: {trouble}"
    return SafetyRefusal(other, address=address, port=port, trouble=error.strerror or error)


class Listener:
    """One bound address serving one application. Open it, use `port`, close it."""

    def __init__(
        self,
        runner: web.AppRunner,
        *,
        header_timeout_s: float = HEADER_TIMEOUT_S,
        idle_body_s: float = IDLE_BODY_TIMEOUT_S,
    ) -> None:
        self._runner = runner
        self._header_timeout_s = header_timeout_s
        self._idle_body_s = idle_body_s
        self._server: asyncio.AbstractServer | None = None
        self.port = 0

    async def open(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve on a socket from `bind`."""
        loop = asyncio.get_running_loop()
        limit_s = TLS_HANDSHAKE_TIMEOUT_S if tls else None
        self.port = int(sock.getsockname()[1])
        factory = self._factory(loop)
        self._server = await loop.create_server(
            factory, sock=sock, ssl=tls, ssl_handshake_timeout=limit_s, backlog=_BACKLOG
        )

    def close(self) -> None:
        """Stop accepting. Connections that are open end with the runner."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _factory(self, loop: asyncio.AbstractEventLoop) -> Callable[[], WatchedConnection]:
        manager = self._runner.server
        if manager is None:
            raise RuntimeError("set the runner up before opening a listener")

        def make() -> WatchedConnection:
            return WatchedConnection(
                manager,
                loop=loop,
                header_timeout_s=self._header_timeout_s,
                idle_body_s=self._idle_body_s,
                keepalive_timeout=KEEP_ALIVE_S,
                access_log=None,
                auto_decompress=False,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
            )

        return make
