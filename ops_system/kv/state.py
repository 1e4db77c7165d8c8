"""The keys as they stand, and how a request changes them: etcd's rules with no disk and no clock. The engine's core.

Every value that is alive is held in memory; older ones are the disk's business. A request is judged and done in one
call, so the order of calls is the order of revisions.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, eq, gt, lt, ne
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from ops_system.kv.base import (
    Compare,
    CompareResult,
    CompareTarget,
    DeleteRequest,
    DeleteResponse,
    Event,
    KeyValue,
    Op,
    OpResponse,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    SortOrder,
    SortTarget,
    TxnRequest,
    TxnResponse,
)
from ops_system.kv.errors import Compacted, FutureRevision, KeyNotFound, LeaseNotFound
from ops_system.kv.ranges import TO_THE_END

FIRST_REVISION = 1
T = TypeVar("T")
_NOT_THERE = KeyValue()
_COMPARE: Mapping[CompareResult, Callable[[Any, Any], bool]] = {
    CompareResult.EQUAL: eq,
    CompareResult.NOT_EQUAL: ne,
    CompareResult.GREATER: gt,
    CompareResult.LESS: lt,
}
_FIELD = {
    CompareTarget.VERSION: attrgetter("version"),
    CompareTarget.CREATE: attrgetter("create_revision"),
    CompareTarget.MOD: attrgetter("mod_revision"),
    CompareTarget.VALUE: attrgetter("value"),
    CompareTarget.LEASE: attrgetter("lease"),
}
_SORT_KEY = {
    SortTarget.KEY: attrgetter("key"),
    SortTarget.VERSION: attrgetter("version"),
    SortTarget.CREATE: attrgetter("create_revision"),
    SortTarget.MOD: attrgetter("mod_revision"),
    SortTarget.VALUE: attrgetter("value"),
}

Past = Mapping[RangeRequest, RangeResponse]
_NO_PAST: Past = {}
Plan = Iterator[tuple[bool, tuple[Op, ...]]]
"""Of each transaction, the outer one first: whether its compares hold, and the branch that is taken."""


class Done(NamedTuple, Generic[T]):
    """What a request was answered, and what it changed (nothing: the revision stays)."""

    response: T
    events: list[Event]


class State:
    """All keys at `revision`. Leases exist by being in `leased`, each with the keys attached to it."""

    def __init__(
        self, kvs: Iterable[KeyValue] = (), leases: Iterable[int] = (), revision: int = FIRST_REVISION
    ) -> None:
        self.revision = revision
        self.compacted = 0
        self.size_bytes = 0
        self._live = {kv.key: kv for kv in kvs}
        self._keys = sorted(self._live)
        self.leased: dict[int, set[bytes]] = {lease: set() for lease in leases}
        for kv in self._live.values():
            self.size_bytes += len(kv.key) + len(kv.value)
            if kv.lease:
                self.leased.setdefault(kv.lease, set()).add(kv.key)

    def __len__(self) -> int:
        return len(self._keys)

    # --- reading ----------------------------------------------------------------------------------------------------
    def check_revision(self, revision: int) -> None:
        """Raise Compacted or FutureRevision for what cannot be read; 0 is now."""
        if revision > self.revision:
            raise FutureRevision
        if 0 < revision < self.compacted:
            raise Compacted(revision=self.compacted)

    def is_past(self, request: RangeRequest) -> bool:
        """Whether only the disk knows the answer."""
        return 0 < request.revision < self.revision

    def range(self, request: RangeRequest) -> RangeResponse:
        """Answer from the keys as they stand."""
        first, last = self._span(request.key, request.range_end)
        if request.count_only:
            return RangeResponse(self.revision, (), last - first)
        if is_plain(request):
            stop = min(last, first + request.limit) if request.limit > 0 else last
            kvs = [self._live[key] for key in self._keys[first:stop]]
            return RangeResponse(self.revision, _shown(kvs, request), last - first, stop < last)
        return select([self._live[key] for key in self._keys[first:last]], request, self.revision)

    def _span(self, key: bytes, range_end: bytes) -> tuple[int, int]:
        first = bisect_left(self._keys, key)
        if not range_end:
            return first, first + (key in self._live)
        if range_end == TO_THE_END:
            return first, len(self._keys)
        return first, max(first, bisect_left(self._keys, range_end))

    # --- writing ----------------------------------------------------------------------------------------------------
    def put(self, request: PutRequest) -> Done[PutResponse]:
        """Write one key. Raises LeaseNotFound, KeyNotFound; nothing is changed then."""
        self._check_put(request)
        event = self._put(request, self.revision + 1)
        self.revision += 1
        return Done(PutResponse(self.revision, event.prev_kv if request.prev_kv else None), [event])

    def delete(self, request: DeleteRequest) -> Done[DeleteResponse]:
        """Remove a key or a range."""
        events = self._delete(request, self.revision + 1)
        self.revision += bool(events)
        return Done(self._removed(request, events, self.revision), events)

    def txn(self, request: TxnRequest, past: Past = _NO_PAST) -> Done[TxnResponse]:
        """Do a transaction. `past` holds the answers of the ranges that look back. Raises what its operations raise.

        Which branches are taken, nested ones included, is decided before anything is written.
        """
        plan = list(self._plan(request))
        self._check_plan(plan)
        events: list[Event] = []
        response = self._run(iter(plan), events, past)
        self.revision += bool(events)
        return Done(response, events)

    def drop_lease(self, lease_id: int) -> Done[int]:
        """End a lease and remove its keys, all under one revision. Raises LeaseNotFound."""
        if lease_id not in self.leased:
            raise LeaseNotFound
        events = [self._remove(key, self.revision + 1) for key in sorted(self.leased.pop(lease_id))]
        self.revision += bool(events)
        return Done(self.revision, events)

    def compact(self, revision: int) -> None:
        """Forget what was before `revision`. Raises Compacted, FutureRevision."""
        if revision <= self.compacted:
            raise Compacted(revision=self.compacted)
        if revision > self.revision:
            raise FutureRevision
        self.compacted = revision

    def _check_put(self, request: PutRequest) -> None:
        if request.lease and request.lease not in self.leased:
            raise LeaseNotFound
        if (request.ignore_value or request.ignore_lease) and request.key not in self._live:
            raise KeyNotFound

    def _put(self, request: PutRequest, revision: int) -> Event:
        key = request.key
        before = self._live.get(key)
        value, lease = request.value, request.lease
        if before is None:
            kv = KeyValue(key, revision, revision, 1, value, lease)
            insort(self._keys, key)
            self.size_bytes += len(key) + len(value)
        else:
            value = before.value if request.ignore_value else value
            lease = before.lease if request.ignore_lease else lease
            kv = KeyValue(key, before.create_revision, revision, before.version + 1, value, lease)
            self.size_bytes += len(value) - len(before.value)
            if before.lease and before.lease != lease:
                self._detach(before)
        if lease:
            self.leased[lease].add(key)
        self._live[key] = kv
        return Event(kv, before)

    def _delete(self, request: DeleteRequest, revision: int) -> list[Event]:
        first, last = self._span(request.key, request.range_end)
        keys = self._keys[first:last]
        del self._keys[first:last]
        return [self._forget(key, revision) for key in keys]

    def _remove(self, key: bytes, revision: int) -> Event:
        del self._keys[bisect_left(self._keys, key)]
        return self._forget(key, revision)

    def _forget(self, key: bytes, revision: int) -> Event:
        before = self._live.pop(key)
        self.size_bytes -= len(key) + len(before.value)
        if before.lease:
            self._detach(before)
        return Event(KeyValue(key, mod_revision=revision), before)

    def _detach(self, kv: KeyValue) -> None:
        if (keys := self.leased.get(kv.lease)) is not None:
            keys.discard(kv.key)

    @staticmethod
    def _removed(request: DeleteRequest, events: list[Event], revision: int) -> DeleteResponse:
        before = tuple(event.prev_kv for event in events if event.prev_kv) if request.prev_kv else ()
        return DeleteResponse(revision, len(events), before)

    # --- transactions -----------------------------------------------------------------------------------------------
    def _plan(self, request: TxnRequest) -> Plan:
        holds_true = all(self._compare(compare) for compare in request.compare)
        branch = request.success if holds_true else request.failure
        yield holds_true, branch
        for op in branch:
            if isinstance(op, TxnRequest):
                yield from self._plan(op)

    def _check_plan(self, plan: list[tuple[bool, tuple[Op, ...]]]) -> None:
        for _, branch in plan:
            for op in branch:
                if isinstance(op, PutRequest):
                    self._check_put(op)
                elif isinstance(op, RangeRequest):
                    self.check_revision(op.revision)

    def _compare(self, compare: Compare) -> bool:
        first, last = self._span(compare.key, compare.range_end)
        if first == last and compare.target is CompareTarget.VALUE:
            return False
        found: Sequence[KeyValue] = [self._live[key] for key in self._keys[first:last]] or (_NOT_THERE,)
        field, holds_for = _FIELD[compare.target], _COMPARE[compare.result]
        wanted = field(compare)
        return all(holds_for(field(kv), wanted) for kv in found)

    def _run(self, plan: Plan, events: list[Event], past: Past) -> TxnResponse:
        has_succeeded, branch = next(plan)
        responses = tuple([self._run_op(op, plan, events, past) for op in branch])
        return TxnResponse(self.revision + bool(events), has_succeeded, responses)

    def _run_op(self, op: Op, plan: Plan, events: list[Event], past: Past) -> OpResponse:
        revision = self.revision + 1
        match op:
            case PutRequest():
                event = self._put(op, revision)
                events.append(event)
                return PutResponse(revision, event.prev_kv if op.prev_kv else None)
            case DeleteRequest():
                gone = self._delete(op, revision)
                events += gone
                return self._removed(op, gone, self.revision + bool(events))
            case TxnRequest():
                return self._run(plan, events, past)
        answer = past[op] if self.is_past(op) else self.range(op)
        return msgspec.structs.replace(answer, revision=self.revision + bool(events))


def is_plain(request: RangeRequest) -> bool:
    """Whether the keys are wanted in their own order, unfiltered."""
    is_filtered = (
        request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    )
    by_key = request.sort_order is not SortOrder.DESCEND and request.sort_target is SortTarget.KEY
    return by_key and not is_filtered


def select(kvs: list[KeyValue], request: RangeRequest, revision: int) -> RangeResponse:
    """Filter, sort and cut the keys of a range, which come in their own order."""
    if request.count_only:
        return RangeResponse(revision, (), len(kvs))
    found = [kv for kv in kvs if _passes(kv, request)]
    if request.sort_order is not SortOrder.NONE or request.sort_target is not SortTarget.KEY:
        is_down = request.sort_order is SortOrder.DESCEND
        found.sort(key=_SORT_KEY[request.sort_target], reverse=is_down)
    has_more = 0 < request.limit < len(found)
    cut = found[: request.limit] if has_more else found
    return RangeResponse(revision, _shown(cut, request), len(kvs), has_more)


def _passes(kv: KeyValue, request: RangeRequest) -> bool:
    return request.min_mod_revision <= kv.mod_revision <= (
        request.max_mod_revision or kv.mod_revision
    ) and request.min_create_revision <= kv.create_revision <= (request.max_create_revision or kv.create_revision)


def _shown(kvs: list[KeyValue], request: RangeRequest) -> tuple[KeyValue, ...]:
    if not request.keys_only:
        return tuple(kvs)
    return tuple(msgspec.structs.replace(kv, value=b"") for kv in kvs)
