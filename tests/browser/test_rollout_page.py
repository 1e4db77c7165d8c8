"""A rollout in Chromium: the plan, a pause in the middle, the end, and the way back to the old version."""

import io
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.fakes.console import sign_in
from tests.fakes.fleet import PASSWORD, Fleet
from tests.fakes.packages import make_zip, service_json

READY_MS = 40_000
SOON = {"type": "command", "target": "/bin/true", "interval": "1s", "start_timeout": "20s"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """A module of two versions with an instance on one worker."""
    with Fleet(tmp_path_factory.mktemp("rollout")) as running:
        running.start_master()
        for version in ("1.0.0", "2.0.0"):
            manifest = service_json(name="app", version=version, env={"MODE": version}, health=SOON)
            data = io.BytesIO(make_zip({"run.sh": b"#!/bin/sh\nexec sleep 600\n"}, manifest)).getvalue()
            running.call("POST", "/packages", data, media="application/zip")
        node_id = running.start_worker("w1")
        running.deploy({"name": "app", "version": "1.0.0"}, node_id, name="web")
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        yield running


def version_of(fleet: Fleet) -> str:
    return str(fleet.get("/instances")["items"][0]["version"])


def begin(page) -> None:
    button = page.get_by_test_id("rollout-begin")
    expect(button).to_be_enabled(timeout=READY_MS)
    button.click()


def test_a_rollout_is_planned_paused_finished_and_taken_back(page, fleet, test_output):
    folder = test_output / "rollout"
    folder.mkdir(exist_ok=True)
    module = fleet.get("/instances")["items"][0]
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-systems")).to_be_visible(timeout=READY_MS)
    page.goto(f"{fleet.url}/systems/{module['system_id']}/modules/{module['module_id']}")
    page.get_by_test_id("panel-rollout").click()
    plan = page.get_by_test_id("rollout-plan")
    expect(plan).to_contain_text("package.version", timeout=READY_MS)
    expect(plan).to_contain_text("→ 2.0.0")
    page.get_by_test_id("rollout-note").fill("the new one")
    page.get_by_test_id("gate-add").click()
    page.get_by_test_id("gate-0-value").locator("input").fill("100")
    page.get_by_test_id("gate-0-value").locator("input").blur()
    page.screenshot(path=folder / "plan.png")
    begin(page)
    page.get_by_test_id("operation-note").get_by_role("link").first.click()
    page.get_by_test_id("operation-pause").click()
    expect(page.get_by_test_id("operation-state")).to_contain_text("paused")
    page.screenshot(path=folder / "paused.png")
    page.get_by_test_id("operation-pause").click()
    expect(page.get_by_test_id("operation-state")).to_contain_text("succeeded", timeout=40_000)
    log = page.get_by_test_id("operation-log").get_by_role("listitem")
    expect(log.first).to_contain_text("Operation")
    expect(log.first).to_contain_text("succeeded")
    expect(log.filter(has_text="paused")).to_have_count(1)
    expect(log.last).to_contain_text("pending")
    page.screenshot(path=folder / "log.png")
    assert version_of(fleet) == "2.0.0"
    gates = fleet.get(f"/modules/{module['module_id']}/rollouts")["items"][0]["strategy"]["gates"]
    assert [(gate["series"], gate["growth"]) for gate in gates] == [("mem_bytes", 100)]

    page.goto(f"{fleet.url}/systems/{module['system_id']}/modules/{module['module_id']}/rollout")
    expect(page.get_by_test_id("rollout-history")).to_contain_text("the new one", timeout=READY_MS)
    page.get_by_test_id("rollout-back").click()
    expect(page.get_by_test_id("rollout-plan")).to_contain_text("→ 1.0.0")
    page.screenshot(path=folder / "back.png")
    begin(page)
    expect(page.get_by_test_id("operation-note-state")).to_contain_text("succeeded", timeout=60_000)
    assert version_of(fleet) == "1.0.0"
