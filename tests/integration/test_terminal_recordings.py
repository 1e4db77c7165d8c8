"""Recordings and shares of terminals: a real shell, what it said as a file, and looks that cannot type."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ops_system.master.terminals import recordings
from tests.fakes.fleet import free_port
from tests.fakes.master import Api, ApiError, run_master
from tests.fakes.terminals import WITHIN_S, Site, Viewer, a_site, give_empty_home, online
from tests.fakes.worker import running_worker, worker_config


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    give_empty_home(tmp_path, monkeypatch)
    async with a_site(tmp_path) as running:
        yield running


async def recording_of(site: Site, recording_id: str = "", *, ended: bool = True) -> dict[str, Any]:
    """Return the one recording (or this one), once it has ended (or runs)."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            for one in (await site.api.get("/recordings"))["items"]:
                if (one["ended_at"] is not None) == ended and recording_id in one["id"]:
                    return one
            await asyncio.sleep(0.05)


async def lines_of(site: Site, recording_id: str) -> list[Any]:
    async with site.api.session.get(f"{site.master.url}/api/v1/recordings/{recording_id}/cast") as answer:
        assert answer.headers["Content-Type"] == "application/x-asciicast"
        return [json.loads(line) for line in (await answer.text()).splitlines()]


@contextlib.asynccontextmanager
async def shared(site: Site, api: Api, share_id: str) -> AsyncIterator[Viewer]:
    async with api.socket(f"/terminal-shares/{share_id}/terminal?cols=40&rows=10") as opened:
        yield Viewer(opened)


async def someone(site: Site, role: str, **more: Any) -> Api:
    made = await site.api.post("/tokens", {"name": f"t-{role}", "role": role, **more})
    return Api(site.master.url, made["token"])


async def test_what_a_session_said_is_recorded_and_played(site, tmp_path):
    async with site.look(record=1, name="deploy") as viewer:
        ready = await viewer.until_word("ready")
        assert (ready["record"], ready["recording"]) == (True, False)
        assert (await viewer.until_word("recording"))["on"]
        await viewer.type("echo héllo-$((1+1))\n")
        await viewer.until_shown("llo-2")
        assert [(one["record"], one["recording"], one["viewers"]) for one in await site.sessions()] == [(True, True, 1)]
        await viewer.say(type="resize", cols=90, rows=20)
        await viewer.until_word("resize")
        running = await recording_of(site, ended=False)
        with pytest.raises(ApiError) as refused:
            await site.api.delete(f"/recordings/{running['id']}")
        assert refused.value.body["code"] == "not_allowed"
        await viewer.type("exit\n")
        await viewer.until_word("exit")
    one = await recording_of(site)
    assert (one["name"], one["reason"], one["cols"], one["rows"]) == ("deploy", None, 100, 30)
    header, *events = await lines_of(site, one["id"])
    assert (header["version"], header["width"], header["height"], header["title"]) == (2, 100, 30, "deploy")
    assert "héllo-2" in "".join(text for _, kind, text in events if kind == "o")
    assert [text for _, kind, text in events if kind == "r"] == ["90x20"]
    assert [at for at, _, _ in events] == sorted(at for at, _, _ in events)
    assert one["size_bytes"] > 0
    await site.api.delete(f"/recordings/{one['id']}")
    assert (await site.api.get("/recordings"))["items"] == []
    assert not list((tmp_path / "data" / "recordings").iterdir())
    actions = {row["action"] for row in (await site.api.get("/audit?limit=100"))["items"]}
    assert {"recording.begin", "recording.end", "recording.read", "recording.remove"} <= actions


async def test_a_full_recording_ends_and_the_session_goes_on(site, monkeypatch):
    monkeypatch.setattr(recordings, "MAX_BYTES", 20_000)
    await site.api.ask("PUT", "/terminal-settings", {"always_record": True})
    assert (await site.api.get("/terminal-settings"))["always_record"]
    async with site.look() as viewer:
        assert (await viewer.until_word("recording"))["on"]
        await viewer.type("seq 1 20000; echo done-$((1+1))\n")
        await viewer.until_shown("done-2")
        assert not (await viewer.until_word("recording"))["on"]
        one = await recording_of(site)
        assert one["reason"]["code"] == "recording_full"
        assert one["size_bytes"] <= 20_000
        await viewer.type("echo still-$((1+1))\n")
        await viewer.until_shown("still-2")


async def test_others_see_only_their_own_recordings(site):
    async with await someone(site, "operator", grants=["terminal"]) as other:
        async with site.look(record=1) as viewer:
            await viewer.until_word("recording")
            await viewer.type("exit\n")
            await viewer.until_word("exit")
        one = await recording_of(site)
        assert (await other.get("/recordings"))["items"] == []
        for path in (f"/recordings/{one['id']}", f"/recordings/{one['id']}/cast"):
            with pytest.raises(ApiError) as refused:
                await other.get(path)
            assert refused.value.body["code"] == "not_found"
        async with site.look(other, record=1) as viewer:
            await viewer.until_word("recording")
        assert [item["started_by"] for item in (await other.get("/recordings"))["items"]] == ["t-operator"]


async def test_a_share_shows_and_never_types(site):
    async with await someone(site, "viewer") as other, site.look() as viewer:
        session = (await viewer.until_word("ready"))["session"]
        share = await site.api.post(f"/nodes/{site.node_id}/terminals/{session}/shares", {"ttl_s": 600})
        assert (await other.get(f"/terminal-shares/{share['id']}"))["session"] == session
        async with shared(site, other, share["id"]) as guest:
            assert (await guest.until_word("ready"))["read_only"]
            await guest.type("echo never-$((1+1))\n")
            await guest.say(type="resize", cols=20, rows=5)
            await viewer.type("echo seen-$((1+1))-$(stty size | tr ' ' x)\n")
            await guest.until_shown("seen-2-30x100")
            assert b"never" not in viewer.shown + guest.shown
            await site.api.delete(f"/terminal-shares/{share['id']}")
            closed = await guest.until_word("closed")
            assert closed["code"] == "forbidden"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with shared(site, other, share["id"]):
                pass
        assert refused.value.status == 404
        assert (await site.api.get(f"/nodes/{site.node_id}/terminals/{session}/shares"))["items"] == []


async def test_a_share_has_a_sensible_time_and_wants_the_right_to_use_terminals(site):
    async with await someone(site, "operator") as other, site.look() as viewer:
        session = (await viewer.until_word("ready"))["session"]
        with pytest.raises(ApiError) as refused:
            await other.post(f"/nodes/{site.node_id}/terminals/{session}/shares", {})
        assert refused.value.body["code"] == "forbidden"
        for ttl_s in (1, 10_000_000):
            with pytest.raises(ApiError) as refused:
                await site.api.post(f"/nodes/{site.node_id}/terminals/{session}/shares", {"ttl_s": ttl_s})
            assert refused.value.status == 422


async def test_a_recording_ends_with_the_master_and_a_new_one_begins_at_the_next_look(tmp_path, monkeypatch):
    give_empty_home(tmp_path, monkeypatch)
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(contextlib.AsyncExitStack())
        master = await first.enter_async_context(run_master(tmp_path, server__port=str(free_port())))
        api = await first.enter_async_context(master.admin_client())
        config = worker_config(tmp_path / "n1", master.url, await master.create_join_token())
        await stack.enter_async_context(running_worker(config))
        site = Site(master, api, await online(api))
        async with site.look(record=1) as viewer:
            session = (await viewer.until_word("ready"))["session"]
            await viewer.until_word("recording")
            await viewer.type("echo before-$((1+1))\n")
            await viewer.until_shown("before-2")
            stray = tmp_path / "data" / "recordings" / "rec_stray.cast"
            async with asyncio.timeout(20):
                while not any(stray.parent.glob("*.cast")):  # noqa: ASYNC110 - the recorder is a viewer as we are, and may come later
                    await asyncio.sleep(0.02)
        port = master.master.doors.port
        await first.aclose()
        stray.write_bytes(b"")
        again = await stack.enter_async_context(run_master(tmp_path, is_set_up=False, server__port=str(port)))
        other = await stack.enter_async_context(again.admin_client("admin"))
        site = Site(again, other, await online(other))
        async with site.look(session=session) as viewer:
            assert (await viewer.until_word("recording"))["on"]
            newest, oldest = (await other.get("/recordings"))["items"]
            assert (newest["ended_at"], oldest["reason"]["code"]) == (None, "recording_stopped")
            assert oldest["size_bytes"] > 0
            assert not stray.exists()
            await viewer.type("exit\n")
            await viewer.until_word("exit")
        await recording_of(site, newest["id"])
        assert "before-2" in "".join(text for _, _, text in (await lines_of(site, newest["id"]))[1:])
