"""The agent's steps as root on loop devices with the real programs; the kernel's own counters say what was written.

The kernel here has neither md nor device mapper where this runs mostly: arrays and volumes are proven in QEMU.
"""

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

import msgspec
import pytest

from ops_system.installer.agent import Agent
from ops_system.installer.hands import RealHands
from ops_system.installer.inventory import Inventory, partitions_of, probe_device
from ops_system.installer.parsers import blkid_value, signatures_of
from ops_system.installer.region import Region
from ops_system.model.layouts import DiskLayout, NetworkConfig, Partition
from ops_system.model.machines import DiskInfo, Hardware
from ops_system.model.tasks import ImageRef
from ops_system.protocol.agent import InstallConfig, NextData, NextOperation
from tests.fakes.region_server import FakeRegion, serving

MIB = 1024 * 1024
DISK_BYTES = 192 * MIB
SN = "loop-1"
NEEDED = ("losetup", "sfdisk", "wipefs", "blkid", "blockdev", "mkfs.ext4", "resize2fs", "zstd")
SECTOR = 512


def can_run() -> bool:
    if os.geteuid() != 0 or any(shutil.which(name) is None for name in NEEDED):
        return False
    return subprocess.run(["losetup", "--find"], capture_output=True).returncode == 0


pytestmark = [pytest.mark.root, pytest.mark.skipif(not can_run(), reason="needs root, loop devices and disk tools")]


class LoopHands(RealHands):
    """The real hands; the machine they find is made of loop devices, each with a serial."""

    def __init__(self, disks: dict[str, str], target: Path) -> None:
        super().__init__(sn=SN, target=target)
        self.disks = disks  # serial -> name

    def inventory(self) -> Inventory:
        found = []
        for serial, name in self.disks.items():
            size = int(Path(f"/sys/block/{name}/size").read_text()) * SECTOR
            exports = [probe_device(f"/dev/{part}") for part in (name, *partitions_of(name))]
            found.append(DiskInfo(name, size, serial=serial, signatures=signatures_of(exports)))
        return Inventory(SN, "uuid-1", "52:54:00:00:00:01", Hardware(disks=tuple(found)))


@pytest.fixture
def loops(tmp_path):
    """Two loop devices, DISK1 and DISK2."""
    made = {}
    with contextlib.ExitStack() as stack:
        for serial in ("DISK1", "DISK2"):
            file = tmp_path / f"{serial}.img"
            with file.open("wb") as out:
                out.truncate(DISK_BYTES)
            done = subprocess.run(
                ["losetup", "--find", "--show", "--partscan", str(file)], capture_output=True, text=True, check=True
            )
            device = done.stdout.strip()
            stack.callback(subprocess.run, ["losetup", "--detach", device], check=False)
            made[serial] = Path(device).name
        target = tmp_path / "target"
        stack.callback(subprocess.run, ["umount", "--recursive", str(target)], check=False, capture_output=True)
        yield made, target


def written_sectors(name: str) -> int:
    """Sectors written since the device was made: field 7 of the kernel's counters (Documentation/block/stat)."""
    return int(Path(f"/sys/block/{name}/stat").read_text().split()[6])


@pytest.fixture
def region():
    with serving(FakeRegion()) as region:
        yield region


def run_agent(region: FakeRegion, hands: LoopHands, scratch: Path, config: InstallConfig) -> None:
    region.config = config
    region.operations = [NextOperation("install", NextData("t1", 1))]
    agent = Agent(Region(region.url), hands, scratch, report_interval_s=0.05)
    region.on_installComplete = _ending(region)
    agent.run()


def _ending(region: FakeRegion):
    """Switch the machine off once it has said how it ended."""
    plain = FakeRegion.on_installComplete

    def answer(body: bytes):
        said = plain(region, body)
        region.operations.append(NextOperation("power_off"))
        return said

    return answer


def system_image(folder: Path) -> bytes:
    """A disk of 48 MiB with a GPT and one ext4 that holds etc/os-release."""
    tree, file = folder / "tree", folder / "image.raw"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/os-release").write_text("NAME=test\n")
    (tree / "lib/systemd").mkdir(parents=True)
    (tree / "lib/systemd/systemd-networkd").touch()
    with file.open("wb") as out:
        out.truncate(48 * MIB)
    subprocess.run(["sfdisk", "-q", str(file)], input="label: gpt\nsize=40MiB\n", text=True, check=True)
    options = f"offset={MIB}"
    subprocess.run(
        ["mkfs.ext4", "-q", "-F", "-d", str(tree), "-E", options, str(file), "40M"], check=True, capture_output=True
    )
    return file.read_bytes()


def config_for(hands: LoopHands, content: bytes, file: bytes, kind: str, **changes) -> InstallConfig:
    image = ImageRef(
        "t", "1", hashlib.sha256(file).hexdigest(), len(file), hashlib.sha256(content).hexdigest(), len(content), kind
    )
    config = InstallConfig(
        "t1", 1, "image", "Test", "1", ("DISK1",), hands.inventory().hash, image=image, image_url="/image", enrol=False
    )
    return msgspec.structs.replace(config, **changes)


def test_an_image_lands_grows_and_is_opened(region, loops, tmp_path):
    disks, target = loops
    hands = LoopHands(disks, target)
    content = system_image(tmp_path)
    file = subprocess.run(["zstd", "-q", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout
    region.files["/image"] = file
    before = written_sectors(disks["DISK2"])
    run_agent(region, hands, tmp_path / "s", config_for(hands, content, file, "raw.zst", network=NetworkConfig("web")))
    assert [end.status for end in region.ends] == ["completed"], "\n".join(region.lines)
    part = f"/dev/{disks['DISK1']}p1"
    size = int(subprocess.run(["blockdev", "--getsize64", part], capture_output=True, check=True).stdout)
    assert size > DISK_BYTES - 4 * MIB
    assert subprocess.run(["e2fsck", "-fn", part], capture_output=True).returncode == 0
    target.mkdir(exist_ok=True)
    subprocess.run(["mount", part, str(target)], check=True)
    assert (target / "etc/hostname").read_text() == "web\n"
    assert os.statvfs(target).f_blocks * os.statvfs(target).f_frsize > 150 * MIB
    assert written_sectors(disks["DISK2"]) == before


def test_a_tree_is_unpacked_into_fresh_file_systems(region, loops, tmp_path):
    disks, target = loops
    hands = LoopHands(disks, target)
    tree = tmp_path / "tree"
    for name in ("etc", "bin", "usr/bin", "dev", "proc", "sys", "lib64", "lib"):
        (tree / name).mkdir(parents=True)
    (tree / "etc/os-release").write_text("NAME=t\n")
    shutil.copy("/bin/busybox", tree / "bin/busybox")
    for name in ("sh", "touch"):
        (tree / "bin" / name).symlink_to("busybox")
    for name in ("grub-install", "update-grub"):
        (tree / "usr/bin" / name).write_text(f'#!/bin/sh\necho "$@" >> /{name}.called\n')
        (tree / "usr/bin" / name).chmod(0o755)
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(tree, ".")
    content = (tmp_path / "t.tar").read_bytes()
    file = subprocess.run(["gzip", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout
    region.files["/image"] = file
    layout = DiskLayout(
        "plain", 1, (Partition("boot", "40MiB", "ext4", "/boot"), Partition("swap", "8MiB", "swap"), Partition("root", "rest", "ext4", "/"))
    )  # fmt: skip
    before = written_sectors(disks["DISK2"])
    run_agent(region, hands, tmp_path / "s", config_for(hands, content, file, "tar.gz", disk_layout=layout))
    assert [end.status for end in region.ends] == ["completed"], "\n".join(region.lines)
    name = disks["DISK1"]
    kinds = [blkid_value(probe_device(f"/dev/{name}p{n}"), "TYPE") for n in (2, 3, 4)]
    assert kinds == ["ext4", "swap", "ext4"]
    subprocess.run(["mount", f"/dev/{name}p4", str(target)], check=True)
    assert (target / "grub-install.called").read_text().split()[-1] == f"/dev/{name}"
    assert (target / "update-grub.called").exists()
    assert [line.split()[1] for line in (target / "etc/fstab").read_text().splitlines()[1:]] == ["/", "/boot", "none"]
    assert written_sectors(disks["DISK2"]) == before


@pytest.mark.parametrize(
    ("change", "code"),
    [({"disks": ("DISK3",)}, "disk_missing"), ({"inventory_hash": "0" * 64}, "inventory_changed")],
)
def test_a_wrong_or_changed_disk_costs_not_one_sector(region, loops, tmp_path, change, code):
    disks, target = loops
    hands = LoopHands(disks, target)
    content = random.Random(1).randbytes(8 * MIB)
    region.files["/image"] = content
    before = {name: written_sectors(name) for name in disks.values()}
    run_agent(region, hands, tmp_path / "s", config_for(hands, content, content, "raw", **change))
    assert region.ends[0].code == code
    assert {name: written_sectors(name) for name in disks.values()} == before


def test_a_lost_fence_in_the_middle_ends_the_writing(region, loops, tmp_path):
    """After the writer has stopped, the kernel counts not one sector more; the first block was never written."""
    disks, target = loops
    hands = LoopHands(disks, target)
    content = random.Random(2).randbytes(64 * MIB)
    region.files["/image"], region.slow_file, region.ttl_s = content, 0.02, 0.6
    name = disks["DISK1"]

    def lease(_body: bytes):
        if any(call.step == "write-image" and call.bytes_done for call in region.progress):
            region.fence = 2
        return FakeRegion.on_lease(region, _body)

    counted, before = [], written_sectors(name)

    def complete(body: bytes):
        counted.append(written_sectors(name))
        region.operations.append(NextOperation("power_off"))
        return FakeRegion.on_operationComplete(region, body)

    region.on_lease = lease
    region.on_operationComplete = complete
    run_agent(region, hands, tmp_path / "s", config_for(hands, content, content, "raw"))
    assert [call.operation for call in region.done if not call.success] == ["write-image"]
    assert written_sectors(name) == counted[-1]
    assert 0 < counted[-1] - before < len(content) // SECTOR
    with Path(f"/dev/{name}").open("rb") as disk:
        assert disk.read(4 * MIB) == bytes(4 * MIB)
    assert not any(end.status == "completed" for end in region.ends)


def test_a_disk_that_is_mounted_is_not_written(region, loops, tmp_path):
    disks, target = loops
    hands = LoopHands(disks, target)
    name = disks["DISK1"]
    subprocess.run(["mkfs.ext4", "-q", "-F", f"/dev/{name}"], check=True, capture_output=True)
    target.mkdir()
    subprocess.run(["mount", f"/dev/{name}", str(target)], check=True)
    content = bytes(MIB)
    region.files["/image"] = content
    config = config_for(hands, content, content, "raw")
    run_agent(region, hands, tmp_path / "s", config)
    assert region.ends[0].status == "failed"
    assert region.ends[0].code in {"io_error", "program_failed", "disk_in_use"}
