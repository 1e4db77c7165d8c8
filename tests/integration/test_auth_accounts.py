"""What a person does with the own second factor, and an administrator with somebody's account, over HTTP."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pyotp
import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.master import PASSWORD, RunningMaster, run_master
from tests.integration.test_auth_http import Browser, browser

NEW_PASSWORD = "another correct horse"
STEP_S = 31.0  # a code is good once; the next one comes with the next step


class Desk:
    """A master with its clock, the administrator's page and one of `eve`."""

    def __init__(self, master: RunningMaster, clock: FakeClock, admin: Browser, page: Browser) -> None:
        self.master, self.clock, self.admin, self.page = master, clock, admin, page
        self.phone = pyotp.TOTP(pyotp.random_base32())
        self.recovery_codes: list[str] = []
        self.user_id = ""

    async def enrol(self) -> None:
        """Set up `eve`'s second factor, again where there is one already."""
        status, made, _ = await self.page.ask("POST", "/me/totp")
        assert status == 201, made
        self.phone = pyotp.TOTP(made["secret"])

    async def confirm(self) -> None:
        status, told, _ = await self.page.ask("POST", "/me/totp/confirm", {"totp": self.code()})
        assert status == 200, told
        self.recovery_codes = told["recovery_codes"]

    def code(self) -> str:
        self.clock.advance(STEP_S)
        return self.phone.at(self.clock.now())

    async def log_in(self, page: Browser, **more: str) -> int:
        body = {"username": "eve", "password": PASSWORD, **more}
        return (await page.ask("POST", "/login", body))[0]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    clock = FakeClock()
    async with contextlib.AsyncExitStack() as stack:
        master = await stack.enter_async_context(run_master(tmp_path, clock=clock))
        admin, page = [await stack.enter_async_context(browser(master.url)) for _ in range(2)]
        await master.create_user("eve", "operator")
        made = Desk(master, clock, admin, page)
        await admin.log_in()
        made.user_id = (await page.log_in("eve"))["user"]["id"]
        yield made


async def test_a_code_is_a_fresh_proof_over_http(desk: Desk) -> None:
    await desk.enrol()
    await desk.confirm()
    desk.clock.advance(3600)
    assert (await desk.page.ask("POST", "/me/totp/recovery-codes"))[1]["code"] == "step_up_required"
    for proof in ({"totp": "000000"}, {"password": "wrong password"}, {"totp": desk.recovery_codes[0]}, {}):
        assert (await desk.page.ask("POST", "/step-up", proof))[0] == 401, proof
    code = desk.code()
    assert (await desk.page.ask("POST", "/step-up", {"totp": code}))[0] == 200
    assert (await desk.page.ask("POST", "/step-up", {"totp": code}))[0] == 401  # it was used
    assert (await desk.page.ask("POST", "/me/totp/recovery-codes"))[0] == 201
    desk.clock.advance(601)
    assert (await desk.page.ask("POST", "/me/totp/recovery-codes"))[1]["code"] == "step_up_required"


async def test_new_recovery_codes_void_the_old_ones(desk: Desk) -> None:
    await desk.enrol()
    await desk.confirm()
    old = desk.recovery_codes
    status, told, _ = await desk.page.ask("POST", "/me/totp/recovery-codes")
    assert (status, len(set(told["recovery_codes"]) | set(old))) == (201, 20)
    async with browser(desk.master.url) as other:
        assert await desk.log_in(other, totp=old[0]) == 401
        assert await desk.log_in(other, totp=told["recovery_codes"][0]) == 200
        assert await desk.log_in(other, totp=told["recovery_codes"][0]) == 401
    assert (await desk.page.ask("GET", "/me/totp"))[1] == {"is_enabled": True, "recovery_codes_left": 9}


async def test_another_authenticator_takes_the_place_of_the_first(desk: Desk) -> None:
    """A new phone: switched off, then set up anew. The old one's codes are void from then on."""
    await desk.enrol()
    await desk.confirm()
    first = desk.phone
    assert (await desk.page.ask("POST", "/me/totp"))[0] == 409
    assert (await desk.page.ask("DELETE", "/me/totp"))[0] == 200
    assert (await desk.page.ask("GET", "/me/totp"))[1] == {"is_enabled": False, "recovery_codes_left": 0}
    await desk.enrol()
    async with browser(desk.master.url) as other:
        assert await desk.log_in(other) == 200  # not confirmed yet: it is not asked for
        await desk.confirm()
        desk.clock.advance(STEP_S)
        assert await desk.log_in(other, totp=first.at(desk.clock.now())) == 401
        assert await desk.log_in(other, totp=desk.code()) == 200


async def test_an_administrator_resets_a_second_factor_and_the_sessions_end(desk: Desk) -> None:
    await desk.enrol()
    await desk.confirm()
    assert (await desk.admin.ask("GET", f"/users/{desk.user_id}"))[1]["has_totp"]
    assert (await desk.page.ask("DELETE", f"/users/{desk.user_id}/totp"))[0] == 403
    assert (await desk.admin.ask("DELETE", f"/users/{desk.user_id}/totp"))[0] == 200
    assert (await desk.admin.ask("DELETE", f"/users/{desk.user_id}/totp"))[0] == 409
    assert (await desk.page.ask("GET", "/me"))[0] == 401
    assert await desk.log_in(desk.page) == 200
    assert await recorded(desk, "totp.disable") == ["admin"]


async def test_an_administrator_sets_a_password_and_the_old_one_is_void(desk: Desk) -> None:
    path = f"/users/{desk.user_id}"
    for body in ({"password": "short"}, {"password": "e" * 12}):
        assert (await desk.admin.ask("PATCH", path, body))[0] == 422
    assert (await desk.page.ask("GET", "/me"))[0] == 200
    assert (await desk.admin.ask("PATCH", path, {"password": NEW_PASSWORD}))[0] == 200
    assert (await desk.page.ask("GET", "/me"))[0] == 401
    assert await desk.log_in(desk.page) == 401
    assert await desk.log_in(desk.page, password=NEW_PASSWORD) == 200
    (row,) = (await desk.admin.ask("GET", "/audit?action=user.change"))[1]["items"]
    assert row["details"] == {"changed": ["password"]}


async def test_an_administrator_disables_enables_and_deletes(desk: Desk) -> None:
    path = f"/users/{desk.user_id}"
    assert (await desk.admin.ask("PATCH", path, {"is_disabled": True}))[1]["is_disabled"]
    assert (await desk.page.ask("GET", "/me"))[0] == 401
    assert await desk.log_in(desk.page) == 401
    assert not (await desk.admin.ask("PATCH", path, {"is_disabled": False}))[1]["is_disabled"]
    assert (await desk.page.ask("GET", "/me"))[0] == 401  # the session does not come back
    assert await desk.log_in(desk.page) == 200
    assert (await desk.admin.ask("DELETE", path))[0] == 200
    assert (await desk.page.ask("GET", "/me"))[0] == 401
    assert await desk.log_in(desk.page) == 401
    assert (await desk.admin.ask("GET", path))[0] == 404
    assert await recorded(desk, "user.delete") == ["admin"]


async def test_the_last_administrator_stays_whoever_asks(desk: Desk) -> None:
    me = (await desk.admin.ask("GET", "/me"))[1]["user"]["id"]
    for method, body in (("PATCH", {"is_disabled": True}), ("PATCH", {"role": "viewer"}), ("DELETE", None)):
        status, told, _ = await desk.admin.ask(method, f"/users/{me}", body)
        assert (status, told["code"]) == (409, "not_allowed")
    assert (await desk.admin.ask("GET", "/me"))[0] == 200


async def recorded(desk: Desk, action: str) -> list[str]:
    return [row["actor_name"] for row in (await desk.admin.ask("GET", f"/audit?action={action}"))[1]["items"]]
