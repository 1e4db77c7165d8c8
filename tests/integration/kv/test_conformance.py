"""One suite for every engine: embedded in process, embedded over HTTP, and Debian's etcd. None is treated apart."""

import asyncio

import pytest

from ops_system.kv.base import (
    Compare,
    CompareResult,
    CompareTarget,
    DeleteRequest,
    PutRequest,
    RangeRequest,
    SortOrder,
    SortTarget,
    TxnRequest,
    WatchFilter,
    WatchRequest,
)
from ops_system.kv.checks import MAX_REQUEST_BYTES, MAX_TXN_OPS
from ops_system.kv.errors import (
    Compacted,
    DuplicateKey,
    EmptyKey,
    FutureRevision,
    KeyNotFound,
    LeaseExists,
    LeaseNotFound,
    LeaseProvided,
    LeaseTooLong,
    RequestTooLarge,
    StoreError,
    TooManyOps,
    ValueProvided,
)
from ops_system.kv.follow import Changed, Listed, follow, list_all
from ops_system.kv.swap import change

SOON_S = 30.0
ALL = (b"\0", b"\0")


async def put(store, key: bytes, value: bytes = b"", **options) -> int:
    return (await store.put(PutRequest(key, value, **options))).revision


async def fill(store, *keys: bytes) -> int:
    revision = 0
    for key in keys:
        revision = await put(store, key, b"value of " + key)
    return revision


async def keys(store, key: bytes, range_end: bytes = b"", **options) -> list[bytes]:
    return [kv.key for kv in (await store.range(RangeRequest(key, range_end, **options))).kvs]


async def test_a_key_counts_its_versions_and_begins_anew_after_removal(store):
    first = await put(store, b"a", b"1")
    second = await put(store, b"a", b"2")
    kv = (await store.range(RangeRequest(b"a"))).kvs[0]
    assert (kv.create_revision, kv.mod_revision, kv.version, kv.value) == (first, second, 2, b"2")
    gone = await store.delete(DeleteRequest(b"a", prev_kv=True))
    assert (gone.deleted, gone.prev_kvs[0].value, gone.revision) == (1, b"2", second + 1)
    again = await put(store, b"a", b"3")
    kv = (await store.range(RangeRequest(b"a"))).kvs[0]
    assert (kv.create_revision, kv.version) == (again, 1)


async def test_a_removal_of_nothing_leaves_the_revision(store):
    revision = await put(store, b"a")
    gone = await store.delete(DeleteRequest(b"none"))
    assert (gone.deleted, gone.revision) == (0, revision)


async def test_a_put_can_tell_what_was_there(store):
    assert (await store.put(PutRequest(b"a", b"1", prev_kv=True))).prev_kv is None
    before = (await store.put(PutRequest(b"a", b"2", prev_kv=True))).prev_kv
    assert before is not None
    assert before.value == b"1"


async def test_ranges(store):
    await fill(store, b"a", b"b", b"ba", b"bb", b"c")
    assert await keys(store, b"b") == [b"b"]
    assert await keys(store, b"b", b"c") == [b"b", b"ba", b"bb"]
    assert await keys(store, b"bb", b"\0") == [b"bb", b"c"]
    assert await keys(store, *ALL) == [b"a", b"b", b"ba", b"bb", b"c"]
    assert await keys(store, b"c", b"a") == []
    assert await keys(store, b"none") == []


async def test_limit_count_and_keys_only(store):
    await fill(store, b"a", b"b", b"c")
    answer = await store.range(RangeRequest(*ALL, limit=2))
    assert ([kv.key for kv in answer.kvs], answer.more, answer.count) == ([b"a", b"b"], True, 3)
    answer = await store.range(RangeRequest(*ALL, limit=3))
    assert (len(answer.kvs), answer.more) == (3, False)
    answer = await store.range(RangeRequest(*ALL, count_only=True))
    assert (answer.kvs, answer.count) == ((), 3)
    answer = await store.range(RangeRequest(*ALL, keys_only=True))
    assert [(kv.key, kv.value, kv.version) for kv in answer.kvs] == [(b"a", b"", 1), (b"b", b"", 1), (b"c", b"", 1)]


async def test_order(store):
    for key, value in ((b"a", b"3"), (b"b", b"1"), (b"c", b"2"), (b"a", b"4")):
        await put(store, key, value)
    assert await keys(store, *ALL, sort_order=SortOrder.DESCEND) == [b"c", b"b", b"a"]
    by_value = {"sort_order": SortOrder.ASCEND, "sort_target": SortTarget.VALUE}
    assert await keys(store, *ALL, **by_value) == [b"b", b"c", b"a"]
    assert await keys(store, *ALL, **by_value, limit=1) == [b"b"]
    assert await keys(store, *ALL, sort_target=SortTarget.MOD) == [b"b", b"c", b"a"]
    assert await keys(store, *ALL, sort_order=SortOrder.DESCEND, sort_target=SortTarget.CREATE) == [b"c", b"b", b"a"]
    assert (await keys(store, *ALL, sort_order=SortOrder.DESCEND, sort_target=SortTarget.VERSION))[0] == b"a"


async def test_filters_by_revision(store):
    first = await put(store, b"a")
    second = await put(store, b"b")
    third = await put(store, b"a")
    assert await keys(store, *ALL, min_mod_revision=third) == [b"a"]
    assert await keys(store, *ALL, max_mod_revision=second) == [b"b"]
    assert await keys(store, *ALL, min_create_revision=second) == [b"b"]
    assert await keys(store, *ALL, max_create_revision=first) == [b"a"]
    answer = await store.range(RangeRequest(*ALL, max_create_revision=first))
    assert answer.count == 2


async def test_the_past_can_be_read(store):
    first = await put(store, b"a", b"1")
    await put(store, b"b", b"1")
    await put(store, b"a", b"2")
    gone = (await store.delete(DeleteRequest(b"a"))).revision
    answer = await store.range(RangeRequest(*ALL, revision=first))
    assert [(kv.key, kv.value) for kv in answer.kvs] == [(b"a", b"1")]
    assert answer.revision == gone
    assert await keys(store, *ALL, revision=gone - 1) == [b"a", b"b"]
    assert await keys(store, *ALL, revision=gone) == [b"b"]
    with pytest.raises(FutureRevision):
        await keys(store, *ALL, revision=gone + 100)


async def test_a_compaction_forgets_the_past_and_nothing_else(store):
    first = await put(store, b"a", b"1")
    await put(store, b"a", b"2")
    await store.delete(DeleteRequest(b"a"))
    await put(store, b"b", b"1")
    last = await put(store, b"c", b"1")
    await store.compact(last - 1)
    with pytest.raises(Compacted):
        await keys(store, *ALL, revision=first)
    assert await keys(store, *ALL, revision=last - 1) == [b"b"]
    assert await keys(store, *ALL) == [b"b", b"c"]
    with pytest.raises(Compacted):
        await store.compact(last - 1)
    with pytest.raises(FutureRevision):
        await store.compact(last + 100)


async def test_what_cannot_be_asked(store):
    with pytest.raises(EmptyKey):
        await store.range(RangeRequest(b""))
    with pytest.raises(EmptyKey):
        await store.put(PutRequest(b"", b"x"))
    with pytest.raises(EmptyKey):
        await store.delete(DeleteRequest(b"", b"\0"))
    with pytest.raises(EmptyKey):
        await store.txn(TxnRequest((Compare(b""),)))
    with pytest.raises(KeyNotFound):
        await store.put(PutRequest(b"none", ignore_value=True))
    with pytest.raises(ValueProvided):
        await store.put(PutRequest(b"a", b"x", ignore_value=True))
    with pytest.raises(LeaseProvided):
        await store.put(PutRequest(b"a", lease=5, ignore_lease=True))


async def test_the_sizes_of_etcd(store):
    with pytest.raises(RequestTooLarge):
        await store.put(PutRequest(b"a", bytes(MAX_REQUEST_BYTES)))
    await store.put(PutRequest(b"a", bytes(MAX_REQUEST_BYTES - 1024)))
    many = tuple(PutRequest(b"k%d" % number) for number in range(MAX_TXN_OPS + 1))
    with pytest.raises(TooManyOps):
        await store.txn(TxnRequest((), many))
    done = await store.txn(TxnRequest((), many[:-1]))
    assert len(done.responses) == MAX_TXN_OPS


async def test_ignored_values_and_leases_stay(store):
    lease = await store.grant(60)
    await put(store, b"a", b"1", lease=lease.id)
    await store.put(PutRequest(b"a", b"2", ignore_lease=True))
    await store.put(PutRequest(b"a", lease=lease.id, ignore_value=True))
    kv = (await store.range(RangeRequest(b"a"))).kvs[0]
    assert (kv.value, kv.lease, kv.version) == (b"2", lease.id, 3)


COMPARES = [
    (Compare(b"a", CompareTarget.VALUE, value=b"1"), True),
    (Compare(b"a", CompareTarget.VALUE, CompareResult.NOT_EQUAL, value=b"1"), False),
    (Compare(b"a", CompareTarget.VALUE, CompareResult.GREATER, value=b"0"), True),
    (Compare(b"a", CompareTarget.VALUE, CompareResult.LESS, value=b"1"), False),
    (Compare(b"a", CompareTarget.VERSION, version=2), True),
    (Compare(b"a", CompareTarget.VERSION, CompareResult.GREATER, version=1), True),
    (Compare(b"a", CompareTarget.VERSION, CompareResult.LESS, version=2), False),
    (Compare(b"a", CompareTarget.LEASE), True),
    (Compare(b"a", CompareTarget.CREATE, CompareResult.GREATER), True),
    (Compare(b"a", CompareTarget.MOD, CompareResult.NOT_EQUAL), True),
    (Compare(b"none", CompareTarget.CREATE), True),
    (Compare(b"none", CompareTarget.VERSION), True),
    (Compare(b"none", CompareTarget.VALUE), False),
    (Compare(b"none", CompareTarget.VALUE, CompareResult.NOT_EQUAL, value=b"x"), False),
    (Compare(b"a", CompareTarget.VALUE, value=b"1", range_end=b"c"), False),
    (Compare(b"a", CompareTarget.VERSION, CompareResult.GREATER, version=0, range_end=b"c"), True),
    (Compare(b"x", CompareTarget.VERSION, range_end=b"\0"), True),
]


async def test_compares(store):
    await put(store, b"a", b"0")
    await put(store, b"a", b"1")
    await put(store, b"b", b"9")
    for compare, is_true in COMPARES:
        done = await store.txn(TxnRequest((compare,)))
        assert done.succeeded is is_true, compare


async def test_a_transaction_has_one_revision_and_sees_its_own_writes(store):
    before = await put(store, b"old", b"1")
    inner = TxnRequest((), (PutRequest(b"inner", b"1"),))
    done = await store.txn(
        TxnRequest(
            (Compare(b"old", CompareTarget.MOD, mod_revision=before),),
            (PutRequest(b"new", b"1"), RangeRequest(b"new"), DeleteRequest(b"old", prev_kv=True), inner),
            (PutRequest(b"wrong"),),
        )
    )
    assert done.succeeded
    assert done.revision == before + 1
    written, seen, removed, nested = done.responses
    assert written.revision == before + 1
    assert [(kv.key, kv.mod_revision) for kv in seen.kvs] == [(b"new", before + 1)]
    assert (removed.deleted, removed.prev_kvs[0].value) == (1, b"1")
    assert nested.succeeded
    answer = await store.range(RangeRequest(*ALL))
    assert [(kv.key, kv.mod_revision) for kv in answer.kvs] == [(b"inner", before + 1), (b"new", before + 1)]


async def test_the_other_branch_and_nested_compares_see_what_was_before(store):
    await put(store, b"a", b"1")
    inner = TxnRequest((Compare(b"b", CompareTarget.CREATE),), (PutRequest(b"c", b"b was away"),))
    done = await store.txn(
        TxnRequest((Compare(b"a", CompareTarget.VALUE, value=b"2"),), (), (PutRequest(b"b", b"1"), inner))
    )
    assert not done.succeeded
    assert (await store.range(RangeRequest(b"c"))).kvs[0].value == b"b was away"


async def test_a_transaction_that_only_reads_leaves_the_revision(store):
    revision = await fill(store, b"a", b"b")
    done = await store.txn(TxnRequest((), (RangeRequest(b"a"), RangeRequest(*ALL, revision=revision - 1))))
    assert done.revision == revision
    assert [[kv.key for kv in answer.kvs] for answer in done.responses] == [[b"a"], [b"a"]]


DOUBLE = [
    (PutRequest(b"a"), PutRequest(b"a")),
    (PutRequest(b"a"), DeleteRequest(b"a")),
    (DeleteRequest(b"\0", b"b"), PutRequest(b"a")),
    (PutRequest(b"a"), TxnRequest((), (PutRequest(b"a"),))),
    (TxnRequest((), (PutRequest(b"a"),)), TxnRequest((), (), (PutRequest(b"a"),))),
    (TxnRequest((), (PutRequest(b"a"),)), DeleteRequest(b"a")),
]


async def test_one_transaction_writes_a_key_once(store):
    for ops in DOUBLE:
        with pytest.raises(DuplicateKey):
            await store.txn(TxnRequest((), ops))
    await store.txn(TxnRequest((), (TxnRequest((), (PutRequest(b"a"),), (PutRequest(b"a"),)),)))
    await store.txn(TxnRequest((), (DeleteRequest(b"a"), DeleteRequest(b"\0", b"\0"))))


async def test_a_transaction_that_fails_changes_nothing(store):
    revision = await put(store, b"a", b"1")
    for bad in (
        PutRequest(b"b", lease=4242),
        PutRequest(b"none", ignore_value=True),
        RangeRequest(b"a", revision=999_999),
    ):
        with pytest.raises(StoreError):
            await store.txn(TxnRequest((), (PutRequest(b"a", b"2"), bad)))
    answer = await store.range(RangeRequest(b"a"))
    assert (answer.kvs[0].value, answer.revision) == (b"1", revision)


async def test_leases(store):
    lease = await store.grant(60, 4711)
    assert (lease.id, lease.ttl_s) == (4711, 60)
    with pytest.raises(LeaseExists):
        await store.grant(60, 4711)
    with pytest.raises(LeaseTooLong):
        await store.grant(9_000_000_001)
    other = await store.grant(60)
    assert set(await store.leases()) == {4711, other.id}
    await put(store, b"a", lease=4711)
    await put(store, b"b", lease=4711)
    await put(store, b"c", lease=4711)
    await put(store, b"b", lease=other.id)
    await put(store, b"c")
    left = await store.time_to_live(4711, keys=True)
    assert (left.granted_ttl_s, left.keys) == (60, (b"a",))
    assert 50 <= left.ttl_s <= 60
    assert await store.keepalive(4711) == 60
    revision = (await store.range(RangeRequest(b"a"))).revision
    await store.revoke(4711)
    answer = await store.range(RangeRequest(*ALL))
    assert ([kv.key for kv in answer.kvs], answer.revision) == ([b"b", b"c"], revision + 1)


async def test_several_leases_are_renewed_in_one_call(store):
    for lease_id, ttl_s in ((11, 60), (12, 70)):
        await store.grant(ttl_s, lease_id)
    assert await store.keepalive_many((12, 99, 11, 12)) == (70, 0, 60, 70)
    assert await store.keepalive_many(()) == ()


async def test_a_lease_that_is_not_there(store):
    with pytest.raises(LeaseNotFound):
        await store.revoke(99)
    with pytest.raises(LeaseNotFound):
        await put(store, b"a", lease=99)
    assert await store.keepalive(99) == 0
    assert (await store.time_to_live(99, keys=True)).ttl_s == -1


async def test_a_lease_ends_by_itself_and_takes_its_keys_with_it(store):
    lease = await store.grant(1)
    assert lease.ttl_s >= 1
    await put(store, b"a", lease=lease.id)
    await put(store, b"b", lease=lease.id)
    async with asyncio.timeout(SOON_S), store.watch(WatchRequest(*ALL)) as watch:
        events = (await watch.next()).events
    assert [(event.kv.key, event.is_delete) for event in events] == [(b"a", True), (b"b", True)]
    assert len({event.kv.mod_revision for event in events}) == 1
    assert await store.leases() == ()


async def read(watch, count: int) -> list[tuple[bytes, bytes]]:
    """Return so many events as (key, value), value b"-" for a removal."""
    found: list[tuple[bytes, bytes]] = []
    async with asyncio.timeout(SOON_S):
        while len(found) < count:
            found += [(e.kv.key, b"-" if e.is_delete else e.kv.value) for e in (await watch.next()).events]
    return found


async def test_a_watch_tells_what_happens(store):
    async with store.watch(WatchRequest(b"a", b"b")) as watch:
        await put(store, b"a", b"1")
        await put(store, b"b", b"not asked for")
        await put(store, b"aa", b"2")
        await store.delete(DeleteRequest(*ALL))
        assert await read(watch, 4) == [(b"a", b"1"), (b"aa", b"2"), (b"a", b"-"), (b"aa", b"-")]


async def test_a_watch_of_one_key_with_filters_and_before(store):
    only_removals = WatchRequest(b"a", filters=(WatchFilter.NOPUT,), prev_kv=True)
    async with (
        store.watch(only_removals) as gone,
        store.watch(WatchRequest(b"a", filters=(WatchFilter.NODELETE,))) as put_,
    ):
        await put(store, b"a", b"1")
        await store.delete(DeleteRequest(b"a"))
        await put(store, b"a", b"2")
        async with asyncio.timeout(SOON_S):
            event = (await gone.next()).events[0]
        assert event.is_delete
        assert event.prev_kv is not None
        assert event.prev_kv.value == b"1"
        assert await read(put_, 2) == [(b"a", b"1"), (b"a", b"2")]


async def test_a_watch_from_the_past_tells_all_since_and_goes_on(store):
    first = await put(store, b"a", b"1")
    await put(store, b"x", b"other")
    await put(store, b"a", b"2")
    async with store.watch(WatchRequest(b"a", start_revision=first, prev_kv=True)) as watch:
        assert await read(watch, 2) == [(b"a", b"1"), (b"a", b"2")]
        await put(store, b"a", b"3")
        assert await read(watch, 1) == [(b"a", b"3")]


async def test_a_watch_from_the_future_waits_for_it(store):
    revision = await put(store, b"a", b"1")
    async with store.watch(WatchRequest(b"a", start_revision=revision + 2)) as watch:
        await put(store, b"a", b"2")
        await put(store, b"a", b"3")
        assert await read(watch, 1) == [(b"a", b"3")]


async def test_a_watch_from_a_forgotten_past_says_so(store):
    first = await put(store, b"a", b"1")
    await put(store, b"a", b"2")
    last = await put(store, b"a", b"3")
    await store.compact(last)
    with pytest.raises(Compacted) as caught:
        async with asyncio.timeout(SOON_S), store.watch(WatchRequest(b"a", start_revision=first)) as watch:
            await watch.next()
    assert caught.value.revision == last


async def test_events_of_one_transaction_come_together(store):
    async with store.watch(WatchRequest(b"k", b"l")) as watch:
        await store.txn(TxnRequest((), tuple(PutRequest(b"k%d" % number) for number in range(100))))
        async with asyncio.timeout(SOON_S):
            assert len((await watch.next()).events) == 100


async def test_fifty_writers_of_one_key_lose_nothing(store):
    async def add() -> None:
        await change(store, b"n", lambda kv: (PutRequest(b"n", b"%d" % (int(kv.value) + 1 if kv else 1)),))

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(add())
    assert (await store.range(RangeRequest(b"n"))).kvs[0].value == b"50"


async def test_following_lists_first_then_tells_changes(store):
    await fill(store, b"/os/dc1/a", b"/os/dc2/b")
    told = follow(store, b"/os/dc1/", pause_s=0.01)
    async with asyncio.timeout(SOON_S):
        listed = await anext(told)
        assert isinstance(listed, Listed)
        assert [kv.key for kv in listed.kvs] == [b"/os/dc1/a"]
        await fill(store, b"/os/dc2/c", b"/os/dc1/d")
        changed = await anext(told)
        assert isinstance(changed, Changed)
        assert [event.kv.key for event in changed.events] == [b"/os/dc1/d"]
    await told.aclose()


async def test_a_long_list_is_read_page_by_page_at_one_revision(store):
    await store.txn(TxnRequest((), tuple(PutRequest(b"p/%03d" % number) for number in range(100))))
    listed = await list_all(store, b"p/", page=7)
    assert len(listed.kvs) == 100
