"""Backups and schedules in Chromium: made, verified, scheduled, run by hand, and the master restored from one."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.fakes.console import sign_in
from tests.fakes.fleet import PASSWORD, Fleet

READY_MS = 40_000


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """A master with an administrator and one node."""
    with Fleet(tmp_path_factory.mktemp("backups-page")) as running:
        running.start_master()
        running.start_worker("n1")
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        yield running


@pytest.fixture
def admin(page, fleet):
    """A page where the administrator is signed in."""
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-backups")).to_be_visible(timeout=READY_MS)
    return page


def test_a_backup_is_made_scheduled_and_restored(admin, fleet, test_output):
    folder = test_output / "backups"
    folder.mkdir(exist_ok=True)
    admin.goto(f"{fleet.url}/backups")
    admin.get_by_test_id("backup-create").click()
    admin.get_by_test_id("backup-note").fill("before the move")
    admin.get_by_test_id("backup-save").click()
    state = admin.get_by_test_id("operation-note-state")
    expect(state).to_have_attribute("data-state", "succeeded", timeout=READY_MS)
    row = admin.locator("[data-test^=backup-row-]").first
    expect(row).to_contain_text("before the move", timeout=READY_MS)
    expect(row.locator("[data-state=verified]")).to_be_visible()
    row.click()
    expect(admin.get_by_test_id("side-panel")).to_contain_text("this master")
    admin.screenshot(path=folder / "backup.png")

    admin.goto(f"{fleet.url}/schedules")
    admin.screenshot(path=folder / "schedules-empty.png")
    admin.get_by_test_id("schedule-create").click()
    admin.get_by_test_id("schedule-kind").select_option("backup")
    admin.get_by_test_id("schedule-name").fill("nightly")
    admin.get_by_test_id("schedule-zone").fill("Asia/Shanghai")
    admin.get_by_test_id("schedule-cron").fill("0 0 30 2 *")
    expect(admin.get_by_text("It never comes")).to_be_visible(timeout=READY_MS)
    admin.get_by_test_id("schedule-cron").fill("30 3 * * *")
    expect(admin.get_by_test_id("schedule-next").locator("li")).to_have_count(5, timeout=READY_MS)
    admin.screenshot(path=folder / "schedule-new.png")
    admin.get_by_test_id("schedule-save").click()
    admin.get_by_test_id("schedule-run").click()
    run = admin.get_by_test_id("schedule-run-row").first
    expect(run.locator("[data-state=succeeded]")).to_be_visible(timeout=READY_MS)
    admin.emulate_media(color_scheme="dark")
    admin.screenshot(path=folder / "schedule-dark.png")
    admin.set_viewport_size({"width": 375, "height": 760})
    admin.screenshot(path=folder / "schedule-375.png")
    admin.goto(f"{fleet.url}/backups")
    expect(admin.locator("[data-test^=backup-row-]").first).to_be_visible(timeout=READY_MS)
    admin.screenshot(path=folder / "backups-375-dark.png")
    admin.set_viewport_size({"width": 1440, "height": 900})
    admin.emulate_media(color_scheme="light")

    first = admin.locator("[data-test^=backup-row-]").filter(has_text="before the move")
    name = (first.get_attribute("data-test") or "").removeprefix("backup-row-")
    first.click()
    admin.get_by_test_id("backup-restore").click()
    admin.get_by_test_id("confirm-typed").fill(name)
    admin.screenshot(path=folder / "restore.png")
    admin.get_by_test_id("confirm-ok").click()
    expect(admin.get_by_test_id("login-username")).to_be_visible(timeout=60_000)
    sign_in(admin, fleet, "admin")
    expect(admin.get_by_test_id("nav-backups")).to_be_visible(timeout=READY_MS)
    admin.goto(f"{fleet.url}/backups")
    expect(admin.get_by_test_id("restored-note")).to_be_visible(timeout=READY_MS)
    admin.screenshot(path=folder / "restored.png")
    admin.goto(f"{fleet.url}/schedules")
    expect(admin.get_by_text("No schedule yet")).to_be_visible(timeout=READY_MS)
