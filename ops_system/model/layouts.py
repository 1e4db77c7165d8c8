"""How the disks and the network of a new system are to look: what a person writes into a task or a profile."""

from typing import Literal

import msgspec

Filesystem = Literal["ext4", "xfs", "vfat", "swap", "bios_boot", "raid", "lvm"]


class Partition(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A partition of every disk named in the layout. `size`: "512MiB", "20GB", or "rest" for the last one."""

    name: str
    size: str
    filesystem: Filesystem
    mount: str = ""


class RaidArray(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """An array of mdadm over the partitions `partition` of all disks."""

    name: str  # "md0"
    level: Literal["0", "1", "5", "6", "10"]
    partition: str
    filesystem: Filesystem
    mount: str = ""


class Volume(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A logical volume."""

    name: str
    size: str
    filesystem: Filesystem
    mount: str = ""


class VolumeGroup(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A volume group of LVM over `members`: names of partitions or arrays."""

    name: str
    members: tuple[str, ...]
    volumes: tuple[Volume, ...]


class DiskLayout(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What is made of the disks.

    `image`: the image is written over the first approved disk as it is. `plain`: partitions, file systems and then the
    tree of a tar image or debootstrap. `disks` is how many disks the layout takes; which ones, only an approval says.
    """

    kind: Literal["image", "plain"] = "image"
    disks: int = 1
    partitions: tuple[Partition, ...] = ()
    raid: tuple[RaidArray, ...] = ()
    volume_groups: tuple[VolumeGroup, ...] = ()
    grow_root: bool = True  # `image`: the last partition and its file system grow to the disk's end


class Interface(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One card of the new system; found by its MAC. Without `address` it asks DHCP."""

    mac: str
    address: str = ""  # with prefix: 10.0.0.5/24
    gateway: str = ""


class NetworkConfig(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Host name, cards and resolvers of the new system. Nothing given: DHCP on every card."""

    hostname: str = ""
    interfaces: tuple[Interface, ...] = ()
    dns: tuple[str, ...] = ()
