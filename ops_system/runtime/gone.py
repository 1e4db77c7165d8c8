"""One deadline for many waits on a peer, at the price of one timer for all of them. Used by `link`, for each frame."""

import asyncio
import socket
from types import TracebackType
from typing import Protocol, Self


class Silence:
    """`async with`: raises TimeoutError in the block once a single wait has taken `deadline_s`.

    A wait begins by `listen` and ends by `hear`; between a `hear` and the next `listen` no time counts, so that a slow
    handler is no silence of the peer's.
    """

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._since_s: float | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._look_in(self._deadline_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def listen(self) -> None:
        """A wait begins."""
        self._since_s = self._loop.time()

    def hear(self) -> None:
        """The wait is over."""
        self._since_s = None

    def touch(self) -> float:
        """The peer was heard without a wait of ours ending; return the time of the loop."""
        now_s = self._loop.time()
        if self._since_s is not None:
            self._since_s = now_s
        return now_s

    def _look_in(self, delay_s: float) -> None:
        self._timer = self._loop.call_later(delay_s, self._look)

    def _look(self) -> None:
        now_s = self._loop.time()
        left_s = self._deadline_s - (now_s - self._since_s if self._since_s is not None else 0.0)
        if left_s > 0:
            self._look_in(left_s)
        else:
            self._timeout.reschedule(now_s)


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
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
