"""Two links over a real WebSocket on loopback: order, questions, streams, flow control, deadlines and ends."""

import asyncio
import contextlib
import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web

from ops_system.model.errors import Invalid, NodeOffline, NotFound, OpsError, TimedOut, Unavailable
from ops_system.model.ids import InstanceId
from ops_system.protocol import frames
from ops_system.protocol.logs import FollowLog, ListLogs, LogFiles
from ops_system.protocol.outbox import Outbox
from ops_system.runtime import link as link_module
from ops_system.runtime.handlers import Handlers
from ops_system.runtime.link import Link, LinkEnd
from ops_system.runtime.streams import WINDOW_BYTES

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG_S = 20.0


@dataclass
class End:
    link: Link
    run: "asyncio.Task[LinkEnd]"
    heard: list = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, condition):
        async with asyncio.timeout(LONG_S):
            while not condition():
                self.news.clear()
                await self.news.wait()

    async def ended(self):
        async with asyncio.timeout(LONG_S):
            return await asyncio.shield(self.run)


def start(link, group, on_frame=None):
    end = End(link, None)  # type: ignore[arg-type]

    async def take(frame):
        if on_frame is not None:
            await on_frame(frame)
        end.heard.append(frame)
        end.news.set()

    end.run = group.create_task(link.run(take))
    return end


@asynccontextmanager
async def sockets():
    """A server socket and a client socket of one connection."""
    accepted: asyncio.Future[web.WebSocketResponse] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def accept(request):
        socket = web.WebSocketResponse(max_msg_size=frames.MAX_FRAME_BYTES, compress=False, timeout=1)
        await socket.prepare(request)
        accepted.set_result(socket)
        await done.wait()
        return socket

    app = web.Application()
    app.router.add_get("/link", accept)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession() as session:
            client = await session.ws_connect(f"http://127.0.0.1:{port}/link", max_msg_size=frames.MAX_FRAME_BYTES)
            yield await accepted, client
            done.set()
            await client.close()
    finally:
        done.set()
        await runner.cleanup()


@asynccontextmanager
async def pair(worker_handlers=None, *, read_deadline_s=LONG_S, on_worker_frame=None, worker_outbox=None):
    async with sockets() as (server, client):
        master = Link(server, "master", read_deadline_s=read_deadline_s)
        worker = Link(client, "worker", worker_handlers, read_deadline_s=LONG_S, outbox=worker_outbox)
        async with asyncio.TaskGroup() as group:
            ends = start(master, group), start(worker, group, on_worker_frame)
            yield ends
            for end in ends:
                end.run.cancel()


async def test_frames_arrive_in_order_both_ways():
    async with pair() as (master, worker):
        for seq in range(100):
            assert worker.link.send(frames.Ping(seq, NOW))
            assert master.link.send(frames.EventsAck(seq))
        await master.until(lambda: len(master.heard) == 100)
        await worker.until(lambda: len(worker.heard) == 100)
        assert [frame.seq for frame in master.heard] == list(range(100))
        assert worker.heard == [frames.EventsAck(seq) for seq in range(100)]


async def test_the_opening_goes_past_the_outbox():
    async with sockets() as (server, client):
        master, worker = Link(server, "master"), Link(client, "worker")
        await master.send_now(frames.Challenge(b"n" * 32, 1))
        assert await worker.receive(LONG_S) == frames.Challenge(b"n" * 32, 1)
        with pytest.raises(TimedOut, match="worker"):
            await master.receive(0.01)


async def test_an_opening_that_is_no_frame_is_invalid():
    async with sockets() as (server, client):
        await client.send_str("hello")
        with pytest.raises(Invalid):
            await Link(server, "master").receive(LONG_S)


async def test_a_question_gets_its_answer_or_the_peers_error():
    async def answer(body: ListLogs) -> LogFiles:
        if body.instance_id == "missing":
            raise NotFound("no such instance")
        if body.instance_id == "bug":
            raise ZeroDivisionError
        return LogFiles(())

    handlers = Handlers()
    handlers.on_request("logs.list", ListLogs, answer)
    async with pair(handlers) as (master, _):

        async def ask(kind, instance):
            return await master.link.request(kind, ListLogs(InstanceId(instance)), LogFiles, LONG_S)

        assert await ask("logs.list", "there") == LogFiles(())
        with pytest.raises(NotFound, match="no such instance"):
            await ask("logs.list", "missing")
        with pytest.raises(NotFound, match="older"):
            await ask("logs.unheard_of", "there")
        with pytest.raises(OpsError) as bug:
            await ask("logs.list", "bug")
        assert bug.value.code == "internal"
        assert await ask("logs.list", "there") == LogFiles(())


async def test_a_question_without_answer_times_out_and_its_late_answer_is_dropped():
    release = asyncio.Event()

    async def answer(_body: ListLogs) -> LogFiles:
        await release.wait()
        return LogFiles(())

    handlers = Handlers()
    handlers.on_request("slow", ListLogs, answer)
    async with pair(handlers) as (master, _):
        with pytest.raises(TimedOut):
            await master.link.request("slow", ListLogs(InstanceId("i")), LogFiles, 0.05)
        release.set()
        assert await master.link.ping(LONG_S)


async def test_a_peer_that_is_busy_with_frames_still_answers_ping():
    stuck = asyncio.Event()

    async def on_frame(_frame):
        await stuck.wait()

    async with pair(on_worker_frame=on_frame) as (master, _):
        master.link.send(frames.EventsAck(1))
        assert await master.link.ping(LONG_S)


async def test_questions_fail_at_once_when_the_link_ends():
    asked = asyncio.Event()

    async def answer(_body: ListLogs) -> LogFiles:
        asked.set()
        await asyncio.Event().wait()
        return LogFiles(())

    handlers = Handlers()
    handlers.on_request("never", ListLogs, answer)
    async with pair(handlers) as (master, worker):

        async def ask():
            with pytest.raises(NodeOffline):
                await master.link.request("never", ListLogs(InstanceId("i")), LogFiles, LONG_S)

        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            await asked.wait()
            worker.link.close()
        with pytest.raises(NodeOffline):
            await master.link.request("never", ListLogs(InstanceId("i")), LogFiles, LONG_S)


async def test_goodbye_tells_the_peer_why():
    async with pair() as (master, worker):
        goodbye = frames.Goodbye("forbidden", "this node is revoked", -1.0)
        master.link.say_goodbye(goodbye)
        assert (await worker.ended()) == LinkEnd("forbidden", "this node is revoked", goodbye)
        assert (await master.ended()).code == "forbidden"
        assert not master.link.send(frames.EventsAck(1))


async def test_control_frames_queued_before_a_close_still_arrive():
    async with pair() as (master, worker):
        for seq in range(50):
            master.link.send(frames.EventsAck(seq))
        master.link.close()
        await worker.until(lambda: len(worker.heard) == 50 or worker.run.done())
        assert worker.heard == [frames.EventsAck(seq) for seq in range(len(worker.heard))]
        assert (await master.ended()).code == "closed"


async def test_silence_ends_the_link():
    async with pair(read_deadline_s=0.05) as (master, _):
        assert (await master.ended()).code == "silent"


@pytest.mark.parametrize("nonsense", [b"\xc1\xc1", b"\x80"])
async def test_nonsense_ends_the_link(nonsense):
    async with pair() as (master, worker):
        await worker.link._socket.send_bytes(nonsense)
        assert (await master.ended()).code == "invalid"
        assert (await worker.ended()).code == "lost"


async def test_a_failing_handler_ends_this_link_only():
    async def on_frame(_frame):
        raise ZeroDivisionError

    async with pair(on_worker_frame=on_frame) as (master, worker):
        master.link.send(frames.EventsAck(1))
        assert (await worker.ended()).code == "internal"
        assert (await master.ended()).code == "lost"


async def test_a_peer_that_never_reads_ends_the_link_when_control_is_too_much():
    async with sockets() as (_server, client):
        link = Link(client, "worker", read_deadline_s=LONG_S, outbox=Outbox(max_control_bytes=64 * 1024))
        async with asyncio.TaskGroup() as group:
            end = start(link, group)
            filler = frames.Reply(1, error_code="x", error_message="y" * 60_000)
            while link.send(filler):
                pass
            assert (await end.ended()).code == "overloaded"


async def test_samples_are_dropped_while_the_peer_does_not_read():
    async with sockets() as (server, client):
        worker = Link(client, "worker", outbox=Outbox(max_samples=10))
        for second in range(100):
            worker.send(frames.Sample(at_s=float(second), node=()))
        assert worker.dropped_samples == 90
        master = Link(server, "master")
        async with asyncio.TaskGroup() as group:
            ends = start(master, group), start(worker, group)
            await ends[0].until(lambda: len(ends[0].heard) == 10)
            assert [frame.dropped for frame in ends[0].heard] == [90] + [0] * 9
            for end in ends:
                end.run.cancel()


async def test_what_is_dealt_with_at_once_does_not_wait_behind_a_slow_frame():
    stuck, heard = asyncio.Event(), []

    async def on_frame(_frame):
        await stuck.wait()

    def on_heard(frame):
        heard.append(frame)
        return isinstance(frame, frames.Sample)

    async with sockets() as (server, client), asyncio.timeout(LONG_S):
        master, worker = Link(server, "master"), Link(client, "worker")
        async with asyncio.TaskGroup() as group:
            run = group.create_task(master.run(on_frame, on_heard))
            end = start(worker, group)
            worker.send(frames.Ping(1, NOW))
            worker.send(frames.Sample(at_s=1.0, node=()))
            assert await master.ping(LONG_S)
            assert [type(frame).__name__ for frame in heard] == ["Ping", "Sample", "Reply"]
            run.cancel()
            await end.ended()


async def test_a_stream_carries_bytes_both_ways_and_ends_well():
    async def echo(stream, body: FollowLog):
        await stream.write(body.name.encode())
        async for data in stream:
            await stream.write(data)
            if data.endswith(b"!"):
                return

    handlers = Handlers()
    handlers.on_stream("log", FollowLog, echo)
    async with pair(handlers) as (master, _), asyncio.timeout(LONG_S):
        stream = master.link.open_stream("log", FollowLog(InstanceId("i"), "stdout"))
        assert await anext(stream) == b"stdout"
        big = bytes(range(256)) * 4096 + b"!"  # four windows
        got = b""
        async with asyncio.TaskGroup() as group:
            group.create_task(stream.write(big))
            async for data in stream:
                got += data
        assert got == big
        assert not stream.is_open
        with pytest.raises(Unavailable):
            await stream.write(b"late")


async def test_what_somebody_waits_for_leaves_at_once_and_in_order_however_full_the_socket_is(monkeypatch):
    pieces = [bytes([number]) * size for number in range(50) for size in (1, 60_000)]
    waited: list[bool] = []
    rooms = itertools.cycle([True, True, False])
    monkeypatch.setattr(link_module, "has_room", lambda _transport: next(rooms))

    async def speak(stream, _body: FollowLog):
        for piece in pieces:
            if not stream.write_now(piece):
                await stream.write(piece)
            waited.append(bool(end[1].link._outbox))

    handlers = Handlers()
    handlers.on_stream("log", FollowLog, speak)
    async with pair(handlers) as end, asyncio.timeout(LONG_S):
        stream = end[0].link.open_stream("log", FollowLog(InstanceId("i"), "x"))
        assert b"".join([data async for data in stream]) == b"".join(pieces)
    assert not waited[0], "the first piece waited for a task"
    assert any(waited)


async def test_what_leaves_at_once_goes_behind_what_waits():
    async with sockets() as (server, client), asyncio.timeout(LONG_S):
        master, worker = Link(server, "master"), Link(client, "worker")
        async with asyncio.TaskGroup() as group:
            ends = start(master, group), start(worker, group)
            assert await master.ping(LONG_S)
            worker.send(frames.Ping(1, NOW))
            worker.send(frames.Reply(7, error_code="x"))
            assert len(worker._outbox._control) == 2, "a frame overtook another"
            await ends[0].until(lambda: ends[0].heard)
            for end in ends:
                end.run.cancel()


async def test_a_stream_nobody_reads_stops_its_writer_and_nothing_else():
    written = []

    async def flood(stream, _body: FollowLog):
        while True:
            await stream.write(b"z" * 1024)
            written.append(1024)

    handlers = Handlers()
    handlers.on_stream("log", FollowLog, flood)
    async with pair(handlers) as (master, worker), asyncio.timeout(LONG_S):
        stream = master.link.open_stream("log", FollowLog(InstanceId("i"), "stdout"))
        while sum(written) < WINDOW_BYTES:
            assert await master.link.ping(LONG_S)
        assert await master.link.ping(LONG_S)
        assert sum(written) == WINDOW_BYTES
        worker.link.send(frames.Ping(1, NOW))
        await master.until(lambda: master.heard)
        stream.close()
        assert [len(data) async for data in stream]  # what had come is still readable


async def test_a_stream_handlers_error_reaches_the_reader():
    async def refuse(_stream, _body: FollowLog):
        raise NotFound("no such log")

    handlers = Handlers()
    handlers.on_stream("log", FollowLog, refuse)
    async with pair(handlers) as (master, _), asyncio.timeout(LONG_S):
        with pytest.raises(NotFound, match="no such log"):
            await anext(master.link.open_stream("log", FollowLog(InstanceId("i"), "x")))
        with pytest.raises(NotFound, match="older"):
            await anext(master.link.open_stream("terminal", FollowLog(InstanceId("i"), "x")))


async def test_a_closed_stream_cancels_its_handler():
    cancelled, begun = asyncio.Event(), asyncio.Event()

    async def wait(_stream, _body: FollowLog):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    handlers = Handlers()
    handlers.on_stream("log", FollowLog, wait)
    async with pair(handlers) as (master, worker), asyncio.timeout(LONG_S):
        stream = master.link.open_stream("log", FollowLog(InstanceId("i"), "x"))
        await begun.wait()
        stream.close()
        await cancelled.wait()
        assert await master.link.ping(LONG_S)
        assert not worker.link._streams
        assert not master.link._streams


async def test_streams_end_with_the_link():
    async def wait(_stream, _body: FollowLog):
        await asyncio.Event().wait()

    handlers = Handlers()
    handlers.on_stream("log", FollowLog, wait)
    async with pair(handlers) as (master, worker), asyncio.timeout(LONG_S):
        stream = master.link.open_stream("log", FollowLog(InstanceId("i"), "x"))
        assert await master.link.ping(LONG_S)
        worker.link.close()
        with pytest.raises(NodeOffline):
            await anext(stream)


async def test_cancelling_run_closes_the_socket():
    async with pair() as (master, worker):
        assert await master.link.ping(LONG_S)
        master.run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await master.run
        assert (await worker.ended()).code == "lost"
        assert master.link.end is not None
