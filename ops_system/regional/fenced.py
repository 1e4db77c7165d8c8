"""The store as only the active client may write it: every write also asks whether the lead is still ours (P6)."""

from collections.abc import Callable

from ops_system.kv.base import (
    Compare,
    CompareTarget,
    DeleteRequest,
    DeleteResponse,
    KeyValue,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    Store,
    TxnRequest,
    TxnResponse,
)
from ops_system.kv.forwarding import Forwarding
from ops_system.model.errors import Unavailable
from ops_system.protocol.agent import NOT_ACTIVE


class Fenced(Forwarding):
    """A `Store` whose writes fail with Unavailable `not_active` once another client leads."""

    def __init__(self, store: Store, key: bytes, value: Callable[[], bytes]) -> None:
        super().__init__(store)
        self._key, self._value = key, value

    async def put(self, request: PutRequest) -> PutResponse:
        """Write one key."""
        done = await self.txn(TxnRequest((), (request,)))
        first = done.responses[0]
        return first if isinstance(first, PutResponse) else PutResponse(done.revision)

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Remove a key or a range."""
        done = await self.txn(TxnRequest((), (request,)))
        first = done.responses[0]
        return first if isinstance(first, DeleteResponse) else DeleteResponse(done.revision)

    async def txn(self, request: TxnRequest) -> TxnResponse:
        """Compare and act, on the condition that we lead."""
        if all(isinstance(op, RangeRequest) for op in request.success):
            return await self._store.txn(request)
        lead = Compare(self._key, CompareTarget.VALUE, value=self._value())
        look = RangeRequest(self._key)
        done = await self._store.txn(TxnRequest((*request.compare, lead), request.success, (*request.failure, look)))
        if done.succeeded:
            return done
        found = done.responses[-1]
        if not isinstance(found, RangeResponse) or not _is(found.kvs, self._value()):
            raise not_active()
        return TxnResponse(done.revision, succeeded=False, responses=done.responses[:-1])


def not_active() -> Unavailable:
    """Return the refusal of a client that does not lead."""
    return Unavailable("another regional client serves this data centre; ask again", reason=NOT_ACTIVE)


def _is(kvs: tuple[KeyValue, ...], value: bytes) -> bool:
    return bool(value) and bool(kvs) and kvs[0].value == value
