"""etcd's JSON: what is read, and that what the server writes is what the client reads."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.kv import base, codec, wire
from ops_system.kv.errors import KeyNotFound, Malformed, RequestTooLarge
from ops_system.kv.gateway import MAX_BODY_BYTES, Messages

BYTES = st.binary(max_size=8)
NUMBERS = st.integers(0, 2**63 - 1)
KVS = st.builds(base.KeyValue, BYTES, NUMBERS, NUMBERS, NUMBERS, BYTES, NUMBERS)
RANGES = st.builds(
    base.RangeRequest,
    BYTES,
    BYTES,
    NUMBERS,
    NUMBERS,
    st.sampled_from(base.SortOrder),
    st.sampled_from(base.SortTarget),
    st.booleans(),
    st.booleans(),
)
PUTS = st.builds(base.PutRequest, BYTES, BYTES, NUMBERS, st.booleans(), st.booleans(), st.booleans())
DELETES = st.builds(base.DeleteRequest, BYTES, BYTES, st.booleans())
COMPARES = st.builds(
    base.Compare,
    BYTES,
    st.sampled_from(base.CompareTarget),
    st.sampled_from(base.CompareResult),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    BYTES,
    NUMBERS,
    BYTES,
)
OPS = st.recursive(
    RANGES | PUTS | DELETES,
    lambda ops: st.builds(
        base.TxnRequest,
        st.lists(COMPARES, max_size=2).map(tuple),
        st.lists(ops, max_size=2).map(tuple),
        st.lists(ops, max_size=2).map(tuple),
    ),
    max_leaves=4,
)


@given(request=RANGES)
def test_ranges_arrive_as_they_were_sent(request):
    assert codec.read_range(wire.write_request(request)) == request


@given(request=PUTS)
def test_puts_arrive_as_they_were_sent(request):
    assert codec.read_put(wire.write_request(request)) == request


@given(ops=st.lists(OPS, max_size=3).map(tuple), compares=st.lists(COMPARES, max_size=3).map(tuple))
def test_transactions_arrive_as_they_were_sent(ops, compares):
    request = base.TxnRequest(compares, ops, ops[:1])
    assert codec.read_txn(wire.write_request(request)) == request


@given(kvs=st.lists(KVS, max_size=3).map(tuple), count=NUMBERS, revision=NUMBERS, more=st.booleans())
def test_answers_arrive_as_they_were_sent(kvs, count, revision, more):
    writer = codec.Writer(5)
    ranged = base.RangeResponse(revision, kvs, count, more)
    assert wire.read_range_answer(writer.answer(ranged)) == ranged
    removed = base.DeleteResponse(revision, count, kvs)
    written = base.PutResponse(revision, kvs[0] if kvs else None)
    assert wire.read_delete_answer(writer.answer(removed)) == removed
    assert wire.read_put_answer(writer.answer(written)) == written
    nested = base.TxnResponse(revision, more, (removed,))
    done = base.TxnResponse(revision, more, (ranged, written, removed, nested))
    assert wire.read_txn_answer(writer.answer(done)) == done


def test_camel_case_numbers_and_strange_fields_are_read():
    raw = b'{"key":"YQ==","rangeEnd":"Yg==","sortOrder":2,"sort_target":"MOD","minModRevision":7,"revision":"9","x":{}}'
    assert codec.read_range(raw) == base.RangeRequest(
        b"a",
        b"b",
        revision=9,
        sort_order=base.SortOrder.DESCEND,
        sort_target=base.SortTarget.MOD,
        min_mod_revision=7,
    )
    raw = b'{"createRequest":{"key":"YQ==","filters":[0,1],"startRevision":"3","prevKv":true}}'
    created = codec.read_watch(raw).create_request
    assert created == base.WatchRequest(b"a", b"", 3, filters=tuple(base.WatchFilter), prev_kv=True)


def test_zeros_and_false_are_left_out():
    told = json.loads(codec.Writer(5).answer(base.RangeResponse(7)))
    assert told == {"header": {"cluster_id": "5", "member_id": "5", "revision": "7", "raft_term": "1"}}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x",
        b"[]",
        b'{"key":"Y"}',
        b'{"key":7}',
        b'{"key":"YQ==","limit":"many"}',
        b'{"key":"YQ==","sort_order":"UP"}',
        b'{"key":"YQ==","sort_order":7}',
        b'{"key":"\xff"}',
        b'{"success":' * 70 + b"}" * 70,
    ],
)
def test_what_is_no_request_is_refused(raw):
    with pytest.raises(Malformed):
        codec.read_range(raw)


def test_an_operation_that_names_none():
    with pytest.raises(KeyNotFound):
        codec.read_txn(b'{"success":[{}]}')


OBJECTS = [b'{"a":"}{\\"\\\\"}', b"{}", b'{"b":[{"c":1}]}']


@given(cuts=st.lists(st.integers(0, 40), max_size=5))
def test_a_stream_is_cut_into_its_objects_wherever_it_breaks(cuts):
    stream, messages, found, before = b" \n".join(OBJECTS), Messages(), [], 0
    for cut in sorted({*cuts, len(stream)}):
        found += messages.feed(stream[before:cut])
        before = max(before, cut)
    assert [bytes(one).strip() for one in found] == OBJECTS


def test_a_stream_of_something_else_is_refused():
    with pytest.raises(Malformed):
        Messages().feed(b"hello")
    with pytest.raises(RequestTooLarge):
        Messages().feed(b'{"' + b"a" * MAX_BODY_BYTES)


@pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "9" * 5000])
@pytest.mark.parametrize(
    ("read", "text"),
    [
        (codec.read_range, '{"limit":"%s"}'),
        (codec.read_range, '{"min_mod_revision":%s}'),
        (codec.read_put, '{"key":"YQ==","lease":"%s"}'),
        (codec.read_txn, '{"compare":[{"key":"YQ==","version":"%s"}]}'),
        (codec.read_compaction, '{"revision":"%s"}'),
        (codec.read_lease, '{"ID":"%s","TTL":"10"}'),
        (codec.read_watch, '{"create_request":{"key":"YQ==","start_revision":"%s"}}'),
        (codec.read_watch, '{"create_request":{"key":"YQ==","filters":[%s]}}'),
        (codec.read_watch, '{"cancel_request":{"watch_id":"%s"}}'),
    ],
)
def test_a_number_beyond_64_bits_is_refused(read, text, number):
    with pytest.raises(Malformed):
        read((text % number).encode())
