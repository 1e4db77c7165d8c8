"""The DHCP server on its wire: one interface, leases kept before they are answered. Run by a region's app."""

import asyncio
import logging
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import datetime

import msgspec

from ops_system.regional.dhcp.frames import udp_packet
from ops_system.regional.dhcp.leases import Lease, LeaseBook, SavedLease, saved
from ops_system.regional.dhcp.packet import BOOT_PORT, CLIENT_PORT, EVERYBODY, SERVER_PORT
from ops_system.regional.dhcp.rules import Answers, Arrival, DhcpConfig, Handled, Mode, Reply, Target, handle
from ops_system.regional.sockets import (
    Datagram,
    check_interface,
    check_platform,
    open_cards,
    open_udp,
    receive,
    send_from,
    send_to_card,
)
from ops_system.runtime.clock import Clock, SystemClock

_log = logging.getLogger(__name__)

WAITING_MESSAGES = 1024  # what arrives beyond is dropped and counted: machines ask again
READ_BYTES = 4096
LAST_EVENTS = 200

Keep = Callable[[Sequence[SavedLease]], None]
"""Makes leases durable; called in a thread before their machines are answered. Raises OSError when it cannot."""


class DhcpEvent(msgspec.Struct, frozen=True):
    """One message and what became of it, for the list of a region's page."""

    at: datetime
    mac: str
    kind: str
    outcome: str
    arch: int | None = None
    address: str = ""


class DhcpStatus(msgspec.Struct, frozen=True):
    """What the server does. `counts`: messages by outcome, in the words of `Handled.outcome`."""

    mode: Mode
    interface: str
    server_address: str
    is_listening: bool
    counts: dict[str, int]
    leases: int
    events: tuple[DhcpEvent, ...] = ()


class DhcpServer:
    """Answers machines on one interface.

    `answers` decides who is known and what they boot; it must not block. `kept`: the leases of the last run, and
    `keep` what keeps them (`LeaseFile` does both); proxy mode gives no addresses and needs neither.
    """

    def __init__(
        self,
        config: DhcpConfig,
        answers: Answers,
        *,
        kept: Iterable[SavedLease] = (),
        keep: Keep | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.config = config
        self._answers = answers
        self._keep = keep
        self._clock = clock or SystemClock()
        self._book = LeaseBook(config.pools)
        self._book.restore(kept, self._clock.monotonic_s(), self._clock.now())
        self._counts: Counter[str] = Counter()
        self._events: deque[DhcpEvent] = deque(maxlen=LAST_EVENTS)
        self._waiting: asyncio.Queue[tuple[int, Datagram]] = asyncio.Queue(WAITING_MESSAGES)
        self._sockets: dict[int, socket.socket] = {}
        self._cards: socket.socket | None = None

    def status(self) -> DhcpStatus:
        """Return counts and the last messages, newest first."""
        return DhcpStatus(
            mode=self.config.mode,
            interface=self.config.interface,
            server_address=str(self.config.server_address),
            is_listening=bool(self._sockets),
            counts=dict(sorted(self._counts.items())),
            leases=sum(lease.state == "bound" for lease in self.leases()),
            events=tuple(reversed(self._events)),
        )

    def leases(self) -> list[SavedLease]:
        """Return who has, or had, which address."""
        now_s, at = self._clock.monotonic_s(), self._clock.now()
        return [saved(lease, now_s, at) for lease in self._book.all()]

    async def run(self) -> None:
        """Listen and answer until cancelled. Raises UsageError or SafetyRefusal when it cannot listen."""
        if self.config.mode == "off":
            await asyncio.Event().wait()
        with ExitStack() as stack:
            self._listen(stack)
            _log.info("DHCP %s on %s, as %s", self.config.mode, self.config.interface, self.config.server_address)
            while True:
                await self._answer_waiting()

    def _listen(self, stack: ExitStack) -> None:
        check_platform("DHCP")
        check_interface(self.config.interface, "DHCP")
        loop = asyncio.get_running_loop()
        for port in (SERVER_PORT, BOOT_PORT):
            opened = open_udp(self.config.interface, port, "DHCP")
            stack.callback(opened.close)
            loop.add_reader(opened, self._take, opened, port)
            stack.callback(loop.remove_reader, opened)
            self._sockets[port] = opened
        stack.callback(self._sockets.clear)
        self._cards = open_cards(self.config.interface)
        if self._cards is None:
            _log.warning("DHCP: no CAP_NET_RAW, so machines without an address are answered by broadcast")
        else:
            stack.callback(self._cards.close)

    def _take(self, opened: socket.socket, port: int) -> None:
        """Put what arrived in line; reads no more than there is room for, so that a flood cannot hold the loop."""
        for _ in range(WAITING_MESSAGES):
            try:
                datagram = receive(opened, READ_BYTES)
            except OSError as error:  # the interface went down; it is heard again when it comes back
                _log.warning("DHCP port %d: %s", port, error.strerror)
                return
            if datagram is None:
                return
            try:
                self._waiting.put_nowait((port, datagram))
            except asyncio.QueueFull:
                self._counts["dropped"] += 1

    async def _answer_waiting(self) -> None:
        """Decide on all that waits, keep their leases in one write, then send."""
        waiting = [await self._waiting.get()]
        while not self._waiting.empty():
            waiting.append(self._waiting.get_nowait())
        handled = [self._handle(port, datagram) for port, datagram in waiting]
        await self._keep_leases([lease for one in handled for lease in one.changed])
        for one in handled:
            if one.reply is not None:
                self._send(one.reply)

    def _handle(self, port: int, datagram: Datagram) -> Handled:
        arrival = Arrival(datagram.data, datagram.source, datagram.source_port, port, self._clock.monotonic_s())
        handled = handle(self.config, self._book, self._answers, arrival)
        self._counts[handled.outcome] += 1
        if (question := handled.question) is not None:
            address = handled.changed[0].address if handled.changed else ""
            kind = question.kind.name.lower()
            event = DhcpEvent(self._clock.now(), question.mac, kind, handled.outcome, question.arch, str(address))
            self._events.append(event)
            _log.debug("DHCP %s from %s: %s %s", kind, question.mac, handled.outcome, address)
        return handled

    async def _keep_leases(self, changed: Sequence[Lease]) -> None:
        """A full disk does not stop machines from booting: an address that was forgotten is found taken by its user."""
        if not changed or self._keep is None:
            return
        now_s, at = self._clock.monotonic_s(), self._clock.now()
        try:
            await asyncio.to_thread(self._keep, [saved(lease, now_s, at) for lease in changed])
        except OSError as error:
            self._counts["not_kept"] += len(changed)
            _log.error("DHCP leases could not be kept: %s", error)

    def _send(self, reply: Reply) -> None:
        try:
            self._send_to(reply, reply.target)
        except OSError as error:
            self._counts["not_sent"] += 1
            _log.warning("DHCP answer to %s: %s", reply.target.address, error.strerror)

    def _send_to(self, reply: Reply, target: Target) -> None:
        own = self.config.server_address
        if target.mac and self._cards is not None:
            packet = udp_packet((own, reply.from_port), (target.address, target.port), reply.data)
            send_to_card(self._cards, packet, self.config.interface, target.mac)
            return
        to = Target(EVERYBODY, CLIENT_PORT) if target.mac else target
        send_from(self._sockets[reply.from_port], reply.data, own, (str(to.address), to.port))
