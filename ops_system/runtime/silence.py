"""One deadline for many waits on a peer, at the price of one timer for all of them. Used by `link`, for each frame."""

import asyncio
from types import TracebackType
from typing import Self


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
