"""Layouts that the agent makes itself, on two disks of a machine in QEMU, and its hardware tests."""

import urllib.parse

import pytest

from tests.fakes import ostree
from tests.fakes.qemu import Disk, Metal
from tests.fakes.site import Site, why_not

NO = why_not() or ostree.why_not()
pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(NO), reason=NO), pytest.mark.timeout(1500)]
DISKS = (Disk("DISK1", 2048), Disk("DISK2", 2048), Disk("KEEP", 64))
RAID_LVM = {
    "kind": "plain",
    "disks": 2,
    "partitions": [
        {"name": "swap", "size": "64MiB", "filesystem": "swap"},
        {"name": "raid", "size": "rest", "filesystem": "raid"},
    ],
    "raid": [{"name": "md0", "level": "1", "partition": "raid", "filesystem": "lvm"}],
    "volume_groups": [
        {
            "name": "vg0",
            "members": ["md0"],
            "volumes": [
                {"name": "root", "size": "1400MiB", "filesystem": "ext4", "mount": "/"},
                {"name": "data", "size": "rest", "filesystem": "xfs", "mount": "/data"},
            ],
        }
    ],
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(tmp_path_factory.mktemp("site")) as running:
        running.start()
        upload_tree(running)
        yield running


def upload_tree(site) -> None:
    path = ostree.tree()
    told = {"name": "debian-tree", "version": "1", "format": "tar.zst", "os_type": "Debian", "os_version": "11"}
    site.call(
        "POST",
        f"/images?{urllib.parse.urlencode(told)}",
        path.read_bytes(),
        media="application/octet-stream",
        timeout_s=120,
    )


def on_node(site, node, command: str) -> str:
    answer = site.post(f"/nodes/{node['id']}/exec", {"command": command, "timeout_s": 60})
    assert answer["exit_code"] == 0, answer
    return str(answer["stdout"])


def test_raid_and_lvm_on_two_disks(site, tmp_path):
    with Metal(tmp_path, "SN-RAID", cable=site.cable(), disks=DISKS, memory_mib=1024) as metal:
        site.order(metal, os_version="11", disk_layout=RAID_LVM, network={"hostname": "raid-1"})
        metal.power_on()
        site.wait_status(metal, "pending_approval")
        site.approve(metal, "DISK1", "DISK2")
        site.wait_status(metal, "completed", within_s=900)
        assert metal.written_bytes("KEEP") == 0
        node = site.wait_home(metal, within_s=240)
        assert "md0 : active raid1" in on_node(site, node, "cat /proc/mdstat")
        mounts = on_node(site, node, "cat /proc/mounts")
        assert "/dev/mapper/vg0-root / ext4" in mounts
        assert "/dev/mapper/vg0-data /data xfs" in mounts
        assert len(on_node(site, node, "cat /proc/swaps").splitlines()) == 3


def test_hardware_tests_write_nothing(site, tmp_path):
    profile = {
        "name": "burn-in",
        "os_type": "Debian",
        "os_version": "12",
        "method": "hardware_test",
        "hardware_tests": ["memory", "disk", "nic"],
    }
    site.post("/profiles", profile)
    with Metal(tmp_path, "SN-TEST", cable=site.cable(), disks=DISKS[1:], memory_mib=512) as metal:
        site.order(metal, profile="burn-in")
        metal.power_on()
        site.wait_status(metal, "pending_approval")
        site.approve(metal)
        done = site.wait_status(metal, "completed", within_s=300)
        assert [step["step"] for step in done["progress"]] == ["test-memory", "test-disk", "test-nic"]
        assert [metal.written_bytes(serial) for serial in ("DISK2", "KEEP")] == [0, 0]
