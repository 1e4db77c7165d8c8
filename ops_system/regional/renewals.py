"""Renews the leases of agents that ask at about one time in one call: thousands of them ask every ten seconds."""

import asyncio

from ops_system.kv.base import Store
from ops_system.model.errors import OpsError, Unavailable
from ops_system.regional.journal import STORE_AWAY, STORE_WITHIN_S

GATHER_S = 0.05  # of a lease of 30 s
MAX_TOGETHER = 500

_Asked = tuple[int, "asyncio.Future[int]"]


class Renewals:
    """Nobody's lease is renewed but of who asks (P4)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Asked] = []
        self._wake = asyncio.Event()
        self.calls = 0

    async def renew(self, lease_id: int) -> int:
        """Return the seconds a lease has again, 0 when it is gone. Raises what the store raises."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((lease_id, answer))
        self._wake.set()
        return await answer

    async def run(self) -> None:
        """Renew, for ever."""
        try:
            while True:
                await self._wake.wait()
                await asyncio.sleep(GATHER_S)
                batch = self._take(MAX_TOGETHER)
                try:
                    await self._renew_all([asked for asked in batch if not asked[1].done()])
                except STORE_AWAY as error:  # who waits would only meet the same
                    _tell([*batch, *self._take(len(self._waiting))], error)
                except OpsError as error:
                    _tell(batch, error)
                finally:
                    _tell(batch, Unavailable("the regional client is stopping"))
        finally:
            _tell(self._take(len(self._waiting)), Unavailable("the regional client is stopping"))

    def _take(self, count: int) -> list[_Asked]:
        """Return who waits longest."""
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        if not self._waiting:
            self._wake.clear()
        return taken

    async def _renew_all(self, batch: list[_Asked]) -> None:
        async with asyncio.timeout(STORE_WITHIN_S):
            renewed = await self._store.keepalive_many([lease_id for lease_id, _ in batch])
        self.calls += 1
        for (_, answer), ttl_s in zip(batch, renewed, strict=True):
            if not answer.done():  # who asked has gone
                answer.set_result(ttl_s)


def _tell(batch: list[_Asked], error: OpsError | TimeoutError) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(error)
