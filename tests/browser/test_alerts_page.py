"""Alerts in Chromium: a rule written as a sentence, tried and kept; what fires is seen, taken, silenced and over."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.fakes.console import sign_in
from tests.fakes.fleet import PASSWORD, Fleet, until

READY_MS = 40_000
CALM = {"name": "Never", "condition": {"kind": "node_metric", "series": "mem_percent", "op": ">=", "fire_level": 1000}}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """A master, one worker and an administrator."""
    with Fleet(tmp_path_factory.mktemp("alerts-page")) as running:
        running.start_master()
        running.start_worker("w1")
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        yield running


@pytest.fixture
def admin(page, fleet):
    """A page where the administrator is signed in."""
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-alerts")).to_be_visible(timeout=READY_MS)
    return page


def test_a_rule_is_written_tried_and_kept_and_what_fires_is_taken_and_silenced(admin, fleet, test_output):
    folder = test_output / "alerts"
    folder.mkdir(exist_ok=True)
    admin.keyboard.press("g")
    admin.keyboard.press("a")
    expect(admin.get_by_test_id("tab-firing")).to_be_visible()
    expect(admin.get_by_text("Nothing fires", exact=True)).to_be_visible(timeout=READY_MS)

    admin.get_by_test_id("tab-rules").click()
    expect(admin.get_by_test_id("rule-row-Node offline")).to_contain_text("is offline")
    admin.get_by_test_id("rule-create").click()
    admin.get_by_test_id("rule-series").select_option("mem_percent")
    admin.get_by_test_id("rule-fire").fill("a lot")
    expect(admin.get_by_text("The level is not a number")).to_be_visible()
    expect(admin.get_by_test_id("backtest-run")).to_be_disabled()
    admin.get_by_test_id("rule-fire").fill("0.1")
    admin.get_by_test_id("rule-clear").fill("")
    admin.get_by_test_id("rule-for").fill("0s")
    expect(admin.get_by_test_id("rule-sentence")).to_have_text(
        "memory of every node is at least 0.1 % (newest value), at once"
    )
    expect(admin.get_by_test_id("rule-save")).to_be_disabled()  # it has no name yet
    admin.get_by_test_id("backtest-run").click()
    expect(admin.get_by_test_id("backtest-summary")).to_contain_text("1", timeout=READY_MS)
    expect(admin.get_by_test_id("backtest-subject-w1")).to_be_visible()
    assert not any(rule["name"] == "Some memory" for rule in fleet.get("/alert-rules")["items"])
    admin.screenshot(path=folder / "backtest.png")

    admin.get_by_test_id("rule-name").fill("Some memory")
    admin.get_by_test_id("rule-severity").select_option("critical")
    admin.get_by_test_id("rule-save").click()
    expect(admin.get_by_test_id("rule-row-Some memory")).to_be_visible(timeout=READY_MS)
    expect(admin.get_by_test_id("alert-count")).to_contain_text("1", timeout=READY_MS)

    admin.get_by_test_id("alert-bell").click()
    admin.get_by_test_id("bell-alert").click()
    expect(admin.get_by_test_id("alert-state")).to_contain_text("firing")
    expect(admin.get_by_test_id("alert-chart")).to_be_visible()
    expect(admin.get_by_test_id("alert-history")).to_contain_text("firing")
    admin.get_by_test_id("alert-note").fill("on it")
    admin.get_by_test_id("alert-ack").click()
    expect(admin.get_by_test_id("alert-acknowledged")).to_contain_text("acknowledged by admin", timeout=READY_MS)
    expect(admin.get_by_test_id("alert-history")).to_contain_text("on it", timeout=READY_MS)
    expect(admin.get_by_test_id("alert-count")).to_have_count(0)
    admin.screenshot(path=folder / "alert.png")
    admin.get_by_test_id("alert-unack").click()
    expect(admin.get_by_test_id("alert-ack")).to_be_visible(timeout=READY_MS)

    admin.get_by_test_id("alert-silence").click()
    expect(admin.get_by_test_id("silence-matching")).to_contain_text("1")
    expect(admin.get_by_test_id("silence-save")).to_be_disabled()
    admin.get_by_test_id("silence-reason").fill("memory is replaced")
    admin.get_by_test_id("silence-save").click()
    row = admin.get_by_test_id("silence-row-memory is replaced")
    expect(row).to_contain_text("active", timeout=READY_MS)
    expect(row).to_contain_text("Some memory")
    expect(admin.get_by_test_id("alert-count")).to_have_count(0, timeout=READY_MS)
    row.click()
    reason = admin.get_by_test_id("silence-reason")
    expect(reason.locator("input").or_(reason).last).to_have_value("memory is replaced", timeout=READY_MS)
    admin.screenshot(path=folder / "silence-change.png")
    reason.fill("memory comes later")
    admin.get_by_test_id("silence-save").click()
    row = admin.get_by_test_id("silence-row-memory comes later")
    expect(row).to_contain_text("active", timeout=READY_MS)
    row.hover()
    row.get_by_test_id("silence-expire").click()
    admin.get_by_test_id("confirm-ok").click()
    expect(row).to_contain_text("expired", timeout=READY_MS)
    expect(admin.get_by_test_id("alert-count")).to_contain_text("1", timeout=READY_MS)

    admin.goto(f"{fleet.url}/")
    expect(admin.get_by_test_id("alert-strip")).to_contain_text("Some memory", timeout=READY_MS)
    admin.goto(f"{fleet.url}/alerts/rules")
    switch = admin.get_by_test_id("rule-row-Some memory").locator(".el-switch")
    switch.click()
    expect(admin.get_by_test_id("alert-count")).to_have_count(0, timeout=READY_MS)
    admin.goto(f"{fleet.url}/alerts/history")
    expect(admin.get_by_test_id("alert-row-w1")).to_contain_text("Some memory", timeout=READY_MS)


def test_a_complaint_of_the_server_stands_at_its_field(admin, fleet):
    rule = fleet.post("/alert-rules", CALM)
    admin.goto(f"{fleet.url}/alerts/rules/{rule['id']}")
    admin.get_by_test_id("rule-series").select_option("…")
    admin.get_by_test_id("rule-series-name").fill("mem_percnt")
    admin.get_by_test_id("rule-save").click()
    expect(admin.locator(".fault")).to_contain_text("did you mean mem_percent?", timeout=READY_MS)
    admin.get_by_test_id("rule-series").select_option("mem_percent")
    expect(admin.locator(".fault")).to_have_count(0)


def test_several_are_taken_at_once_and_a_silence_begins_later(admin, fleet, test_output):
    condition = {"kind": "node_metric", "series": "mem_percent", "op": ">=", "fire_level": 0.1}
    rules = [fleet.post("/alert-rules", {"name": name, "condition": condition})["id"] for name in ("One", "Two")]
    admin.goto(f"{fleet.url}/alerts")
    rows = admin.get_by_test_id("alert-row-w1")
    expect(rows).to_have_count(2, timeout=READY_MS)
    for row in rows.all():
        row.locator("input[type=checkbox]").check()
    expect(admin.get_by_test_id("alerts-chosen")).to_contain_text("2 alerts")
    admin.screenshot(path=test_output / "alerts" / "chosen.png")
    admin.get_by_test_id("alerts-ack").click()
    expect(admin.get_by_test_id("alert-count")).to_have_count(0, timeout=READY_MS)
    expect(admin.get_by_test_id("alerts-chosen")).to_have_count(0)

    rows.first.locator("input[type=checkbox]").check()
    admin.get_by_test_id("alerts-silence").click()
    expect(admin.get_by_test_id("silence-matching")).to_contain_text("would quiet now: 1")
    admin.get_by_test_id("silence-reason").fill("new disks")
    admin.get_by_test_id("silence-starts").fill("2099-01-02T03:04")
    expect(admin.get_by_test_id("silence-matching")).to_contain_text("before it begins")
    admin.screenshot(path=test_output / "alerts" / "silence-later.png")
    admin.get_by_test_id("silence-save").click()
    row = admin.get_by_test_id("silence-row-new disks")
    expect(row).to_contain_text("scheduled", timeout=READY_MS)
    row.click()
    expect(admin.get_by_test_id("silence-starts")).to_have_value("2099-01-02T03:04", timeout=READY_MS)
    admin.get_by_test_id("silence-starts").fill("")
    admin.get_by_test_id("silence-save").click()
    expect(row).to_contain_text("active", timeout=READY_MS)

    node = fleet.get("/nodes")["items"][0]
    admin.goto(f"{fleet.url}/nodes/{node['id']}")
    admin.get_by_test_id("node-silence").click()
    expect(admin.get_by_test_id("silence-matching")).to_contain_text("would quiet now: 2", timeout=READY_MS)
    for rule in rules:
        fleet.call("DELETE", f"/alert-rules/{rule}")


def test_what_happened_to_a_node_is_told_live(admin, fleet):
    node = until(lambda: fleet.get("/nodes")["items"], "the node")[0]
    admin.goto(f"{fleet.url}/nodes/{node['id']}?tab=events")
    events = admin.get_by_test_id("node-events")
    expect(events).to_contain_text("joined from", timeout=READY_MS)
    expect(events).to_contain_text("online")
    fleet.call("PATCH", f"/nodes/{node['id']}", {"paused": True})
    expect(events).to_contain_text("paused", timeout=READY_MS)
    admin.get_by_test_id("events-duty").click()
    expect(events.locator("li")).to_have_count(1)
    expect(events).to_contain_text("by test")
