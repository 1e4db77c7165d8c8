"""What a distribution's installer carries in its memory: the worker, appended to its initrd (P11). Used by `works`.

The kernel unpacks every archive of an initrd, one after the other: nothing of this crosses the boot network, and none
of it outlives the installer's memory. Files whose folder an initrd has not are left out by the kernel without a word,
so each kind of installer finds its own way to keep the folder until its last command copies it into the new system:

    debian-installer   its root is the initrd itself: /ops-worker stays
    dracut (Anaconda)  the hook before the switch to its own root copies it to /run
    casper (Ubuntu)    conf/param.conf, read after each boot script, copies it to /run

Debian's installer takes a boot file that DHCP names by URL for its answers, before those it was told of: it is kept
from that here, as such a boot file is what the machine was started by.

Sources: linux/Documentation/driver-api/early-userspace/buffer-format, dracut.modules(7), initramfs-tools(7).
"""

import os
from collections.abc import Iterator
from pathlib import Path

from ops_system.model.system_files import CARRIED, CARRIED_ON

_KEEP = f"[ -e {CARRIED_ON} ] || cp -a {CARRIED} {CARRIED_ON} || :\n".encode()
_KEEPERS = (
    "conf/param.conf",
    "lib/dracut/hooks/pre-pivot/99-ops-worker.sh",
    "var/lib/dracut/hooks/pre-pivot/99-ops-worker.sh",  # dracut 104 and newer
)
_START_OF_DEBIANS = "lib/debian-installer-startup.d/S29ops-worker"
_NO_BOOT_FILE = b"#!/bin/sh\nsed -i '/filename \"/d' /etc/udhcpc/default.script || :\n"
_FILE, _PROGRAM, _PRIVATE_FOLDER = 0o100644, 0o100755, 0o040700
_ALIGN = 4


def append(initrd: Path, tree: Path) -> None:
    """Let an initrd carry a folder, where there is one, as `/ops-worker`: owned by root, readable by nobody else."""
    with initrd.open("ab") as file:
        file.write(bytes(-file.tell() % _ALIGN))
        for entry in archive(tree):
            file.write(entry)


def archive(tree: Path) -> Iterator[bytes]:
    """Yield the "newc" archive of a folder, with what keeps it until the installer's end."""
    if tree.is_dir():
        yield from _folder(tree)
    yield _entry(_START_OF_DEBIANS, _PROGRAM, _NO_BOOT_FILE)
    yield _entry("TRAILER!!!", 0, b"")


def _folder(tree: Path) -> Iterator[bytes]:
    top = CARRIED.lstrip("/")
    yield _entry(top, _PRIVATE_FOLDER, b"")
    for path in sorted(tree.rglob("*")):
        yield _entry(f"{top}/{path.relative_to(tree)}", path.lstat().st_mode, _content(path), _mtime_s(path))
    for name in _KEEPERS:
        yield _entry(name, _FILE, _KEEP)


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return os.fsencode(path.readlink())
    return b"" if path.is_dir() else path.read_bytes()


def _mtime_s(path: Path) -> int:
    return int(path.lstat().st_mtime)


def _entry(name: str, mode: int, data: bytes, mtime_s: int = 0) -> bytes:
    """One entry; inode numbers name hard links, of which there are none."""
    encoded = os.fsencode(name) + b"\0"
    fields = (0, mode, 0, 0, 1, mtime_s, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % _ALIGN) + data + bytes(-len(data) % _ALIGN)
