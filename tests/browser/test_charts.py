"""Charts, the node's page, the fleet grid and the palette in a browser, against a real master, worker and service."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.fakes.chromium import is_fault
from tests.fakes.fleet import PASSWORD, Fleet, free_port, pack, until

ROOT = Path(__file__).resolve().parents[2]
SETTLED_S = 6  # seconds of measurements before a chart is looked at


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """One node with one service and a version of the worker in the catalogue."""
    folder = tmp_path_factory.mktemp("charts")
    with Fleet(folder) as running:
        running.start_master()
        running.start_worker("w1")
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        package = running.upload(pack(ROOT / "examples/http-service", folder / "http.zip"))
        running.deploy(package, node_id(running), name="web", ports={"http": free_port()})
        running.upload(pack(worker_package(folder / "ops-worker"), folder / "worker.zip"))
        until(lambda: count_points(running) > SETTLED_S, "a few seconds of measurements")
        yield running


def worker_package(folder: Path) -> Path:
    folder.mkdir()
    program = folder / "worker"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    manifest = {"name": "ops-worker", "version": "9.9.9", "entrypoint": "worker", "os": "linux", "arch": "any"}
    (folder / "service.json").write_text(json.dumps(manifest))
    return folder


def node_id(fleet: Fleet) -> str:
    return str(fleet.get("/nodes")["items"][0]["id"])


def count_points(fleet: Fleet) -> int:
    return len(fleet.get(f"/nodes/{node_id(fleet)}/metrics?series=cpu_percent")["series"]["cpu_percent"])


@pytest.fixture(scope="module")
def console(fleet, browser):
    """One page that is signed in; a script error fails the file."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US", color_scheme="light")
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)) if is_fault(str(error)) else None)
    page.goto(f"{fleet.url}/login")
    page.get_by_test_id("login-username").fill("admin")
    page.get_by_test_id("login-password").fill(PASSWORD)
    page.get_by_test_id("login-submit").click()
    expect(page.get_by_test_id("link-state")).to_have_attribute("data-phase", "live", timeout=15_000)
    yield page
    context.close()
    assert errors == []


def drag(page, chart: str, start: float, end: float) -> None:
    """Drag over a part of a chart's width."""
    box = page.locator(f"[data-test={chart}] .u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] * start, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, box["y"] + 50, steps=4)
    page.mouse.up()


def is_drawn(page, chart: str) -> bool:
    """Is anything but the grid's own colours on the canvas: a line in the accent colour?"""
    script = """canvas => { const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
        for (let i = 0; i < data.length; i += 4)
            if (data[i+3] > 200 && data[i+2] > 180 && data[i] < 80) return true
        return false }"""
    return bool(page.locator(f"[data-test={chart}] canvas").evaluate(script))


def test_a_zoom_stands_in_the_address_and_back_leaves_it(fleet, console, test_output):
    page = console
    address = f"{fleet.url}/nodes/{node_id(fleet)}"
    page.goto(f"{address}?range=1m")
    chart = page.get_by_test_id("chart-cpu")
    expect(chart.locator(".value").first).to_have_text(re.compile(r"\d %$"), timeout=10_000)
    until(lambda: is_drawn(page, "chart-cpu"), "a line on the canvas")
    page.screenshot(path=test_output / "charts-node.png")

    drag(page, "chart-mem", 0.3, 0.9)
    expect(page.get_by_test_id("chart-zoom")).to_be_visible()
    zoomed = re.search(r"from=(\d+)&to=(\d+)", page.url)
    assert zoomed is not None
    assert 25 < int(zoomed[2]) - int(zoomed[1]) < 45
    page.reload()
    expect(page.get_by_test_id("chart-zoom")).to_be_visible(timeout=10_000)
    assert zoomed[0] in page.url

    page.locator("[data-test=chart-cpu] .u-over").dblclick()
    expect(page.get_by_test_id("chart-zoom")).to_be_hidden()
    page.get_by_test_id("range-1h").click()
    expect(page.get_by_test_id("range-1h")).to_have_attribute("aria-checked", "true")
    assert page.url.endswith("?range=1h")
    page.go_back()
    expect(page.get_by_test_id("range-1m")).to_have_attribute("aria-checked", "true")
    page.go_back()
    expect(page.get_by_test_id("chart-zoom")).to_be_visible()


def test_all_charts_share_the_cross_hair_by_pointer_and_by_key(fleet, console):
    page = console
    page.goto(f"{fleet.url}/nodes/{node_id(fleet)}?range=1m")
    plot = page.locator("[data-test=chart-cpu] .u-over")
    expect(plot).to_be_visible(timeout=10_000)
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + 30)
    there = page.get_by_test_id("chart-mem").locator("time")
    expect(there).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    expect(page.get_by_test_id("chart-load").locator("time")).to_have_text(there.inner_text())
    page.mouse.move(5, 5)
    expect(there).to_have_text("")

    page.get_by_test_id("chart-cpu").locator(".box").focus()
    page.keyboard.press("ArrowLeft")
    expect(there).not_to_have_text("")


def test_the_live_link_appends_each_second(fleet, console):
    page = console
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/metrics?" in request.url else None)
    page.goto(f"{fleet.url}/nodes/{node_id(fleet)}?range=1m")
    box = page.get_by_test_id("chart-cpu").locator(".box")
    box.focus()
    first = until(lambda: box.get_attribute("aria-label"), "the chart in words")
    until(lambda: box.get_attribute("aria-label") != first, "a newer second in words")
    assert len(asked) == 1, asked


def test_the_tabs_of_a_node_show_its_logs_and_terminals(fleet, console, test_output):
    page = console
    page.goto(f"{fleet.url}/nodes/{node_id(fleet)}")
    page.get_by_test_id("tab-logs").click()
    expect(page.get_by_test_id("log-view")).to_contain_text("listening on", timeout=10_000)
    assert "tab=logs" in page.url
    page.screenshot(path=test_output / "charts-node-logs.png")
    page.get_by_test_id("tab-terminal").click()
    expect(page.get_by_test_id("node-terminal-new")).to_be_visible()
    page.get_by_test_id("node-terminal-new").click()
    expect(page.locator(".xterm").first).to_be_visible(timeout=15_000)


def test_an_update_of_the_worker_is_ordered_and_followed_in_place(fleet, console, test_output):
    page = console
    page.goto(f"{fleet.url}/nodes/{node_id(fleet)}")
    page.get_by_test_id("node-more").click()
    page.get_by_test_id("node-update").click()
    expect(page.get_by_test_id("update-version")).to_contain_text("9.9.9")
    page.screenshot(path=test_output / "charts-node-update.png")
    page.get_by_test_id("update-order").click()
    state = page.get_by_test_id("operation-note-state")
    # This worker runs from source: it refuses, and its words are shown.
    expect(state).to_have_attribute("data-state", "failed", timeout=15_000)


def test_the_fleet_grid_is_walked_by_keys(fleet, console):
    page = console
    page.goto(fleet.url)
    grid = page.get_by_test_id("fleet-grid")
    expect(grid).to_be_visible(timeout=10_000)
    page.get_by_test_id("fleet-by-load").click()
    assert "metric=load" in page.url
    grid.focus()
    expect(page.get_by_test_id("fleet-tip")).to_contain_text("w1")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(rf"/nodes/{node_id(fleet)}$"))


def test_the_palette_acts_and_remembers(fleet, console):
    page = console
    page.goto(f"{fleet.url}/nodes")
    expect(page.get_by_test_id("table-filter")).to_be_visible(timeout=10_000)
    page.keyboard.press("Control+k")
    page.get_by_test_id("palette-input").fill("restart web on w1")
    expect(page.locator("[data-test^=palette-restart-]")).to_have_count(1)
    page.keyboard.press("Enter")
    page.get_by_test_id("confirm-cancel").click()
    expect(page).to_have_url(re.compile("/instances/"))
    expect(page.get_by_test_id("confirm-cancel")).to_be_hidden()
    page.keyboard.press("Control+k")
    expect(page.locator("[role=option]").first).to_have_attribute("data-test", re.compile("palette-restart-"))
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile(r"/systems$"))
