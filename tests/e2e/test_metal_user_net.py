"""From a machine without an operating system to a service that answers, without root: QEMU's user-mode network."""

import urllib.request

import pytest

from tests.fakes.ports import free_port
from tests.fakes.qemu import MIB, Disk, Metal
from tests.fakes.site import PAGE, SERVICE_PORT, Site, why_not

pytestmark = [pytest.mark.skipif(bool(why_not()), reason=why_not()), pytest.mark.timeout(600)]
GROWTH_BYTES = 64 * MIB  # what growing the root and the first boot write themselves


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(tmp_path_factory.mktemp("site")) as running:
        running.start()
        yield running


def test_metal_becomes_a_node_that_serves(site, tmp_path):
    port = free_port()
    disks = (Disk("DISK1"), Disk("KEEP", 64, boots=False))
    with Metal(tmp_path, "SN-USER-1", cable=site.cable((port, SERVICE_PORT)), disks=disks) as metal:
        site.order(metal, network={"hostname": "metal-1"})
        metal.power_on()
        waiting = site.wait_status(metal, "pending_approval")
        assert [change["status"] for change in waiting["status_history"]] == ["pending", "booting", "pending_approval"]
        assert metal.written_bytes("DISK1") == 0
        site.approve(metal, "DISK1")
        done = site.wait_status(metal, "completed")
        assert done["approval"]["used_at"]
        written = metal.written_bytes("DISK1")
        assert site.image.content_bytes <= written < site.image.content_bytes + GROWTH_BYTES

        node = site.wait_home(metal)
        assert (node["name"], node["macs"]) == ("metal-1", [metal.mac])
        assert site.task(metal)["called_home_at"]
        assert "from its disk" in metal.console.text()  # the firmware asked the network first, and was sent away

        instance = site.deploy_page(node)
        assert instance["state"] == "running"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
            assert answer.read().decode() == PAGE
        assert metal.written_bytes("KEEP") == 0
