"""Every page in light and dark, Chinese and English, wide and narrow: nothing overflows, nothing is untranslated."""

import functools
import itertools
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.fakes.chromium import is_fault
from tests.fakes.console import sign_in
from tests.fakes.fleet import PASSWORD, Fleet, free_port, pack, until
from tests.fakes.provisioning import Site

ROOT = Path(__file__).resolve().parents[2]
SIMULATED = 24
WARM = {"name": "Warm", "condition": {"kind": "node_metric", "series": "cpu_percent", "op": ">=", "fire_level": 0}}
NIGHTLY = {"name": "nightly", "kind": "backup", "cron": "30 3 * * *", "timezone": "Asia/Shanghai", "params": {}}
LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()
SIZES = {"wide": (1600, 900), "narrow": (375, 812)}
HUGE = {"huge": (3840, 2160)}
NAMELESS = """() => [...document.querySelectorAll('button, a, input, select, textarea')]
  .filter((one) => one.checkVisibility() && one.type !== 'hidden')
  .filter((one) => !one.labels?.length && !one.title && !one.ariaLabel && !one.getAttribute('aria-labelledby'))
  .filter((one) => !['BUTTON', 'A'].includes(one.tagName) || !one.textContent.trim())
  .map((one) => one.outerHTML.slice(0, 160))"""
"""The visible controls nobody could call by a name."""
ALWAYS = {("light", "en-US", "wide"), ("dark", "zh-CN", "narrow")}
LOOKS = [
    pytest.param(look, marks=() if look in ALWAYS else pytest.mark.long, id="-".join(look))
    for look in [*itertools.product(("light", "dark"), ("en-US", "zh-CN"), SIZES), ("dark", "en-US", "huge")]
]
"""Each theme, language and size with each other one; two opposite ones in every run."""
TOO_WIDE = """() => ['html', 'main', 'aside > .body']
  .flatMap((name) => [...document.querySelectorAll(name)].map((one) => [name, one.scrollWidth - one.clientWidth]))
  .filter(([, pixels]) => pixels > 0)"""
"""What must be turned sideways to be read, and by how many pixels; tables and logs bring their own bars."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """A small fleet with one real service and some simulated nodes."""
    folder = tmp_path_factory.mktemp("pages")
    with Fleet(folder) as running:
        running.start_master()
        node_id = running.start_worker("w1")
        package = running.upload(pack(ROOT / "examples/http-service", folder / "http.zip"))
        url = "https://hooks.example/ops"
        running.post("/channels", {"name": "on-call", "kind": "webhook", "url": url, "secret": "a long random text"})
        running.upload(pack(ROOT / "examples/noisy-logger", folder / "noisy.zip"))
        running.deploy(package, node_id, name="web", ports={"http": free_port()})
        running.operation(running.post("/exec", {"node_ids": [node_id], "command": "uname -a; df -h >&2; exit 3"}))
        running.post("/alert-rules", WARM)
        running.operation(running.post("/backups", {"note": "the first"}))
        running.post("/schedules", NIGHTLY)
        running.post(
            "/silences", {"reason": "a rack is moved", "matchers": {"labels": {"rack": "7"}}, "ends_at": LATER}
        )
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        install_machines(running)
        token = running.master_command("join-token", "create", "--uses", str(SIMULATED)).strip()
        command = [sys.executable, "-m", "tests.bench.ops_sim", "--master", running.url, "--token", token]
        with (folder / "sim.log").open("wb") as log:
            simulator = subprocess.Popen(
                [*command, "--workers", str(SIMULATED)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            until(lambda: running.get("/nodes?status=online&limit=1")["total"] > SIMULATED, "simulated nodes online")
            until(lambda: running.get("/alerts?state=firing&limit=1")["total"] > 0, "an alert")
            yield running
        finally:
            simulator.terminate()
            simulator.wait(10)


def install_machines(fleet: Fleet) -> None:
    """Bring in a data centre with machines that wait, are approved, and are written; and one nobody asked for."""
    with Site(fleet, "dc1") as site:
        site.open()
        for number in range(1, 4):
            site.create(f"SN-{number}", f"00:1a:2b:3c:4d:0{number}", tags={"rack": "7"})
        for number in range(2, 4):
            site.report(f"SN-{number}", f"00:1a:2b:3c:4d:0{number}")
        site.approve("SN-3", ["S4EVNX0R100001"])
        site.install("SN-3")
        site.tell("SN-3", "write-image", 40, 800_000_000, 2_000_000_000, "write-image: began", "write-image: 800 MB")
        site.report("SN-9", "00:1a:2b:3c:4d:09")
    fleet.call("PUT", "/machines/dc1/SN-2/bmc", {"kind": "manual"})
    fleet.post("/approval-rules", {"name": "rack 7", "max_uses": 5, "idc": "dc2", "tags": {"rack": "7"}})
    cards = [{"mac": "00:1a:2b:3c:4d:01", "address": "10.0.0.5/24", "gateway": "10.0.0.1"}, {"mac": "001a2b3c4d02"}]
    debian = {"os_type": "Debian", "os_version": "12", "method": "preseed"}
    fleet.post("/profiles", {"name": "web", **debian, "network": {"interfaces": cards, "dns": ["10.0.0.2"]}})


Pages = dict[str, str]
"""Addresses of pages by name."""


def fleet_pages(fleet: Fleet) -> tuple[Pages, Pages]:
    """Nodes, systems and what is done with them."""
    node = next(node for node in fleet.get("/nodes?limit=500")["items"] if node["name"] == "w1")
    instance = fleet.get("/instances")["items"][0]
    return {
        "overview": "/",
        "nodes": "/nodes",
        "node": f"/nodes/{node['id']}",
        "node-hardware": f"/nodes/{node['id']}?tab=hardware",
        "node-events": f"/nodes/{node['id']}?tab=events",
        "systems": "/systems",
        "packages": "/packages",
        "instance": f"/instances/{instance['id']}",
        "commands": f"/commands?nodes={node['id']}",
        "command-run": f"/commands/{fleet.get('/exec')['items'][0]['id']}",
        "operations": "/operations",
    }, {
        "package": "/packages/http-service/1.0.0",
        "retention": "/packages?retention=1",
        "merged-log": f"/systems/{instance['system_id']}/logs",
        "operation": f"/operations/{fleet.get('/operations')['items'][0]['id']}",
    }


def watch_pages(fleet: Fleet) -> tuple[Pages, Pages]:
    """Alerts, and what happens by the clock."""
    return {
        "alerts": "/alerts",
        "alert": f"/alerts/{fleet.get('/alerts?state=firing')['items'][0]['id']}",
        "alert-history": "/alerts/history",
        "alert-rules": "/alerts/rules",
        "alert-rule-form": "/alerts/rules/new",
        "silences": "/alerts/silences",
        "silence-form": "/alerts/silences/new",
    }, {
        "schedules": "/schedules",
        "schedule": f"/schedules/{fleet.get('/schedules')['items'][0]['id']}",
        "schedule-form": "/schedules/new?kind=exec",
        "backups": "/backups",
        "backup": f"/backups/{fleet.get('/backups')['items'][0]['name']}",
        "backup-form": "/backups/new",
        "backup-settings": "/backups/settings",
    }


def people_pages(fleet: Fleet) -> tuple[Pages, Pages]:
    """Who may do what, and where notices go."""
    return {
        "audit": "/audit",
        "profile": "/settings/profile",
        "users": "/settings/users",
        "user-form": "/settings/users/new",
        "tokens": "/settings/tokens",
        "token-form": "/settings/tokens/new",
        "join-tokens": "/settings/join-tokens",
        "channels": "/settings/channels",
        "channel": f"/settings/channels/{fleet.get('/channels')['items'][0]['id']}",
        "channel-form": "/settings/channels/new",
        "sessions": "/settings/sessions",
        "security": "/settings/security",
    }, {"recordings": "/terminal/recordings"}


def installation_pages(_fleet: Fleet) -> tuple[Pages, Pages]:
    """Bare machines."""
    return {
        "tasks": "/provisioning/tasks",
        "task": "/provisioning/tasks/dc1/SN-3",
        "approval": "/provisioning/tasks/dc1/SN-2/approve",
        "machines": "/provisioning/machines",
        "idcs": "/provisioning/idcs",
        "images": "/provisioning/images",
        "install-profiles": "/provisioning/profiles",
    }, {
        "task-form": "/provisioning/tasks/new",
        "task-table": "/provisioning/tasks/bulk",
        "machine": "/provisioning/machines/dc1/SN-2",
        "unmatched": "/provisioning/unmatched",
        "idc": "/provisioning/idcs/dc1",
        "image-form": "/provisioning/images/new",
        "install-profile": "/provisioning/profiles/web",
        "profile-preview": "/provisioning/profiles/web?tab=preview",
        "approval-rules": "/provisioning/rules",
        "approval-rule-form": "/provisioning/rules/new",
    }


GROUPS = (watch_pages, fleet_pages, people_pages, installation_pages)
"""About a dozen pages each, so that a test has time on a busy machine; of the second of each pair a short look sees
every other one."""


@pytest.fixture(scope="module")
def new_context(browser, fleet):
    """What opens a browser's context in which the administrator has signed in."""
    context = browser.new_context()
    page = context.new_page()
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("link-state")).to_be_visible(timeout=40_000)
    kept = context.storage_state()
    context.close()
    return functools.partial(browser.new_context, storage_state=kept)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__.removesuffix("_pages"))
def test_every_page_fits_and_is_translated(fleet, new_context, test_output, group, look):
    pages, more = group(fleet)
    further = list(more.items())
    if look in ALWAYS:
        further = further[sorted(ALWAYS).index(look) :: 2]
    scheme, locale, width = look
    across, down = (SIZES | HUGE)[width]
    context = new_context(viewport={"width": across, "height": down}, locale=locale, color_scheme=scheme)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)) if is_fault(str(error)) else None)
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" and is_fault(line.text) else None)
    folder = test_output / "pages"
    folder.mkdir(exist_ok=True)
    for name, path in [*pages.items(), *further]:
        page.goto(fleet.url + path)
        expect(page.get_by_test_id("link-state")).to_be_visible(timeout=40_000)
        page.wait_for_load_state("networkidle", timeout=40_000)
        page.screenshot(path=folder / f"{name}-{scheme}-{locale[:2]}-{width}.png")
        check_page(page, name, locale, width)
    assert errors == []
    context.close()


def check_page(page, name: str, locale: str, width: str) -> None:
    """Nothing is too wide, every control has a name, and it speaks the language."""
    assert page.evaluate(TOO_WIDE) == [], f"{name} is too wide"
    assert page.evaluate(NAMELESS) == [], f"controls of {name} without a name"
    assert page.evaluate("document.documentElement.lang").startswith(locale[:2])
    words = page.locator("body").inner_text()
    assert ("系统" in words) is (locale == "zh-CN") or width == "narrow"
