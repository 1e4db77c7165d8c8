"""Writes together what waits to be written to one document, so that many writers do not undo each other's tries.

While one compare-and-swap is on its way the others gather; whoever comes next writes for all of them. Fifty writers of
one process need two or three transactions instead of over a thousand tries; other processes are met by the swap itself.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

K = TypeVar("K", bound=Hashable)
W = TypeVar("W")
R = TypeVar("R")

Write = Callable[[K, Sequence[W]], Awaitable[Sequence[R | Exception]]]
"""Writes several wishes at one instant; tells of each what came of it."""


class _Wish(Generic[W, R]):
    """What one caller wants, and what came of it."""

    def __init__(self, body: W) -> None:
        self.body = body
        self.outcome: R | Exception | None = None


class Together(Generic[K, W, R]):
    """Gathers wishes by key. `weigh` says how much of `most` one wish takes up in a write."""

    def __init__(self, write: Write[K, W, R], weigh: Callable[[W], int], most: int) -> None:
        self._write, self._weigh, self._most = write, weigh, most
        self._waiting: dict[K, list[_Wish[W, R]]] = defaultdict(list)
        self._locks: WeakValueDictionary[K, asyncio.Lock] = WeakValueDictionary()

    async def ask(self, key: K, body: W) -> R:
        """Return what came of `body`, or raise it.

        A caller that is cancelled takes its wish back; one that is being written may have been written all the same.
        """
        wish: _Wish[W, R] = _Wish(body)
        self._waiting[key].append(wish)
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                while wish.outcome is None:
                    await self._write_some(key)
        finally:
            if wish.outcome is None:
                self._take_back(key, wish)
        if isinstance(wish.outcome, Exception):
            raise wish.outcome
        return wish.outcome

    async def _write_some(self, key: K) -> None:
        batch = self._take(key)
        try:
            outcomes = await self._write(key, [wish.body for wish in batch])
        except Exception as error:  # noqa: BLE001 - it belongs to every caller of this write
            outcomes = [error] * len(batch)
        except BaseException:
            self._waiting[key][:0] = batch  # this caller goes and takes its own back; the next one writes the others'
            raise
        for wish, outcome in zip(batch, outcomes, strict=True):
            wish.outcome = outcome

    def _take_back(self, key: K, wish: _Wish[W, R]) -> None:
        self._keep(key, [each for each in self._waiting[key] if each is not wish])

    def _keep(self, key: K, waiting: list[_Wish[W, R]]) -> None:
        if waiting:
            self._waiting[key] = waiting
        else:
            self._waiting.pop(key, None)

    def _take(self, key: K) -> list[_Wish[W, R]]:
        waiting = self._waiting[key]
        count, weight = 1, self._weigh(waiting[0].body)
        while count < len(waiting) and (weight := weight + self._weigh(waiting[count].body)) <= self._most:
            count += 1
        self._keep(key, waiting[count:])
        return waiting[:count]
