"""A reverse proxy in front: who is configured is believed about addresses, nobody else, and nothing becomes local."""

import contextlib

import aiohttp
import pytest

from tests.fakes.master import PASSWORD, run_master
from tests.fakes.proxy import run_proxy


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@contextlib.asynccontextmanager
async def proxied(folder, proxies):
    async with run_master(folder, server__trusted_proxies=proxies) as master, run_proxy(master.url) as proxy:
        yield master, proxy


async def log_in(session, url, *, password=PASSWORD, **headers):
    body = {"username": "admin", "password": password}
    async with session.post(f"{url}/api/v1/login", json=body, headers=headers) as answer:
        return answer.status, await answer.json(), answer.cookies


async def guess(session, url, number, **headers):
    body = {"username": f"nobody-{number}", "password": "wrong wrong wrong"}
    async with session.post(f"{url}/api/v1/login", json=body, headers=headers) as answer:
        return answer.status


async def test_a_configured_proxy_tells_who_comes(tmp_path, session):
    async with proxied(tmp_path, "127.0.0.1") as (master, proxy):
        origin = f"https://{proxy.url.removeprefix('http://')}"  # what the browser sees in front of the proxy
        claim = {"X-Forwarded-For": "127.0.0.1"}  # the browser's own word, left of what the proxy adds
        status, me, cookies = await log_in(session, proxy.url, Origin=origin, **claim)
        cookie = cookies["__Host-ops_session"]
        assert (status, cookie["secure"]) == (200, True)
        sent = {"Cookie": f"__Host-ops_session={cookie.value}", "Origin": origin, "X-CSRF-Token": me["csrf_token"]}
        async with session.get(f"{proxy.url}/api/v1/sessions", headers=sent) as answer:
            assert [one["client_ip"] for one in (await answer.json())["items"]] == ["198.51.100.1"]
        async with session.ws_connect(f"{proxy.url}/api/v1/live", headers=sent) as socket:
            await socket.send_json({"ping": 1})
            assert await socket.receive_json(timeout=30) == {"pong": 1}
        async with session.post(f"{proxy.url}/api/v1/logout", headers=sent | {"Origin": proxy.url}) as answer:
            assert answer.status == 403
        async with session.post(f"{proxy.url}/api/v1/logout", headers=sent) as answer:
            assert answer.status == 200
        async with master.admin_client() as api:
            rows = await api.get("/audit?action=session.open")
            assert [row["details"]["from"] for row in rows["items"]] == ["198.51.100.1"]


async def test_the_limiter_counts_each_client_behind_a_proxy(tmp_path, session):
    async with proxied(tmp_path, "127.0.0.0/8") as (_, proxy):
        statuses = [await guess(session, proxy.url, number) for number in range(21)]
        assert statuses == [401] * 20 + [429]
        proxy.client_ip = "198.51.100.2"
        assert await guess(session, proxy.url, 21) == 401
        proxy.client_ip = "198.51.100.1"
        lie = {"X-Forwarded-For": "198.51.100.77"}
        assert await guess(session, proxy.url, 22, **lie) == 429


@pytest.mark.parametrize("proxies", ["", "127.0.0.1"])
async def test_what_comes_through_a_proxy_is_never_local(tmp_path, session, proxies):
    """Also where the proxy is not configured: it stands on this machine, its clients do not."""
    async with proxied(tmp_path, proxies) as (master, proxy):
        proxy.client_ip = "127.0.0.1"
        for headers in ({}, {"X-Forwarded-For": "127.0.0.1"}, {"X-Forwarded-For": "::1"}):
            async with session.get(f"{proxy.url}/metrics", headers=headers) as answer:
                assert answer.status == 401
        async with session.get(f"{master.url}/metrics") as answer:
            assert answer.status == 200
        async with master.admin_client() as api:
            bearer = {"Authorization": api.session.headers["Authorization"]}
        async with session.get(f"{proxy.url}/metrics", headers=bearer) as answer:
            assert answer.status == 200


async def test_a_proxy_that_is_not_configured_is_not_believed(tmp_path, session):
    async with proxied(tmp_path, "10.0.0.5") as (master, proxy):
        status, _, cookies = await log_in(session, proxy.url, Origin=proxy.url)
        assert (status, [*cookies]) == (200, ["ops_session"])
        async with master.admin_client() as api:
            rows = await api.get("/audit?action=session.open")
            assert [row["details"]["from"] for row in rows["items"]] == ["127.0.0.1"]
