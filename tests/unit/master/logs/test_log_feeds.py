import asyncio
import json

import msgspec
import pytest

from ops_system.master.logs.feeds import MAX_WAITING_BYTES, Box, Feeds, Message
from ops_system.model.errors import NodeOffline
from ops_system.protocol.frames import StreamClose, StreamData
from ops_system.protocol.logs import LogDropped, LogPlace
from ops_system.protocol.pieces import Channel, encode_piece
from ops_system.runtime.streams import Stream
from ops_system.runtime.tasks import running

KEY = ("ins_1", "stdout")
WITHIN_S = 30.0


class FakeNode:
    """Streams that a test feeds as a worker does."""

    def __init__(self):
        self.streams = []
        self.told = []

    def open_stream(self):
        self.streams.append(Stream(len(self.streams), lambda frame: self.told.append(frame) or True, lambda _id: None))
        self.say(LogPlace(100, 0.0))
        return self.streams[-1]

    def say(self, word):
        self.send(encode_piece(Channel.CONTROL, msgspec.json.encode(word)))

    def write(self, data):
        self.send(encode_piece(Channel.STDOUT, data))

    def send(self, data):
        for at in range(0, len(data), 16_000):
            assert self.streams[-1].on_data(StreamData(stream_id=0, data=data[at : at + 16_000]))


@pytest.fixture
async def feeds():
    feeds = Feeds()
    async with running(feeds.run(), "log feeds"):
        await asyncio.sleep(0)
        yield feeds


async def heard(box):
    async with asyncio.timeout(WITHIN_S):
        return json.loads((await box.take()).text)


async def test_many_viewers_share_one_stream_and_hear_the_same(feeds):
    node, boxes = FakeNode(), [Box(), Box()]
    for box in boxes:
        feeds.join(KEY, box, node.open_stream)
    assert (len(node.streams), len(feeds)) == (1, 1)
    node.write(b"2026-01-02T03:04:05Z one\ntwo\nthr")
    at = "2026-01-02T03:04:05Z"
    lines = [{"text": f"{at} one", "at": at, "offset": 100}, {"text": "two", "at": at, "offset": 125}]
    for box in boxes:
        assert await heard(box) == {"lines": lines, "instance_id": "ins_1"}
    feeds.leave(KEY, boxes[0])
    node.write(b"ee\n")
    assert (await heard(boxes[1]))["lines"][0]["text"] == "three"
    assert node.streams[0].is_open
    feeds.leave(KEY, boxes[1])
    assert not node.streams[0].is_open
    assert len(feeds) == 0
    feeds.join(KEY, boxes[0], node.open_stream)
    assert len(node.streams) == 2


async def test_a_gap_is_told_at_its_place(feeds):
    node, box = FakeNode(), Box()
    feeds.join(KEY, box, node.open_stream)
    node.write(b"one\npart")
    node.say(LogDropped(7, 5000))
    node.say(LogPlace(9000, 0.0))
    node.write(b"two\n")
    first = await heard(box)
    assert [line["text"] for line in first["lines"]] == ["one", "part"]
    assert await heard(box) == {"dropped": 7, "bytes": 5000, "instance_id": "ins_1"}
    assert (await heard(box))["lines"] == [{"text": "two", "at": None, "offset": 9000}]


async def test_the_end_and_its_reason_reach_everybody_and_the_next_one_opens_anew(feeds):
    node, box = FakeNode(), Box()
    feeds.join(KEY, box, node.open_stream)
    node.write(b"last")
    node.streams[0].on_close(StreamClose(stream_id=0, code="node_offline", message="gone"))
    assert await heard(box) == {"end": {"code": "node_offline", "message": "gone"}, "instance_id": "ins_1"}
    assert not feeds.has(KEY)
    feeds.leave(KEY, box)
    feeds.join(KEY, box, node.open_stream)
    node.write(b"rest")
    node.streams[1].on_close(StreamClose(stream_id=0))
    assert (await heard(box))["lines"][0]["text"] == "rest"
    assert (await heard(box))["end"]["code"] == ""


async def test_a_node_that_is_away_is_raised_and_leaves_nothing(feeds):
    def refuse():
        raise NodeOffline("away")

    with pytest.raises(NodeOffline), feeds.joined(KEY, Box(), refuse):
        pass
    assert len(feeds) == 0


async def test_a_flood_is_gathered_and_a_viewer_that_does_not_read_loses_the_oldest_lines(feeds):
    node, slow, quick = FakeNode(), Box(), Box()
    feeds.join(KEY, slow, node.open_stream)
    feeds.join(KEY, quick, node.open_stream)
    wrote, read = 0, 0
    while wrote < 100_000:
        node.write(b"%060d\n" % wrote * 1000)
        wrote += 1000
        while read < wrote:
            read += len((await heard(quick)).get("lines", ()))
    assert sum(len(message.text) for message in slow._waiting) <= MAX_WAITING_BYTES
    dropped = (await heard(slow))["dropped"]
    kept = 0
    while dropped + kept < wrote:
        kept += len((await heard(slow))["lines"])
    assert dropped > 80_000
    assert dropped + kept == wrote


def test_one_message_larger_than_a_box_is_kept():
    box = Box()
    box.put(Message("x" * (MAX_WAITING_BYTES + 1), 3))
    box.put(Message("y", 1))
    assert [message.text for message in box._waiting] == ["y"]
    assert box._dropped_lines == 3
