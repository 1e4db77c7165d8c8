"""The nouns of etcd's v3 model and what every store can do. Engine, client, gateway and their users meet here."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Annotated, Protocol

import msgspec

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A number of a request: etcd's are int64, and so is what SQLite keeps."""


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """One key as it stands, or stood, at `mod_revision`. `version` counts its changes from 1; 0 is a removed key."""

    key: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0
    version: int = 0
    value: bytes = b""
    lease: int = 0


class SortOrder(Enum):
    """How the keys of a range are put in order."""

    NONE = "NONE"
    ASCEND = "ASCEND"
    DESCEND = "DESCEND"


class SortTarget(Enum):
    """By what."""

    KEY = "KEY"
    VERSION = "VERSION"
    CREATE = "CREATE"
    MOD = "MOD"
    VALUE = "VALUE"


class CompareResult(Enum):
    """What the stored side must be, seen from the given one."""

    EQUAL = "EQUAL"
    GREATER = "GREATER"
    LESS = "LESS"
    NOT_EQUAL = "NOT_EQUAL"


class CompareTarget(Enum):
    """What of a key is compared."""

    VERSION = "VERSION"
    CREATE = "CREATE"
    MOD = "MOD"
    VALUE = "VALUE"
    LEASE = "LEASE"


class WatchFilter(Enum):
    """What a watcher does not want to hear."""

    NOPUT = "NOPUT"
    NODELETE = "NODELETE"


class RangeRequest(msgspec.Struct, frozen=True):
    """Read a key, or the keys from `key` up to, not including, `range_end` (one zero byte: to the end of all)."""

    key: bytes = b""
    range_end: bytes = b""
    limit: Int64 = 0
    revision: Int64 = 0
    sort_order: SortOrder = SortOrder.NONE
    sort_target: SortTarget = SortTarget.KEY
    serializable: bool = False
    keys_only: bool = False
    count_only: bool = False
    min_mod_revision: Int64 = 0
    max_mod_revision: Int64 = 0
    min_create_revision: Int64 = 0
    max_create_revision: Int64 = 0


class PutRequest(msgspec.Struct, frozen=True):
    """Write a key. `lease` 0 means that nothing ends it."""

    key: bytes = b""
    value: bytes = b""
    lease: Int64 = 0
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False


class DeleteRequest(msgspec.Struct, frozen=True):
    """Remove a key or a range."""

    key: bytes = b""
    range_end: bytes = b""
    prev_kv: bool = False


class Compare(msgspec.Struct, frozen=True):
    """A condition on a key, or on every key of a range. A key that is not there counts as zeros, and has no value."""

    key: bytes = b""
    target: CompareTarget = CompareTarget.VERSION
    result: CompareResult = CompareResult.EQUAL
    version: Int64 = 0
    create_revision: Int64 = 0
    mod_revision: Int64 = 0
    value: bytes = b""
    lease: Int64 = 0
    range_end: bytes = b""


class TxnRequest(msgspec.Struct, frozen=True):
    """When every compare holds do `success`, else `failure`; all of it under one revision."""

    compare: tuple[Compare, ...] = ()
    success: tuple["Op", ...] = ()
    failure: tuple["Op", ...] = ()


Op = RangeRequest | PutRequest | DeleteRequest | TxnRequest


class RangeResponse(msgspec.Struct, frozen=True):
    """`count` is how many keys the range holds, whatever limit and filters left of them."""

    revision: int
    kvs: tuple[KeyValue, ...] = ()
    count: int = 0
    more: bool = False


class PutResponse(msgspec.Struct, frozen=True):
    """`revision` is the one of this write."""

    revision: int
    prev_kv: KeyValue | None = None


class DeleteResponse(msgspec.Struct, frozen=True):
    """How many keys went."""

    revision: int
    deleted: int = 0
    prev_kvs: tuple[KeyValue, ...] = ()


class TxnResponse(msgspec.Struct, frozen=True):
    """`responses` belong to the operations of the branch that was taken."""

    revision: int
    succeeded: bool = False
    responses: tuple["OpResponse", ...] = ()


OpResponse = RangeResponse | PutResponse | DeleteResponse | TxnResponse


class Lease(msgspec.Struct, frozen=True):
    """A lease as it stands. `ttl_s` is what is left, -1 when there is no such lease."""

    id: int
    ttl_s: int
    granted_ttl_s: int = 0
    keys: tuple[bytes, ...] = ()


class Event(msgspec.Struct, frozen=True, gc=False):
    """One change. A removed key carries only its name and `mod_revision`."""

    kv: KeyValue
    prev_kv: KeyValue | None = None

    @property
    def is_delete(self) -> bool:
        """Whether the key was removed."""
        return self.kv.version == 0


class WatchRequest(msgspec.Struct, frozen=True):
    """Tell what happens in a range from `start_revision` on (0: from now on)."""

    key: bytes = b""
    range_end: bytes = b""
    start_revision: Int64 = 0
    progress_notify: bool = False
    filters: tuple[WatchFilter, ...] = ()
    prev_kv: bool = False
    watch_id: Int64 = 0


class Changes(msgspec.Struct, frozen=True):
    """The events of one or more whole revisions. All up to `revision` has been told when `events` is empty."""

    revision: int
    events: tuple[Event, ...] = ()


class Watch(Protocol):
    """An open watch."""

    @property
    def revision(self) -> int:
        """The newest revision when the watch was opened."""
        ...

    async def next(self) -> Changes:
        """Wait for the next changes; raises as iterating does."""
        ...

    def __aiter__(self) -> AsyncIterator[Changes]:
        """Tell changes, in order, nothing twice, nothing left out. Raises Compacted, Unavailable, Denied."""
        ...


class Store(Protocol):
    """What etcd's v3 API can do.

    Every call raises a `StoreError` for what is refused, Unavailable when nothing was done, and TimedOut for a write
    whose effect is unknown.
    """

    async def range(self, request: RangeRequest) -> RangeResponse:
        """Read. Linearizable unless `serializable`. Raises Compacted, FutureRevision."""
        ...

    async def put(self, request: PutRequest) -> PutResponse:
        """Write one key. Raises LeaseNotFound, KeyNotFound."""
        ...

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Remove a key or a range."""
        ...

    async def txn(self, request: TxnRequest) -> TxnResponse:
        """Compare and act at one instant. Raises DuplicateKey, TooManyOps, LeaseNotFound."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget what was before `revision`. Raises Compacted, FutureRevision."""
        ...

    async def grant(self, ttl_s: int, lease_id: int = 0) -> Lease:
        """Make a lease; id 0 lets the store choose. Raises LeaseExists, LeaseTooLong."""
        ...

    async def revoke(self, lease_id: int) -> None:
        """End a lease and remove its keys. Raises LeaseNotFound."""
        ...

    async def keepalive(self, lease_id: int) -> int:
        """Renew a lease; seconds it has again, 0 when there is no such lease."""
        ...

    async def keepalive_many(self, lease_ids: Sequence[int]) -> tuple[int, ...]:
        """Renew several leases in one call; of each what `keepalive` tells."""
        ...

    async def time_to_live(self, lease_id: int, *, keys: bool = False) -> Lease:
        """Tell what is left of a lease."""
        ...

    async def leases(self) -> tuple[int, ...]:
        """Tell the ids of all leases."""
        ...

    def watch(self, request: WatchRequest) -> AbstractAsyncContextManager[Watch]:
        """Open a watch."""
        ...


EVERYTHING = RangeRequest(b"\0", b"\0")
"""Every key there is."""
