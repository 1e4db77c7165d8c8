"""Every program the agent starts, and the Debian package it comes from: what the agent's ramdisk holds.

Paths inside the new system (grub-install, update-grub) are the image's own and stand not here.
"""

PROGRAMS: dict[str, str] = {
    "sfdisk": "fdisk",
    "wipefs": "util-linux",
    "blkid": "util-linux",
    "blockdev": "util-linux",
    "partx": "util-linux",
    "mount": "mount",
    "umount": "mount",
    "mkswap": "util-linux",
    "mkfs.ext4": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "resize2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mkfs.xfs": "xfsprogs",
    "xfs_growfs": "xfsprogs",
    "mdadm": "mdadm",
    "lvm": "lvm2",
    "zstd": "zstd",
    "gzip": "gzip",
    "tar": "tar",
    "kexec": "kexec-tools",
    "mkdir": "coreutils",
    "chroot": "coreutils",
    "sync": "coreutils",
    "sh": "dash",
}
"""Always in the ramdisk; busybox may give mkdir, chroot and sh, but not mount (it has no --recursive umount)."""

FOR_DEBOOTSTRAP: dict[str, str] = {"debootstrap": "debootstrap", "wget": "wget", "gpgv": "gpgv", "ar": "binutils"}
"""Only where systems are made from packages; without them that method fails and says so."""

MODULES = (
    "ext4", "xfs", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "raid0", "raid1", "raid10", "raid456", "dm-mod",
    "loop", "efivarfs",
)  # fmt: skip
"""Kernel modules the steps want, besides the drivers of disks and cards."""
