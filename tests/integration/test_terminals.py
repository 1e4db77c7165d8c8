"""Terminals from a viewer's WebSocket through master and link to a real shell and back."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ops_system.processes import procfs
from ops_system.protocol.terminals import TERMINAL_WINDOW_BYTES
from tests.fakes.master import Api, ApiError, run_master
from tests.fakes.terminals import WITHIN_S, Site, a_site, give_empty_home, online
from tests.fakes.worker import running_worker, worker_config


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_empty_home(tmp_path, monkeypatch)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with a_site(tmp_path) as running:
        yield running


async def test_a_shell_answers_and_its_end_is_told(site):
    async with site.look() as viewer:
        ready = await viewer.until_word("ready")
        assert (ready["cols"], ready["rows"], ready["read_only"]) == (100, 30, False)
        await viewer.type("echo $((6*7))-$(stty size | tr ' ' x)-$TERM\n")
        await viewer.until_shown("42-30x100-xterm-256color")
        await viewer.type("exit 5\n")
        assert (await viewer.until_word("exit"))["exit_code"] == 5
    assert await site.sessions() == []
    async with asyncio.timeout(WITHIN_S):  # the end is written once both sockets have closed
        rows: list[dict[str, Any]] = []
        while len(rows) < 2:
            rows = (await site.api.get("/audit", params={"action": "terminal."}))["items"]
    assert [(row["action"], row["outcome"]) for row in rows] == [("terminal.leave", "done"), ("terminal.open", "begun")]
    assert rows[0]["details"]["typed_bytes"] > 0


async def test_a_session_is_found_as_it_was_and_by_several(site):
    async with site.look(name="work") as viewer:
        session = (await viewer.until_word("ready"))["session"]
        await viewer.type("echo before-$((1+1))\n")
        await viewer.until_shown("before-2")
    assert [(item["name"], item["viewers"]) for item in await site.sessions()] == [("work", 0)]
    async with site.look(session=session, cols=80) as first, site.look(session=session, rows=20, read_only=1) as second:
        await first.until_shown("before-2")
        await second.until_shown("before-2")
        await second.type("echo never-$((1+1))\n")
        await first.type("echo size-$(stty size | tr ' ' x)\n")
        await second.until_shown("size-30x80")  # who only looks does not make it smaller
        await first.say(type="resize", cols=120, rows=40)
        await first.type("echo now-$(stty size | tr ' ' x)\n")
        await first.until_shown("now-40x120")
        assert b"never-2" not in first.shown
        assert (await second.until_word("resize"))["cols"] in {80, 120}
    await site.api.patch(f"/nodes/{site.node_id}/terminals/{session}", {"name": "other"})
    assert [item["name"] for item in await site.sessions()] == ["other"]
    await site.api.delete(f"/nodes/{site.node_id}/terminals/{session}")
    assert await site.sessions() == []


async def test_the_end_of_a_session_leaves_no_process(site):
    async with site.look() as viewer:
        session = (await viewer.until_word("ready"))["session"]
        await viewer.type("trap '' HUP TERM; sleep 1000 & echo pid=$!=\n")
        await viewer.until_shown("=\r\n")
        await viewer.drain()
        pid = int(re.findall(r"pid=(\d+)=", viewer.shown.decode())[0])
        await site.api.delete(f"/nodes/{site.node_id}/terminals/{session}")
        await viewer.until_word("exit")
    row = procfs.read_row(pid)
    assert row is None or row.is_dead


async def test_a_flood_stops_at_the_window_and_ctrl_c_ends_it(site):
    async with site.look() as viewer:
        await viewer.until_word("ready")
        await viewer.type("stty -echo; echo marker\n")
        await viewer.until_shown("marker")
        await viewer.drain()
        viewer.acks = False
        viewer.shown = b""
        await viewer.type("yes 0123456789\n")
        await viewer.drain()
        assert TERMINAL_WINDOW_BYTES <= len(viewer.shown) < TERMINAL_WINDOW_BYTES + 128 * 1024
        await viewer.type("\x03")
        viewer.acks = True
        await viewer.say(type="ack", bytes=len(viewer.shown))
        await viewer.drain()
        size = len(viewer.shown)
        await viewer.type("echo calm-$((1+1))\n")
        await viewer.until_shown("calm-2")
        assert len(viewer.shown) - size < 4096, "the flood went on"


async def test_a_slow_viewer_does_not_hold_up_another_session(site):
    async with site.look() as slow, site.look() as quick:
        slow.acks = False
        await slow.type("yes\n")
        await slow.until_shown("y\r\ny\r\n")
        await quick.type("echo quick-$((1+1))\n")
        await quick.until_shown("quick-2")


async def test_a_new_look_at_a_long_session_shows_its_last_mebibyte(site):
    async with site.look() as viewer:
        session = (await viewer.until_word("ready"))["session"]
        await viewer.type("seq 1 400000; echo done-$((1+1))\n")
        await viewer.until_shown("done-2")
    async with site.look(session=session) as again:
        ready = await again.until_word("ready")
        assert 1024 * 1024 <= ready["replay_bytes"] <= 2 * 1024 * 1024
        await again.until_shown("done-2")
        lines = again.shown.split(b"\r\n")
        assert b"400000" in lines
        assert b"399999" in lines


async def test_sessions_survive_a_master_that_restarts(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(contextlib.AsyncExitStack())
        master = await first.enter_async_context(run_master(tmp_path, server__port=str(free_port())))
        api = await first.enter_async_context(master.admin_client())
        config = worker_config(tmp_path / "n1", master.url, await master.create_join_token())
        await stack.enter_async_context(running_worker(config))
        site = Site(master, api, await online(api))
        async with site.look() as viewer:
            session = (await viewer.until_word("ready"))["session"]
            await viewer.type("word=kept\n")
        port = master.master.doors.port
        await first.aclose()
        again = await stack.enter_async_context(run_master(tmp_path, is_set_up=False, server__port=str(port)))
        other = await stack.enter_async_context(again.admin_client("admin"))
        site = Site(again, other, await online(other))
        async with site.look(session=session) as viewer:
            await viewer.type("echo still-$word\n")
            await viewer.until_shown("still-kept")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_what_cannot_be_opened_is_refused(site):
    refusals = [
        ({"cols": 0}, 422),
        ({"cols": 100_000}, 422),
        ({"rows": -1}, 422),
        ({"rows": "x"}, 422),
        ({"session": "tty_none"}, 404),
    ]
    for query, status in refusals:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with site.look(**query):
                pass
        assert refused.value.status == status, query


async def test_an_unknown_user_is_said(site):
    async with site.look(user="no-such-user") as viewer:
        closed = await viewer.until_word("closed")
        assert closed["code"] == "invalid"
        assert "no-such-user" in closed["message"]


async def test_the_node_s_own_policy_wins(tmp_path):
    async with a_site(tmp_path, allows=False) as site, site.look() as viewer:
        closed = await viewer.until_word("closed")
        assert closed["code"] == "forbidden"
        assert "policy.terminal" in closed["message"]


async def test_nine_terminals_are_one_too_many(site):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(8):
            viewer = await stack.enter_async_context(site.look())
            await viewer.until_word("ready")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await stack.enter_async_context(site.look())
        assert refused.value.status == 429


async def test_who_loses_the_token_loses_the_terminal_at_once(site):
    made = await site.api.post("/tokens", {"name": "t", "role": "operator", "grants": ["terminal"]})
    async with Api(site.master.url, made["token"]) as other, site.look(other) as viewer:
        await viewer.until_word("ready")
        await site.api.delete(f"/tokens/{made['id']}")
        async with asyncio.timeout(WITHIN_S):
            while await viewer.step():
                pass


async def test_a_role_without_the_grant_gets_no_terminal(site):
    made = await site.api.post("/tokens", {"name": "t", "role": "operator"})
    async with Api(site.master.url, made["token"]) as other:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with site.look(other):
                pass
        assert refused.value.status == 403


async def test_nonsense_from_a_viewer_ends_its_look_only(site):
    async with site.look() as viewer:
        session = (await viewer.until_word("ready"))["session"]
        await viewer.say(type="__class__", bytes=[])
        assert (await viewer.until_word("closed"))["code"] == "invalid"
    assert [item["id"] for item in await site.sessions()] == [session]


async def test_ten_megabytes_are_pasted(site):
    async with site.look() as viewer:
        await viewer.until_word("ready")
        await viewer.type("stty raw -echo; head -c 10000000 | wc -c; stty sane\n")
        await viewer.drain(0.3)
        line = b"x" * 100_000
        for _ in range(100):
            await viewer.socket.send_bytes(line)
        await viewer.until_shown("10000000")


async def test_a_paused_node_has_terminals_and_one_that_is_away_says_so(tmp_path):
    async with run_master(tmp_path) as master, master.admin_client() as api:
        config = worker_config(tmp_path / "n1", master.url, await master.create_join_token())
        async with running_worker(config):
            site = Site(master, api, await online(api))
            await api.patch(f"/nodes/{site.node_id}", {"paused": True})
            async with site.look() as viewer:
                await viewer.until_word("ready")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with site.look():
                pass
        assert refused.value.status == 409
        with pytest.raises(ApiError) as away:
            await site.sessions()
        assert away.value.body["code"] == "node_offline"
