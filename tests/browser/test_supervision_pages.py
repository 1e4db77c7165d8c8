"""What the console shows of services in care: crashes, takeovers of what others started, pauses and drains."""

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import expect

from tests.fakes.console import sign_in
from tests.fakes.fleet import PASSWORD, Fleet, free_port, pack, until

ROOT = Path(__file__).resolve().parents[2]
READY_MS = 40_000
CRASHER = """\
#!/bin/sh
echo "reading the ledger of $OPS_INSTANCE"
printf 'fatal: \\033[31mcannot open the ledger\\033[0m\\n' >&2
exit 7
"""
CRASHER_SERVICE = {
    "schema": 1,
    "name": "crasher",
    "version": "1.0.0",
    "entrypoint": "run.sh",
    "env": {"LEDGER_KEY": "hunter2"},
    "limits": {"nofile": 512},
    "restart": {"policy": "always", "delay": "1s", "max_delay": "40s", "max_restarts": 50, "window": "10m"},
}
FOREIGN = """\
import http.server, pathlib, signal, sys
home = pathlib.Path(sys.argv[2])
signal.signal(signal.SIGHUP, lambda *_: (home / "reloaded").touch())
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
LOOKS = [
    pytest.param(("light", "en-US", 1600), id="light-en-wide"),
    pytest.param(("dark", "zh-CN", 420), id="dark-zh-narrow"),
    pytest.param(("dark", "zh-CN", 1600), id="dark-zh-wide", marks=pytest.mark.long),
    pytest.param(("light", "en-US", 420), id="light-en-narrow", marks=pytest.mark.long),
]


class Site(NamedTuple):
    """The fleet and what stands on it: a node, a service that crashes, one that serves."""

    fleet: Fleet
    node_id: str
    crasher: str
    web: str


class Foreign(NamedTuple):
    """A server nobody here started."""

    process: "subprocess.Popen[bytes]"
    port: int
    home: Path

    def serves(self) -> bool:
        """Whether it still answers."""
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=2) as answer,
        ):
            return bool(answer.status == 200)
        return False


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("supervision-pages")
    with Fleet(folder) as fleet:
        fleet.start_master()
        fleet.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        node_id = fleet.start_worker("w1")
        crasher = fleet.upload(pack(crasher_folder(folder), folder / "crasher.zip"))
        system = fleet.post("/systems", {"name": "books"})
        wanted = {"name": "ledger", "package": crasher["name"], "version": crasher["version"]}
        module = fleet.post(f"/systems/{system['id']}/modules", wanted)
        begun = fleet.post("/instances", {"module_id": module["id"], "node_id": node_id})
        package = fleet.upload(pack(ROOT / "examples/http-service", folder / "http.zip"))
        web = fleet.deploy(package, node_id, name="web", ports={"http": free_port()})
        yield Site(fleet, node_id, begun["instance"]["id"], web["id"])


def crasher_folder(folder: Path) -> Path:
    """Return the folder of a service that says why it cannot go on, and ends."""
    home = folder / "crasher"
    home.mkdir()
    (home / "run.sh").write_text(CRASHER)
    (home / "run.sh").chmod(0o755)
    (home / "service.json").write_text(json.dumps(CRASHER_SERVICE))
    return home


@pytest.fixture
def foreign(tmp_path) -> Iterator[Foreign]:
    """Run a small server as somebody else would have."""
    with foreign_server(tmp_path) as server:
        yield server


@contextlib.contextmanager
def foreign_server(home: Path) -> Iterator[Foreign]:
    """Run one, and see it serve."""
    script = home / "intranet.py"
    script.write_text(FOREIGN)
    port = free_port()
    process = subprocess.Popen([sys.executable, script, str(port), home], cwd=home, start_new_session=True)
    server = Foreign(process, port, home)
    try:
        until(server.serves, "the foreign server serves")
        yield server
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def admin(page, site):
    """A page where the administrator is signed in."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sign_in(page, site.fleet, "admin")
    expect(page.get_by_test_id("nav-audit")).to_be_visible(timeout=READY_MS)
    return page


def confirm(page, *words: str) -> None:
    """Read the question, which names what follows, and say yes."""
    for text in words:
        expect(page.get_by_test_id("confirm")).to_contain_text(text)
    page.get_by_test_id("confirm-ok").click()


def test_a_crash_is_shown_with_how_often_why_and_what_it_said(admin, site):
    until(lambda: site.fleet.get(f"/instances/{site.crasher}")["restarts_in_window"] > 1, "the ledger crashed thrice")
    admin.goto(f"{site.fleet.url}/instances/{site.crasher}")
    expect(admin.get_by_test_id("instance-reason").first).to_contain_text("exited with code 7", timeout=READY_MS)
    expect(admin.get_by_test_id("instance-again")).to_contain_text("times in", timeout=READY_MS)
    expect(admin.get_by_test_id("instance-again")).to_contain_text("next try in", timeout=READY_MS)
    expect(admin.get_by_test_id("timeline")).to_contain_text("within 10 min, next try in")
    expect(admin.get_by_test_id("instance-end")).to_have_text("exit code 7")
    expect(admin.get_by_test_id("instance-restarts")).to_contain_text("count towards giving up")

    admin.get_by_test_id("tab-:crashes").click()
    facts = admin.get_by_test_id("crash-facts")
    for text in ("exit code 7", "nofile 512", "LEDGER_KEY", "ops-worker"):
        expect(facts).to_contain_text(text)
    expect(facts).not_to_contain_text("hunter2")
    lines = admin.get_by_test_id("crash-lines")
    expect(lines).to_contain_text(f"reading the ledger of {site.crasher}")
    expect(lines.locator(".c1", has_text="cannot open the ledger").first).to_be_visible()
    admin.get_by_test_id("crash-copy").click()
    expect(admin.get_by_test_id("crash-copy")).to_have_text("Copied")
    copied = admin.evaluate("navigator.clipboard.readText()")
    assert "stderr | fatal: cannot open the ledger" in copied
    assert "exit code 7" in copied
    admin.get_by_test_id("crash-list").locator("button").last.click()  # the oldest: newer ones may come meanwhile
    expect(admin.get_by_test_id("crash-list").locator("button[aria-pressed=true]")).to_have_count(1)

    admin.goto(f"{site.fleet.url}/systems")
    expect(admin.get_by_test_id(f"instance-row-{site.crasher}").get_by_test_id("restarts")).to_contain_text("▲")


def test_a_foreign_process_is_taken_over_reloaded_and_let_go(admin, site, foreign):
    pid = foreign.process.pid
    admin.goto(f"{site.fleet.url}/nodes/{site.node_id}?tab=processes")
    admin.get_by_test_id("process-search").fill(f":{foreign.port}")
    row = admin.get_by_test_id(f"process-row-{pid}")
    expect(row).to_contain_text(str(foreign.port), timeout=READY_MS)
    row.click()
    expect(admin.get_by_test_id("process-facts")).to_contain_text("it can be taken over")
    row.get_by_test_id("process-takeover").click()
    expect(admin.get_by_test_id("takeover-pid")).to_have_value(str(pid))
    admin.get_by_test_id("takeover-pid").fill("0")
    expect(admin.get_by_test_id("takeover-next")).to_be_disabled()
    admin.get_by_test_id("takeover-pid").fill(str(pid))
    admin.get_by_test_id("takeover-next").click()
    expect(admin.get_by_test_id("takeover-target")).to_have_value(f"127.0.0.1:{foreign.port}")
    admin.get_by_test_id("takeover-system-name").fill("inherited")
    admin.get_by_test_id("takeover-name").fill("intranet")
    admin.get_by_test_id("takeover-reload").fill(f"kill -HUP {pid}")
    admin.get_by_test_id("takeover-next").click()
    expect(admin.get_by_test_id("takeover-leader")).to_contain_text(str(pid), timeout=READY_MS)
    expect(admin.get_by_test_id("takeover-watched")).to_be_visible()
    expect(admin.get_by_test_id("takeover-follows")).to_contain_text("goes on as the same process")
    admin.get_by_test_id("takeover-adopt").click()
    expect(admin.get_by_test_id("operation-note-state")).to_have_attribute("data-state", "succeeded", timeout=READY_MS)
    admin.get_by_test_id("takeover-instance").click()

    expect(admin.get_by_test_id("instance-state").first).to_have_attribute("data-state", "running", timeout=READY_MS)
    expect(admin.get_by_test_id("instance-adopted")).to_be_visible()
    expect(admin.get_by_test_id("instance-watched-only")).to_be_visible()
    expect(admin.get_by_test_id("takeover-found-by")).to_contain_text(str(pid))
    expect(admin.get_by_test_id("instance-restart")).to_have_count(0)
    admin.get_by_test_id("instance-reload").click()
    confirm(admin, "Its own reload command runs on the node")
    expect(admin.get_by_test_id("reload-note")).to_contain_text("succeeded", timeout=READY_MS)
    until((foreign.home / "reloaded").exists, "the reload reached the process")

    admin.get_by_test_id("instance-release").click()
    confirm(admin, f"Process {pid} goes on")
    expect(admin.get_by_test_id("instance-released")).to_contain_text(f"Process {pid} goes on", timeout=READY_MS)
    assert foreign.process.poll() is None
    assert foreign.serves()
    admin.go_back()
    admin.goto(f"{site.fleet.url}/nodes/{site.node_id}?tab=processes")
    admin.get_by_test_id("process-search").fill(str(pid))
    expect(admin.get_by_test_id(f"process-row-{pid}").get_by_test_id("process-instance")).to_have_count(0)


def test_of_several_that_match_one_is_chosen_and_taken(admin, site, foreign):
    with foreign_server(foreign.home) as other:
        pids = [foreign.process.pid, other.process.pid]
        admin.goto(f"{site.fleet.url}/nodes/{site.node_id}?tab=processes")
        admin.get_by_test_id("takeover-by-hand").click()
        admin.get_by_test_id("takeover-strategy-match").check()
        admin.get_by_test_id("takeover-process-name").fill(f"{sys.executable} {foreign.home / 'intranet.py'}")
        admin.get_by_test_id("takeover-next").click()
        admin.get_by_test_id("takeover-system-name").fill("inherited twice")
        admin.get_by_test_id("takeover-name").fill("chosen")
        admin.get_by_test_id("takeover-next").click()
        refusal = admin.get_by_test_id("takeover-refusal")
        for pid in pids:
            expect(refusal.get_by_test_id(f"takeover-process-{pid}")).to_be_visible(timeout=READY_MS)
        expect(admin.get_by_test_id("takeover-adopt")).to_be_disabled()
        refusal.get_by_test_id(f"takeover-process-{pids[1]}").get_by_role("button").click()
        leader = admin.get_by_test_id("takeover-leader")
        expect(leader).to_contain_text(str(pids[1]), timeout=READY_MS)
        expect(leader).not_to_contain_text(str(pids[0]))
        admin.get_by_test_id("takeover-adopt").click()
        ended = admin.get_by_test_id("operation-note-state")
        expect(ended).to_have_attribute("data-state", "succeeded", timeout=READY_MS)
        (chosen,) = [one for one in site.fleet.get("/instances")["items"] if one["name"] == "chosen"]
        assert chosen["pid"] == pids[1]
        site.fleet.post(f"/instances/{chosen['id']}/release", {})
        assert [foreign.serves(), other.serves()] == [True, True]


def test_what_cannot_be_taken_over_is_refused_with_the_reason(admin, site):
    admin.goto(f"{site.fleet.url}/nodes/{site.node_id}?tab=processes")
    admin.get_by_test_id("takeover-by-hand").click()
    admin.get_by_test_id("takeover-pid-file").fill("/nowhere/at.pid")
    admin.get_by_test_id("takeover-next").click()
    admin.get_by_test_id("takeover-system-name").fill("nothing")
    admin.get_by_test_id("takeover-name").fill("nothing")
    admin.get_by_test_id("takeover-next").click()
    expect(admin.get_by_test_id("takeover-refusal")).to_contain_text("no PID file /nowhere/at.pid", timeout=READY_MS)
    expect(admin.get_by_test_id("takeover-adopt")).to_be_disabled()
    admin.get_by_test_id("takeover-back").click()
    expect(admin.get_by_test_id("takeover-name")).to_have_value("nothing")
    assert not [system for system in site.fleet.get("/systems")["items"] if system["name"] == "nothing"]


def test_a_node_is_paused_drained_and_taken_back(admin, site):
    admin.goto(f"{site.fleet.url}/nodes/{site.node_id}")
    admin.get_by_test_id("node-pause").click()
    confirm(admin, "what crashes is still restarted")
    expect(admin.get_by_test_id("node-duty")).to_contain_text("Nobody can start anything here")
    admin.get_by_test_id("node-pause").click()
    expect(admin.get_by_test_id("node-duty")).to_have_count(0)

    admin.get_by_test_id("node-drain").click()
    confirm(admin, "2 instances are stopped", "web @ w1")
    expect(admin.get_by_test_id("operation-note-state")).to_have_attribute("data-state", "succeeded", timeout=READY_MS)
    expect(admin.get_by_test_id("operation-note")).to_contain_text("2 of 2")
    expect(admin.get_by_test_id("operation-note").locator("a").first).to_have_text("Drain node w1")
    expect(admin.get_by_test_id("node-duty")).to_contain_text("2 instances were stopped")
    assert site.fleet.get(f"/instances/{site.web}")["state"] == "stopped"

    admin.get_by_test_id("node-undrain").click()
    confirm(admin, "the 2 instances the drain stopped are started", "web @ w1")
    expect(admin.get_by_test_id("node-duty")).to_have_count(0)
    until(lambda: site.fleet.get(f"/instances/{site.web}")["state"] == "running", "web is back")


@pytest.mark.parametrize("look", LOOKS)
def test_pages_of_supervision_fit_and_are_translated(browser, site, foreign, test_output, look):
    scheme, locale, width = look
    context = browser.new_context(viewport={"width": width, "height": 900}, locale=locale, color_scheme=scheme)
    page = context.new_page()
    sign_in(page, site.fleet, "admin")
    expect(page.get_by_test_id("link-state")).to_be_visible(timeout=READY_MS)
    folder = test_output / "pages"
    folder.mkdir(exist_ok=True)

    def shoot(name: str) -> None:
        page.screenshot(path=folder / f"supervision-{name}-{scheme}-{locale[:2]}-{width}.png")
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{name} is {overflow} px too wide"
        assert "takeover." not in page.locator("body").inner_text()

    page.goto(f"{site.fleet.url}/instances/{site.crasher}")
    page.get_by_test_id("tab-:crashes").click()
    expect(page.get_by_test_id("crash-facts")).to_be_visible(timeout=READY_MS)
    shoot("crash")
    node = f"{site.fleet.url}/nodes/{site.node_id}"
    page.goto(f"{node}?tab=processes")
    page.get_by_test_id("process-search").fill(f":{foreign.port}")
    page.get_by_test_id(f"process-row-{foreign.process.pid}").click(timeout=2 * READY_MS)
    expect(page.get_by_test_id("process-facts")).to_be_visible()
    shoot("processes")
    page.goto(f"{node}?tab=processes&takeover={foreign.process.pid}")
    expect(page.get_by_test_id("takeover-pid")).to_be_visible(timeout=READY_MS)
    shoot("takeover-what")
    page.get_by_test_id("takeover-next").click()
    page.get_by_test_id("takeover-system-name").fill("inherited")
    shoot("takeover-how")
    page.get_by_test_id("takeover-next").click()
    expect(page.get_by_test_id("takeover-leader")).to_be_visible(timeout=READY_MS)
    shoot("takeover-preview")
    context.close()
