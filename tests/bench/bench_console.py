"""The console with 200 nodes: bytes of the first load (gzip), and the first paint of a browser with an empty cache."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.bench.measure import emit, median
from tests.fakes.fleet import PASSWORD, Fleet, until

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = ROOT / "ops_system/master/console"
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
NODES, ROUNDS = 200, 7
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


def first_load_kib() -> float:
    """Return the compressed size of index.html and everything it names."""
    page = (CONSOLE / "index.html").read_text(encoding="utf-8")
    names = ["index.html", *re.findall(r'(?:src|href)="/([^"]+\.(?:js|css))"', page)]
    return sum((CONSOLE / f"{name}.gz").stat().st_size for name in names if (CONSOLE / f"{name}.gz").exists()) / 1024


def paint_s(browser: Any, fleet: Fleet) -> float:
    """Sign in with an empty cache, open the overview anew, return the seconds to its first contentful paint."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US")
    page = context.new_page()
    page.goto(f"{fleet.url}/login")
    page.locator("[data-test=login-username]").fill("admin")
    page.locator("[data-test=login-password]").fill(PASSWORD)
    page.locator("[data-test=login-submit]").click()
    page.locator("[data-test=link-state]").wait_for()
    context.new_cdp_session(page).send("Network.clearBrowserCache")
    page.goto(f"{fleet.url}/nodes")
    page.locator("[data-test^=node-row-]").first.wait_for()
    value = float(page.evaluate(FIRST_PAINT))
    context.close()
    return value / 1000


def main() -> None:
    """Measure both."""
    emit("console first load", first_load_kib(), "KiB gzip")
    chromium = shutil.which("chromium")
    if chromium is None:
        print("# no chromium here: first paint not measured", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet, sync_playwright() as playwright:
        fleet.start_master()
        fleet.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        token = fleet.master_command("join-token", "create", "--uses", str(NODES)).strip()
        command = [sys.executable, "-m", "tests.bench.ops_sim", "--master", fleet.url, "--token", token]
        simulator = subprocess.Popen([*command, "--workers", str(NODES)], cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            until(lambda: fleet.get("/nodes?status=online&limit=1")["total"] >= NODES, f"{NODES} nodes online", 120)
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            values = [paint_s(browser, fleet) for _ in range(ROUNDS)]
            browser.close()
            emit(f"console first paint with {NODES} nodes", median(values), "s", worst=round(max(values), 3))
        finally:
            simulator.terminate()
            simulator.wait(10)


if __name__ == "__main__":
    main()
