"""Says to machines that look for an IPv6 router that there is none here (RFC 4861): iPXE would wait 13 s for one.

Raw ICMPv6 on one interface. The advertisement has a router lifetime of 0 and no prefix: no host takes a route from it.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack

from ops_system.regional.sockets import check_interface, check_platform

_log = logging.getLogger(__name__)

SOLICITATION, ADVERTISEMENT = 133, 134
ALL_NODES, ALL_ROUTERS = "ff02::1", "ff02::2"
HOP_LIMIT = 255  # anything less has passed a router, or was forged from afar
_SOLICITATION_BYTES = 8
_HEADER = struct.Struct("!BBHBBHII")
_ICMP6_FILTER = 1  # of level IPPROTO_ICMPV6 (RFC 3542, icmp6_filter)
_READ_BYTES = 1500
_AT_ONCE = 64


def answer_to(data: bytes, hop_limit: int) -> bytes | None:
    """Return the advertisement that answers an ICMPv6 message; None for what is no sound solicitation.

    The kernel fills in the checksum. Checked as RFC 4861, section 6.1.1 wants it.
    """
    if len(data) < _SOLICITATION_BYTES or data[0] != SOLICITATION or data[1] != 0 or hop_limit != HOP_LIMIT:
        return None
    options = data[_SOLICITATION_BYTES:]
    while options:
        length = options[1] * 8 if len(options) > 1 else 0
        if length == 0 or length > len(options):
            return None
        options = options[length:]
    lifetime_s = reachable_ms = retransmit_ms = 0
    return _HEADER.pack(ADVERTISEMENT, 0, 0, 0, 0, lifetime_s, reachable_ms, retransmit_ms)


def filter_of(kind: int) -> bytes:
    """Return an ICMPv6 filter that lets one type through: a bit of 256 that is 0."""
    words = [0xFFFFFFFF] * 8
    words[kind >> 5] &= ~(1 << (kind & 31))
    return struct.pack("=8I", *words)


class RouterAnswer:
    """Answers each solicitation on `interface`. On a machine without IPv6 it says so once and waits."""

    def __init__(self, interface: str, *, on_answer: Callable[[], None] | None = None) -> None:
        self._interface = interface
        self._on_answer = on_answer
        self.answered = 0

    async def run(self) -> None:
        """Listen and answer until cancelled."""
        check_platform("IPv6 router answers")
        check_interface(self._interface, "IPv6 router answers")
        with ExitStack() as stack:
            try:
                opened = stack.enter_context(_open(self._interface))
            except OSError as error:
                _log.warning("no IPv6 router answers on %s: %s", self._interface, error.strerror)
            else:
                loop = asyncio.get_running_loop()
                loop.add_reader(opened, self._take, opened)
                stack.callback(loop.remove_reader, opened)
            await asyncio.Event().wait()

    def _take(self, opened: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, extra, _, sender = opened.recvmsg(_READ_BYTES, socket.CMSG_SPACE(4))
            except BlockingIOError:
                return
            except OSError as error:
                _log.debug("IPv6 router answers: %s", error)
                return
            if (answer := answer_to(data, _hop_limit(extra))) is not None:
                self._send(opened, answer, sender)

    def _send(self, opened: socket.socket, answer: bytes, asker: tuple[str, int, int, int]) -> None:
        """Answer the asker alone; one without an address hears what is said to all."""
        host, _, _, scope = asker
        to = ALL_NODES if host == "::" else host.split("%", 1)[0]
        try:
            opened.sendto(answer, (to, 0, 0, scope or socket.if_nametoindex(self._interface)))
        except OSError as error:
            _log.debug("IPv6 router answer to %s: %s", to, error)
            return
        self.answered += 1
        if self._on_answer is not None:
            self._on_answer()


def _open(interface: str) -> socket.socket:
    """Return the socket, deaf to all but solicitations. Raises OSError."""
    index = socket.if_nametoindex(interface)
    opened = socket.socket(
        socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6
    )
    try:
        opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, filter_of(SOLICITATION))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        for option in (socket.IPV6_UNICAST_HOPS, socket.IPV6_MULTICAST_HOPS):
            opened.setsockopt(socket.IPPROTO_IPV6, option, HOP_LIMIT)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        group = socket.inet_pton(socket.AF_INET6, ALL_ROUTERS) + struct.pack("=I", index)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    except OSError:
        opened.close()
        raise
    return opened


def _hop_limit(extra: list[tuple[int, int, bytes]]) -> int:
    for level, kind, value in extra:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT):
            return int(struct.unpack("=i", value)[0])
    return 0
