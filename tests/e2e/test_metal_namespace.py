"""Machines on a segment of their own, where the region's DHCP and TFTP answer: from bare metal to a service. Needs root."""

import json
import urllib.request
from contextlib import ExitStack

import pytest

from tests.fakes import lab as labs
from tests.fakes.lab import Lab
from tests.fakes.qemu import Disk, Metal
from tests.fakes.site import PAGE, SERVICE_PORT, Site, why_not

NO_LAB = why_not("uefi") or labs.why_not()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(NO_LAB), reason=NO_LAB), pytest.mark.timeout(900)]


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
    assert site.image.content_bytes <= written < 2 * site.image.content_bytes, "once, and what its first boot writes"
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
def test_uefi_from_dhcp_to_service_and_to_its_disk_ever_after(site, lab, tmp_path):
    with Metal(tmp_path, "SN-UEFI", cable=lab.tap(), firmware="uefi", mac="52:54:00:00:01:02") as metal:
        node = install(site, metal, "DISK1")
        assert site.get(f"/machines/{site.idc}/SN-UEFI")["hardware"]["firmware"] == "uefi"
        check_service(site, node)
        start_again(metal, "disk")
        assert "this machine starts from its disk" not in metal.console.text()
        # The network first: its firmware would try IPv6 and HTTP for minutes; it is led to its disk instead.
        start_again(metal, "network")
        assert "completed: this machine starts from its disk" in metal.console.text()
        assert "starting (hd0,gpt2)/EFI/BOOT/BOOTX64.EFI" in metal.console.text()
        assert site.task(metal)["status"] == "completed"


def start_again(metal, first):
    metal.cut_power()
    metal.console.mark()
    metal.power_on(first)
    metal.console.wait_for("login:")
    assert "init: address" not in metal.console.text()  # the agent's ramdisk


@pytest.mark.long
def test_uefi_without_ipxe_in_its_card_reports(site, lab, tmp_path):
    """Its own PXE loads iPXE by TFTP, and that one kernel and agent by HTTP."""
    with Metal(tmp_path, "SN-PXE", cable=lab.tap(), firmware="uefi", mac="52:54:00:00:01:03", has_ipxe=False) as metal:
        site.order(metal)
        metal.power_on("network")
        site.wait_status(metal, "pending_approval")
        assert metal.written_bytes("DISK1") == 0
        assert sent_by_tftp(site) == {"snponly.efi"}


def sent_by_tftp(site):
    with urllib.request.urlopen(f"{site.region_url}/api/v1/pxe/tftp/status", timeout=20) as answer:
        transfers = json.load(answer)["transfers"]
    return {each["name"] for each in transfers if each["outcome"] == "sent"}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_four_machines_at_once(site, lab, tmp_path):
    with ExitStack() as stack:
        four = [stack.enter_context(one_of_four(lab, tmp_path, number)) for number in range(4)]
        for metal in four:
            site.order(metal, network={"hostname": metal.sn.lower()})
            metal.power_on()
        for metal in four:
            site.wait_status(metal, "pending_approval", within_s=400)
        for number, metal in enumerate(four):
            site.approve(metal, f"FOUR{number}")
        for metal in four:
            site.wait_status(metal, "completed", within_s=500)
        for number, metal in enumerate(four):
            written = metal.written_bytes(f"FOUR{number}")
            # The first to be done has booted and writes its own while the last is waited for: the image once, not twice.
            assert site.image.content_bytes <= written < 2 * site.image.content_bytes, metal.sn
            assert metal.written_bytes("KEEP") == 0
        nodes = [site.wait_home(metal, within_s=500.0) for metal in four]  # four emulated boots on a busy machine
        assert [node["name"] for node in nodes] == [metal.sn.lower() for metal in four]
        assert [node["macs"] for node in nodes] == [[metal.mac] for metal in four]
        assert len({node["id"] for node in nodes}) == len(four)


def one_of_four(lab, folder, number):
    disks, mac = (Disk(f"FOUR{number}"), Disk("KEEP", 64)), f"52:54:00:00:01:1{number}"
    return Metal(folder, f"SN-FOUR-{number}", cable=lab.tap(), disks=disks, mac=mac)
