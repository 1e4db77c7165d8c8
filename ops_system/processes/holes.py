"""Giving back the head of a file that others append to, without racing them: fallocate(2) of Linux. Used by `rotate`.

`punch` frees the blocks and leaves zeros to read; offsets stay as they are. `collapse` takes whole blocks out, so that
the rest moves to the front; ext4 and XFS do it under the lock that appending takes: no byte is lost or written twice.
"""

import ctypes
import errno
import functools
import os
import sys
from collections.abc import Callable

_KEEP_SIZE, _PUNCH_HOLE, _COLLAPSE_RANGE = 0x01, 0x02, 0x08
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM})


def punch(fd: int, length: int) -> bool:
    """Free the first `length` bytes. False where the file system cannot. Raises OSError."""
    return _fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, length)


def collapse(fd: int, length: int) -> bool:
    """Take the first `length` bytes out, a multiple of `block_bytes` and less than the file. False where impossible."""
    return _fallocate(fd, _COLLAPSE_RANGE, length)


def block_bytes(fd: int) -> int:
    """Return the unit that `collapse` works in."""
    return os.fstatvfs(fd).f_bsize if sys.platform != "win32" else 4096


def first_data(fd: int, offset: int = 0) -> int:
    """Return the first offset from `offset` on that is not in a hole, at most the end; `offset` where nothing tells."""
    if not hasattr(os, "SEEK_DATA"):
        return offset
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        return max(offset, os.fstat(fd).st_size) if error.errno == errno.ENXIO else offset


def _fallocate(fd: int, mode: int, length: int) -> bool:
    call = _find_call()
    if call is None:
        return False
    while call(fd, mode, 0, length) != 0:
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True


@functools.cache
def _find_call() -> Callable[[int, int, int, int], int] | None:
    """Return fallocate(fd, mode, offset, length); None where the C library has none."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    found = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if found is None:
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    found.restype = ctypes.c_int
    call: Callable[[int, int, int, int], int] = found
    return call
