"""The embedded store as one credential sees it: every call is checked against its keys and its own leases."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from ops_system.kv import checks
from ops_system.kv.access import Access
from ops_system.kv.base import (
    DeleteRequest,
    DeleteResponse,
    Lease,
    Op,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    TxnRequest,
    TxnResponse,
    Watch,
    WatchRequest,
)
from ops_system.kv.embedded import Embedded
from ops_system.kv.errors import Denied, LeaseNotFound


class Scoped:
    """A `Store`. What is not given is refused with Denied, be it there or not."""

    def __init__(self, store: Embedded, access: Access) -> None:
        self._store, self._access = store, access

    async def range(self, request: RangeRequest) -> RangeResponse:
        """Read."""
        self._check(request)
        return await self._store.range(request)

    async def put(self, request: PutRequest) -> PutResponse:
        """Write one key."""
        self._check(request)
        return await self._store.put(request)

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Remove a key or a range."""
        self._check(request)
        return await self._store.delete(request)

    async def txn(self, request: TxnRequest) -> TxnResponse:
        """Compare and act."""
        self._check(request)
        return await self._store.txn(request)

    async def compact(self, revision: int) -> None:
        """Forget history; it is everybody's, so only who has no owner may."""
        if self._access.owner:
            raise Denied
        await self._store.compact(revision)

    async def grant(self, ttl_s: int, lease_id: int = 0) -> Lease:
        """Make a lease of one's own."""
        return await self._store.grant(ttl_s, lease_id, self._access.owner)

    async def revoke(self, lease_id: int) -> None:
        """End a lease of one's own; nobody's keys but those that may be written go with it."""
        self._check_lease(lease_id)
        for key in self._store.keys_of(lease_id):
            self._access.check_write(key)
        await self._store.revoke(lease_id)

    async def keepalive(self, lease_id: int) -> int:
        """Renew a lease of one's own."""
        return (await self.keepalive_many((lease_id,)))[0]

    async def keepalive_many(self, lease_ids: Sequence[int]) -> tuple[int, ...]:
        """Renew leases of one's own; one of another's among them, and none is."""
        for lease_id in lease_ids:
            self._is_there(lease_id)
        return await self._store.keepalive_many(lease_ids)

    async def time_to_live(self, lease_id: int, *, keys: bool = False) -> Lease:
        """Tell what is left of a lease of one's own."""
        if not self._is_there(lease_id):
            return Lease(lease_id, -1)
        return await self._store.time_to_live(lease_id, keys=keys)

    async def leases(self) -> tuple[int, ...]:
        """Tell one's own leases."""
        return tuple([lease_id for lease_id in await self._store.leases() if self._may_use(lease_id)])

    def watch(self, request: WatchRequest) -> AbstractAsyncContextManager[Watch]:
        """Open a watch."""
        self._access.check_watch(request)
        return self._store.watch(request)

    def _check(self, op: Op) -> None:
        self._access.check(op)
        for each in checks.flatten((op,)):
            if isinstance(each, PutRequest) and each.lease and self._is_there(each.lease):
                self._check_lease(each.lease)

    def _check_lease(self, lease_id: int) -> None:
        if not self._may_use(lease_id):
            raise Denied

    def _is_there(self, lease_id: int) -> bool:
        try:
            self._check_lease(lease_id)
        except LeaseNotFound:
            return False
        return True

    def _may_use(self, lease_id: int) -> bool:
        return not self._access.owner or self._store.owner_of(lease_id) == self._access.owner
