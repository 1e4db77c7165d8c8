"""Plans as people will read them in a dry run, and layouts of every kind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ops_system.model.disk_plan import partition_device, plan_disks
from ops_system.model.errors import Invalid, NotAllowed
from ops_system.model.install_plan import Wish, choose_disks, plan
from ops_system.model.layout_checks import layout_problems, network_problems
from ops_system.model.layouts import DiskLayout, Interface, NetworkConfig, Partition, RaidArray, Volume, VolumeGroup
from ops_system.model.machines import DiskInfo, Hardware
from ops_system.model.tasks import ImageRef

GIB = 1024**3
A = DiskInfo("sda", 20 * GIB, serial="A")
B = DiskInfo("nvme0n1", 20 * GIB, serial="B", wwn="eui.1")
HARDWARE = Hardware(disks=(A, B))
IMAGE = ImageRef("debian", "12", "a" * 64, 100, "b" * 64, 2 * GIB, "raw.zst")
TAR = replace(IMAGE, format="tar.zst")
RAID_LVM = DiskLayout(
    "plain",
    2,
    (Partition("swap", "1GiB", "swap"), Partition("r", "rest", "raid")),
    (RaidArray("md0", "1", "r", "lvm"),),
    (VolumeGroup("vg", ("md0",), (Volume("root", "4GiB", "ext4", "/"), Volume("data", "rest", "xfs", "/data"))),),
)


def names(wish, hardware=HARDWARE):
    return [step.name for step in plan(wish, hardware)]


def commands(wish, hardware=HARDWARE):
    return {step.name: [" ".join(command.argv) for command in step.commands] for step in plan(wish, hardware)}


def test_an_image():
    wish = Wish("image", "t1", disks=("A",), image=IMAGE, network=NetworkConfig("n"))
    assert names(wish) == [
        "check-disks", "wipe", "write-image", "verify-image", "grow-root", "open-system", "network", "enrol",
        "close-system",
    ]  # fmt: skip
    assert names(replace(wish, enrol=False, network=None, disk_layout=DiskLayout(grow_root=False))) == [
        "check-disks", "wipe", "write-image", "verify-image",
    ]  # fmt: skip
    assert {step.name for step in plan(wish, HARDWARE) if step.is_destructive} == {"wipe", "write-image", "grow-root"}
    assert all(step.disks in {("A",), ()} for step in plan(wish, HARDWARE))


def test_raid_and_lvm_on_two_disks_with_bios():
    made = commands(Wish("image", "t1", disks=("A", "eui.1"), image=TAR, disk_layout=RAID_LVM))
    assert list(made) == [
        "check-disks", "wipe", "partition", "raid", "volumes", "format", "mount", "tree", "files", "bootloader",
        "enrol", "close-system",
    ]  # fmt: skip
    assert made["raid"][-1].endswith("/dev/sda3 /dev/nvme0n1p3")
    assert "--level=1 --raid-devices=2 --metadata=1.2" in made["raid"][-1]
    assert made["volumes"][-1].endswith("--name data --extents 100%FREE vg")
    assert [line.split()[-1] for line in made["format"]] == [
        "/dev/sda2", "/dev/nvme0n1p2", "/dev/vg/root", "/dev/vg/data",
    ]  # fmt: skip
    assert [line.split()[-1] for line in made["bootloader"] if "--target=i386-pc" in line] == [
        "/dev/sda",
        "/dev/nvme0n1",
    ]
    files = {
        file.path: file.text
        for step in plan(Wish("image", "t1", disks=("A", "B"), image=TAR, disk_layout=RAID_LVM), HARDWARE)
        for file in step.files
    }
    assert "metadata=1.2 UUID=" in files["/etc/mdadm/mdadm.conf"]
    assert [line.split()[1] for line in files["/etc/fstab"].splitlines()[1:]] == ["/", "/data", "none", "none"]


def test_uefi_gets_a_system_partition_on_each_disk():
    made = commands(
        Wish("image", "t1", disks=("A", "B"), image=TAR, disk_layout=RAID_LVM), replace(HARDWARE, firmware="uefi")
    )
    assert next(line for line in made["format"] if "vfat" in line).endswith("/dev/sda1")
    installs = [line for line in made["bootloader"] if "x86_64-efi" in line]
    assert ["--efi-directory=/boot/efi " in installs[0], "--efi-directory=/boot/efi2 " in installs[1]] == [True, True]


def test_the_same_plan_twice_is_the_same_and_another_task_has_other_uuids():
    wish = Wish("image", "t1", disks=("A", "B"), image=TAR, disk_layout=RAID_LVM)
    assert plan(wish, HARDWARE) == plan(wish, HARDWARE)
    assert plan(wish, HARDWARE) != plan(replace(wish, task_id="t2"), HARDWARE)


def test_other_methods():
    steps = ["check-disks", "carry-worker", "start-installer"]
    assert names(Wish("kickstart", "t1", disks=("A",), kernel_args="quiet")) == steps
    assert names(Wish("kickstart", "t1", disks=("A",), enrol=False)) == ["check-disks", "start-installer"]
    start = commands(Wish("preseed", "t1", disks=("A",), kernel_args="console=ttyS0"))["start-installer"][0]
    assert start.startswith("kexec -l {kernel} --initrd={initrd} --command-line=auto=true ")
    assert start.endswith(" preseed/url={answers} netcfg/choose_interface=auto BOOTIF={boot_card} console=ttyS0")
    assert names(Wish("rescue", "t1")) == []
    assert names(Wish("hardware_test", "t1", hardware_tests=("memory", "nic"))) == ["test-memory", "test-nic"]
    assert "jammy" in commands(Wish("debootstrap", "t1", "Ubuntu", "22.04", ("A",)))["tree"][0]
    with pytest.raises(Invalid, match="code name"):
        plan(Wish("debootstrap", "t1", "Odd", "1.2", ("A",)), HARDWARE)


@pytest.mark.parametrize(
    ("hardware", "ids", "reason"),
    [
        (HARDWARE, ("C",), "disk_missing"),
        (HARDWARE, ("sda",), "disk_missing"),
        (HARDWARE, ("",), "disk_missing"),
        (HARDWARE, ("B", "eui.1"), "disk_ambiguous"),
        (replace(HARDWARE, disks=(A, replace(A, name="sdb"))), ("A",), "disk_ambiguous"),
        (replace(HARDWARE, disks=(replace(A, is_removable=True),)), ("A",), "disk_unfit"),
        (replace(HARDWARE, disks=(replace(A, is_read_only=True),)), ("A",), "disk_unfit"),
        (replace(HARDWARE, disks=(replace(A, size_bytes=GIB),)), ("A",), "disk_too_small"),
        (HARDWARE, (), "too_few_disks"),
    ],
)
def test_disks_that_may_not_be_written(hardware, ids, reason):
    with pytest.raises(NotAllowed) as caught:
        plan(Wish("image", "t1", disks=ids, image=IMAGE), hardware)
    assert caught.value.details["reason"] == reason


def test_names_of_the_kernel_never_choose():
    assert [disk.name for disk in choose_disks(("eui.1", "A"), HARDWARE)] == ["nvme0n1", "sda"]


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (DiskLayout("plain"), "none"),
        (DiskLayout("image", 2), "one disk"),
        (
            DiskLayout("plain", 1, (Partition("a", "rest", "ext4", "/"), Partition("b", "1GiB", "swap"))),
            "only the last",
        ),
        (DiskLayout("plain", 1, (Partition("a", "x", "ext4", "/"),)), "not a size"),
        (DiskLayout("plain", 1, (Partition("a", "1GiB", "ext4", "/data"),)), 'on "/"'),
        (DiskLayout("plain", 1, (Partition("a", "1GiB", "ext4", "/../etc"),)), "no place"),
        (DiskLayout("plain", 1, (Partition('a",', "1GiB", "ext4", "/"),)), "no name"),
        (replace(RAID_LVM, disks=1), "wants 2 disks"),
        (replace(RAID_LVM, raid=(RaidArray("x", "1", "r", "lvm"),)), "md0, md1"),
        (replace(RAID_LVM, raid=(RaidArray("md0", "1", "swap", "lvm"),)), "file system raid"),
        (replace(RAID_LVM, volume_groups=(VolumeGroup("vg", ("swap",), ()),)), "file system lvm"),
    ],
)
def test_bad_layouts_are_named(layout, words):
    assert words in "; ".join(layout_problems(layout))


def test_bad_networks_are_named():
    bad = NetworkConfig("a b", (Interface("x", "10.0.0.1", "y"),), ("z",))
    assert len(network_problems(bad)) == 5
    assert (
        network_problems(NetworkConfig("a.b-c", (Interface("52:54:00:00:00:01", "fd00::1/64", "fd00::2"),), ("::1",)))
        == []
    )
    twice = (Interface("52:54:00:00:00:01"), Interface("52-54-00-00-00-02"), Interface("52-54-00-00-00-01"))
    assert network_problems(NetworkConfig(interfaces=twice)) == [
        "network.interfaces[2].mac: 52-54-00-00-00-01 is the card of interfaces[0] already"
    ]


MOUNTS = st.sampled_from(["/", "/var", "/home", "/srv/data", "/boot"])


@st.composite
def layouts(draw):
    mounts = ["/", *draw(st.lists(MOUNTS.filter(lambda mount: mount != "/"), unique=True, max_size=3))]
    kinds = [draw(st.sampled_from(["ext4", "xfs"])) for _ in mounts]
    sizes = [f"{draw(st.integers(64, 900))}MiB" for _ in mounts[:-1]] + ["rest"]
    parts = [
        Partition(f"p{n}", size, kind, mount)
        for n, (size, kind, mount) in enumerate(zip(sizes, kinds, mounts, strict=True))
    ]
    if draw(st.booleans()):
        parts.insert(0, Partition("swap", "512MiB", "swap"))
    return DiskLayout("plain", 1, tuple(parts))


@settings(max_examples=60, deadline=None)
@given(layouts(), st.sampled_from(["bios", "uefi"]))
def test_every_good_layout_is_planned_on_its_disk_alone(layout, firmware):
    assert layout_problems(layout) == []
    made = plan_disks(layout, (B,), firmware, "t")
    for command in (*made.partition, *made.raid, *made.volumes, *made.format):
        devices = [word for word in command.argv if word.startswith("/dev/")]
        assert devices
        assert all(word.startswith("/dev/nvme0n1") for word in devices)
    uuids = [place.uuid for place in made.places]
    assert len(set(uuids)) == len(uuids)
    lines = [line for line in made.partition[0].stdin.splitlines() if "type=" in line]
    assert len(lines) == len(layout.partitions) + 1
    assert partition_device("/dev/nvme0n1", len(lines)) in {place.device for place in made.places}
