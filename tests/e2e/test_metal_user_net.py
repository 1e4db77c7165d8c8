"""From a machine without power or operating system to a service that answers, without root: QEMU's user-mode network."""

import re
import urllib.request

import pytest
from playwright.sync_api import expect

from tests.fakes import chromium as browsers
from tests.fakes.bmc import bmc_of
from tests.fakes.chromium import chromium, english_page
from tests.fakes.console import let_proofs_age, sign_in
from tests.fakes.fleet import PASSWORD
from tests.fakes.ports import free_port
from tests.fakes.qemu import Disk, Metal
from tests.fakes.site import ADMIN, PAGE, SERVICE_PORT, Site, why_not

NOT_HERE = why_not() or browsers.why_not()
pytestmark = [pytest.mark.skipif(bool(NOT_HERE), reason=NOT_HERE), pytest.mark.timeout(600)]
READY_MS, WRITES_MS = 60_000, 120_000


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(tmp_path_factory.mktemp("site")) as running:
        running.start()
        yield running


@pytest.fixture
def pictures(test_output):
    folder = test_output / "metal"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def page(site):
    """A page where the administrator signed in a while ago."""
    with chromium() as browser, english_page(browser) as opened:
        sign_in(opened, site, ADMIN)
        expect(opened.get_by_test_id("nav-provisioning")).to_be_visible(timeout=READY_MS)
        let_proofs_age(site)
        yield opened


def approve(page, metal, pictures):
    """Say yes as a person does: look at the disks, type the serial number, prove to be there."""
    status = page.get_by_test_id("task-status")
    expect(status).to_have_attribute("data-state", "pending_approval", timeout=READY_MS)
    page.get_by_test_id("task-approve").click()
    disk, keep = (page.get_by_test_id("disks").locator("li", has_text=serial) for serial in ("DISK1", "KEEP"))
    expect(disk.get_by_test_id("erase")).to_be_visible(timeout=READY_MS)
    expect(keep.locator("input")).to_be_disabled()  # smaller than the image
    page.get_by_test_id("approve-typed").fill(metal.sn)
    page.screenshot(path=pictures / "approve.png", full_page=True)
    page.get_by_test_id("approve-ok").click()
    page.get_by_test_id("step-up-password").fill(PASSWORD)
    page.get_by_test_id("step-up-submit").click()
    expect(status).to_have_attribute("data-state", re.compile("approved|installing"), timeout=READY_MS)


def test_metal_becomes_a_node_that_serves(site, page, pictures, tmp_path):
    port = free_port()
    disks = (Disk("DISK1"), Disk("KEEP", 64, boots=False))
    with (
        Metal(tmp_path, "SN-USER-1", cable=site.cable((port, SERVICE_PORT)), disks=disks) as metal,
        bmc_of(metal) as bmc,
    ):
        machine = f"/machines/{site.idc}/{metal.sn}"
        site.call("PUT", f"{machine}/bmc", bmc)
        assert site.get(f"{machine}/power")["state"] == "off"
        site.order(metal, network={"hostname": "metal-1"}, power="auto")
        page.goto(f"{site.url}/provisioning/tasks/{site.idc}/{metal.sn}")
        waiting = site.wait_status(metal, "pending_approval")
        assert [change["status"] for change in waiting["status_history"]] == ["pending", "booting", "pending_approval"]
        power = site.get(f"{machine}/power")
        assert (power["state"], power["is_this_machine"]) == ("on", True)
        assert metal.written_bytes("DISK1") == 0

        approve(page, metal, pictures)
        expect(page.get_by_test_id("step-write-image")).to_contain_text("MB /", timeout=WRITES_MS)
        page.screenshot(path=pictures / "installing.png", full_page=True)
        done = site.wait_status(metal, "completed")
        assert (done["approval"]["by"], bool(done["approval"]["used_at"])) == (ADMIN, True)
        written = metal.written_bytes("DISK1")
        assert site.image.content_bytes <= written < 2 * site.image.content_bytes, (
            "once, and what its first boot writes"
        )

        node = site.wait_home(metal)
        assert (node["name"], node["macs"]) == ("metal-1", [metal.mac])
        assert "from its disk" in metal.console.text()  # the firmware asked the network first, and was sent away
        expect(page.get_by_test_id("task-node")).to_have_text("metal-1", timeout=READY_MS)
        page.screenshot(path=pictures / "home.png", full_page=True)

        instance = site.deploy_page(node)
        assert instance["state"] == "running"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
            assert answer.read().decode() == PAGE
        assert metal.written_bytes("KEEP") == 0
        assert site.operation(site.post(f"{machine}/power", {"action": "off"}))["state"] == "succeeded"
        assert not metal.is_on
