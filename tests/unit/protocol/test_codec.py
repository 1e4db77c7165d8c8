"""Frames survive the way there and back; anything else is `Invalid`."""

import math
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.errors import Invalid, NodeOffline, OpsError
from ops_system.model.ids import InstanceId, NodeId
from ops_system.protocol import frames, session
from ops_system.protocol.codec import decode_body, decode_from_master, decode_from_worker, encode, encode_body
from ops_system.protocol.logs import ListLogs

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC)


def test_frames_survive_both_ways():
    ping = frames.Ping(seq=7, sent_at=NOW)
    pong = frames.Pong(seq=7, server_time=NOW)
    assert decode_from_worker(encode(ping)) == ping
    assert decode_from_master(encode(pong)) == pong


def test_bodies_travel_raw():
    request = session.Calls().open("logs.list", ListLogs(InstanceId("i_1")), 0.0, 5.0)
    got = decode_from_master(encode(request))
    assert isinstance(got, frames.Request)
    assert decode_body(got.body, ListLogs) == ListLogs(InstanceId("i_1"))


def test_an_empty_reply_body_stays_decodable():
    got = decode_from_worker(encode(frames.Reply(request_id=1, error_code="node_offline", error_message="away")))
    assert isinstance(got, frames.Reply)
    with pytest.raises(NodeOffline, match="away"):
        session.body_of(got)


def test_unknown_values_of_a_sample_stay_unknown():
    sample = frames.Sample(at_s=1.5, node=(1.0, math.nan), instances={InstanceId("i"): (math.nan,)})
    got = decode_from_worker(encode(sample))
    assert isinstance(got, frames.Sample)
    assert math.isnan(got.node[1])
    assert math.isnan(got.instances[InstanceId("i")][0])


def test_a_newer_peer_may_add_fields():
    data = msgspec.msgpack.encode({"type": "Ping", "seq": 1, "sent_at": NOW, "mood": "sunny"})
    assert decode_from_worker(data) == frames.Ping(seq=1, sent_at=NOW)


def test_the_master_cannot_be_told_what_only_it_may_say():
    with pytest.raises(Invalid, match="worker"):
        decode_from_worker(encode(frames.Forget(InstanceId("i"))))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x82\xa4type\xa4Ping\xa1x" + b"\x91" * 100_000,  # nesting without end
        b"\x81\xa4type\xa4Pi\xff\xfe",  # no UTF-8
        b"\x83\xa4type\xa4Ping\xa3seq\x01\xa7sent_at\xc7\x0c\xff" + b"\xff" * 12,  # no such time
    ],
)
def test_what_cannot_be_read_is_invalid(data):
    with pytest.raises(Invalid):
        decode_from_worker(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_invalid(data):
    for decode in (decode_from_worker, decode_from_master):
        try:
            assert isinstance(decode(data), msgspec.Struct)
        except Invalid:
            continue


@given(st.integers(0, 30), st.integers(0, 255), st.binary(max_size=4))
def test_damaged_frames_are_a_frame_or_invalid(at, value, more):
    data = bytearray(encode(frames.StreamClose(stream_id=3, code="timeout", message="zu spät")) + more)
    data[at] = value
    try:
        assert isinstance(decode_from_worker(bytes(data)), msgspec.Struct)
    except Invalid:
        return


def test_the_limit_holds_on_both_ends():
    big = frames.StreamData(stream_id=1, data=b"x" * frames.MAX_FRAME_BYTES)
    with pytest.raises(Invalid, match="StreamData"):
        encode(big)
    with pytest.raises(Invalid):
        decode_from_worker(msgspec.msgpack.encode(big))


def test_calls_tell_late_doubled_and_made_up_answers():
    calls = session.Calls()
    first = calls.open("a", ListLogs(InstanceId("i")), now_s=100.0, timeout_s=5.0)
    second = calls.open("a", ListLogs(InstanceId("i")), now_s=100.0, timeout_s=9.0)
    assert first.request_id != second.request_id
    assert calls.next_deadline_s() == 105.0
    assert calls.expire(104.9) == []
    assert calls.expire(105.0) == [first.request_id]
    assert not calls.settle(frames.Reply(request_id=first.request_id))
    assert calls.settle(frames.Reply(request_id=second.request_id))
    assert not calls.settle(frames.Reply(request_id=second.request_id))
    assert not calls.settle(frames.Reply(request_id=999))
    assert len(calls) == 0


def test_errors_keep_their_class_over_the_link():
    reply = session.refuse(frames.Request(4, "x"), NodeOffline("away"))
    assert (reply.request_id, reply.error_code) == (4, "node_offline")
    unknown = session.error_from("from_the_future", "what")
    assert type(unknown) is OpsError
    assert unknown.message == "what"


def test_an_error_of_ones_own_does_not_stand_in_for_a_code():
    class Own(OpsError):
        def __init__(self):
            super().__init__("two arguments would break it")

    assert type(session.error_from(Own.code, "a bug over there")) is OpsError
    assert type(session.error_from(Invalid.code, "{what} it said")) is Invalid


def test_an_answer_without_body_or_error_is_invalid():
    with pytest.raises(Invalid):
        session.body_of(frames.Reply(request_id=1))


def test_a_body_of_the_wrong_shape_is_invalid():
    with pytest.raises(Invalid, match="ListLogs"):
        decode_body(encode_body(frames.EventsAck(1)), ListLogs)


def test_the_signed_text_binds_nonce_node_and_certificate():
    texts = {
        frames.proof_text(nonce, node, certificate)
        for nonce in (b"a" * 32, b"b" * 32)
        for node in (NodeId("n1"), NodeId("n2"))
        for certificate in (b"", b"c" * 32)
    }
    assert len(texts) == 8
