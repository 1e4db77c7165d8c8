"""What the console costs a browser: a node page of charts at a second, the fleet grid with 2 000 nodes, memory over time.

CPU is the time Chromium's main thread ran (`TaskDuration` in thread ticks), drawing in software. `--minutes 60` looks at
memory for the whole hour.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.bench.measure import emit
from tests.fakes.fleet import PASSWORD, Fleet, until

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
NODES = 2000
LOOK_S = 20
SETTLE_S = 5
LONG_TASKS = """() => { window.slowest = 0
    new PerformanceObserver(list => { for (const entry of list.getEntries())
        window.slowest = Math.max(window.slowest, entry.duration) }).observe({type: 'longtask'}) }"""


@contextmanager
def simulated(fleet: Fleet, count: int) -> Iterator[None]:
    """So many nodes that sample each second."""
    token = fleet.master_command("join-token", "create", "--uses", str(count)).strip()
    command = [sys.executable, "-m", "tests.bench.ops_sim", "--master", fleet.url, "--token", token]
    simulator = subprocess.Popen([*command, "--workers", str(count)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        until(lambda: count_online(fleet) >= count, f"{count} nodes online", 300)
        yield
    finally:
        simulator.terminate()
        simulator.wait(30)


def count_online(fleet: Fleet) -> int:
    """Return how many are online; none while a busy master takes its time to answer."""
    try:
        return int(fleet.get("/nodes?status=online&limit=1")["total"])
    except TimeoutError:
        return 0


def sign_in(browser: Any, fleet: Fleet) -> Any:
    """Return a page that is signed in."""
    page = browser.new_context(viewport={"width": 1600, "height": 1200}, locale="en-US").new_page()
    page.goto(f"{fleet.url}/login")
    page.locator("[data-test=login-username]").fill("admin")
    page.locator("[data-test=login-password]").fill(PASSWORD)
    page.locator("[data-test=login-submit]").click()
    page.locator("[data-test=link-state]").wait_for()
    return page


class Probe:
    """Reads what Chromium knows of a page."""

    def __init__(self, page: Any) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def read(self, name: str) -> float:
        """Return one of `Performance.getMetrics`."""
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return float(next(metric["value"] for metric in metrics if metric["name"] == name))

    def heap_mb(self) -> float:
        """Return the JavaScript heap after a full collection."""
        self._session.send("HeapProfiler.collectGarbage")
        return self.read("JSHeapUsedSize") / 1e6


def busy_percent(page: Any, probe: Probe) -> tuple[float, float]:
    """Return the share of a core of the page's main thread, and its longest task in milliseconds, while it only shows."""
    page.wait_for_timeout(SETTLE_S * 1000)
    page.evaluate(LONG_TASKS)
    before, began = probe.read("TaskDuration"), time.monotonic()
    page.wait_for_timeout(LOOK_S * 1000)
    share = 100 * (probe.read("TaskDuration") - before) / (time.monotonic() - began)
    return share, float(page.evaluate("window.slowest"))


def look_at(page: Any, probe: Probe, address: str, what: str) -> None:
    """Open a page and say what it costs to keep it open."""
    page.goto(address)
    share, slowest_ms = busy_percent(page, probe)
    emit(what, share, "% of a core", longest_task_ms=round(slowest_ms))


def main() -> None:
    """Measure all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("# no chromium here: nothing measured", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet, sync_playwright() as playwright:
        fleet.start_master()
        fleet.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        node = fleet.start_worker("w1")
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = sign_in(browser, fleet)
        probe = Probe(page)
        page.goto(f"{fleet.url}/nodes/{node}")
        page.locator("[data-test=node-charts]").wait_for()
        charts = page.locator("[data-test^=chart-] canvas").count()
        look_at(page, probe, f"{fleet.url}/nodes/{node}", f"console node page, {charts} charts at 1 s")
        with simulated(fleet, options.nodes):
            look_at(page, probe, fleet.url, f"console fleet grid, {options.nodes} nodes at 1 s")
            first = probe.heap_mb()
            page.wait_for_timeout(options.minutes * 60_000)
            grown = probe.heap_mb() - first
            emit(f"console heap growth over {options.minutes:g} min", grown, "MB", at_first=round(first, 1))
        browser.close()


if __name__ == "__main__":
    main()
