"""What comes in is dealt with where it comes in, over a real WebSocket: no task wakes, the order and the limits stay."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from ops_system.protocol import frames
from ops_system.protocol.codec import encode
from ops_system.runtime import tap as tap_module
from ops_system.runtime.link import Link
from ops_system.runtime.tap import TURN_BYTES, Taker, put_tap, tap_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG_S = 20.0
AT_ONCE = (frames.Sample, frames.Ping)


def sample(at_s):
    return frames.Sample(at_s=at_s, node=(1.0, 2.0))


@dataclass
class Heard:
    """What a link's owner heard; `tasks` has the task that ran meanwhile, None where it was the loop itself."""

    frames: list = field(default_factory=list)
    tasks: list = field(default_factory=list)
    later: list = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    fault: Exception | None = None

    def hear(self, frame):
        if self.fault is not None:
            raise self.fault
        self.frames.append(frame)
        self.tasks.append(asyncio.current_task())
        self.news.set()
        return isinstance(frame, AT_ONCE)

    async def take(self, frame):
        self.later.append(frame)
        self.news.set()

    async def until(self, condition):
        async with asyncio.timeout(LONG_S):
            while not condition():
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def linked():
    """A master's link behind a tap, what it hears, its task, and the worker's bare socket."""
    accepted = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def accept(request):
        socket = web.WebSocketResponse(max_msg_size=frames.MAX_FRAME_BYTES, compress=False, timeout=0.1)
        await socket.prepare(request)
        put_tap(socket, request, frames.MAX_FRAME_BYTES)
        accepted.set_result(socket)
        await done.wait()
        return socket

    app = web.Application()
    app.router.add_get("/link", accept)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/link"
    try:
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as worker, asyncio.TaskGroup() as group:
            heard, link = Heard(), Link(await accepted, "master")
            run = group.create_task(link.run(heard.take, heard.hear, AT_ONCE))
            await asyncio.sleep(0)  # the link has begun
            yield link, heard, run, worker
            run.cancel()
    finally:
        done.set()
        await runner.cleanup()


async def ended(run):
    async with asyncio.timeout(LONG_S):
        return await asyncio.shield(run)


async def test_a_sample_is_heard_without_a_task():
    async with linked() as (_, heard, _, worker):
        for number in range(50):
            await worker.send_bytes(encode(sample(float(number))))
        await heard.until(lambda: len(heard.frames) == 50)
        assert heard.frames == [sample(float(number)) for number in range(50)]
        assert heard.tasks == [None] * 50


async def test_other_frames_go_the_usual_way_in_their_order():
    async with linked() as (link, heard, _, worker):
        await worker.send_bytes(encode(frames.Snapshot((), 7)))
        await worker.send_bytes(encode(sample(1.0)))
        await worker.send_bytes(encode(frames.Ping(3, NOW)))
        await heard.until(lambda: len(heard.frames) == 3 and heard.later)
        assert heard.frames == [frames.Snapshot((), 7), sample(1.0), frames.Ping(3, NOW)]
        assert heard.later == [frames.Snapshot((), 7)]
        assert link.send(frames.Pong(3, NOW))
        async with asyncio.timeout(LONG_S):
            assert await worker.receive_bytes() == encode(frames.Pong(3, NOW))


async def test_what_is_too_much_for_one_turn_waits_in_the_queue_and_keeps_its_order(monkeypatch):
    monkeypatch.setattr(tap_module, "TURN_BYTES", 0)
    async with linked() as (_, heard, _, worker):
        for number in range(50):
            await worker.send_bytes(encode(sample(float(number))))
        await heard.until(lambda: len(heard.frames) == 50)
        assert heard.frames == [sample(float(number)) for number in range(50)]
        assert None not in heard.tasks


async def test_what_nothing_can_hear_ends_this_link_only():
    async with linked() as (_, heard, run, worker):
        heard.fault = KeyError("a bug")
        await worker.send_bytes(encode(sample(1.0)))
        assert (await worker.receive()).type is WSMsgType.CLOSE
        assert (await ended(run)).code == "internal"
        assert worker.close_code == 1011


@pytest.mark.parametrize("data", [encode(sample(1.0))[:-3], encode(sample(1.0)) + b"x", b"\x00"])
async def test_nonsense_ends_the_link_behind_a_tap_too(data):
    async with linked() as (_, heard, run, worker):
        await worker.send_bytes(data)
        assert (await worker.receive()).type is WSMsgType.CLOSE
        assert (await ended(run)).code == "invalid"
        assert heard.frames == []


class Moments:
    """Counts how often the peer was heard."""

    def __init__(self):
        self.touched = 0

    def touch(self):
        self.touched += 1
        return 1.0


def test_what_is_taken_counts_as_heard_and_only_so_much_of_it_is_taken_in_one_turn():
    moments, taken = Moments(), []
    taker = Taker((b"ab",), moments, bytes, lambda data: taken.append(data) or True, pytest.fail)
    assert taker.take(b"-ab" + bytes(TURN_BYTES - 3))
    assert not taker.take(b"-ab")
    assert not taker.take(b"-xy")
    assert (len(taken), moments.touched) == (1, 2)


async def test_the_tap_is_closed_when_the_link_is_over():
    async with linked() as (link, heard, run, worker):
        await worker.send_bytes(encode(sample(1.0)))
        await heard.until(lambda: heard.frames)
        tap = tap_of(link._socket)
        assert tap is not None
        assert tap.take is not None
        link.close()
        await ended(run)
        assert tap.take is None
