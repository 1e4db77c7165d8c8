import pytest

from ops_system.installer import parsers
from ops_system.installer.inventory import Inventory, partitions_of, read_inventory
from ops_system.model.errors import Invalid
from ops_system.model.machines import DiskInfo, Hardware, NicInfo

CPUINFO = """processor\t: 0
model name\t: AMD EPYC 7302
physical id\t: 0
core id\t: 0

processor\t: 1
model name\t: AMD EPYC 7302
physical id\t: 0
core id\t: 0

processor\t: 2
physical id\t: 1
core id\t: 0
"""


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (("CZ3 4321 X",), "CZ3-4321-X"),
        (("CZ3 4321 Y",), "CZ3-4321-Y"),
        (("To be filled by O.E.M.", "None", "CH-9"), "CH-9"),
        (("0000-0000", "  "), ""),
        (("/weird//name\n",), "weird-name"),
        (("..x",), "x"),
        (("Ä1",), "1"),
        (("a" * 90,), "a" * 64),
        ((), ""),
    ],
)
def test_serial_numbers_are_whole_and_fit_a_key(texts, found):
    assert parsers.serial_number(*texts) == found


def test_cpu_and_memory():
    assert parsers.cpu_of(CPUINFO) == ("AMD EPYC 7302", 2, 2, 3)
    assert parsers.cpu_of("processor : 0\nBogoMIPS : 1\n") == ("", 1, 1, 1)
    assert parsers.cpu_of("") == ("", 0, 0, 0)
    assert parsers.memory_bytes("MemTotal:        1024 kB\nMemAvailable: 5 kB\n") == 1024 * 1024
    assert parsers.memory_bytes("MemAvailable: 5 kB\n") == 0


@pytest.mark.parametrize("name", ["loop0", "ram1", "sr0", "md127", "dm-3", "zram0", "nbd1", "fd0", "mmcblk0boot0"])
def test_what_is_no_disk(name):
    assert not parsers.is_disk(name)


@pytest.mark.parametrize("name", ["sda", "vdb", "nvme0n1", "xvda", "mmcblk0"])
def test_what_is_a_disk(name):
    assert parsers.is_disk(name)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (("naa.5000c500a1b2c3d4", "", b""), ("", "naa.5000c500a1b2c3d4")),
        (("eui.0025385b61b0a1b2", "S4EVNX0M", b""), ("S4EVNX0M", "eui.0025385b61b0a1b2")),
        (("t10.ATA     QEMU HARDDISK                           QM00001 ", "", b""), ("QM00001", "")),
        (("t10.ATA     QEMU HARDDISK  QM1", "", b"\0\x80\0\x08WD-AB12 "), ("WD-AB12", "")),
        (("", "DISK1", b""), ("DISK1", "")),
        (("", "", b"\0\x80\0\0"), ("", "")),
    ],
)
def test_serial_and_wwn(given, found):
    assert parsers.disk_identity(*given) == found


def test_signatures_of_a_disk_and_its_partitions():
    exports = ["DEVNAME=/dev/sda\nPTUUID=x\nPTTYPE=gpt\n", "TYPE=ext4\nUSAGE=filesystem\n", "TYPE=ext4\n", "", "junk"]
    assert parsers.signatures_of(exports) == ("gpt", "ext4")
    assert parsers.blkid_value(exports[0], "PTTYPE") == "gpt"
    assert parsers.blkid_value("", "TYPE") == ""


def test_partition_numbers():
    assert parsers.partition_number("/dev/sda2") == 2
    assert parsers.partition_number("/dev/nvme0n1p15") == 15


def machine(root, files: dict[str, str]) -> None:
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


FILES = {
    "proc/cpuinfo": CPUINFO,
    "proc/meminfo": "MemTotal: 2048 kB\n",
    "sys/class/dmi/id/product_serial": "SN 1\n",
    "sys/class/dmi/id/product_uuid": "ABCD-1\n",
    "sys/class/net/lo/address": "00:00:00:00:00:00\n",
    "sys/class/net/eth0/address": "52:54:00:00:00:01\n",
    "sys/class/net/eth0/device/vendor": "x",
    "sys/class/net/eth0/speed": "-1\n",
    "sys/class/net/eth1/address": "52:54:00:00:00:02\n",
    "sys/class/net/eth1/device/vendor": "x",
    "sys/class/net/eth1/speed": "10000\n",
    "sys/class/net/eth1/carrier": "1\n",
    "sys/block/vda/size": "2048\n",
    "sys/block/vda/serial": "DISK1\n",
    "sys/block/vda/ro": "0\n",
    "sys/block/vda/vda2/partition": "2\n",
    "sys/block/vda/vda2/start": "34\n",
    "sys/block/vda/vda1/partition": "1\n",
    "sys/block/vda/vda1/start": "2048\n",
    "sys/block/loop0/size": "8\n",
    "sys/block/sr0/size": "8\n",
    "sys/block/sdb/size": "0\n",
    "sys/firmware/efi/x": "",
}


def test_a_whole_machine(tmp_path):
    machine(tmp_path, FILES)
    asked = []

    def probe(device):
        asked.append(device)
        return "PTTYPE=gpt\n"

    found = read_inventory(root=tmp_path, probe=probe)
    assert (found.sn, found.uuid, found.mac) == ("SN-1", "abcd-1", "52:54:00:00:00:02")
    assert found.hardware.firmware == "uefi"
    assert found.hardware.disks == (DiskInfo("vda", 2048 * 512, serial="DISK1", signatures=("gpt",)),)
    assert asked == ["/dev/vda", "/dev/vda1", "/dev/vda2"]
    assert [(nic.name, nic.speed_mbps, nic.has_link) for nic in found.hardware.nics] == [
        ("eth0", 0, False),
        ("eth1", 10_000, True),
    ]
    assert partitions_of("vda", tmp_path) == ["vda2", "vda1"]


def test_what_was_given_wins_and_no_identity_is_an_error(tmp_path):
    machine(tmp_path, FILES)
    found = read_inventory(sn="mine", mac="52-54-00-00-00-01", root=tmp_path, probe=lambda _: "")
    assert (found.sn, found.mac) == ("mine", "52:54:00:00:00:01")
    with pytest.raises(Invalid, match="serial"):
        read_inventory(root=tmp_path / "empty", probe=lambda _: "")
    with pytest.raises(Invalid, match="MAC"):
        read_inventory(sn="x", root=tmp_path / "empty", probe=lambda _: "")


def test_the_hash_is_that_of_the_region():
    from ops_system.protocol.agent import Report
    from ops_system.provision.reports import machine_of
    from tests.fakes.clock import FakeClock

    hardware = Hardware(
        disks=(DiskInfo("a", 9, serial="S"),), nics=(NicInfo("e", "52:54:00:00:00:09"), NicInfo("ib", "80"))
    )
    found = Inventory("sn", "AB-1", "52:54:00:00:00:01", hardware)
    told = machine_of("dc1", None, Report("sn", found.mac, found.uuid, hardware), FakeClock().now())
    assert told.inventory_hash == found.hash
