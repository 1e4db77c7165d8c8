"""Whoever loses a session or a token loses its open sockets within two seconds (trust S7)."""

import asyncio
import contextlib

import aiohttp
import pytest

from tests.fakes.master import PASSWORD, run_master
from tests.integration.test_auth_http import Browser, browser

TOO_LONG_S = 20.0  # the promise is 2 s; bench_trust measures it
NEW_PASSWORD = "another correct horse"


@pytest.fixture
async def master(tmp_path):
    async with run_master(tmp_path) as running:
        await running.create_user("eve", "operator")
        yield running


@contextlib.asynccontextmanager
async def watching(page: Browser):
    """Give the page's open /live socket, which has answered already."""
    origin = {"Origin": page.url}
    async with page.session.ws_connect(f"{page.url}/api/v1/live", headers=origin) as socket:
        await socket.send_json({"subscribe": ["nodes"]})
        async with asyncio.timeout(30):
            await socket.receive_json()
        yield socket


async def closed(socket):
    async with asyncio.timeout(TOO_LONG_S):
        async for _message in socket:
            pass


async def log_out(_admin, page, _user):
    assert (await page.ask("POST", "/logout"))[0] == 200


async def change_own_password(_admin, page, _user):
    """Another session of the same user does it."""
    async with browser(page.url) as elsewhere:
        await elsewhere.log_in("eve")
        body = {"old_password": PASSWORD, "new_password": NEW_PASSWORD}
        assert (await elsewhere.ask("POST", "/me/password", body))[0] == 200


async def set_password(admin, _page, user):
    assert (await admin.ask("PATCH", f"/users/{user}", {"password": NEW_PASSWORD}))[0] == 200


async def disable(admin, _page, user):
    assert (await admin.ask("PATCH", f"/users/{user}", {"is_disabled": True}))[0] == 200


async def change_role(admin, _page, user):
    assert (await admin.ask("PATCH", f"/users/{user}", {"role": "viewer"}))[0] == 200


async def delete_user(admin, _page, user):
    assert (await admin.ask("DELETE", f"/users/{user}"))[0] == 200


async def revoke_session(admin, _page, _user):
    sessions = (await admin.ask("GET", "/sessions"))[1]["items"]
    (one,) = [session for session in sessions if session["username"] == "eve"]
    assert (await admin.ask("DELETE", f"/sessions/{one['id']}"))[0] == 200


ACTS = (log_out, change_own_password, set_password, disable, change_role, delete_user, revoke_session)


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
async def test_a_session_and_its_socket_end(master, act):
    async with browser(master.url) as page, browser(master.url) as admin:
        user = (await page.log_in("eve"))["user"]["id"]
        await admin.log_in()
        async with watching(page) as socket, watching(admin) as other:
            await act(admin, page, user)
            await closed(socket)
            assert (await page.ask("GET", "/me"))[0] == 401
            assert not other.closed  # nobody else's
            assert (await admin.ask("GET", "/me"))[0] == 200


async def test_a_deleted_token_loses_its_socket(master):
    text = await master.create_token("robot", "operator")
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {text}"}) as robot,
        master.admin_client() as api,
    ):
        async with robot.ws_connect(f"{master.url}/api/v1/live") as socket:
            await socket.send_json({"subscribe": ["nodes"]})
            await socket.receive_json()
            (token,) = [one for one in (await api.get("/tokens"))["items"] if one["name"] == "robot"]
            await api.delete(f"/tokens/{token['id']}")
            await closed(socket)
        async with robot.get(f"{master.url}/api/v1/me") as answer:
            assert answer.status == 401


TOKEN_ACTS = (disable, change_role, delete_user)


@pytest.mark.parametrize("act", TOKEN_ACTS, ids=lambda act: act.__name__)
async def test_a_token_loses_its_socket_with_its_users_rights(master, act):
    """What the user may do no longer, the user's tokens may do no longer; what is left is there at the next dial."""
    async with browser(master.url) as page, browser(master.url) as admin:
        await admin.log_in()
        user = (await page.log_in("eve"))["user"]["id"]
        assert (await admin.ask("PATCH", f"/users/{user}", {"role": "admin"}))[0] == 200
        await page.log_in("eve")
        text = (await page.ask("POST", "/tokens", {"name": "robot", "role": "operator"}))[1]["token"]
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {text}"}) as robot:
            async with robot.ws_connect(f"{master.url}/api/v1/live") as socket:
                await socket.send_json({"subscribe": ["nodes"]})
                await socket.receive_json(timeout=30)
                await act(admin, page, user)
                await closed(socket)
            async with robot.get(f"{master.url}/api/v1/nodes") as answer:
                assert answer.status == (200 if act is change_role else 401)
            async with robot.post(f"{master.url}/api/v1/systems", json={"name": "shop"}) as answer:
                assert answer.status == (403 if act is change_role else 401)
