"""Calls that wait their turn and go to the store together. Used by `progress` and `renewals`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ops_system.model.errors import OpsError, Unavailable
from ops_system.regional.timely import STORE_AWAY
from ops_system.runtime.tasks import spawn

Q = TypeVar("Q")
A = TypeVar("A")


class Asked(Generic[Q, A]):
    """What one caller asks, and what it is told."""

    __slots__ = ("answer", "question")

    def __init__(self, question: Q) -> None:
        self.question = question
        self.answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()

    def tell(self, answer: A) -> None:
        """Answer it, unless who asked has gone."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """Say what went wrong, unless it is answered; nobody has to listen."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()


Serve = Callable[[list[Asked[Q, A]]], Awaitable[None]]
"""Answers every call of a batch, or raises what all of them are told."""


class Gathering(Generic[Q, A]):
    """A queue. A call that comes alone goes at once; those of the next `gather_s` seconds together, `most` of them.

    `at_once` batches are on their way at a time: while the store works on one, the next is made.
    """

    def __init__(self, serve: Serve[Q, A], gather_s: float, most: int, at_once: int = 1) -> None:
        self._serve, self._gather_s, self._most, self._at_once = serve, gather_s, most, at_once
        self._waiting: list[Asked[Q, A]] = []
        self._wake = asyncio.Event()
        self._not_before_s = 0.0

    def ask(self, question: Q) -> asyncio.Future[A]:
        """Return what will have the answer, or what went wrong."""
        asked: Asked[Q, A] = Asked(question)
        self._waiting.append(asked)
        self._wake.set()
        return asked.answer

    async def run(self) -> None:
        """Serve, for ever; who waits when this ends is told."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._at_once):
                    spawn(group, self._run_one(), f"batches {number}")
        finally:
            _fail(self._take(len(self._waiting)), _stopping())

    async def _run_one(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._not_before_s - loop.time())
            if batch := self._take(self._most):  # none: another one took them
                self._not_before_s = loop.time() + (0.0 if self._waiting else self._gather_s)
                await self._serve_batch(batch)

    async def _serve_batch(self, batch: list[Asked[Q, A]]) -> None:
        try:
            await self._serve([asked for asked in batch if not asked.answer.done()])
        except STORE_AWAY as error:  # who waits would only meet the same
            _fail([*batch, *self._take(len(self._waiting))], error)
        except OpsError as error:
            _fail(batch, error)
        finally:
            _fail(batch, _stopping())

    def _take(self, count: int) -> list[Asked[Q, A]]:
        """Return who waits longest."""
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        if not self._waiting:
            self._wake.clear()
        return taken


def _fail(batch: list[Asked[Q, A]], error: BaseException) -> None:
    for asked in batch:
        asked.fail(error)


def _stopping() -> Unavailable:
    return Unavailable("the regional client is stopping")
