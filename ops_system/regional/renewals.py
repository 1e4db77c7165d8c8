"""Renews the leases of agents that ask at about one time in one call: thousands of them ask every ten seconds."""

import asyncio

from ops_system.kv.base import Store
from ops_system.regional.gathering import Asked, Gathering

GATHER_S = 0.05  # of a lease of 30 s
MAX_TOGETHER = 500


class Renewals:
    """Nobody's lease is renewed but of who asks (P4)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._gathering: Gathering[int, int] = Gathering(self._renew_all, GATHER_S, MAX_TOGETHER)
        self.calls = 0

    def ask(self, lease_id: int) -> asyncio.Future[int]:
        """Return the seconds a lease will have again, 0 when it is gone; or what the store raises."""
        return self._gathering.ask(lease_id)

    async def run(self) -> None:
        """Renew, for ever."""
        await self._gathering.run()

    async def _renew_all(self, batch: list[Asked[int, int]]) -> None:
        renewed = await self._store.keepalive_many([asked.question for asked in batch])
        self.calls += 1
        for asked, ttl_s in zip(batch, renewed, strict=True):
            asked.tell(ttl_s)
