"""The TFTP server on its wire: one port for requests, a socket and a task for each transfer. Run by a region's app."""

import asyncio
import logging
import socket
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from ops_system.regional.sockets import Datagram, check_interface, check_platform, open_udp, receive
from ops_system.regional.tftp.exchange import Exchange
from ops_system.regional.tftp.packet import (
    Error,
    ErrorCode,
    MalformedPacketError,
    Request,
    pack,
    parse,
)
from ops_system.regional.tftp.rules import RefusedNameError, Sender, file_name, negotiate, to_netascii
from ops_system.regional.tftp.sources import LARGEST_TEXT_BYTES, FileSource, MemorySource, Source
from ops_system.runtime.clock import Clock, SystemClock
from ops_system.runtime.tasks import spawn

_log = logging.getLogger(__name__)

MOST_TRANSFERS, MOST_OF_ONE_CLIENT = 512, 16
LAST_TRANSFERS = 200
READ_BYTES = 2048
_REQUESTS_AT_ONCE = 256

Files = Callable[[str], bytes | Path | None]
"""Returns what a name (below the boot files, `..` already refused) stands for; must not block."""


class RefusedError(Exception):
    """A request that ends with an error packet."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.packet = Error(code, message)


class Transfer(msgspec.Struct, frozen=True):
    """One transfer that ended.

    `outcome`: sent, aborted, silent, gone, refused, failed, cut (asked for anew, or the server stopped).
    """

    name: str
    client: str
    outcome: str
    bytes_sent: int
    began_at: datetime
    took_s: float


class TftpStatus(msgspec.Struct, frozen=True):
    """What the server does. `counts`: ended transfers by outcome, and what was not begun."""

    address: str
    port: int
    is_listening: bool
    active: int
    counts: dict[str, int]
    transfers: tuple[Transfer, ...] = ()


class _Client(msgspec.Struct, frozen=True):
    host: str
    port: int


class _Running(msgspec.Struct):
    """A transfer on its way. `sender` is there once the file is open."""

    request: Request
    task: asyncio.Task[None] | None = None
    sender: Sender | None = None
    source: Source | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the client has confirmed anything."""
        return self.sender is not None and self.sender.acked > 0


class TftpServer:
    """Sends files and takes none. `host` and `port`: where requests are heard; `interface` empty: on all of them."""

    def __init__(self, host: str, port: int, files: Files, *, interface: str = "", clock: Clock | None = None) -> None:
        self.host, self.port = host, port
        self._files = files
        self._interface = interface
        self._clock = clock or SystemClock()
        self._running: dict[_Client, _Running] = {}
        self._counts: Counter[str] = Counter()
        self._ended: deque[Transfer] = deque(maxlen=LAST_TRANSFERS)
        self.ready = asyncio.Event()

    def status(self) -> TftpStatus:
        """Return counts and the last transfers, newest first."""
        return TftpStatus(
            address=self.host,
            port=self.port,
            is_listening=self.ready.is_set(),
            active=len(self._running),
            counts=dict(sorted(self._counts.items())),
            transfers=tuple(reversed(self._ended)),
        )

    async def run(self) -> None:
        """Listen and send until cancelled. Raises UsageError or SafetyRefusal when it cannot listen.

        With port 0 any free one is taken; `port` is it once `ready` is set.
        """
        check_platform("TFTP")
        if self._interface:
            check_interface(self._interface, "TFTP")
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            opened = open_udp(self._interface, self.port, "TFTP", address=self.host)
            stack.callback(opened.close)
            self.port = opened.getsockname()[1]
            async with asyncio.TaskGroup() as group:
                loop.add_reader(opened, self._take, opened, group)
                stack.callback(loop.remove_reader, opened)
                self.ready.set()
                stack.callback(self.ready.clear)
                _log.info("TFTP on %s port %d", self._interface or self.host, self.port)
                await asyncio.Event().wait()

    def _take(self, opened: socket.socket, group: asyncio.TaskGroup) -> None:
        for _ in range(_REQUESTS_AT_ONCE):
            try:
                datagram = receive(opened, READ_BYTES)
            except OSError as error:  # an ICMP answer to something sent, or the interface went down
                _log.debug("TFTP: %s", error)
                return
            if datagram is None:
                return
            self._begin(datagram, group)

    def _begin(self, datagram: Datagram, group: asyncio.TaskGroup) -> None:
        """Start a transfer. The same request again is the client's impatience until it has confirmed something."""
        try:
            request = parse(datagram.data)
        except MalformedPacketError:
            self._counts["malformed"] += 1
            return
        if not isinstance(request, Request):
            self._counts["no_request"] += 1
            return
        client = _Client(str(datagram.source), datagram.source_port)
        before = self._running.get(client)
        if before is not None and before.request == request and not before.has_begun:
            self._counts["repeated"] += 1
            return
        if before is None and self._is_full(client):
            self._counts["busy"] += 1  # no error packet: a ROM would give up, without one it asks again
            return
        if before is not None and before.task is not None:
            before.task.cancel()
        running = self._running[client] = _Running(request)
        serving = self._serve(client, running, datagram.target)
        running.task = spawn(group, serving, f"tftp {client.host}:{client.port}")

    def _is_full(self, client: _Client) -> bool:
        of_client = sum(other.host == client.host for other in self._running)
        return len(self._running) >= MOST_TRANSFERS or of_client >= MOST_OF_ONE_CLIENT

    async def _serve(self, client: _Client, running: _Running, own: IPv4Address) -> None:
        """Do one transfer and write down how it ended. Trouble with it ends nothing else."""
        began_at, began_s = self._clock.now(), self._clock.monotonic_s()
        outcome = "cut"
        try:
            with open_udp(self._interface, 0, "TFTP", address=str(own)) as wire:
                wire.connect((client.host, client.port))
                outcome = await self._transfer(running, wire)
        except ConnectionRefusedError:
            outcome = "gone"
        except OSError as error:
            outcome = "failed"
            _log.warning("TFTP of %s to %s: %s", running.request.name, client.host, error)
        finally:
            if running.source is not None:
                running.source.close()
            if self._running.get(client) is running:
                del self._running[client]
            took_s = self._clock.monotonic_s() - began_s
            self._note(Transfer(running.request.name, client.host, outcome, _sent(running), began_at, took_s))

    def _note(self, transfer: Transfer) -> None:
        self._counts[transfer.outcome] += 1
        self._ended.append(transfer)
        _log.info(
            "TFTP %s to %s: %s, %d bytes in %.1f s",
            transfer.name,
            transfer.client,
            transfer.outcome,
            transfer.bytes_sent,
            transfer.took_s,
        )

    async def _transfer(self, running: _Running, wire: socket.socket) -> str:
        try:
            source = running.source = await self._open(running.request)
        except RefusedError as refused:
            await asyncio.get_running_loop().sock_sendall(wire, pack(refused.packet))
            return "refused"
        running.sender = Sender(source.size_bytes, negotiate(running.request, source.size_bytes))
        return await Exchange(wire, source, running.sender).run()

    async def _open(self, request: Request) -> Source:
        """Return the bytes asked for. Raises RefusedError with what the client is told."""
        if request.is_write:
            raise RefusedError(ErrorCode.ACCESS, "this server is read only")
        if request.mode not in {"octet", "netascii"}:
            raise RefusedError(ErrorCode.ILLEGAL, "only mode octet (or netascii) is known")
        try:
            found = self._files(file_name(request.name))
        except RefusedNameError as error:
            raise RefusedError(ErrorCode.ACCESS, str(error)) from error
        if found is None:
            is_absolute = request.name.startswith("/")
            raise RefusedError(ErrorCode.ACCESS if is_absolute else ErrorCode.NOT_FOUND, "there is no such boot file")
        try:
            source = MemorySource(found) if isinstance(found, bytes) else FileSource(found)
        except OSError as error:
            raise RefusedError(ErrorCode.NOT_FOUND, "this boot file cannot be read") from error
        return source if request.mode == "octet" else await _as_text(source)


def _sent(running: _Running) -> int:
    if running.sender is None or running.source is None:
        return 0
    return min(max(running.sender.acked, 0) * running.sender.terms.block_bytes, running.source.size_bytes)


async def _as_text(source: Source) -> Source:
    try:
        if source.size_bytes > LARGEST_TEXT_BYTES:
            raise RefusedError(ErrorCode.UNDEFINED, "too large for mode netascii: use octet")
        await source.fill(0, source.size_bytes)
        return MemorySource(to_netascii(source.peek(0, source.size_bytes) or b""))
    except OSError as error:
        raise RefusedError(ErrorCode.UNDEFINED, "this boot file cannot be read") from error
    finally:
        source.close()
