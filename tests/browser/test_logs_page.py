"""The log view: a long log with its old files, searched, jumped through, linked to, and merged over instances."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import expect

from tests.fakes.console import sign_in
from tests.fakes.fleet import PASSWORD, Fleet, pack, until

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "test-output" / "logs"
READY_MS = 30_000
LINES = 30_000
TALKER = f"""\
#!/usr/bin/env python3
import datetime, pathlib, sys, time
began = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
with open("app.log", "w") as app:
    app.write("2026-01-02T00:00:00Z only here\\n")
for number in range({LINES}):
    at = began + datetime.timedelta(seconds=number)
    level = "\\033[31mERROR\\033[0m" if number % 1000 == 7 else "info"
    print(at.isoformat().replace("+00:00", "Z"), level, "request", number, "<b>x</b> " + "detail " * (number % 40))
sys.stdout.flush()
number = 0
while True:
    if pathlib.Path("say").exists():
        pathlib.Path("say").unlink()
        print(datetime.datetime.now(datetime.timezone.utc).isoformat(), "said", number, flush=True)
        number += 1
    time.sleep(0.05)
"""
SERVICE = {
    "schema": 1,
    "name": "talker",
    "version": "1.0.0",
    "entrypoint": "run.py",
    "log_paths": {"app": "app.log"},
}
LOOKS = [
    pytest.param(("light", "en-US", 1600), id="light-en-wide"),
    pytest.param(("dark", "zh-CN", 420), id="dark-zh-narrow"),
    pytest.param(("dark", "zh-CN", 1600), id="dark-zh-wide", marks=pytest.mark.long),
    pytest.param(("light", "en-US", 420), id="light-en-narrow", marks=pytest.mark.long),
]


class Site(NamedTuple):
    """A fleet of one node with a service that talks."""

    fleet: Fleet
    instance: dict
    work_dir: Path

    def say(self) -> None:
        """Let it write a line."""
        (self.work_dir / "instances" / self.instance["id"] / "say").touch()


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("logs-page")
    home = folder / "talker"
    home.mkdir()
    (home / "run.py").write_text(TALKER)
    (home / "run.py").chmod(0o755)
    (home / "service.json").write_text(json.dumps(SERVICE))
    with Fleet(folder) as fleet:
        fleet.start_master()
        fleet.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        node_id = fleet.start_worker("w1")
        instance = fleet.deploy(fleet.upload(pack(home, folder / "talker.zip")), node_id, name="talker")
        path = f"/instances/{instance['id']}/logs/stdout"
        until(lambda: f"request {LINES - 1} " in fleet.get(f"{path}?tail=1")["lines"][-1]["text"], "all is written")
        found = next(folder.rglob(f"instances/{instance['id']}"))
        yield Site(fleet, instance, found.parent.parent)


@pytest.fixture
def admin(page, site):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sign_in(page, site.fleet, "admin")
    expect(page.get_by_test_id("nav-audit")).to_be_visible(timeout=READY_MS)
    return page


def open_log(page, site, query=""):
    page.goto(f"{site.fleet.url}/instances/{site.instance['id']}{query}")
    view = page.get_by_test_id("log-view")
    expect(view.locator(".line").first).to_be_visible(timeout=READY_MS)
    return view


def test_the_end_is_followed_paused_filtered_and_wrapped(admin, site):
    view = open_log(admin, site)
    expect(view).to_contain_text(f"request {LINES - 1} <b>x</b>")
    expect(admin.get_by_test_id("log-status")).to_have_text("following")
    site.say()
    expect(view).to_contain_text("said 0", timeout=READY_MS)
    admin.get_by_test_id("log-pause").click()
    site.say()
    expect(admin.get_by_test_id("log-status")).to_have_text("paused, 1 new", timeout=READY_MS)
    expect(view).not_to_contain_text("said 1")
    admin.get_by_test_id("log-pause").click()
    expect(view).to_contain_text("said 1")
    admin.get_by_test_id("log-wrap").click()
    expect(view).to_contain_text("said 1")
    assert view.evaluate("box => box.scrollWidth <= box.clientWidth")
    admin.get_by_test_id("log-wrap").click()
    admin.get_by_test_id("log-filter").locator("input").or_(admin.get_by_test_id("log-filter")).last.fill("error")
    expect(admin.get_by_test_id("log-filtered")).to_have_text("1 lines match")
    expect(view.locator(".line")).to_have_count(1)
    expect(view.locator(".c1")).to_have_text("ERROR")


def test_older_lines_come_in_above_and_only_what_is_seen_stands_in_the_page(admin, site):
    view = open_log(admin, site)
    for thousands in (2, 3, 4):
        view.evaluate("box => (box.scrollTop = 0)")
        expect(admin.get_by_test_id("log-count")).to_have_text(
            re.compile(rf"^{thousands},00\d lines"), timeout=READY_MS
        )
    assert view.locator(".line").count() < 120
    admin.get_by_test_id("log-to-end").click()
    expect(view).to_contain_text(f"request {LINES - 1} ")


def test_the_whole_log_is_searched_and_a_hit_can_be_linked(admin, site):
    view = open_log(admin, site)
    admin.get_by_test_id("log-search-open").click()
    admin.get_by_test_id("log-search-regex").click()
    field = admin.get_by_test_id("log-search").locator("input").first
    field.fill(r"error\S* request \d+")
    field.press("Enter")
    hits = admin.get_by_test_id("log-hits")
    expect(hits).to_contain_text("30 of 30 hits", timeout=READY_MS)
    expect(view.locator(".marked")).to_contain_text("request 29007 ")
    admin.get_by_test_id("log-next").click()  # round to the first
    expect(hits).to_contain_text("1 of 30 hits")
    expect(view.locator(".marked")).to_contain_text("request 7 ", timeout=READY_MS)
    expect(admin.get_by_test_id("log-status")).to_have_text("looking at the past")
    view.locator(".marked .gutter").click()
    expect(admin).to_have_url(re.compile(r"line=\d+"))
    admin.reload()
    expect(admin.get_by_test_id("log-view").locator(".marked")).to_contain_text("request 7 ", timeout=READY_MS)
    admin.get_by_test_id("log-to-end").click()
    expect(admin.get_by_test_id("log-view")).to_contain_text(f"request {LINES - 1} ", timeout=READY_MS)


def test_an_expression_that_is_wrong_is_told(admin, site):
    open_log(admin, site)
    admin.get_by_test_id("log-search-open").click()
    admin.get_by_test_id("log-search-regex").click()
    field = admin.get_by_test_id("log-search").locator("input").first
    field.fill("(")
    field.press("Enter")
    expect(admin.get_by_test_id("error-note")).to_contain_text("regular expression", timeout=READY_MS)


def test_jump_to_a_time(admin, site):
    view = open_log(admin, site)
    admin.get_by_test_id("log-search-open").click()
    local = admin.evaluate(
        "() => { const at = new Date('2026-01-02T03:00:00Z');"
        " return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19) }"
    )
    admin.get_by_test_id("log-time").fill(local)
    admin.get_by_test_id("log-jump").click()
    expect(view.locator(".marked")).to_contain_text("request 10800 ", timeout=READY_MS)


@pytest.mark.parametrize("look", LOOKS)
def test_all_instances_of_a_module_as_one_log(browser, site, look):
    theme, locale, width = look
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, locale=locale)
    page = context.new_page()
    try:
        sign_in(page, site.fleet, "admin")
        expect(page.get_by_test_id("log-view").or_(page.locator("main")).first).to_be_visible(timeout=READY_MS)
        page.goto(f"{site.fleet.url}/modules/{site.instance['module_id']}/logs")
        view = page.get_by_test_id("log-view")
        expect(view).to_contain_text("w1", timeout=READY_MS)
        site.say()
        expect(view).to_contain_text("said", timeout=READY_MS)
        page.screenshot(path=shot(f"merged-{theme}-{locale}-{width}"))
        view = open_log(page, site)
        page.get_by_test_id("log-search-open").click()
        page.screenshot(path=shot(f"search-{theme}-{locale}-{width}"))
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    finally:
        context.close()


def shot(name: str) -> Path:
    """Return where a picture goes."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS / f"{name}.png"
