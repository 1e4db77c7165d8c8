"""A stream cuts what is written, waits for room, and refuses more than may be on the way."""

import asyncio

from ops_system.protocol.frames import StreamAck, StreamData
from ops_system.runtime.streams import ACK_STEP_BYTES, CHUNK_BYTES, MAX_CHUNK_BYTES, WINDOW_BYTES, Stream
from ops_system.runtime.tasks import running


def make_stream() -> tuple[Stream, list[object]]:
    sent: list[object] = []

    def send(frame: object) -> bool:
        sent.append(frame)
        return True

    return Stream(1, send, lambda _id: None), sent


async def test_what_is_written_is_cut_so_that_other_streams_get_their_turn():
    stream, sent = make_stream()
    data = bytes(range(256)) * 256
    await stream.write(data)
    assert [len(frame.data) for frame in sent] == [CHUNK_BYTES] * (len(data) // CHUNK_BYTES)
    assert b"".join(frame.data for frame in sent) == data


async def test_a_larger_chunk_is_one_frame_and_nothing_is_none():
    stream, sent = make_stream()
    await stream.write(b"")
    await stream.write(b"x" * MAX_CHUNK_BYTES, MAX_CHUNK_BYTES)
    assert [len(frame.data) for frame in sent] == [MAX_CHUNK_BYTES]


async def test_the_last_room_is_used_and_the_rest_waits_for_more():
    stream, sent = make_stream()
    await stream.write(b"x" * (WINDOW_BYTES - 10), MAX_CHUNK_BYTES)
    async with running(stream.write(b"y" * 30), "writer") as writing:
        stream.on_ack(StreamAck(stream_id=1, consumed_bytes=0))
        assert not writing.done()
        stream.on_ack(StreamAck(stream_id=1, consumed_bytes=100))
        await writing
    assert b"".join(frame.data for frame in sent).endswith(b"x" + b"y" * 30)


async def test_more_than_the_window_is_refused_and_what_is_read_makes_room():
    stream, sent = make_stream()
    full = StreamData(stream_id=1, data=b"x" * MAX_CHUNK_BYTES)
    assert all(stream.on_data(full) for _ in range(WINDOW_BYTES // MAX_CHUNK_BYTES))
    for _ in range(ACK_STEP_BYTES // MAX_CHUNK_BYTES):
        await anext(stream)
    assert sent == [StreamAck(stream_id=1, consumed_bytes=ACK_STEP_BYTES)]
    assert stream.on_data(full)
    assert not stream.on_data(full)
    assert not make_stream()[0].on_data(StreamData(stream_id=1, data=b"x" * (MAX_CHUNK_BYTES + 1)))


async def test_a_chunk_is_offered_before_it_wakes_anybody_only_while_nothing_waits_before_it():
    stream, sent = make_stream()
    taken: list[bytes] = []
    answers = {b"first": True, b"refused": False, b"after": True}

    def take(data: bytes) -> bool:
        taken.append(data)
        return answers[data]

    stream.offer_to(take)
    assert stream.on_data(StreamData(stream_id=1, data=b"nobody waits yet"))
    assert await anext(stream) == b"nobody waits yet"
    async with running(anext(stream), "reader") as reading:
        await asyncio.sleep(0)
        for data in (b"first", b"refused", b"after"):
            assert stream.on_data(StreamData(stream_id=1, data=data))
        assert await reading == b"refused"
    assert taken == [b"first", b"refused"]
    assert await anext(stream) == b"after"
    assert sent == []


async def test_what_was_taken_at_once_is_acknowledged_like_what_was_read():
    stream, sent = make_stream()
    stream.offer_to(lambda _data: True)
    async with running(anext(stream), "reader"):
        await asyncio.sleep(0)
        for _ in range(10 * WINDOW_BYTES // MAX_CHUNK_BYTES):
            assert stream.on_data(StreamData(stream_id=1, data=b"x" * MAX_CHUNK_BYTES))
    assert sent == [StreamAck(stream_id=1, consumed_bytes=ACK_STEP_BYTES)] * (10 * WINDOW_BYTES // ACK_STEP_BYTES)


async def test_what_is_written_now_is_one_frame_or_nothing():
    stream, sent = make_stream()
    assert not stream.write_now(b"x" * (MAX_CHUNK_BYTES + 1))
    for _ in range(WINDOW_BYTES // MAX_CHUNK_BYTES):
        assert stream.write_now(b"x" * MAX_CHUNK_BYTES)
    assert not stream.write_now(b"y")
    assert [len(frame.data) for frame in sent] == [MAX_CHUNK_BYTES] * (WINDOW_BYTES // MAX_CHUNK_BYTES)
    stream.on_ack(StreamAck(stream_id=1, consumed_bytes=1))
    assert stream.write_now(b"y")
    stream.close()
    assert not stream.write_now(b"z")
