"""The pictures of the README, taken from the console as it is: `python -m tests.browser.pictures`. Writes docs/images."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.fakes.chromium import ARGUMENTS, CHROMIUM
from tests.fakes.console import sign_in
from tests.fakes.fleet import Fleet
from tests.fakes.provisioning import Site
from tests.fakes.showcase import showcase

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
SIZE = {"width": 1280, "height": 720}
MEASURED_MS = 35_000
SETTLED_MS = 1_500
LANGUAGES = {"en": "en-US", "zh": "zh-CN"}
MACHINE, MAC = "R740-0417", "00:1a:2b:3c:4d:17"
COMMANDS = ("uptime", "df -h / /tmp", "free -h")


def show_overview(page: Any, fleet: Fleet) -> None:
    """Open the overview."""
    page.goto(f"{fleet.url}/")


def show_node(page: Any, fleet: Fleet) -> None:
    """Open a node with the charts of the last minute."""
    page.goto(f"{fleet.url}/nodes/{_web_1(fleet)}?range=1m")


def show_terminal(page: Any, fleet: Fleet) -> None:
    """Open a terminal and type a few commands."""
    page.goto(f"{fleet.url}/terminal?node={_web_1(fleet)}")
    page.locator(".xterm-helper-textarea").wait_for(state="attached")
    page.wait_for_timeout(SETTLED_MS)
    for command in COMMANDS:
        page.keyboard.type(f"{command}\n")
        page.wait_for_timeout(SETTLED_MS // 3)


def show_alerts(page: Any, fleet: Fleet) -> None:
    """Open what fires, with one alert beside."""
    first = fleet.get("/alerts?state=firing")["items"][0]["id"]
    page.goto(f"{fleet.url}/alerts/{first}?range=1m")


def show_rollout(page: Any, fleet: Fleet) -> None:
    """Open the plan of a module's new version."""
    module = next(one for one in fleet.get("/instances")["items"] if one["version"] == "2.3.0")
    page.goto(f"{fleet.url}/systems/{module['system_id']}/modules/{module['module_id']}")
    page.get_by_test_id("panel-rollout").click()
    page.get_by_test_id("rollout-plan").wait_for()


def show_approval(page: Any, fleet: Fleet) -> None:
    """Open the approval of a machine, one disk chosen."""
    page.goto(f"{fleet.url}/provisioning/tasks/dc1/{MACHINE}/approve")
    page.get_by_test_id("disk-nvme0n1").locator("input").check()


PAGES: dict[str, Callable[[Any, Fleet], None]] = {
    "overview": show_overview,
    "node": show_node,
    "terminal": show_terminal,
    "alerts": show_alerts,
    "rollout": show_rollout,
    "approval": show_approval,
}


def _web_1(fleet: Fleet) -> str:
    return str(next(node["id"] for node in fleet.get("/nodes?limit=500")["items"] if node["name"] == "web-1"))


def take(browser: Any, fleet: Fleet, language: str) -> None:
    """Sign in and take every page in one language."""
    context = browser.new_context(viewport=SIZE, locale=LANGUAGES[language], color_scheme="light")
    page = context.new_page()
    sign_in(page, fleet, "admin")
    page.get_by_test_id("link-state").wait_for()
    for name, show in PAGES.items():
        show(page, fleet)
        page.wait_for_timeout(SETTLED_MS)
        page.screenshot(path=IMAGES / f"{name}-light-{language}.png")
    context.close()


def main() -> None:
    """Fill a fleet, let it be measured for a minute, and take the pictures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        showcase(Path(folder)) as fleet,
        Site(fleet, "dc1") as site,
        sync_playwright() as playwright,
    ):
        site.open()
        site.create(MACHINE, MAC)
        site.report(MACHINE, MAC)
        playwright.selectors.set_test_id_attribute("data-test")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        browser.new_page().wait_for_timeout(MEASURED_MS)
        for language in LANGUAGES:
            take(browser, fleet, language)
        browser.close()


if __name__ == "__main__":
    main()
