"""One viewer over a socket that reads when it is told to: who is slow, and who does not read at all."""

import asyncio
import json

import pytest
from aiohttp import WSMessage, WSMsgType

from ops_system.master.bus import Bus
from ops_system.master.live.hub import Hub
from ops_system.master.live.rules import Topic
from ops_system.master.live.viewer import Viewer
from ops_system.master.web.route import Permission, Principal
from ops_system.runtime.clock import SystemClock
from ops_system.runtime.tasks import running

VERA = Principal("token", "t", "vera", frozenset({Permission.VIEW}))
WITHIN_S = 30.0


class Transport:
    def __init__(self):
        self.left_bytes = 0
        self.is_aborted = False

    def get_write_buffer_size(self):
        return self.left_bytes

    def abort(self):
        self.is_aborted = True


class Socket:
    """Takes one message for each release of `reads`."""

    def __init__(self):
        self.transport = Transport()
        self._writer = self
        self.reads = asyncio.Semaphore(1)
        self.sending = asyncio.Event()
        self.sent = []
        self.said = asyncio.Queue()

    async def receive(self):
        return WSMessage(WSMsgType.TEXT, await self.said.get(), None)

    async def send_frame(self, message, _opcode):
        self.sending.set()
        await self.reads.acquire()
        self.sending.clear()
        self.sent.append(json.loads(message))

    async def close(self, **_words):
        return True


@pytest.fixture
async def stage(monkeypatch):
    monkeypatch.setattr("ops_system.master.live.viewer.LAG_GRACE_S", 0.0)
    monkeypatch.setattr("ops_system.master.live.viewer.MAX_LAG_BYTES", 2500)
    hub = Hub(Bus(), SystemClock())

    async def nothing(_name, _principal):
        return []

    hub.register(Topic("things", Permission.VIEW, nothing))
    socket = Socket()
    viewer = Viewer(hub, socket, VERA)
    async with running(viewer.run(), "viewer"):
        await socket.said.put(json.dumps({"subscribe": ["things"]}))
        await until(lambda: len(socket.sent) == 1)
        yield hub, socket, viewer


async def until(condition):
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - the condition belongs to the code under test, which has no event for it
            await asyncio.sleep(0.001)


def change(hub, viewer, text):
    """Let about 1000 bytes come."""
    watched = hub._watched["things"]
    watched.log.put("a", text.ljust(900))
    watched.log.commit()
    viewer.wake(watched.log)


async def test_one_that_takes_nothing_while_more_and_more_comes_is_closed(stage):
    hub, socket, viewer = stage
    change(hub, viewer, "first")
    await until(socket.sending.is_set)
    socket.transport.left_bytes = 1000
    for number in range(3):
        assert viewer.why is None
        change(hub, viewer, str(number))
    assert viewer.why[0] == "too_slow"
    assert socket.transport.is_aborted


async def test_one_that_reads_slowly_goes_on_and_gets_what_is_newest(stage):
    hub, socket, viewer = stage
    change(hub, viewer, "first")
    await until(socket.sending.is_set)
    for number in range(50):
        socket.transport.left_bytes = 1000 - number
        change(hub, viewer, str(number))
        change(hub, viewer, str(number))
    assert viewer.why is None
    socket.reads.release()
    socket.reads.release()
    await until(lambda: len(socket.sent) == 3)
    assert [message["data"]["items"][0].strip() for message in socket.sent[1:]] == ["first", "49"]
