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
READY_MS = 40_000
LINES = 30_000
MANY = 1_000_000
BURST = 10_000  # what is written before the page is looked at again
FREEZE_MS = 10_000  # on a busy machine; the longest pause is printed
MANY_HEAP_BYTES = 1_000_000_000
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
    "log_paths": {"app": "app.log", "big": "big.log"},
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
    jump_to(admin, "2026-01-02T03:00:00Z")
    expect(view.locator(".marked")).to_contain_text("request 10800 ", timeout=READY_MS)


def test_a_link_holds_over_a_rotation_and_a_restart_and_says_when_its_line_is_gone(admin, site):
    log = site.work_dir / "instances" / site.instance["id"] / "app.log"
    place = site.fleet.get(f"/instances/{site.instance['id']}/logs/app")["lines"][0]["offset"]
    log.rename(log.with_name("app.log.1"))
    log.write_text("2026-01-03T00:00:00Z another day\n")
    site.fleet.stop("w1")
    site.fleet.start_worker("w1")
    view = open_log(admin, site, f"?log=app&line={place}")
    expect(view.locator(".marked")).to_contain_text("only here", timeout=READY_MS)
    expect(admin.get_by_test_id("log-line-gone")).to_have_count(0)
    log.with_name("app.log.1").unlink()
    admin.reload()
    expect(admin.get_by_test_id("log-line-gone")).to_be_visible(timeout=READY_MS)
    expect(view).to_contain_text("another day")


@pytest.mark.long
@pytest.mark.timeout(420)
def test_a_million_lines_are_scrolled_filtered_and_jumped_through_without_freezing(admin, site):
    log = site.work_dir / "instances" / site.instance["id"] / "big.log"
    log.write_text(numbered(0, 1))
    view = open_log(admin, site, "?log=big")
    expect(admin.get_by_test_id("log-status")).to_have_text("following", timeout=READY_MS)
    admin.evaluate(WATCH_FRAMES)
    for end in range(BURST, MANY + 1, BURST):
        with log.open("a") as file:
            file.write(numbered(max(1, end - BURST), end))
        expect(admin.get_by_test_id("log-count")).to_have_text(f"{end:,} lines", timeout=READY_MS)
    expect(view).to_contain_text(f"line {MANY - 1}", timeout=READY_MS)
    view.evaluate("box => (box.scrollTop = 0)")
    expect(view.locator(".line").first).to_contain_text("line 0", timeout=READY_MS)
    view.evaluate("box => (box.scrollTop = box.scrollHeight / 4)")
    expect(view.locator(".line").first).to_contain_text(re.compile(r"line 2\d{5}"), timeout=READY_MS)
    assert view.locator(".line").count() < 150
    admin.get_by_test_id("log-to-end").click()
    expect(view).to_contain_text(f"line {MANY - 1}", timeout=READY_MS)
    field = admin.get_by_test_id("log-filter")
    field.locator("input").or_(field).last.fill("needle")
    expect(admin.get_by_test_id("log-filtered")).to_have_text("1 lines match", timeout=READY_MS)
    expect(view.locator(".line")).to_contain_text([f"needle {MANY // 2}"])
    seen = admin.evaluate("({ heap: performance.memory.usedJSHeapSize, gap: window.longest })")
    print(f"1 000 000 lines: heap {seen['heap'] / 1e6:.0f} MB, longest pause {seen['gap']:.0f} ms")
    assert seen["heap"] < MANY_HEAP_BYTES
    assert seen["gap"] < FREEZE_MS
    field.locator("input").or_(field).last.fill("")
    jump_to(admin, "2026-01-02T13:53:20Z")
    expect(view.locator(".marked")).to_contain_text(f"needle {MANY // 2}", timeout=READY_MS)


def numbered(first, end):
    """Return the lines, ten a second."""
    return "".join(
        f"2026-01-02T{n // 36_000:02}:{n // 600 % 60:02}:{n // 10 % 60:02}Z {'needle' if n == MANY // 2 else 'line'} {n}\n"
        for n in range(first, end)
    )


WATCH_FRAMES = """() => {
  let last = performance.now()
  window.longest = 0
  const look = (now) => {
    window.longest = Math.max(window.longest, now - last)
    last = now
    requestAnimationFrame(look)
  }
  requestAnimationFrame(look)
}"""


def jump_to(page, moment):
    page.get_by_test_id("log-search-open").click()
    local = page.evaluate(
        "(moment) => { const at = new Date(moment);"
        " return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19) }",
        moment,
    )
    page.get_by_test_id("log-time").fill(local)
    page.get_by_test_id("log-jump").click()


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
        field = page.get_by_test_id("merged-search-text")
        field.locator("input").or_(field).last.fill("error")
        page.get_by_test_id("merged-search-begin").click()
        expect(page.get_by_test_id("merged-hits")).to_contain_text("30", timeout=READY_MS)
        page.screenshot(path=shot(f"merged-{theme}-{locale}-{width}"))
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.get_by_test_id("merged-hit-list").locator("li").nth(1).locator("a").click()
        expect(page.get_by_test_id("log-view").locator(".marked")).to_contain_text("request 28007 ", timeout=READY_MS)
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
