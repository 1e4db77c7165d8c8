"""What bounds terminals: idle sessions, users and the node's policy, the time of shares, sizes, floods of typing."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil
import pytest

from ops_system.master.terminals import rules
from tests.fakes.master import Api, ApiError, run_master
from tests.fakes.terminals import WITHIN_S, Site, Viewer, a_site, give_empty_home, online
from tests.fakes.worker import running_worker, worker_config

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root alone may change the user"
)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_empty_home(tmp_path, monkeypatch)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with a_site(tmp_path) as running:
        yield running


@contextlib.asynccontextmanager
async def site_with(folder: Path, **policy: bool) -> AsyncIterator[Site]:
    """Give a site whose node has these switches in its own policy."""
    async with run_master(folder) as master, master.admin_client() as api:
        config = worker_config(folder / "n1", master.url, await master.create_join_token())
        changed = msgspec.structs.replace(config, policy=msgspec.structs.replace(config.policy, **policy))
        async with running_worker(changed):
            yield Site(master, api, await online(api))


async def share(site: Site, session: str, **order: Any) -> dict[str, Any]:
    return await site.api.post(f"/nodes/{site.node_id}/terminals/{session}/shares", order)


@contextlib.asynccontextmanager
async def shared(site: Site, share_id: str, cols: int = 40) -> AsyncIterator[Viewer]:
    async with site.api.socket(f"/terminal-shares/{share_id}/terminal?cols={cols}&rows=10") as opened:
        yield Viewer(opened)


# --- time -------------------------------------------------------------------------------------------------------------
async def test_a_session_nobody_looks_at_ends_after_its_time_and_one_that_is_looked_at_does_not(site, monkeypatch):
    monkeypatch.setattr(rules, "MIN_IDLE_S", 0.1)
    for wrong in (0, -1, 10_000_000, "long"):
        with pytest.raises(ApiError) as refused:
            await site.api.ask("PUT", "/terminal-settings", {"idle_limit_s": wrong})
        assert refused.value.status == 422
    assert (await site.api.get("/terminal-settings")) == {"always_record": False, "idle_limit_s": 8 * 3600}
    changed = await site.api.ask("PUT", "/terminal-settings", {"idle_limit_s": 0.5})
    assert changed == {"always_record": False, "idle_limit_s": 0.5}
    async with site.look(name="watched") as viewer:
        await viewer.until_word("ready")
        for name in ("left", "left later"):
            async with site.look(name=name) as other:
                await other.until_word("ready")
                assert len(await site.sessions()) == 2
            async with asyncio.timeout(WITHIN_S):
                while (names := [item["name"] for item in await site.sessions()]) != ["watched"]:
                    assert "watched" in names
                    await asyncio.sleep(0.05)


async def test_a_share_ends_with_its_time_and_every_look_through_it(site, monkeypatch):
    monkeypatch.setattr(rules, "MIN_SHARE_S", 0.1)
    async with site.look() as viewer:
        session = (await viewer.until_word("ready"))["session"]
        made = await share(site, session, ttl_s=1)
        async with shared(site, made["id"]) as guest:
            assert (await guest.until_word("ready"))["read_only"]
            closed = await guest.until_word("closed")
        assert (closed["code"], closed["message"]) == ("forbidden", "the share has expired")
        with pytest.raises(ApiError) as refused:
            await site.api.get(f"/terminal-shares/{made['id']}")
        assert refused.value.status == 404
        await viewer.type("echo on-$((1+1))\n")
        await viewer.until_shown("on-2")


async def test_only_a_session_that_runs_is_shared_and_a_share_outlives_none(site):
    with pytest.raises(ApiError) as refused:
        await share(site, "tty_none", ttl_s=600)
    assert (refused.value.status, refused.value.body["code"]) == (404, "not_found")
    async with site.look() as viewer:
        session = (await viewer.until_word("ready"))["session"]
        made = await share(site, session, ttl_s=600)
        await viewer.type("exit\n")
        await viewer.until_word("exit")
    async with shared(site, made["id"]) as guest:
        closed = await guest.until_word("closed")
    assert closed["code"] == "not_found"
    assert "it may have ended" in closed["message"]


# --- users and policy -------------------------------------------------------------------------------------------------
@needs_root
async def test_a_shell_of_another_user_is_theirs(site):
    async with site.look(user="nobody") as viewer:
        assert (await viewer.until_word("ready"))["user"] == "nobody"
        await viewer.type("echo I-am-$(id -un)-$(id -u)-$USER=\n")
        await viewer.until_shown("I-am-nobody-65534-nobody=")
        await viewer.type("touch /etc/never-written || echo ref''used\n")
        await viewer.until_shown("refused")
    assert not Path("/etc/never-written").exists()


@needs_root
async def test_a_node_without_root_opens_the_shells_of_others_only(tmp_path):
    async with site_with(tmp_path, run_as_root=False) as site:
        for user in ("", "root"):
            async with site.look(user=user) as viewer:
                closed = await viewer.until_word("closed")
            assert closed["code"] == "forbidden"
            assert "policy.run_as_root" in closed["message"]
        assert await site.sessions() == []
        async with site.look(user="nobody") as viewer:
            session = (await viewer.until_word("ready"))["session"]
            await viewer.type("word=kept\n")
        async with site.look(session=session) as viewer:
            await viewer.type("echo $(id -un)-$word\n")
            await viewer.until_shown("nobody-kept")


async def test_a_node_that_opens_no_terminals_says_so_to_every_question(tmp_path):
    async with site_with(tmp_path, terminal=False) as site:
        with pytest.raises(ApiError) as refused:
            await site.sessions()
        assert (refused.value.status, refused.value.body["code"]) == (403, "forbidden")
        assert "policy.terminal" in refused.value.body["message"]
        async with site.look() as viewer:
            assert "policy.terminal" in (await viewer.until_word("closed"))["message"]


async def test_a_node_out_of_reach_is_not_there(site):
    made = await site.api.post(
        "/tokens", {"name": "b", "role": "operator", "grants": ["terminal"], "scope": {"zone": "b"}}
    )
    async with Api(site.master.url, made["token"]) as other:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with site.look(other):
                pass
        assert refused.value.status == 404


# --- sizes and floods -------------------------------------------------------------------------------------------------
async def test_a_window_no_terminal_has_ends_the_look_with_a_reason_and_changes_nothing(site):
    async with site.look() as viewer:
        session = (await viewer.until_word("ready"))["session"]
    for cols, rows in ((0, 24), (100_000, 24), (80, 0), (80, -1), (80, 100_000)):
        async with site.look(session=session) as viewer:
            await viewer.until_word("ready")
            await viewer.say(type="resize", cols=cols, rows=rows)
            closed = await viewer.until_word("closed")
        assert closed["code"] == "invalid"
        assert "1 to 1000" in closed["message"]
    assert [(item["id"], item["cols"], item["rows"]) for item in await site.sessions()] == [(session, 100, 30)]


async def test_a_shared_look_has_a_size_too(site):
    async with site.look() as viewer:
        made = await share(site, (await viewer.until_word("ready"))["session"], ttl_s=600)
        for cols in (0, 100_000):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with shared(site, made["id"], cols):
                    pass
            assert refused.value.status == 422


async def test_more_than_a_shell_takes_is_refused_and_the_session_stays(site):
    async with site.look() as viewer:
        session = (await viewer.until_word("ready"))["session"]
        await viewer.type("stty raw -echo; echo deaf; exec sleep 1000\n")
        await viewer.until_shown("deaf\n")
        await viewer.drain(0.2)
        with contextlib.suppress(ConnectionError):
            for _ in range(170):
                await viewer.socket.send_bytes(b"x" * 100_000)
        closed = await viewer.until_word("closed")
        assert closed["code"] == "rate_limited"
        assert "does not take what is typed" in closed["message"]
    assert [item["id"] for item in await site.sessions()] == [session]


# --- wear -------------------------------------------------------------------------------------------------------------
@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_thousand_terminals_leave_no_descriptor_no_task_and_no_process(site):
    """Master and worker run in this process: what either keeps is counted here. Half are left while they speak."""
    async with contextlib.AsyncExitStack() as stack:
        tokens = [
            await site.api.post("/tokens", {"name": f"t{number}", "role": "operator", "grants": ["terminal"]})
            for number in range(3)
        ]
        people = [await stack.enter_async_context(Api(site.master.url, made["token"])) for made in tokens]
        await open_and_end(site, people, leaves_early=False)  # what is made once is made before anything is counted
        before = await until_at_rest(None)
        assert before.children == 0
        for number in range(50):
            await open_and_end(site, people, leaves_early=number % 2 == 1)
            assert await site.sessions() == []
        after = await until_at_rest(before)
    assert after == before


async def open_and_end(site: Site, people: list[Api], *, leaves_early: bool) -> None:
    """Open 20 terminals, let each say something, and end them: by their shell, or from outside after a sudden leave."""
    async with contextlib.AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(site.look(people[number // 8])) for number in range(20)]
        for viewer in viewers:
            await viewer.until_word("ready")
            await viewer.type("sleep 1000 & seq 1 5000; echo done-$((1+1))\n")
        for viewer in viewers if not leaves_early else ():
            await viewer.until_shown("done-2")
            await viewer.type("exit\n")
            await viewer.until_word("exit")
    for item in await site.sessions():
        await site.api.delete(f"/nodes/{site.node_id}/terminals/{item['id']}")


class Rest(msgspec.Struct, frozen=True):
    """What a process holds."""

    descriptors: int
    tasks: int
    children: int


def look_at_rest() -> Rest:
    children = psutil.Process().children(recursive=True)
    return Rest(len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()), len(children))  # noqa: PTH208 - a count


async def until_at_rest(wanted: Rest | None) -> Rest:
    """Return what is held once it is what was wanted; without a wish, once no child is left and nothing has changed."""
    last, times = look_at_rest(), 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WITHIN_S):
            while last != wanted and (times < 10 or last.children):
                await asyncio.sleep(0.1)
                now = look_at_rest()
                times = times + 1 if wanted is None and now == last else 0
                last = now
    return last
