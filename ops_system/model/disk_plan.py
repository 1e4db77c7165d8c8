"""How a layout becomes partitions, arrays, volumes and file systems: the exact commands, before anything is done. Pure.

Every UUID is made from the task's id, so that the plan knows /etc/fstab before there is a file system, and a dry run
shows the very commands that the agent runs.
Sources: sfdisk(8), mdadm(8), lvm(8), fstab(5), the Discoverable Partitions Specification.
"""

import uuid
from collections.abc import Iterator

import msgspec

from ops_system.model.errors import NotAllowed
from ops_system.model.layout_checks import ESP_MOUNT, MIB, REST, partitions_for, size_mib
from ops_system.model.layouts import DiskLayout, Filesystem, Partition, VolumeGroup
from ops_system.model.machines import DiskInfo, Firmware

TARGET = "/mnt/target"  # where the new system is mounted while it is made
_TYPES = {
    "linux": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    "vfat": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "bios_boot": "21686148-6449-6E6F-744E-656564454649",
    "swap": "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
    "raid": "A19D880F-05FC-4D3B-A006-743F0F84911E",
    "lvm": "E6D6D379-F507-44C2-A23C-238F2A3DF928",
}
_CALM_RESYNC = "echo 1000 >/proc/sys/dev/raid/speed_limit_max"  # KiB/s, md(4): the new system goes on with it
_GAP_MIB = 2  # before the first partition and behind the last
LVM_OPTIONS = ("--config", "activation { udev_sync=0 udev_rules=0 } backup { backup=0 archive=0 }")
"""There is no udev in the agent's RAM: LVM makes its device nodes itself."""


class Command(msgspec.Struct, frozen=True):
    """One program with its arguments and what it reads."""

    argv: tuple[str, ...]
    stdin: str = ""
    fine: tuple[int, ...] = (0,)  # exit codes that are no failure


class Place(msgspec.Struct, frozen=True):
    """A block device that gets a file system."""

    device: str
    filesystem: Filesystem
    mount: str
    uuid: str

    @property
    def fstab_uuid(self) -> str:
        """Return the UUID as fstab(5) wants it."""
        return self.uuid if self.filesystem != "vfat" else f"{self.uuid[:4]}-{self.uuid[4:8]}".upper()


class DiskPlan(msgspec.Struct, frozen=True):
    """Everything that is done to the disks of a layout of kind `plain`."""

    partition: tuple[Command, ...]
    raid: tuple[Command, ...]
    volumes: tuple[Command, ...]
    format: tuple[Command, ...]
    places: tuple[Place, ...]
    arrays: tuple[tuple[str, str], ...]  # device and UUID of each array
    has_lvm: bool
    esps: tuple[str, ...]  # the EFI system partition of each disk; none with BIOS


def partition_device(device: str, number: int) -> str:
    """Return the n-th partition of a disk as the kernel names it: sda1, nvme0n1p1, loop0p1."""
    return f"{device}p{number}" if device[-1].isdigit() else f"{device}{number}"


def plan_disks(layout: DiskLayout, disks: tuple[DiskInfo, ...], firmware: Firmware, task_id: str) -> DiskPlan:
    """Return what makes this layout of these disks, in order. Raises NotAllowed when a disk is too small."""
    parts = partitions_for(layout, firmware)
    devices = tuple(f"/dev/{disk.name}" for disk in disks)
    for disk in disks:
        _check_fits(parts, disk)
    places = tuple(_places(layout, parts, devices, task_id))
    return DiskPlan(
        partition=tuple(
            command
            for device, disk in zip(devices, disks, strict=True)
            for command in _partition_commands(parts, device, disk.id, task_id)
        ),
        raid=tuple(_raid_commands(layout, parts, devices, task_id)),
        volumes=tuple(_volume_commands(layout, parts, devices)),
        format=tuple(_format_command(place) for place in places),
        places=places,
        arrays=tuple((f"/dev/{array.name}", _id(task_id, "md", array.name)) for array in layout.raid),
        has_lvm=bool(layout.volume_groups),
        esps=_esps(parts, devices) if firmware == "uefi" else (),
    )


def mount_commands(plan: DiskPlan, target: str = TARGET) -> tuple[Command, ...]:
    """Return how the new file systems are mounted, the outer ones first."""
    commands: list[Command] = []
    for place in mounted(plan):
        path = f"{target}{place.mount}".rstrip("/")
        commands += [Command(("mkdir", "-p", path)), Command(("mount", "-t", place.filesystem, place.device, path))]
    return tuple(commands)


def mounted(plan: DiskPlan) -> list[Place]:
    """Return what is mounted, the outer ones first."""
    return sorted((place for place in plan.places if place.mount), key=lambda place: (place.mount != "/", place.mount))


def fstab(plan: DiskPlan) -> str:
    """Return /etc/fstab of the new system."""
    lines = ["# made by the install agent"]
    for place in mounted(plan):
        options = "umask=0077" if place.filesystem == "vfat" else "defaults"
        order = 0 if place.filesystem == "xfs" else 1 if place.mount == "/" else 2
        lines.append(f"UUID={place.fstab_uuid} {place.mount} {place.filesystem} {options} 0 {order}")
    lines += [f"UUID={place.uuid} none swap sw 0 0" for place in plan.places if place.filesystem == "swap"]
    return "\n".join(lines) + "\n"


def mdadm_conf(plan: DiskPlan) -> str:
    """Return /etc/mdadm/mdadm.conf of the new system: the arrays are found by their UUID alone."""
    lines = ["HOMEHOST <ignore>", "MAILADDR root"]
    return (
        "\n".join([*lines, *(f"ARRAY {device} metadata=1.2 UUID={_md(text)}" for device, text in plan.arrays)]) + "\n"
    )


def _check_fits(parts: tuple[Partition, ...], disk: DiskInfo) -> None:
    needed = sum(1 if part.size == REST else size_mib(part.size) for part in parts) + _GAP_MIB
    if needed * MIB > disk.size_bytes:
        raise NotAllowed(
            f"disk {disk.id} has {disk.size_bytes // MIB} MiB, the layout wants at least {needed}",
            reason="disk_too_small",
            disk=disk.id,
        )


def _partition_commands(parts: tuple[Partition, ...], device: str, disk: str, task_id: str) -> Iterator[Command]:
    """sfdisk(8) in script form: the order of the lines is the number of the partition."""
    lines = ["label: gpt", f"label-id: {_id(task_id, disk, 'gpt')}", "grain: 1MiB", ""]
    for part in parts:
        size = "" if part.size == REST else f"size={size_mib(part.size)}MiB, "
        kind = _TYPES.get(part.filesystem, _TYPES["linux"])
        lines.append(f'{size}type={kind}, uuid={_id(task_id, disk, part.name)}, name="{part.name}"')
    yield Command(
        ("sfdisk", "--quiet", "--wipe", "always", "--wipe-partitions", "always", device), "\n".join(lines) + "\n"
    )
    yield from reread(device)


def reread(device: str) -> tuple[Command, ...]:
    """Return what tells the kernel of a disk's new partitions; one without partitions is no failure.

    partx(8) reads the table itself: some kernels cannot.
    """
    return (
        Command(("blockdev", "--rereadpt", device), fine=(0, 1)),
        Command(("partx", "--update", device), fine=(0, 1)),
    )


def _raid_commands(
    layout: DiskLayout, parts: tuple[Partition, ...], devices: tuple[str, ...], task_id: str
) -> Iterator[Command]:
    numbers = {part.name: number for number, part in enumerate(parts, 1)}
    if layout.raid:
        yield Command(("sh", "-c", _CALM_RESYNC), fine=(0, 1, 2))
    for array in layout.raid:
        members = [partition_device(device, numbers[array.partition]) for device in devices]
        yield Command(
            (
                "mdadm", "--create", f"/dev/{array.name}", "--run", "--force", f"--level={array.level}",
                f"--raid-devices={len(members)}", "--metadata=1.2", f"--name={array.name}", "--homehost=any",
                f"--uuid={_md(_id(task_id, 'md', array.name))}", *members,
            )
        )  # fmt: skip


def _volume_commands(layout: DiskLayout, parts: tuple[Partition, ...], devices: tuple[str, ...]) -> Iterator[Command]:
    for group in layout.volume_groups:
        members = list(_members(layout, group, parts, devices))
        yield Command(("lvm", "pvcreate", *LVM_OPTIONS, "-ff", "--yes", *members))
        yield Command(("lvm", "vgcreate", *LVM_OPTIONS, "--yes", group.name, *members))
        for volume in group.volumes:
            is_rest = volume.size == REST
            size = ("--extents", "100%FREE") if is_rest else ("--size", f"{size_mib(volume.size)}m")
            yield Command(
                (
                    "lvm",
                    "lvcreate",
                    *LVM_OPTIONS,
                    "--yes",
                    "--wipesignatures",
                    "y",
                    "--name",
                    volume.name,
                    *size,
                    group.name,
                )
            )


def _members(
    layout: DiskLayout, group: VolumeGroup, parts: tuple[Partition, ...], devices: tuple[str, ...]
) -> Iterator[str]:
    arrays = {array.name for array in layout.raid}
    numbers = {part.name: number for number, part in enumerate(parts, 1)}
    for name in group.members:
        if name in arrays:
            yield f"/dev/{name}"
        else:
            yield from (partition_device(device, numbers[name]) for device in devices)


def _places(
    layout: DiskLayout, parts: tuple[Partition, ...], devices: tuple[str, ...], task_id: str
) -> Iterator[Place]:
    """What is formatted: partitions of the first disk (EFI and swap on every disk), arrays, volumes."""
    for number, part in enumerate(parts, 1):
        if part.filesystem in {"raid", "lvm", "bios_boot"}:
            continue
        is_everywhere = part.filesystem in {"vfat", "swap"}
        for place, device in enumerate(devices if is_everywhere else devices[:1]):
            mount = part.mount if place == 0 else ""
            ident = _fs_id(part.filesystem, task_id, f"{part.name}.{place}")
            yield Place(partition_device(device, number), part.filesystem, mount, ident)
    for array in layout.raid:
        if array.filesystem != "lvm":
            ident = _fs_id(array.filesystem, task_id, array.name)
            yield Place(f"/dev/{array.name}", array.filesystem, array.mount, ident)
    for group in layout.volume_groups:
        for volume in group.volumes:
            ident = _fs_id(volume.filesystem, task_id, f"{group.name}/{volume.name}")
            yield Place(f"/dev/{group.name}/{volume.name}", volume.filesystem, volume.mount, ident)


def _format_command(place: Place) -> Command:
    match place.filesystem:
        case "xfs":
            return Command(("mkfs.xfs", "-f", "-q", "-m", f"uuid={place.uuid}", place.device))
        case "vfat":
            return Command(("mkfs.vfat", "-F", "32", "-i", place.uuid, place.device))
        case "swap":
            return Command(("mkswap", "--force", "--uuid", place.uuid, place.device))
        case _:
            return Command(("mkfs.ext4", "-F", "-q", "-U", place.uuid, place.device))


def _esps(parts: tuple[Partition, ...], devices: tuple[str, ...]) -> tuple[str, ...]:
    number = next(number for number, part in enumerate(parts, 1) if part.mount == ESP_MOUNT)
    return tuple(partition_device(device, number) for device in devices)


def _id(task_id: str, *words: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("ops-install", task_id, *words))))


def _fs_id(filesystem: Filesystem, task_id: str, name: str) -> str:
    """A UUID; eight hexadecimal digits for vfat."""
    text = _id(task_id, "fs", name)
    return text[:8] if filesystem == "vfat" else text


def _md(text: str) -> str:
    """A UUID as mdadm writes it: four groups of eight digits."""
    digits = text.replace("-", "")
    return ":".join(digits[place : place + 8] for place in range(0, 32, 8))
