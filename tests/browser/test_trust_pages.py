"""What only administrators and careful people do in a browser: proofs by code, second factors, other people, publishers."""

import subprocess
import time

import pyotp
import pytest
from playwright.sync_api import expect

from tests.fakes.console import create_user, let_proofs_age, sign_in
from tests.fakes.fleet import PASSWORD, PROGRAMS, Fleet

READY_MS = 40_000
STEP_S = 30
NEW_PASSWORD = "another good password"


@pytest.fixture
def admin(page, fleet):
    """A page where the administrator is signed in."""
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-audit")).to_be_visible(timeout=READY_MS)
    return page


@pytest.fixture
def guest(browser):
    """A second person's page."""
    context = browser.new_context(locale="zh-CN")
    yield context.new_page()
    context.close()


def switch_totp_on(page, fleet: Fleet) -> str:
    """Enrol the signed-in user; return the secret."""
    page.goto(f"{fleet.url}/settings/profile")
    page.get_by_test_id("totp-enrol").click()
    secret = page.get_by_test_id("totp-secret").locator("code").inner_text().replace(" ", "")
    page.get_by_test_id("totp-code").fill(pyotp.TOTP(secret).now())
    page.get_by_test_id("totp-confirm").click()
    page.get_by_test_id("totp-codes-done").click()
    expect(page.get_by_test_id("totp-disable")).to_be_visible()
    return secret


def test_a_code_is_a_proof_and_the_factor_can_be_renewed_and_switched_off(page, fleet):
    fleet.master_command("user", "create", "tara", "--role", "admin", "--password-stdin", stdin=PASSWORD)
    sign_in(page, fleet, "tara")
    expect(page.get_by_test_id("nav-audit")).to_be_visible(timeout=READY_MS)
    secret = switch_totp_on(page, fleet)

    page.get_by_test_id("totp-renew").click()
    confirm(page)
    codes = page.get_by_test_id("totp-codes").locator("code").inner_text().split()
    assert len(set(codes)) == 10
    page.get_by_test_id("totp-codes-done").click()

    let_proofs_age(fleet)
    page.goto(f"{fleet.url}/settings/profile")
    page.get_by_test_id("totp-disable").click()
    confirm(page)
    expect(page.get_by_test_id("step-up")).to_be_visible()
    page.get_by_test_id("step-up-other").click()
    page.get_by_test_id("step-up-totp").fill(pyotp.TOTP(secret).at(time.time() + STEP_S))
    page.get_by_test_id("step-up-submit").click()
    expect(page.get_by_test_id("totp-enrol")).to_be_visible()


def test_another_s_password_and_second_factor_are_reset_and_the_user_shut_out(admin, guest, fleet):
    create_user(admin, fleet, "gus", "operator")
    expect(admin.get_by_test_id("user-row-gus")).to_be_visible()
    sign_in(guest, fleet, "gus")
    expect(guest.get_by_test_id("nav-nodes")).to_be_visible(timeout=READY_MS)
    switch_totp_on(guest, fleet)

    admin.goto(f"{fleet.url}/settings/users")
    admin.get_by_test_id("user-row-gus").click()
    admin.get_by_test_id("user-totp-reset").click()
    confirm(admin)
    expect(admin.get_by_test_id("user-totp-reset")).to_have_count(0)
    admin.get_by_test_id("user-new-password").fill(NEW_PASSWORD)
    admin.get_by_test_id("user-password-save").click()
    expect(admin.get_by_test_id("user-password-saved")).to_be_visible()
    expect(guest.get_by_test_id("login-username")).to_be_visible(timeout=READY_MS)
    sign_in(guest, fleet, "gus", NEW_PASSWORD)
    expect(guest.get_by_test_id("nav-nodes")).to_be_visible(timeout=READY_MS)

    admin.get_by_test_id("user-disable").click()
    confirm(admin)
    expect(guest.get_by_test_id("login-username")).to_be_visible(timeout=READY_MS)
    sign_in(guest, fleet, "gus", NEW_PASSWORD)
    expect(guest.get_by_test_id("error-note")).to_be_visible()
    admin.get_by_test_id("user-enable").click()
    admin.get_by_test_id("user-remove").click()
    confirm(admin)
    expect(admin.get_by_test_id("user-row-gus")).to_have_count(0)


def test_a_publisher_is_trusted_and_trusted_no_longer(admin, fleet, tmp_path):
    subprocess.run([PROGRAMS / "pack-tool", "keygen", tmp_path / "publisher.key"], check=True)
    admin.goto(f"{fleet.url}/settings/publishers")
    expect(admin.get_by_test_id("publisher-rule")).to_contain_text("require_publisher is off")
    admin.get_by_test_id("publisher-add").click()
    admin.get_by_test_id("publisher-name").fill("release-team")
    admin.get_by_test_id("publisher-key").fill("not a key")
    admin.get_by_test_id("publisher-save").click()
    expect(admin.get_by_test_id("error-note")).to_be_visible()
    admin.get_by_test_id("publisher-key").fill((tmp_path / "publisher.key.pub").read_text())
    admin.get_by_test_id("publisher-save").click()
    row = admin.get_by_test_id("publisher-row-release-team")
    expect(row).to_be_visible()
    row.hover()
    row.get_by_test_id("publisher-remove").click()
    confirm(admin)
    expect(row).to_have_count(0)


def confirm(page) -> None:
    """Say yes to the question on the page."""
    page.get_by_test_id("confirm-ok").click()
