import asyncio

import msgspec
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from ops_system.master.logs import viewers as viewing
from ops_system.master.logs.feeds import Feeds
from ops_system.master.logs.service import Member
from ops_system.master.logs.viewers import Viewers
from ops_system.model.errors import NodeOffline, NotFound
from ops_system.protocol.frames import StreamClose, StreamData
from ops_system.protocol.logs import LogPlace
from ops_system.protocol.pieces import Channel, encode_piece
from ops_system.runtime.streams import Stream
from ops_system.runtime.tasks import running

WITHIN_S = 30.0


class FakeLogs:
    """Opens streams that a test feeds."""

    def __init__(self):
        self.streams = {}
        self.away = set()
        self.silent = set()
        self.opened = asyncio.Event()

    async def where(self, instance_id):
        if instance_id in self.away:
            raise NodeOffline("away")
        return Member(instance_id, "node_1")

    def open_follow(self, member, name):
        if member.instance_id in self.away:
            raise NodeOffline("away")
        stream = Stream(1, lambda frame: True, lambda _id: None)
        self.streams[member.instance_id] = stream
        if member.instance_id not in self.silent:
            self.place(member.instance_id)
        self.opened.set()
        return stream

    def place(self, instance_id):
        self.say(instance_id, Channel.CONTROL, msgspec.json.encode(LogPlace(0, 0.0)))

    def say(self, instance_id, channel, data):
        self.streams[instance_id].on_data(StreamData(stream_id=1, data=encode_piece(channel, data)))

    def write(self, instance_id, data):
        self.say(instance_id, Channel.STDOUT, data)

    async def has(self, instance_id):
        async with asyncio.timeout(WITHIN_S):
            while instance_id not in self.streams:
                self.opened.clear()
                await self.opened.wait()


class Stage:
    """A server whose WebSockets follow `ins_1`, or (at /all) all members."""

    def __init__(self):
        self.logs = FakeLogs()
        self.feeds = Feeds()
        self.viewers = Viewers(self.logs, self.feeds)
        self.members = ["ins_1", "ins_2"]
        self.answer = asyncio.Event()

    async def follow(self, request):
        self.handler = asyncio.current_task()
        return await self.viewers.serve(request, "ins_1", "stdout")

    async def follow_all(self, request):
        return await self.viewers.serve_merged(request, self.find, "stdout")

    async def find(self):
        if not self.members:
            raise NotFound("there is no such module")
        return [Member(one, "node_1") for one in self.members]


@pytest.fixture
async def stage(monkeypatch):
    monkeypatch.setattr(viewing, "LOOK_AGAIN_S", 0.02)
    stage = Stage()
    app = web.Application()
    app.router.add_get("/", stage.follow)
    app.router.add_get("/all", stage.follow_all)
    async with running(stage.feeds.run(), "feeds"), TestClient(TestServer(app)) as stage.client:
        yield stage


async def heard(socket):
    async with asyncio.timeout(WITHIN_S):
        return await socket.receive_json()


async def closed(socket):
    async with asyncio.timeout(WITHIN_S):
        return (await socket.receive()).type is WSMsgType.CLOSE


async def nobody_looks(stage):
    async with asyncio.timeout(WITHIN_S):
        while len(stage.feeds):  # noqa: ASYNC110 - the server's end of the socket sets no event here
            await asyncio.sleep(0.01)


async def test_lines_reach_the_viewer_and_its_end_ends_the_stream(stage):
    socket = await stage.client.ws_connect("/")
    stage.logs.write("ins_1", b"one\n<b>two</b>\n")
    assert [line["text"] for line in (await heard(socket))["lines"]] == ["one", "<b>two</b>"]
    await socket.close()
    await nobody_looks(stage)
    assert not stage.logs.streams["ins_1"].is_open


@pytest.mark.parametrize("path", ["/", "/all"])
async def test_a_socket_opens_when_the_node_says_where_it_begins(stage, path):
    stage.logs.silent = {"ins_1"}
    async with asyncio.TaskGroup() as group:
        opening = group.create_task(stage.client.ws_connect(path))
        await stage.logs.has("ins_1")
        async with stage.client.get("/away") as other:  # by its answer, that of the socket would be here
            assert other.status == 404
        assert not opening.done()
        stage.logs.place("ins_1")
    stage.logs.write("ins_1", b"one\n")
    assert (await heard(opening.result()))["lines"][0]["text"] == "one"


@pytest.mark.parametrize("path", ["/", "/all"])
async def test_a_node_that_says_nothing_does_not_hold_the_socket_up(stage, path, monkeypatch):
    monkeypatch.setattr(viewing, "PLACED_WITHIN_S", 0.05)
    stage.logs.silent = {"ins_1"}
    async with asyncio.timeout(WITHIN_S):
        socket = await stage.client.ws_connect(path)
    stage.logs.place("ins_1")
    stage.logs.write("ins_1", b"one\n")
    assert (await heard(socket))["lines"][0]["text"] == "one"


async def test_an_end_before_the_beginning_is_told_at_once(stage):
    stage.logs.silent = {"ins_1"}
    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
        opening = group.create_task(stage.client.ws_connect("/"))
        await stage.logs.has("ins_1")
        stage.logs.streams["ins_1"].on_close(StreamClose(stream_id=1, code="not_found", message="no such log"))
    assert (await heard(opening.result()))["end"]["code"] == "not_found"


async def test_the_viewer_is_told_why_it_ended(stage):
    socket = await stage.client.ws_connect("/")
    stage.logs.streams["ins_1"].on_close(StreamClose(stream_id=0, code="node_offline", message="gone"))
    assert (await heard(socket))["end"] == {"code": "node_offline", "message": "gone"}
    assert await closed(socket)


async def test_many_logs_in_one_socket_some_come_later_and_one_that_ends_comes_back(stage):
    stage.logs.away = {"ins_2"}
    socket = await stage.client.ws_connect("/all")
    await stage.logs.has("ins_1")
    stage.logs.write("ins_1", b"one\n")
    first = await heard(socket)
    assert (first["instance_id"], first["lines"][0]["text"]) == ("ins_1", "one")
    stage.logs.away = set()
    await stage.logs.has("ins_2")
    stage.logs.write("ins_2", b"two\n")
    assert (await heard(socket))["instance_id"] == "ins_2"
    stage.logs.streams.pop("ins_2").on_close(StreamClose(stream_id=0, code="node_offline", message="gone"))
    assert (await heard(socket))["end"]["code"] == "node_offline"
    await stage.logs.has("ins_2")
    stage.logs.write("ins_2", b"again\n")
    assert (await heard(socket))["lines"][0]["text"] == "again"
    stage.members.remove("ins_1")
    async with asyncio.timeout(WITHIN_S):
        while stage.feeds.has(("ins_1", "stdout")):  # noqa: ASYNC110 - leaving a feed sets no event
            await asyncio.sleep(0.01)
    stage.members.clear()
    end = await heard(socket)
    assert (end["end"]["code"], end["instance_id"]) == ("not_found", "")
    assert await closed(socket)
    await nobody_looks(stage)


async def test_a_revocation_ends_the_handler_and_with_it_the_stream(stage):
    socket = await stage.client.ws_connect("/")
    stage.handler.cancel()  # as `Front.revoke` does
    async with asyncio.timeout(WITHIN_S):
        assert (await socket.receive()).type in {WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR}
    await nobody_looks(stage)
    assert not stage.logs.streams["ins_1"].is_open


async def test_a_browser_that_reads_nothing_is_let_go(stage, monkeypatch):
    monkeypatch.setattr(viewing, "SEND_WITHIN_S", 0.2)
    socket = await stage.client.ws_connect("/", max_msg_size=0)
    transport = socket._response.connection.transport
    transport.pause_reading()
    line = b"x" * 60_000 + b"\n"
    async with asyncio.timeout(WITHIN_S):
        while len(stage.feeds):
            if stage.logs.streams["ins_1"]._unacked_bytes < 100_000:
                for at in range(0, len(line), 15_000):
                    stage.logs.write("ins_1", line[at : at + 15_000])
            await asyncio.sleep(0.001)
    transport.abort()  # or the client waits ten seconds for an answer it does not read
