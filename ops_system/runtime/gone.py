"""A TCP connection whose peer is gone without a word ends by itself. Used where watches of the store stay open."""

import contextlib
import socket
from typing import Protocol

GONE_AFTER_S = 60.0
_PROBES = 3


class Options(Protocol):
    """A socket, or what a transport gives in its place."""

    @property
    def family(self) -> int:
        """The family of addresses."""
        ...

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Set an option."""
        ...


def notice_silence(connection: Options, gone_after_s: float = GONE_AFTER_S) -> None:
    """End a TCP connection whose peer has been silent for `gone_after_s` (2 s or more): reads and writes fail then.

    A peer that is alive and does not read counts as silent while something waits for it (Linux: TCP_USER_TIMEOUT).
    Elsewhere the kernel's own number of repeated probes counts. Other kinds of sockets are left alone.
    """
    if connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    between_s = max(1, round(gone_after_s / (2 * _PROBES)))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", max(1, round(gone_after_s) - _PROBES * between_s)),
        ("TCP_KEEPINTVL", between_s),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", round(gone_after_s * 1000)),
    ):
        if (option := getattr(socket, name, None)) is not None:
            with contextlib.suppress(OSError):  # known to Python, not to this system: Windows before 10 1709
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
