"""`/v3/watch` of a real master and whoever means it ill, or went away: bad words, too much, nobody who reads."""

import asyncio
import base64
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from ops_system.kv.base import PutRequest
from ops_system.kv.gateway import MAX_WATCHES
from ops_system.master.auth.offline import create_token
from ops_system.master.provision_store import api
from ops_system.master.web.route import Role
from tests.fakes.cable import Cable, is_possible
from tests.fakes.master import RunningMaster, run_master

SOON_S = 30.0
NEVER = (
    b"",
    b"{",
    b"nonsense",
    b"null",
    b"[]",
    b'"words"',
    b"}{",
    b"\xff\xfe\x00",
    b"[" * 5_000,
    b'{"create_request":5}',
    b'{"create_request":[]}',
    b'{"create_request":{"key":5}}',
    b'{"create_request":{"key":"?"}}',
    b'{"create_request":{"key":"YQ==","start_revision":"soon"}}',
    b'{"create_request":{"key":"YQ==","start_revision":1.5}}',
    b'{"create_request":{"key":"YQ==","start_revision":"99999999999999999999999"}}',
    b'{"create_request":{"key":"YQ==","filters":["NOTHING"]}}',
    b'{"create_request":{"key":"YQ==","filters":[9]}}',
    b'{"cancel_request":{"watch_id":"first"}}',
    b'{"create_request":{"key":"' + b"A" * 3_000_000,
)
"""What no stream begins with."""
FAR = """
import http.client, ssl, sys
line = http.client.HTTPSConnection(sys.argv[1], int(sys.argv[2]), context=ssl._create_unverified_context())
line.request("POST", "/v3/watch", sys.argv[4], {"Authorization": f"Bearer {sys.argv[3]}"})
print(line.getresponse().readline().decode(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
async def master(tmp_path) -> AsyncIterator[RunningMaster]:
    async with run_master(tmp_path) as running:
        await until(lambda: watches(running) == 0)
        yield running


def engine_of(master: RunningMaster):
    return master.master.ground.provision.engine


def watches(master: RunningMaster) -> int:
    """Return how many watches there are besides the master's own."""
    return engine_of(master).watchers - 1


async def token_of_dc1(master: RunningMaster) -> str:
    return await asyncio.to_thread(create_token, master.master.ground.folder, "dc1", Role.REGIONAL, idc="dc1")


def key(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def asks(name: str = "/os/dc1/a", **more: object) -> bytes:
    return json.dumps({"create_request": {"key": key(name), **more}}).encode()


async def until(is_so: Callable[[], bool], within_s: float = SOON_S) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():  # noqa: ASYNC110 - the end of a peer sends no event
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def stream(master: RunningMaster, token: str, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
    timeout = aiohttp.ClientTimeout(SOON_S)
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
        session.post(f"{master.url}/v3/watch", data=io.BytesIO(body)) as answer,
    ):
        yield answer


async def line(answer: aiohttp.ClientResponse) -> dict[str, object]:
    return json.loads(await answer.content.readline())["result"]


async def test_what_is_no_request_is_refused_and_hurts_nobody(master):
    token = await token_of_dc1(master)
    async with stream(master, token, asks()) as good:
        assert (await line(good))["created"] is True
        for words in NEVER:
            async with stream(master, token, words) as answer:
                told = await answer.json()
            assert (answer.status, told["code"]) in {(400, 3), (413, 3)}, (words[:80], told)
            assert told["error"] == told["message"] != ""
        await engine_of(master).put(PutRequest(b"/os/dc1/a", b"1"))
        assert (await line(good))["events"]
    await until(lambda: watches(master) == 0)


async def test_a_bad_word_later_ends_the_stream_with_a_reason(master):
    async with stream(master, await token_of_dc1(master), asks() + b"\n]") as answer:
        assert (await line(answer))["created"] is True
        told = json.loads(await answer.content.readline())["error"]
        assert told["grpc_code"] == 3
        assert await answer.content.readline() == b""
    await until(lambda: watches(master) == 0)


async def test_ranges_beyond_the_scope_are_cancelled_alone(master):
    beyond = [
        asks("/os/dc2/a"),
        asks("/os/dc1/", range_end=key("/os/dc2")),
        asks("/os/dc1/", range_end=key("\0")),
        asks("\0", range_end=key("\0")),
        asks("/os/global/stats/dc1", range_end=key("/os/global/stats/dc10")),
        asks("/os/global/images/debian"),
    ]
    async with stream(master, await token_of_dc1(master), b"".join([*beyond, asks()])) as answer:
        for _ in beyond:
            told = await line(answer)
            assert told["canceled"] is True
            assert told["cancel_reason"] == "etcdserver: permission denied"
        assert "canceled" not in await line(answer)
        for foreign in (b"/os/dc2/a", b"/os/global/images/debian"):
            await engine_of(master).put(PutRequest(foreign))
        await engine_of(master).put(PutRequest(b"/os/dc1/a"))
        events = (await line(answer))["events"]
        assert [event["kv"]["key"] for event in events] == [key("/os/dc1/a")]


async def test_revisions_that_never_were_and_those_that_are_forgotten(master):
    engine = engine_of(master)
    for _ in range(3):
        revision = (await engine.put(PutRequest(b"/os/dc1/a"))).revision
    await engine.compact(revision)
    negative = [asks(start_revision=number) for number in ("-1", "-9223372036854775808")]
    forgotten = asks(start_revision="1", watch_id="7")
    async with stream(master, await token_of_dc1(master), b"".join([*negative, forgotten])) as answer:
        told = [await line(answer) for _ in range(4)]
        assert [each.get("created", False) for each in told] == [True, True, True, False]
        assert (told[3]["watch_id"], told[3]["compact_revision"]) == ("7", str(revision))
        await engine.put(PutRequest(b"/os/dc1/a"))
        assert {(await line(answer)).get("watch_id", "0") for _ in negative} == {"0", "1"}


async def test_ten_thousand_watches_cost_what_one_stream_may_have(master):
    engine, token = engine_of(master), await token_of_dc1(master)
    async with stream(master, token, b"".join([asks(f"/os/dc1/{number}") for number in range(10_000)])) as answer:
        told = [await line(answer) for _ in range(10_000)]
        refused = [each["cancel_reason"] for each in told if each.get("canceled")]
        assert refused == ["etcdserver: too many watches on one stream"] * (10_000 - MAX_WATCHES)
        assert watches(master) == MAX_WATCHES
        await engine.put(PutRequest(b"/os/dc1/999"))
        assert (await line(answer))["watch_id"] == "999"
    await until(lambda: watches(master) == 0)


async def test_one_who_never_reads_holds_up_nobody_and_is_let_go(master, monkeypatch):
    monkeypatch.setattr(api, "GONE_AFTER_S", 2.0)
    engine, token = engine_of(master), await token_of_dc1(master)
    with socket.create_connection(("127.0.0.1", master.master.doors.port)) as deaf:
        body = asks("/os/dc1/", range_end=key("/os/dc10"))
        host = f"127.0.0.1:{master.master.doors.port}"
        head = f"POST /v3/watch HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
        await asyncio.to_thread(deaf.sendall, head.encode() + body)
        await until(lambda: watches(master) == 1)
        async with stream(master, token, body) as answer:
            await line(answer)
            for number in range(120):
                await engine.put(PutRequest(b"/os/dc1/a", os.urandom(100_000)))
                event = (await line(answer))["events"][0]
                assert event["kv"]["version"] == str(number + 1)
            await until(lambda: watches(master) == 1)  # the deaf one has gone, we are still here
            await engine.put(PutRequest(b"/os/dc1/b"))
            assert (await line(answer))["events"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or not is_possible(), reason="makes a network namespace")
async def test_an_idle_watch_whose_peer_has_gone_without_a_word_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(api, "GONE_AFTER_S", 2.0)
    monkeypatch.setattr(api, "LOOK_S", 0.1)
    with Cable() as cable:
        async with run_master(tmp_path, server__listen=cable.address) as master:
            await master.wait_for_tls()
            token, port = await token_of_dc1(master), str(master.master.doors.tls_port)
            command = [*cable.within, sys.executable, "-c", FAR, cable.address, port, token, asks().decode()]
            far = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            try:
                assert b"created" in await far.stdout.readline()
                assert watches(master) == 1
                cable.pull()
                await until(lambda: watches(master) == 0)
            finally:
                far.kill()
                await far.wait()
