import asyncio

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from ops_system.master.auth.events import SessionsRevoked
from ops_system.master.bus import Bus
from ops_system.master.logs.viewers import Viewers
from ops_system.master.web.route import Principal
from ops_system.protocol.frames import StreamClose, StreamData
from ops_system.runtime.streams import Stream

ANN = Principal(kind="user", id="usr_1", name="ann", session_id="ses_1")
WITHIN_S = 5


class Stage:
    """A server whose every WebSocket follows a stream that the test feeds."""

    def __init__(self):
        self.bus = Bus()
        self.viewers = Viewers(self.bus)
        self.streams = []
        self.told = []

    async def follow(self, request):
        stream = Stream(len(self.streams), lambda frame: self.told.append(frame) or True, lambda stream_id: None)
        self.streams.append(stream)
        return await self.viewers.serve(request, ANN, stream)


@pytest.fixture
async def stage():
    stage = Stage()
    app = web.Application()
    app.router.add_get("/", stage.follow)
    async with TestClient(TestServer(app)) as stage.client:
        yield stage


async def opened(stage):
    socket = await stage.client.ws_connect("/")
    return socket, stage.streams[-1]


async def heard(socket):
    async with asyncio.timeout(WITHIN_S):
        return await socket.receive_json()


async def test_lines_reach_the_viewer(stage):
    socket, stream = await opened(stage)
    stream.on_data(StreamData(stream_id=0, data=b"one\n<b>two</b>\n"))
    assert await heard(socket) == {"lines": [{"text": "one", "at": None}, {"text": "<b>two</b>", "at": None}]}
    await socket.close()
    async with asyncio.timeout(WITHIN_S):
        while stream.is_open:  # noqa: ASYNC110 - the server's end of the socket sets no event here
            await asyncio.sleep(0.01)
    assert isinstance(stage.told[-1], StreamClose)


async def test_the_viewer_is_told_why_it_ended(stage):
    socket, stream = await opened(stage)
    stream.on_close(StreamClose(stream_id=0, code="node_offline", message="gone"))
    assert await heard(socket) == {"end": {"code": "node_offline", "message": "gone"}}
    async with asyncio.timeout(WITHIN_S):
        assert (await socket.receive()).type is WSMsgType.CLOSE


async def test_a_revoked_session_ends_its_viewers_and_no_others(stage):
    socket, stream = await opened(stage)
    stage.bus.publish(SessionsRevoked(frozenset({"ses_2"})))
    assert stream.is_open
    stage.bus.publish(SessionsRevoked(frozenset({"ses_1"})))
    assert not stream.is_open
    assert "end" in await heard(socket)
    async with asyncio.timeout(WITHIN_S):
        assert (await socket.receive()).type is WSMsgType.CLOSE
