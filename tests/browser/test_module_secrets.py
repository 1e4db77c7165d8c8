"""Secret environment values in the module form: written, never shown, and only for those with the grant."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.fakes.console import sign_in
from tests.fakes.fleet import PASSWORD, Fleet, pack

ROOT = Path(__file__).resolve().parents[2]
READY_MS = 40_000
SECRET = "hidden-value-81"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """A master with one package, a system, an administrator, and an operator without grants."""
    folder = tmp_path_factory.mktemp("module-secrets")
    with Fleet(folder) as running:
        running.start_master()
        running.upload(pack(ROOT / "examples/http-service", folder / "http.zip"))
        running.post("/systems", {"name": "shop"})
        for name, role in (("admin", "admin"), ("olga", "operator")):
            running.master_command("user", "create", name, "--role", role, "--password-stdin", stdin=PASSWORD)
        yield running


def edit(page, fleet: Fleet, module: dict) -> None:
    """Open the module's form anew, by its address."""
    page.goto(f"{fleet.url}/systems/{module['system_id']}/modules/{module['id']}/edit")
    expect(page.get_by_test_id("module-name")).to_have_value(module["name"], timeout=READY_MS)


def read(fleet: Fleet, system: dict) -> dict:
    """Return the system's only module."""
    return fleet.get(f"/systems/{system['id']}/modules")["items"][0]


def save(page) -> None:
    page.get_by_test_id("module-save").click()
    expect(page.get_by_test_id("module-save")).to_have_count(0)


def test_a_secret_is_written_kept_changed_and_taken_away(page, fleet, test_output):
    system = fleet.get("/systems")["items"][0]
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-systems")).to_be_visible(timeout=READY_MS)
    page.goto(f"{fleet.url}/systems")
    page.get_by_test_id(f"system-row-{system['id']}").hover()
    page.get_by_test_id("module-create").first.click()
    page.get_by_test_id("module-package").select_option(index=1)
    page.get_by_test_id("module-name").fill("web")
    page.get_by_test_id("module-secret-add").click()
    page.get_by_test_id("module-secret-name-0").fill("DB_PASSWORD")
    expect(page.get_by_test_id("module-save")).to_be_disabled()
    page.get_by_test_id("module-secret-value-0").fill(SECRET)
    save(page)
    module = read(fleet, system)
    assert module["env_secrets"] == ["DB_PASSWORD"]

    edit(page, fleet, module)
    expect(page.get_by_test_id("module-secret-DB_PASSWORD")).to_have_text("DB_PASSWORD")
    expect(page.get_by_test_id("module-secret-value-0")).to_have_value("")
    assert SECRET not in page.content()
    page.get_by_test_id("module-secret-add").click()
    page.get_by_test_id("module-secret-name-1").fill("API_KEY")
    page.get_by_test_id("module-secret-value-1").fill(SECRET)
    folder = test_output / "secrets"
    folder.mkdir(exist_ok=True)
    page.screenshot(path=folder / "form.png")
    save(page)
    assert read(fleet, system)["env_secrets"] == ["API_KEY", "DB_PASSWORD"]

    edit(page, fleet, module)
    page.get_by_test_id("module-secret-remove-0").click()
    save(page)
    assert read(fleet, system)["env_secrets"] == ["DB_PASSWORD"]

    page.goto(f"{fleet.url}/settings/profile")
    page.get_by_test_id("user-menu").click()
    page.get_by_test_id("sign-out").click()
    expect(page.get_by_test_id("login-username")).to_be_visible()
    sign_in(page, fleet, "olga")
    expect(page.get_by_test_id("nav-systems")).to_be_visible(timeout=READY_MS)
    edit(page, fleet, module)
    expect(page.get_by_test_id("module-secret-add")).to_have_count(0)
