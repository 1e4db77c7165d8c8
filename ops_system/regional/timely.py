"""The store with a limit for each call. A wait for one's turn is not counted: it says only that there is much to do."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from ops_system.kv.base import (
    DeleteRequest,
    DeleteResponse,
    Lease,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    Store,
    TxnRequest,
    TxnResponse,
    Watch,
    WatchRequest,
)
from ops_system.model.errors import TimedOut, Unavailable

T = TypeVar("T")

STORE_AWAY = (Unavailable, TimedOut)
STORE_WITHIN_S = 5.0


class Timely:
    """A `Store` whose calls raise TimedOut `store_away` after `within_s`; only a watch may last."""

    def __init__(self, store: Store, within_s: float = STORE_WITHIN_S) -> None:
        self._store, self._within_s = store, within_s

    async def range(self, request: RangeRequest) -> RangeResponse:
        """Read."""
        return await self._in_time(self._store.range(request))

    async def put(self, request: PutRequest) -> PutResponse:
        """Write one key."""
        return await self._in_time(self._store.put(request))

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Remove a key or a range."""
        return await self._in_time(self._store.delete(request))

    async def txn(self, request: TxnRequest) -> TxnResponse:
        """Compare and act."""
        return await self._in_time(self._store.txn(request))

    async def compact(self, revision: int) -> None:
        """Forget what was before."""
        await self._in_time(self._store.compact(revision))

    async def grant(self, ttl_s: int, lease_id: int = 0) -> Lease:
        """Make a lease."""
        return await self._in_time(self._store.grant(ttl_s, lease_id))

    async def revoke(self, lease_id: int) -> None:
        """End a lease."""
        await self._in_time(self._store.revoke(lease_id))

    async def keepalive(self, lease_id: int) -> int:
        """Renew a lease."""
        return await self._in_time(self._store.keepalive(lease_id))

    async def keepalive_many(self, lease_ids: Sequence[int]) -> tuple[int, ...]:
        """Renew several leases."""
        return await self._in_time(self._store.keepalive_many(lease_ids))

    async def time_to_live(self, lease_id: int, *, keys: bool = False) -> Lease:
        """Tell what is left of a lease."""
        return await self._in_time(self._store.time_to_live(lease_id, keys=keys))

    async def leases(self) -> tuple[int, ...]:
        """Tell the ids of all leases."""
        return await self._in_time(self._store.leases())

    def watch(self, request: WatchRequest) -> AbstractAsyncContextManager[Watch]:
        """Open a watch."""
        return self._store.watch(request)

    async def _in_time(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._within_s):
                return await call
        except TimeoutError as error:
            words = f"the store did not answer within {self._within_s:g} s; ask again"
            raise TimedOut(words, reason="store_away") from error
