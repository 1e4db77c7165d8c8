import asyncio

import pytest

from ops_system.master.logs.rules import LogQuery
from ops_system.master.logs.service import CHUNK_BYTES, Logs, batches
from ops_system.model.errors import Invalid, NodeOffline, NotFound
from ops_system.protocol.frames import StreamClose, StreamData
from ops_system.protocol.requests import LogBytes, LogFiles, LogLines
from ops_system.runtime.streams import Stream


class FakeInstances:
    async def node_of(self, instance_id):
        if instance_id != "ins_1":
            raise NotFound("no such instance")
        return "node_1"


class FakeWorker:
    """Answers as a worker with one log of `data`."""

    def __init__(self, data=b""):
        self.data = data
        self.asked = []
        self.is_away = False

    async def request(self, node_id, kind, body, reply_type, timeout_s=10.0):
        if self.is_away:
            raise NodeOffline("away")
        self.asked.append((node_id, kind, body))
        match kind:
            case "logs.list":
                return LogFiles(items=())
            case "logs.read":
                return LogLines(lines=(), before=None)
            case _:
                return LogBytes(self.data[body.offset : body.offset + body.length], len(self.data))

    def open_stream(self, node_id, kind, body):
        self.asked.append((node_id, kind, body))
        return Stream(1, lambda frame: True, lambda stream_id: None)


async def collect(pieces):
    return b"".join([piece async for piece in pieces])


async def test_reading_asks_the_node_of_the_instance():
    worker = FakeWorker()
    logs = Logs(FakeInstances(), worker)
    await logs.read("ins_1", "stdout", LogQuery(tail=5, before=9, q="x"))
    node, kind, body = worker.asked[0]
    assert (node, kind, body.name, body.tail, body.before, body.q) == ("node_1", "logs.read", "stdout", 5, 9, "x")
    with pytest.raises(NotFound):
        await logs.list_logs("ins_2")
    with pytest.raises(Invalid):
        await logs.read("ins_1", "stdout", LogQuery(tail=0))


async def test_a_download_ends_at_the_size_it_began_with():
    worker = FakeWorker(b"a" * (2 * CHUNK_BYTES + 7))
    pieces = Logs(FakeInstances(), worker).download("ins_1", "stdout")
    first = await anext(pieces)
    worker.data += b"b" * 100
    assert first + await collect(pieces) == b"a" * (2 * CHUNK_BYTES + 7)
    assert await collect(Logs(FakeInstances(), FakeWorker()).download("ins_1", "stdout")) == b""


async def test_a_log_that_shrinks_ends_its_download():
    worker = FakeWorker(b"a" * (3 * CHUNK_BYTES))
    pieces = Logs(FakeInstances(), worker).download("ins_1", "stdout")
    await anext(pieces)
    worker.data = b""
    assert await collect(pieces) == b""


async def test_a_node_that_is_away_is_told_before_following():
    worker = FakeWorker()
    worker.is_away = True
    with pytest.raises(NodeOffline):
        await Logs(FakeInstances(), worker).open_follow("ins_1", "stdout")


async def test_lines_are_gathered_and_the_rest_comes_at_the_end():
    stream = await Logs(FakeInstances(), FakeWorker()).open_follow("ins_1", "stdout")
    stream.on_data(StreamData(stream_id=1, data=b"one\ntwo\nthr"))
    batch = aiter(batches(stream))
    async with asyncio.timeout(5):
        assert [line.text for line in await anext(batch)] == ["one", "two"]
        stream.on_data(StreamData(stream_id=1, data=b"ee"))
        stream.on_close(StreamClose(stream_id=1))
        assert [line.text for line in await anext(batch)] == ["three"]
        assert [one async for one in batch] == []


async def test_what_ends_a_stream_badly_is_raised():
    stream = await Logs(FakeInstances(), FakeWorker()).open_follow("ins_1", "stdout")
    stream.on_close(StreamClose(stream_id=1, code="not_found", message="no such log"))
    with pytest.raises(NotFound, match="no such log"):
        await anext(aiter(batches(stream)))
