"""Setup, login, cookies, CSRF, step-up and tokens as a browser and a program see them, on a real master."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pyotp
import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.master import PASSWORD, RunningMaster, run_master

JAR = {"unsafe": True}  # the jar keeps cookies of IP addresses


@contextlib.asynccontextmanager
async def browser(url: str, **options) -> AsyncIterator["Browser"]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(**JAR), **options) as session:
        yield Browser(session, url)


class Browser:
    """Sends what a browser sends: cookie, exact Origin, CSRF token."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url, self.csrf = session, url, ""

    async def ask(self, method: str, path: str, body=None, **headers: str) -> tuple[int, dict, aiohttp.ClientResponse]:
        sent = {"Origin": self.url, "X-CSRF-Token": self.csrf, **headers}
        sent = {name: value for name, value in sent.items() if value}
        async with self.session.request(method, f"{self.url}/api/v1{path}", json=body, headers=sent) as answer:
            told = await answer.json()
            self.csrf = told.get("csrf_token", self.csrf)
            return answer.status, told, answer

    async def log_in(self, username: str = "admin", password: str = PASSWORD) -> dict:
        status, me, _ = await self.ask("POST", "/login", {"username": username, "password": password})
        assert status == 200, me
        return me


@pytest.fixture
async def master(tmp_path: Path) -> AsyncIterator[RunningMaster]:
    async with run_master(tmp_path) as running_master:
        yield running_master


async def test_setup_by_the_code_then_it_is_closed(tmp_path: Path) -> None:
    async with run_master(tmp_path, is_set_up=False) as master, browser(master.url) as page:
        assert (await page.ask("GET", "/setup"))[1] == {"required": True}
        assert (await page.ask("GET", "/users"))[0] == 401
        code = (tmp_path / "data" / "setup-code").read_text().strip()
        body = {"code": code, "username": "ada", "password": PASSWORD}
        status, _, _ = await page.ask("POST", "/setup", {**body, "code": "wrong"})
        assert status == 401
        status, me, answer = await page.ask("POST", "/setup", body)
        assert (status, me["user"]["username"], me["user"]["role"]) == (201, "ada", "admin")
        cookie = answer.cookies["ops_session"]
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
        assert (await page.ask("GET", "/me"))[1]["user"] == me["user"]
        assert (await page.ask("GET", "/setup"))[1] == {"required": False}
        assert (await page.ask("POST", "/setup", body))[0] == 409
        await master.wait_for_tls()


async def test_a_browser_session_needs_csrf_and_its_own_origin(master: RunningMaster) -> None:
    async with browser(master.url) as page:
        await page.log_in()
        new = {"username": "bob", "password": PASSWORD}
        assert (await page.ask("POST", "/users", new, **{"X-CSRF-Token": "wrong"}))[0] == 403
        assert (await page.ask("POST", "/users", new, Origin="http://evil.example"))[0] == 403
        assert (await page.ask("POST", "/users", new, Origin=""))[0] == 403
        status, user, _ = await page.ask("POST", "/users", new)
        assert (status, user["role"]) == (201, "viewer")
        assert not any("password" in key for key in user)
        assert (await page.ask("POST", "/users", new))[0] == 409
        assert (await page.ask("DELETE", f"/users/{user['id']}"))[0] == 200
        assert (await page.ask("GET", f"/users/{user['id']}"))[0] == 404


async def test_on_tls_the_cookie_is_bound_to_the_host(master: RunningMaster) -> None:
    url = await master.wait_for_tls()
    async with browser(url, connector=aiohttp.TCPConnector(ssl=master.tls_context())) as page:
        await page.log_in()
        status, _, answer = await page.ask("POST", "/login", {"username": "admin", "password": PASSWORD})
        cookie = answer.cookies["__Host-ops_session"]
        assert (status, cookie["secure"], cookie["path"], cookie["domain"]) == (200, True, "/", "")
        assert (await page.ask("GET", "/me"))[0] == 200


async def test_logout_removes_the_cookie_and_the_session(master: RunningMaster) -> None:
    async with browser(master.url) as page, browser(master.url) as thief:
        await page.log_in()
        thief.session.cookie_jar.update_cookies({c.key: c.value for c in page.session.cookie_jar})
        assert (await thief.ask("GET", "/me"))[0] == 200
        assert (await page.ask("POST", "/logout"))[0] == 200
        assert (await page.ask("GET", "/me"))[0] == 401
        assert (await thief.ask("GET", "/me"))[0] == 401


async def test_a_new_role_closes_open_sockets_within_two_seconds(master: RunningMaster) -> None:
    await master.create_user("root2")
    async with browser(master.url) as page, browser(master.url) as boss:
        me = await page.log_in()
        await boss.log_in("root2")
        live = f"{master.url}/api/v1/live"
        async with page.session.ws_connect(live, headers={"Origin": master.url}) as socket:
            await socket.send_json({"subscribe": ["nodes"]})
            assert (await socket.receive_json(timeout=30))["topic"] == "nodes"
            status, told, _ = await boss.ask("PATCH", f"/users/{me['user']['id']}", {"role": "viewer"})
            assert status == 200, told
            async with asyncio.timeout(20):  # the promise is 2 s; bench_trust measures it
                async for _message in socket:
                    pass
        assert (await page.ask("GET", "/me"))[0] == 401


async def test_an_old_proof_is_asked_for_again(tmp_path: Path) -> None:
    clock = FakeClock()
    async with run_master(tmp_path, clock=clock) as master, browser(master.url) as page:
        await page.log_in()
        clock.jump(3600)
        new = {"name": "ci", "role": "viewer"}
        status, told, _ = await page.ask("POST", "/tokens", new)
        assert (status, told["code"]) == (403, "step_up_required")
        assert (await page.ask("POST", "/step-up", {"password": "wrong password"}))[0] == 401
        assert (await page.ask("POST", "/step-up", {"password": PASSWORD}))[0] == 200
        status, token, _ = await page.ask("POST", "/tokens", new)
        assert status == 201
        assert "token" not in (await page.ask("GET", f"/tokens/{token['id']}"))[1]


async def test_a_token_needs_no_csrf_and_obeys_its_role(master: RunningMaster) -> None:
    async with master.admin_client("viewer") as api:
        assert (await api.get("/me"))["kind"] == "token"
        with pytest.raises(Exception, match="403"):
            await api.get("/users")
        with pytest.raises(Exception, match="403"):
            await api.post("/join-tokens", {})
    async with master.admin_client() as api:
        made = await api.post("/join-tokens", {"ttl": "2h", "labels": {"rack": "r1"}})
        assert made["token"] in made["commands"]["linux"]
        assert made["uses_left"] == 1
        denied = await api.get("/audit", params={"outcome": "denied"})
        assert {row["actor_name"] for row in denied["items"]} == {"test-viewer"}
        assert (await api.get("/audit/verify"))["ok"]


@pytest.mark.parametrize("password", ["", "x", "x" * 100_000, "\u0000", "пароль пароль", "🔑" * 10])
async def test_a_failed_login_is_401_whatever_the_password_looks_like(master: RunningMaster, password: str) -> None:
    async with browser(master.url) as page:
        status, told, _ = await page.ask("POST", "/login", {"username": "admin", "password": password})
        assert (status, told["code"]) == (401, "unauthenticated")


async def test_too_many_failures_say_when_to_come_back(master: RunningMaster) -> None:
    async with browser(master.url) as page:
        body = {"username": "admin", "password": "wrong password"}
        codes = [(await page.ask("POST", "/login", body))[0] for _ in range(6)]
        assert codes == [401] * 5 + [429]
        _, _, answer = await page.ask("POST", "/login", {"username": "admin", "password": PASSWORD})
        assert int(answer.headers["Retry-After"]) >= 1


async def test_a_second_factor_from_the_first_code_to_the_recovery_code(tmp_path: Path) -> None:
    clock = FakeClock()
    async with run_master(tmp_path, clock=clock) as master, browser(master.url) as page, browser(master.url) as other:
        await page.log_in()
        status, made, _ = await page.ask("POST", "/me/totp")
        assert (status, made["uri"].split("?")[0]) == (201, "otpauth://totp/ops-system:admin")
        phone = pyotp.TOTP(made["secret"])
        assert (await page.ask("POST", "/me/totp/confirm", {"totp": "000000"}))[0] == 422
        status, told, _ = await page.ask("POST", "/me/totp/confirm", {"totp": phone.at(clock.now())})
        assert (status, len(told["recovery_codes"])) == (200, 10)
        assert (await page.ask("GET", "/me/totp"))[1] == {"is_enabled": True, "recovery_codes_left": 10}

        login = {"username": "admin", "password": PASSWORD}
        status, refused, _ = await other.ask("POST", "/login", login)
        assert (status, refused["code"], refused["details"]) == (401, "unauthenticated", {"totp_required": True})
        assert (await other.ask("POST", "/login", login | {"totp": told["recovery_codes"][0]}))[0] == 200
        clock.advance(3600)
        assert (await other.ask("DELETE", "/me/totp"))[1]["code"] == "step_up_required"
        assert (await other.ask("POST", "/step-up", {"totp": phone.at(clock.now())}))[0] == 200
        assert (await other.ask("DELETE", "/me/totp"))[0] == 200
        assert (await other.ask("POST", "/login", login))[0] == 200


async def test_join_tokens_and_users_need_a_fresh_proof(tmp_path: Path) -> None:
    clock = FakeClock()
    async with run_master(tmp_path, clock=clock) as master, browser(master.url) as page:
        await page.log_in()
        clock.advance(601)
        for method, path in (
            ("POST", "/users"),
            ("PATCH", "/users/usr_x"),
            ("DELETE", "/users/usr_x"),
            ("DELETE", "/users/usr_x/totp"),
            ("POST", "/tokens"),
            ("DELETE", "/tokens/tok_x"),
            ("POST", "/join-tokens"),
            ("POST", "/me/totp"),
        ):
            assert (await page.ask(method, path))[1]["code"] == "step_up_required", path
