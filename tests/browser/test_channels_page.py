"""Channels in Chromium: made with a secret that is never shown, tested in place, changed, deleted."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from aiohttp import web
from playwright.sync_api import expect

from tests.fakes.console import let_proofs_age, sign_in
from tests.fakes.fleet import PASSWORD, Fleet
from tests.fakes.receiver import Receiver, receiver

READY_MS = 40_000
SECRET = "a long random text"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """A master that may call this machine, and its administrator."""
    settings = {"OPS_MASTER_OUTBOUND_ALLOW": "127.0.0.1"}
    with Fleet(tmp_path_factory.mktemp("channels-page"), settings=settings) as running:
        running.start_master()
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        yield running


@pytest.fixture(scope="module")
def hooks() -> Iterator[Receiver]:
    """A receiver in a thread of its own: Playwright has the event loop of this one."""
    made: list[Receiver] = []
    loop = asyncio.new_event_loop()
    over = asyncio.Event()
    is_up = threading.Event()

    async def receive() -> None:
        async with receiver() as running:
            made.append(running)
            is_up.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(receive(),))
    thread.start()
    assert is_up.wait(10)
    yield made[0]
    loop.call_soon_threadsafe(over.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def admin(page, fleet):
    """A page where the administrator is signed in."""
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-audit")).to_be_visible(timeout=READY_MS)
    return page


async def refuse(_request: web.Request) -> web.Response:
    return web.Response(status=503, text="closed")


def test_a_webhook_is_made_tested_changed_and_deleted(admin, fleet, hooks, test_output):
    folder = test_output / "channels"
    folder.mkdir(exist_ok=True)
    admin.goto(f"{fleet.url}/settings/profile")
    admin.get_by_test_id("tab-channels").click()
    admin.get_by_test_id("channel-create").click()
    admin.get_by_test_id("channel-name").fill("ops")
    admin.get_by_test_id("channel-url").fill(hooks.url("/token-81"))
    expect(admin.get_by_test_id("channel-save")).to_be_disabled()
    admin.get_by_test_id("channel-secret").fill(SECRET)
    admin.get_by_test_id("channel-event-node_quarantined").uncheck()
    admin.get_by_test_id("channel-language").select_option("zh")
    admin.get_by_test_id("channel-save").click()
    row = admin.get_by_test_id("channel-row-ops")
    expect(row).to_contain_text("instance failed, node offline")

    admin.get_by_test_id("channel-test").click()
    tested = admin.get_by_test_id("channel-tested").locator("[data-state]")
    expect(tested).to_have_attribute("data-state", "sent", timeout=READY_MS)
    assert "X-Ops-Signature" in hooks.got[-1].headers
    assert "测试" in hooks.got[-1].body.decode()
    expect(row.locator("[data-state]")).to_have_attribute("data-state", "sent")
    hooks.say = refuse
    admin.get_by_test_id("channel-test").click()
    expect(tested).to_have_attribute("data-state", "failed", timeout=READY_MS)
    expect(admin.get_by_test_id("channel-tested")).to_contain_text("503")
    expect(admin.locator('[data-test^="delivery-"]')).to_have_count(2)
    admin.screenshot(path=folder / "panel.png")
    for text in (SECRET, "token-81"):
        assert text not in admin.content()
    expect(admin.get_by_test_id("channel-secret")).to_have_value("")

    admin.get_by_test_id("channel-name").fill("night")
    expect(admin.get_by_test_id("channel-test")).to_be_disabled()
    admin.get_by_test_id("channel-enabled").uncheck()
    admin.get_by_test_id("channel-save").click()
    expect(admin.get_by_test_id("channel-row-night")).to_contain_text("off")
    hooks.say = None
    admin.get_by_test_id("channel-test").click()
    expect(tested).to_have_attribute("data-state", "sent", timeout=READY_MS)
    assert hooks.got[-1].path == "/token-81"

    admin.get_by_test_id("channel-remove").click()
    admin.get_by_test_id("confirm-ok").click()
    expect(admin.get_by_test_id("channel-row-night")).to_have_count(0)


def test_a_mail_channel_asks_for_the_password_again_where_the_server_changes(admin, fleet, test_output):
    let_proofs_age(fleet)
    admin.goto(f"{fleet.url}/settings/channels/new")
    admin.get_by_test_id("channel-name").fill("mail")
    admin.get_by_test_id("channel-kind").select_option("email")
    admin.get_by_test_id("channel-host").fill("127.0.0.1")
    admin.get_by_test_id("channel-tls").select_option("tls")
    expect(admin.get_by_test_id("channel-port").locator("input")).to_have_value("465")
    admin.get_by_test_id("channel-username").fill("ops")
    admin.get_by_test_id("channel-password").fill(SECRET)
    admin.get_by_test_id("channel-sender").fill("ops@example.org")
    admin.get_by_test_id("channel-recipients").fill("a@example.org, b@example.org")
    admin.get_by_test_id("channel-save").click()
    admin.get_by_test_id("step-up-password").fill(PASSWORD)
    admin.get_by_test_id("step-up-submit").click()
    expect(admin.get_by_test_id("channel-row-mail")).to_contain_text("a@example.org, b@example.org", timeout=READY_MS)

    admin.get_by_test_id("channel-recipients").fill("c@example.org")
    admin.get_by_test_id("channel-save").click()
    expect(admin.get_by_test_id("channel-row-mail")).to_contain_text("c@example.org")
    admin.get_by_test_id("channel-host").fill("mail.example")
    admin.get_by_test_id("channel-password").focus()
    admin.get_by_test_id("channel-password").blur()
    expect(admin.get_by_test_id("channel-save")).to_be_disabled()
    admin.screenshot(path=test_output / "channels" / "mail.png")
    admin.get_by_test_id("channel-password").fill(SECRET)
    admin.get_by_test_id("channel-save").click()
    expect(admin.get_by_test_id("channel-row-mail")).to_contain_text("mail.example:465")
