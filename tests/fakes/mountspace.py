"""A mount namespace for each process that runs tests.

A namespace is born with a copy of every mount of the one it comes from, and a mount is alive until the last copy is
gone. So whatever one process of a test run mounts and unmounts would stay alive in each container, image build or
`unshare` that another process started meanwhile, and mounting the same disk again would only find the old one. Where
each process has its own namespace, nobody copies what it did not mount. Facts: mount_namespaces(7).
"""

import contextlib
import ctypes
import os
import sys

CLONE_NEWNS, MS_REC, MS_SLAVE = 0x20000, 0x4000, 0x80000  # linux/sched.h, linux/mount.h


def leave_shared_mounts() -> None:
    """Give this process, and all it starts from now on, mounts of its own; does nothing without the right to mount."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(PermissionError):
        _call(libc.unshare(CLONE_NEWNS), "unshare")
        _call(libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None), "mount")


def _call(result: int, name: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
