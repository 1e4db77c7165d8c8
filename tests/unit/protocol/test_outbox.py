"""The order of sending, what is coalesced, and what is dropped and counted."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId
from ops_system.model.instances import HealthState, InstanceReport, PrepareProgress, State
from ops_system.protocol import frames
from ops_system.protocol.codec import decode_from_worker
from ops_system.protocol.outbox import Outbox

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def report(instance, pid):
    return frames.Report(InstanceReport(InstanceId(instance), 1, State.RUNNING, HealthState.HEALTHY, NOW, pid=pid))


def sample(at_s):
    return frames.Sample(at_s=at_s, node=())


def drain(outbox):
    sent = []
    while (data := outbox.take()) is not None:
        sent.append(decode_from_worker(data))
    return sent


def test_control_goes_before_state_before_samples_before_streams():
    outbox = Outbox()
    frames_in = [frames.StreamData(1, b"x"), sample(1.0), report("a", 1), frames.Ping(1, NOW)]
    for frame in frames_in:
        outbox.put(frame)
    assert drain(outbox) == frames_in[::-1]
    assert not outbox


def test_only_the_newest_report_of_an_instance_is_sent():
    outbox = Outbox()
    for pid in range(5):
        outbox.put(report("a", pid))
        outbox.put(report("b", pid))
    progress = frames.Progress(PrepareProgress(InstanceId("a"), 1, "download"))
    outbox.put(progress)
    assert drain(outbox) == [report("a", 4), report("b", 4), progress]


def test_the_oldest_samples_are_dropped_and_counted_in_the_next():
    outbox = Outbox(max_samples=3)
    for second in range(10):
        outbox.put(sample(float(second)))
    got = drain(outbox)
    assert [one.at_s for one in got] == [7.0, 8.0, 9.0]
    assert [one.dropped for one in got] == [7, 0, 0]
    assert outbox.dropped_samples == 7


def test_control_beyond_its_bytes_is_overfull_and_nothing_is_lost():
    outbox = Outbox(max_control_bytes=100)
    for seq in range(10):
        outbox.put(frames.Ping(seq, NOW))
    assert outbox.is_overfull
    assert [one.seq for one in drain(outbox)] == list(range(10))
    assert not outbox.is_overfull


def test_a_control_frame_above_the_limit_is_refused_at_the_door():
    outbox = Outbox()
    with pytest.raises(Invalid):
        outbox.put(frames.Reply(1, error_code="x", error_message="y" * frames.MAX_FRAME_BYTES))
    assert not outbox


def test_streams_take_turns_and_close_behind_their_bytes():
    outbox = Outbox()
    for number in (1, 2):
        for byte in b"ab":
            outbox.put(frames.StreamData(number, bytes([byte])))
    outbox.put(frames.StreamClose(1))
    kinds = [(type(one).__name__, one.stream_id) for one in drain(outbox)]
    assert kinds == [
        ("StreamData", 1),
        ("StreamData", 2),
        ("StreamData", 1),
        ("StreamData", 2),
        ("StreamClose", 1),
    ]


@given(st.lists(st.sampled_from("cCsSxp"), max_size=80))
def test_whatever_the_order_control_is_complete_and_in_order(kinds):
    outbox = Outbox(max_samples=2)
    said, heard = [], []
    for number, kind in enumerate(kinds):
        match kind:
            case "c" | "C":
                outbox.put(frames.Ping(number, NOW))
                said.append(number)
            case "s":
                outbox.put(sample(float(number)))
            case "S":
                outbox.put(report("a", number))
            case "x":
                outbox.put(frames.StreamData(number % 3, b"y"))
            case _:
                data = outbox.take()
                heard += [data] if data else []
    while (data := outbox.take()) is not None:
        heard.append(data)
    decoded = [decode_from_worker(data) for data in heard]
    assert [one.seq for one in decoded if isinstance(one, frames.Ping)] == said
    dropped = sum(one.dropped for one in decoded if isinstance(one, frames.Sample))
    assert dropped + sum(isinstance(one, frames.Sample) for one in decoded) == kinds.count("s")
