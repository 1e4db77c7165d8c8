"""A person in a browser, against a whole master: login, CSRF, live socket, logout; and one effect per idempotency key."""

import asyncio
import sqlite3
from contextlib import closing

import aiohttp
import pytest

from tests.fakes.master import PASSWORD, run_master

CLOSES_WITHIN_S = 20.0  # the promise is 2 s; bench_trust measures it


@pytest.fixture
async def master(tmp_path):
    async with run_master(tmp_path) as master:
        yield master


@pytest.fixture
async def browser(master):
    """A session that is logged in on the plain address, as on the master's own machine."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"Origin": master.url}) as page:
        body = {"username": "admin", "password": PASSWORD}
        async with page.post(f"{master.url}/api/v1/login", json=body) as answer:
            assert answer.status == 200, await answer.text()
            page.headers["X-CSRF-Token"] = (await answer.json())["csrf_token"]
        yield page


async def test_a_browser_acts_and_its_sockets_end_with_the_session(master, browser):
    url = f"{master.url}/api/v1"
    async with browser.post(f"{url}/systems", json={"name": "shop"}) as answer:
        assert answer.status == 201, await answer.text()
    async with browser.post(f"{url}/systems", json={"name": "late"}, headers={"X-CSRF-Token": "old"}) as answer:
        assert answer.status == 403
    async with browser.ws_connect(f"{url}/live") as live:
        await live.send_json({"subscribe": ["systems"]})
        first = await live.receive_json(timeout=30)
        assert [item["name"] for item in first["data"]["items"]] == ["shop"]
        async with browser.post(f"{url}/logout") as answer:
            assert answer.status == 200
        async with asyncio.timeout(CLOSES_WITHIN_S):
            while (await live.receive()).type is not aiohttp.WSMsgType.CLOSED:
                pass
    async with browser.get(f"{url}/me") as answer:
        assert answer.status == 401


async def test_a_cookie_of_the_plain_address_is_none_on_tls(master, browser):
    url = await master.wait_for_tls()
    value = next(cookie.value for cookie in browser.cookie_jar if cookie.key == "ops_session")
    async with aiohttp.ClientSession() as other:
        headers = {"Cookie": f"ops_session={value}"}
        async with other.get(f"{url}/api/v1/me", headers=headers, ssl=master.tls_context()) as answer:
            assert answer.status == 401


async def test_a_key_makes_one_effect_and_hides_what_it_keeps(master):
    async with master.admin_client() as api:
        options = {"headers": {"Idempotency-Key": "once"}}
        made = await api.post("/tokens", {"name": "ci", "role": "viewer"}, **options)
        again = await api.post("/tokens", {"name": "ci", "role": "viewer"}, **options)
        assert again == made
        names = [item["name"] for item in (await api.get("/tokens"))["items"]]
        assert names.count("ci") == 1
    with closing(sqlite3.connect(master.master.ground.folder.database)) as database:
        ((body,),) = database.execute("SELECT body FROM idempotency").fetchall()
    assert made["token"].encode() not in body


async def test_metrics_count_nodes_and_answers(master):
    async with aiohttp.ClientSession() as session, session.get(f"{master.url}/metrics") as answer:
        text = await answer.text()
    assert 'ops_nodes{status="online"} 0\n' in text
    assert "ops_node_links 0\n" in text


async def test_stopping_does_not_wait_for_open_sockets(tmp_path):
    async with aiohttp.ClientSession() as session, run_master(tmp_path) as master:
        headers = {"Authorization": f"Bearer {await master.create_token()}"}
        live = await session.ws_connect(f"{master.url}/api/v1/live", headers=headers)
        await live.send_json({"subscribe": ["nodes"]})
        await live.receive(timeout=30)
        master.stop.ask("the test is over")
        async with asyncio.timeout(30):
            while (await live.receive()).type not in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}:
                pass
        master.stop.event.clear()  # the fixture asks again at the end
