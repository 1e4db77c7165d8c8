"""Machines on a segment of their own, where the region's DHCP and TFTP answer: from bare metal to a service. Needs root."""

import urllib.request

import pytest

from tests.fakes import lab as labs
from tests.fakes.lab import Lab
from tests.fakes.qemu import MIB, Disk, Metal
from tests.fakes.site import PAGE, SERVICE_PORT, Site, why_not

NO_LAB = why_not("uefi") or labs.why_not()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(NO_LAB), reason=NO_LAB), pytest.mark.timeout(900)]
GROWTH_BYTES = 64 * MIB  # what growing the root and the first boot write themselves


@pytest.fixture(scope="module")
def lab():
    with Lab() as segment:
        yield segment


@pytest.fixture(scope="module")
def site(lab, tmp_path_factory):
    with Site(tmp_path_factory.mktemp("site"), lab) as running:
        running.start()
        yield running


def install(site, metal, *disks, **wanted):
    """Bring a machine from its task to an online node; return the node."""
    site.order(metal, **wanted)
    metal.power_on()
    site.wait_status(metal, "pending_approval")
    site.approve(metal, *disks)
    site.wait_status(metal, "completed", within_s=180)
    written = metal.written_bytes(disks[0])
    assert site.image.content_bytes <= written < site.image.content_bytes + GROWTH_BYTES
    return site.wait_home(metal)


def check_service(site, node):
    assert site.deploy_page(node)["state"] == "running"
    with urllib.request.urlopen(f"http://{node['ip']}:{SERVICE_PORT}/", timeout=20) as answer:
        assert answer.read().decode() == PAGE


def test_bios_from_dhcp_to_service(site, lab, tmp_path):
    disks = (Disk("KEEP", 64, boots=False), Disk("DISK1"))
    with Metal(tmp_path, "SN-BIOS", cable=lab.tap(), disks=disks, mac="52:54:00:00:01:01") as metal:
        node = install(site, metal, "DISK1")
        assert metal.written_bytes("KEEP") == 0
        assert "Nothing to boot" in metal.console.text()  # finished: the network, asked first, sent it to its disk
        check_service(site, node)


@pytest.mark.long
def test_uefi_from_dhcp_to_service(site, lab, tmp_path):
    with Metal(tmp_path, "SN-UEFI", cable=lab.tap(), firmware="uefi", mac="52:54:00:00:01:02") as metal:
        node = install(site, metal, "DISK1")
        assert site.get(f"/machines/{site.idc}/SN-UEFI")["hardware"]["firmware"] == "uefi"
        check_service(site, node)
