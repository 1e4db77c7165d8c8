"""Ranges of keys, and who reaches which."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.kv.access import EVERYTHING, NOTHING, access_of_idc
from ops_system.kv.base import Compare, DeleteRequest, PutRequest, RangeRequest, TxnRequest, WatchRequest
from ops_system.kv.errors import Denied
from ops_system.kv.ranges import covers, holds, prefix_end

FEW = st.lists(st.sampled_from([0, 1, 0x2F, 0x30, 0xFE, 0xFF]), min_size=1, max_size=4).map(bytes)


@given(prefix=FEW, key=FEW)
def test_a_prefix_end_holds_exactly_what_begins_so(prefix, key):
    assert holds(prefix, prefix_end(prefix), key) is key.startswith(prefix)


@given(prefix=FEW, key=FEW, range_end=st.one_of(st.just(b""), FEW), candidate=FEW)
def test_a_covered_range_never_leaves_its_prefix(prefix, key, range_end, candidate):
    if covers(prefix, key, range_end) and holds(key, range_end, candidate):
        assert candidate.startswith(prefix)


def put(key: bytes) -> PutRequest:
    return PutRequest(key)


GIVEN = [
    RangeRequest(b"/os/dc1/", b"/os/dc10"),
    RangeRequest(b"/os/dc1/machines/a/task"),
    RangeRequest(b"/os/global/stats/dc1"),
    RangeRequest(b"/os/dc1/z", b"/os/dc1/a"),
    put(b"/os/region/dc1/heartbeat"),
    DeleteRequest(b"/os/unmatched_reports/dc1/", b"/os/unmatched_reports/dc10"),
    TxnRequest((Compare(b"/os/dc1/a"),), (put(b"/os/dc1/a"),), (RangeRequest(b"/os/dc1/a"),)),
]
REFUSED = [
    RangeRequest(b"/os/dc1"),
    RangeRequest(b"/os/dc10/a"),
    RangeRequest(b"/os/dc1/", b"\0"),
    RangeRequest(b"/os/dc1/", b"/os/dc1\xff"),
    RangeRequest(b"/os/dc1/a", b"/os/dc2"),
    RangeRequest(b"\0", b"\0"),
    RangeRequest(b"/os/global/stats/dc1", b"/os/global/stats/dc2"),
    RangeRequest(b"/os/global/stats/dc2"),
    put(b"/os/global/stats/dc1"),
    put(b"/os/dc2/a"),
    put(b"/os/region/dc2/heartbeat"),
    DeleteRequest(b"/os/dc1/", b"\0"),
    TxnRequest((Compare(b"/os/dc2/a"),)),
    TxnRequest((Compare(b"/os/dc1/a", range_end=b"\0"),)),
    TxnRequest((), (), (put(b"/os/dc2/a"),)),
    TxnRequest((), (TxnRequest((), (), (RangeRequest(b"/os/dc2/a"),)),)),
    TxnRequest((), (TxnRequest((Compare(b"/os/dc2/a"),)),)),
]


def test_a_region_reaches_its_own_keys():
    access = access_of_idc("dc1")
    for op in GIVEN:
        access.check(op)
        EVERYTHING.check(op)


@pytest.mark.parametrize("op", REFUSED, ids=range(len(REFUSED)))
def test_a_region_reaches_nothing_else(op):
    for access in (access_of_idc("dc1"), NOTHING):
        with pytest.raises(Denied):
            access.check(op)
    EVERYTHING.check(op)


@pytest.mark.parametrize("idc", ["region", "global", "install", "unmatched_reports", "", "DC1", "a/b", "-a", "a" * 33])
def test_a_name_that_is_no_region_reaches_nothing(idc):
    with pytest.raises(Denied):
        access_of_idc(idc).check(put(b"/os/%s/a" % idc.encode()))


def test_watches_are_reads():
    access = access_of_idc("dc1")
    access.check_watch(WatchRequest(b"/os/dc1/", b"/os/dc10"))
    with pytest.raises(Denied):
        access.check_watch(WatchRequest(b"/os/dc1/", b"\0"))
