"""The store with a limit for each call. A wait for one's turn is not counted: it says only that there is much to do."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from ops_system.kv.base import Store
from ops_system.kv.forwarding import Forwarding
from ops_system.model.errors import TimedOut, Unavailable

T = TypeVar("T")

STORE_AWAY = (Unavailable, TimedOut)
STORE_WITHIN_S = 5.0


class Timely(Forwarding):
    """A `Store` whose calls raise TimedOut `store_away` after `within_s`; only a watch may last."""

    def __init__(self, store: Store, within_s: float = STORE_WITHIN_S) -> None:
        super().__init__(store)
        self._within_s = within_s

    async def forward(self, call: Awaitable[T]) -> T:
        """Wait for a call as long as it may take."""
        try:
            async with asyncio.timeout(self._within_s):
                return await call
        except TimeoutError as error:
            words = f"the store did not answer within {self._within_s:g} s; ask again"
            raise TimedOut(words, reason="store_away") from error
