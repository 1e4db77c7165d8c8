"""Clients that send half a request and wait, or more header than anybody needs (trust S20), over raw sockets."""

import asyncio
import contextlib
import socket

import aiohttp
import pytest
from aiohttp import web

from ops_system.master.web.route import Call, Nothing, Permission, Route
from ops_system.model.errors import SafetyRefusal
from ops_system.runtime.connection import MAX_HEADER_BYTES, bind
from tests.fakes.web import serve_table

TOO_LONG_S = 20.0  # a test that waits this long has failed
MANY = 500  # asyncio lets 100 wait, unless it is told another number


async def read_all(call: Call) -> Nothing:
    await call.request.content.read()
    return Nothing()


ROUTES = [
    Route("GET", "/x", Permission.OPEN, read_all, "Tests", "x"),
    Route("POST", "/zip", Permission.OPEN, read_all, "Tests", "zip", body=bytes, media="application/zip"),
]
HEAD = "{} HTTP/1.1\r\nHost: 127.0.0.1\r\n{}"


async def talk(port: int, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(TOO_LONG_S):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.fixture
async def hasty(tmp_path):
    async with serve_table(ROUTES, tmp_path / "data", header_timeout_s=0.2, idle_body_s=0.3) as site:
        yield site


async def test_half_sent_headers_are_closed(hasty):
    assert (await talk(hasty.port, b"GET /api/v1/x HTTP/1.1\r\nHost: 127")).startswith(b"HTTP/1.1 408 ")
    assert await talk(hasty.port) == b""


async def test_half_sent_headers_of_a_second_request_are_closed(hasty):
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty.port)
    writer.write(HEAD.format("GET /api/v1/x", "\r\n").encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
    assert await reader.readexactly(2) == b"{}"
    writer.write(b"GET /api/v1/x HT")
    async with asyncio.timeout(TOO_LONG_S):
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_half_sent_headers_behind_a_request_with_a_body_are_closed(hasty):
    head = HEAD.format("POST /api/v1/zip", "Content-Type: application/zip\r\nContent-Length: 2\r\n\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty.port)
    writer.write(head.encode() + b"PK")
    assert (await reader.readuntil(b"\r\n\r\n{}")).startswith(b"HTTP/1.1 200 OK")
    writer.write(b"GET /api/v1/x HT")
    async with asyncio.timeout(TOO_LONG_S):
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_half_sent_headers_ahead_of_an_answer_are_closed_after_it(tmp_path):
    gate = asyncio.Event()

    async def wait(_call: Call) -> Nothing:
        await gate.wait()
        return Nothing()

    route = Route("GET", "/wait", Permission.OPEN, wait, "Tests", "wait")
    async with serve_table([route], tmp_path / "data", header_timeout_s=0.1) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(HEAD.format("GET /api/v1/wait", "\r\n").encode())
        await writer.drain()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        writer.write(b"GET /api/v1/wait HT")
        with pytest.raises(TimeoutError):  # past the limit, but the answer under way is not cut
            async with asyncio.timeout(0.5):
                await reader.read(1)
        gate.set()
        async with asyncio.timeout(TOO_LONG_S):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"HTTP/1.1 408 " in answer
        writer.close()


async def test_a_connection_that_rests_between_requests_is_kept(hasty):
    head = HEAD.format("POST /api/v1/zip", "Content-Type: application/zip\r\nContent-Length: 2\r\n\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty.port)
    for _ in range(2):
        writer.write(head.encode())
        await writer.drain()
        writer.write(b"PK")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        assert await reader.readexactly(2) == b"{}"
        with pytest.raises(TimeoutError):  # longer than either limit of this site
            async with asyncio.timeout(0.6):
                await reader.read(1)
    writer.close()


async def test_a_body_that_stops_is_closed(hasty):
    head = HEAD.format("POST /api/v1/zip", "Content-Type: application/zip\r\nContent-Length: 1000\r\n\r\n")
    assert await talk(hasty.port, head.encode() + b"PK") == b""


async def test_too_much_header_is_refused(tmp_path):
    async with serve_table(ROUTES, tmp_path / "data") as site:
        many = "".join(f"X-{n}: {'y' * 1000}\r\n" for n in range(20))
        assert (
            await talk(site.port, HEAD.format("GET /api/v1/x", many + "Connection: close\r\n\r\n").encode())
        ).startswith(b"HTTP/1.1 413 ")
        one = f"X-Long: {'y' * MAX_HEADER_BYTES}\r\nConnection: close\r\n\r\n"
        assert (await talk(site.port, HEAD.format("GET /api/v1/x", one).encode())).startswith(b"HTTP/1.1 413 ")
        endless = HEAD.format("GET /api/v1/x", "").encode()
        answer = await talk(site.port, endless, *(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(30)))
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


async def test_a_body_is_asked_for_only_after_the_checks(tmp_path):
    wanted = "Content-Type: application/zip\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n"
    async with serve_table(ROUTES, tmp_path / "data") as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(HEAD.format("POST /api/v1/zip", wanted + "\r\n").encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"PK")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        writer.close()
        evil = wanted + "Origin: https://evil.example\r\n\r\n"
        answer = await talk(site.port, HEAD.format("POST /api/v1/zip", evil).encode(), b"PK")
        assert answer.startswith(b"HTTP/1.1 403 ")


async def test_a_broken_request_line_is_answered_in_json(tmp_path):
    async with serve_table(ROUTES, tmp_path / "data") as site:
        answer = await talk(site.port, b"\x16\x03\x01\x02\x00\r\n\r\n")
        assert answer.startswith(b"HTTP/1.0 400 ")
        assert b'"code":"invalid"' in answer


def test_a_port_in_use_is_named():
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(SafetyRefusal, match=f"port {port} on 127.0.0.1 is in use"):
            bind("127.0.0.1", port)


async def test_a_websocket_that_speaks_costs_no_timer(tmp_path):
    connections = []

    async def echo(call: Call) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(call.request)
        connections.append(call.request.protocol)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    route = Route("GET", "/echo", Permission.OPEN, echo, "Tests", "echo", answer=web.StreamResponse)
    async with (
        serve_table([route], tmp_path / "data", header_timeout_s=0.2) as site,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{site.port}/api/v1/echo") as socket,
        asyncio.timeout(TOO_LONG_S),
    ):
        await socket.send_str("one")
        assert await socket.receive_str() == "one"
        assert connections[0]._watch is None
        await socket.send_str("two")
        assert await socket.receive_str() == "two"


async def test_who_leaves_before_the_answer_begins_is_no_error(tmp_path, caplog):
    asked, may_answer, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> web.WebSocketResponse:
        asked.set()
        await may_answer.wait()
        try:
            await web.WebSocketResponse().prepare(call.request)
        finally:
            asyncio.get_running_loop().call_soon(over.set)
        raise AssertionError("nobody is there to be answered")

    route = Route("GET", "/slow", Permission.OPEN, slow, "Tests", "slow", answer=web.StreamResponse, is_websocket=True)
    async with serve_table([route], tmp_path / "data") as site, asyncio.timeout(TOO_LONG_S):
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        writer.write(HEAD.format("GET /api/v1/slow", upgrade + key).encode())
        await asked.wait()
        writer.transport.abort()
        async with site.client.get(f"{site.url}/api/v1/none") as other:  # by its answer the end has been seen
            assert other.status == 401
        may_answer.set()
        await over.wait()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_connections_that_come_while_the_loop_is_busy_wait_for_their_turn(tmp_path):
    async with serve_table(ROUTES, tmp_path / "data") as site:
        with contextlib.ExitStack() as stack:
            for _ in range(MANY):  # the loop does not turn meanwhile
                stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=TOO_LONG_S))
            async with site.client.get(f"{site.url}/api/v1/x") as answer:
                assert answer.status == 200
