"""What a disk layout must be before anything is made of it. Pure; every fault is listed at once as `path: text`."""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence

from ops_system.model.errors import Invalid
from ops_system.model.layouts import DiskLayout, NetworkConfig, Partition, RaidArray, Volume, VolumeGroup
from ops_system.model.machines import Firmware, normal_mac
from ops_system.model.quantities import parse_size_bytes

MIB = 1024 * 1024
REST = "rest"
ESP_MOUNT = "/boot/efi"
MIN_DISKS = {"0": 2, "1": 2, "5": 3, "6": 4, "10": 4}
"""How many disks a level of RAID wants (md(4))."""
MAX_DISKS, MAX_PARTS = 64, 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}")
_ARRAY = re.compile(r"md[0-9]{1,3}")
_MOUNT = re.compile(r"/[A-Za-z0-9._/-]*")
_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_MOUNTED = frozenset({"ext4", "xfs", "vfat"})


def layout_problems(layout: DiskLayout) -> list[str]:
    """Return every fault of a layout; none for one that can be made."""
    problems = list(_count_problems(layout))
    if layout.kind == "image":
        if layout.partitions or layout.raid or layout.volume_groups:
            problems.append("disk_layout: an image brings its own partitions; leave partitions, raid and groups out")
        return problems
    return [
        *problems,
        *_partition_problems(layout.partitions),
        *_array_problems(layout),
        *_group_problems(layout),
        *_mount_problems(layout),
    ]


def network_problems(network: NetworkConfig) -> list[str]:
    """Return every fault of a network configuration."""
    problems, seen = [], dict[str, int]()
    if network.hostname and not _HOSTNAME.fullmatch(network.hostname):
        problems.append(f"network.hostname: {network.hostname!r} is no host name")
    for place, interface in enumerate(network.interfaces):
        where = f"network.interfaces[{place}]"
        try:
            first = seen.setdefault(normal_mac(interface.mac), place)
            if first != place:
                problems.append(f"{where}.mac: {interface.mac} is the card of interfaces[{first}] already")
        except Invalid as error:
            problems.append(f"{where}.{error.message}")
        if interface.address and not _is_address(interface.address, has_prefix=True):
            problems.append(f"{where}.address: {interface.address!r} is no address with its prefix; write 10.0.0.5/24")
        if interface.gateway and not (interface.address and _is_address(interface.gateway)):
            problems.append(f"{where}.gateway: {interface.gateway!r} is no address, or there is no own one beside it")
    wrong = [text for text in network.dns if not _is_address(text)]
    return problems + [f"network.dns: {text!r} is no address" for text in wrong]


def check_layout(layout: DiskLayout) -> None:
    """Raise Invalid with every problem of a layout."""
    if problems := layout_problems(layout):
        raise Invalid(f"disk_layout: {problems[0]}", problems=problems)


def partitions_for(layout: DiskLayout, firmware: Firmware) -> tuple[Partition, ...]:
    """Return the partitions of each disk: those asked for, and before them what this firmware needs to start."""
    if firmware == "uefi":
        if any(part.filesystem == "vfat" and part.mount == ESP_MOUNT for part in layout.partitions):
            return layout.partitions
        return (Partition("esp", "512MiB", "vfat", ESP_MOUNT), *layout.partitions)
    if any(part.filesystem == "bios_boot" for part in layout.partitions):
        return layout.partitions
    return (Partition("bios", "1MiB", "bios_boot"), *layout.partitions)


def size_mib(text: str) -> int:
    """Return whole MiB of a size, rounded down. Raises Invalid."""
    return parse_size_bytes(text) // MIB


def _count_problems(layout: DiskLayout) -> Iterator[str]:
    if not 1 <= layout.disks <= MAX_DISKS:
        yield f"disk_layout.disks: {layout.disks} is not 1 to {MAX_DISKS}"
    if layout.kind == "image" and layout.disks != 1:
        yield "disk_layout.disks: an image is written to one disk"


def _partition_problems(parts: Sequence[Partition]) -> Iterator[str]:
    if not parts:
        yield "disk_layout.partitions: there is none; name at least the one of /"
    if len(parts) > MAX_PARTS:
        yield f"disk_layout.partitions: more than {MAX_PARTS}"
    yield from _name_problems("disk_layout.partitions", [part.name for part in parts])
    for place, part in enumerate(parts):
        where = f"disk_layout.partitions[{place}]"
        yield from _size_problems(where, part.size, is_last=place == len(parts) - 1)
        if part.filesystem in {"raid", "lvm", "bios_boot", "swap"} and part.mount:
            yield f"{where}.mount: a partition for {part.filesystem} is not mounted"


def _size_problems(where: str, size: str, *, is_last: bool) -> Iterator[str]:
    if size == REST:
        if not is_last:
            yield f'{where}.size: only the last one takes the "{REST}"'
        return
    try:
        if size_mib(size) < 1:
            yield f"{where}.size: {size} is less than 1 MiB"
    except Invalid as error:
        yield f"{where}.size: {error.message}"


def _name_problems(where: str, names: Sequence[str]) -> Iterator[str]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{where}: the name {name!r} stands twice"
    for name in names:
        if not _NAME.fullmatch(name):
            yield f"{where}: {name!r} is no name; letters, digits, '.', '_' and '-', at most 31"


def _array_problems(layout: DiskLayout) -> Iterator[str]:
    kinds = {part.name: part.filesystem for part in layout.partitions}
    yield from _name_problems("disk_layout.raid", [array.name for array in layout.raid])
    used = [array.partition for array in layout.raid]
    for place, array in enumerate(layout.raid):
        yield from _one_array(f"disk_layout.raid[{place}]", array, layout.disks, kinds)
        if used.count(array.partition) > 1:
            yield f"disk_layout.raid[{place}].partition: {array.partition!r} is in two arrays"


def _one_array(where: str, array: RaidArray, disks: int, kinds: Mapping[str, str]) -> Iterator[str]:
    if not _ARRAY.fullmatch(array.name):
        yield f"{where}.name: {array.name!r}: write md0, md1, …"
    if kinds.get(array.partition) != "raid":
        yield f"{where}.partition: {array.partition!r} is no partition with the file system raid"
    if disks < MIN_DISKS[array.level]:
        yield f"{where}.level: RAID {array.level} wants {MIN_DISKS[array.level]} disks, the layout takes {disks}"
    if array.filesystem in {"raid", "bios_boot"}:
        yield f"{where}.filesystem: {array.filesystem} does not go onto an array"


def _group_problems(layout: DiskLayout) -> Iterator[str]:
    kinds: dict[str, str] = {part.name: part.filesystem for part in layout.partitions}
    kinds |= {array.name: array.filesystem for array in layout.raid}
    yield from _name_problems("disk_layout.volume_groups", [group.name for group in layout.volume_groups])
    for place, group in enumerate(layout.volume_groups):
        where = f"disk_layout.volume_groups[{place}]"
        yield from _one_group(where, group, kinds)


def _one_group(where: str, group: VolumeGroup, kinds: Mapping[str, str]) -> Iterator[str]:
    if not group.members:
        yield f"{where}.members: there is none"
    for name in group.members:
        if kinds.get(name) != "lvm":
            yield f"{where}.members: {name!r} is no partition and no array with the file system lvm"
    yield from _name_problems(f"{where}.volumes", [volume.name for volume in group.volumes])
    for number, volume in enumerate(group.volumes):
        here = f"{where}.volumes[{number}]"
        yield from _size_problems(here, volume.size, is_last=number == len(group.volumes) - 1)
        if volume.filesystem in {"raid", "lvm", "bios_boot"}:
            yield f"{here}.filesystem: {volume.filesystem} does not go onto a logical volume"


def _mount_problems(layout: DiskLayout) -> Iterator[str]:
    places: list[Partition | RaidArray | Volume] = [
        *layout.partitions,
        *layout.raid,
        *(volume for group in layout.volume_groups for volume in group.volumes),
    ]
    mounts = [place.mount for place in places if place.mount]
    if "/" not in mounts:
        yield 'disk_layout: nothing is mounted on "/"'
    for mount in sorted(set(mounts)):
        if mounts.count(mount) > 1:
            yield f"disk_layout: two are mounted on {mount}"
        if not _MOUNT.fullmatch(mount) or ".." in mount or (mount != "/" and mount.endswith("/")) or "//" in mount:
            yield f"disk_layout: {mount!r} is no place to mount on"
    for place in places:
        if place.mount and place.filesystem not in _MOUNTED:
            yield f"disk_layout: {place.name} is {place.filesystem}, it cannot be mounted"
        if place.mount == "/" and place.filesystem == "vfat":
            yield "disk_layout: / cannot be vfat"


def _is_address(text: str, *, has_prefix: bool = False) -> bool:
    if has_prefix and "/" not in text:
        return False
    try:
        ipaddress.ip_interface(text) if has_prefix else ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
