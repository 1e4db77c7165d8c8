"""A store before another store: what is added to its calls is written once, or overridden where it differs."""

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

T = TypeVar("T")


class Forwarding:
    """A `Store` that asks another one; a base class, so that twelve calls need not stand in each store of this kind."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def forward(self, call: Awaitable[T]) -> T:
        """Wait for a call of the other store; here is the place for what all of them have in common."""
        return await call

    async def range(self, request: RangeRequest) -> RangeResponse:
        """Read."""
        return await self.forward(self._store.range(request))

    async def put(self, request: PutRequest) -> PutResponse:
        """Write one key."""
        return await self.forward(self._store.put(request))

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Remove a key or a range."""
        return await self.forward(self._store.delete(request))

    async def txn(self, request: TxnRequest) -> TxnResponse:
        """Compare and act."""
        return await self.forward(self._store.txn(request))

    async def compact(self, revision: int) -> None:
        """Forget what was before."""
        await self.forward(self._store.compact(revision))

    async def grant(self, ttl_s: int, lease_id: int = 0) -> Lease:
        """Make a lease."""
        return await self.forward(self._store.grant(ttl_s, lease_id))

    async def revoke(self, lease_id: int) -> None:
        """End a lease."""
        await self.forward(self._store.revoke(lease_id))

    async def keepalive(self, lease_id: int) -> int:
        """Renew a lease."""
        return await self.forward(self._store.keepalive(lease_id))

    async def keepalive_many(self, lease_ids: Sequence[int]) -> tuple[int, ...]:
        """Renew several leases."""
        return await self.forward(self._store.keepalive_many(lease_ids))

    async def time_to_live(self, lease_id: int, *, keys: bool = False) -> Lease:
        """Tell what is left of a lease."""
        return await self.forward(self._store.time_to_live(lease_id, keys=keys))

    async def leases(self) -> tuple[int, ...]:
        """Tell the ids of all leases."""
        return await self.forward(self._store.leases())

    def watch(self, request: WatchRequest) -> AbstractAsyncContextManager[Watch]:
        """Open a watch; it may last, so it is not one of the calls that are waited for."""
        return self._store.watch(request)
