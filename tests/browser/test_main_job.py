"""The main job in a browser: set up, upload Debian's redis, deploy it, watch it run, read its log, stop and destroy it."""

import re
import socket

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import needs_debian, redis_zip  # noqa: F401 - fixtures
from tests.fakes.fleet import PASSWORD, Fleet, until

RUNNING_WITHIN_MS = 30_000


@pytest.fixture
def fleet(tmp_path):
    with Fleet(tmp_path) as running:
        running.start_master()
        running.start_worker("w1")
        yield running


def test_from_setup_to_destroyed(fleet, page, redis_zip, test_output):  # noqa: F811 - the fixture
    archive, port = redis_zip
    shots = Shots(page, test_output)
    set_up(page, fleet)
    shots.take("01-overview")

    page.get_by_test_id("nav-packages").click()
    page.get_by_test_id("package-file").set_input_files(archive)
    expect(page.get_by_test_id("package-row-redis-7.0.15")).to_be_visible(timeout=15_000)
    shots.take("02-packages")

    page.get_by_test_id("nav-systems").click()
    page.get_by_test_id("system-create").first.click()
    page.get_by_test_id("system-name").fill("shop")
    page.get_by_test_id("system-save").click()
    create_module(page, fleet)
    shots.take("03-module")

    deploy(page, fleet)
    instance = until(lambda: next(iter(fleet.get("/instances")["items"]), None), "an instance")
    row = page.get_by_test_id(f"instance-row-{instance['id']}")
    expect(row.get_by_test_id("instance-state").first).to_contain_text("running", timeout=RUNNING_WITHIN_MS)
    shots.take("04-running")
    assert ping(port) == b"+PONG\r\n"

    page.goto(f"{fleet.url}/instances/{instance['id']}")
    expect(page.get_by_test_id("log-view")).to_contain_text("Ready to accept connections", timeout=10_000)
    expect(page.get_by_test_id("link-state")).to_contain_text(re.compile("live", re.IGNORECASE))
    shots.take("05-instance")

    act(page, "instance-stop")
    expect(page.get_by_test_id("instance-state").first).to_contain_text("stopped", timeout=20_000)
    shots.take("06-stopped")
    act(page, "instance-destroy")
    until(lambda: fleet.get("/instances")["total"] == 0, "destroyed")
    page.get_by_test_id("nav-operations").click()
    expect(page.locator("[data-test^=operation-row-]")).to_have_count(3)
    shots.take("07-operations")


class Shots:
    """Screenshots kept as test output."""

    def __init__(self, page, folder) -> None:
        self._page = page
        self._folder = folder / "main-job"
        self._folder.mkdir(exist_ok=True)

    def take(self, name: str) -> None:
        self._page.screenshot(path=self._folder / f"{name}.png")


def set_up(page, fleet: Fleet) -> None:
    """Make the administrator with the code in the address, then sign in where the page asks for it."""
    code = (fleet.data / "setup-code").read_text().strip()
    page.goto(f"{fleet.url}/setup#code={code}")
    page.get_by_test_id("setup-username").fill("admin")
    page.get_by_test_id("setup-password").fill(PASSWORD)
    page.get_by_test_id("setup-submit").click()
    expect(page.get_by_test_id("nav-nodes").or_(page.get_by_test_id("login-username"))).to_be_visible(timeout=15_000)
    if page.get_by_test_id("login-username").is_visible():
        page.get_by_test_id("login-username").fill("admin")
        page.get_by_test_id("login-password").fill(PASSWORD)
        page.get_by_test_id("login-submit").click()
    expect(page.get_by_test_id("nav-nodes")).to_be_visible(timeout=15_000)


def create_module(page, fleet: Fleet) -> None:
    """Fill the module form: its package is the only one there."""
    until(lambda: fleet.get("/systems")["total"] == 1, "the system is stored")
    page.get_by_test_id("module-create").or_(page.get_by_test_id("panel-module-create")).first.click()
    page.get_by_test_id("module-name").fill("cache")
    page.get_by_test_id("module-package").select_option("redis")
    page.get_by_test_id("module-save").click()
    system = fleet.get("/systems")["items"][0]
    until(lambda: fleet.get(f"/systems/{system['id']}/modules")["total"] == 1, "the module is stored")


def deploy(page, fleet: Fleet) -> None:
    """Open the deploy panel and press the button."""
    page.get_by_test_id("deploy-open").or_(page.get_by_test_id("panel-deploy")).first.click()
    node = fleet.get("/nodes")["items"][0]
    box = page.get_by_test_id(f"deploy-node-{node['id']}")
    expect(box).to_be_visible()
    if not box.is_checked():
        box.check()
    page.get_by_test_id("deploy-submit").click()


def act(page, test_id: str) -> None:
    """Press an action and confirm it where it asks."""
    page.get_by_test_id(test_id).first.click()
    confirm = page.get_by_test_id("confirm-ok")
    expect(confirm.or_(page.get_by_test_id("instance-state").first).first).to_be_visible()
    if confirm.is_visible():
        confirm.click()


def ping(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        peer.sendall(b"PING\r\n")
        return peer.recv(64)
