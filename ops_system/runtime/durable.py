"""Makes a whole tree of fresh files survive a power cut, in the time of a few of them. Called by the extractor."""

import os
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ops_system.runtime.files import sync_dir

MANY_FILES = 100  # from here on one flush of the file system is quicker than one per file
_THREADS = 8  # file systems commit what waits together
_HONEST_SYNCFS = (5, 8)  # earlier kernels report no write error from syncfs(2)


def sync_tree(root: Path, files: Sequence[Path], folders: Sequence[Path]) -> None:
    """Put `files` and `folders` (parents first), all below `root`, on the disk. Raises OSError when that failed."""
    if len(files) >= MANY_FILES and _can_sync_file_system():
        _sync_file_system(root)
        return
    if len(files) > 1:
        with ThreadPoolExecutor(_THREADS, "fsync") as pool:
            for _ in pool.map(_sync_file, files):
                pass
    else:
        for file in files:
            _sync_file(file)
    for folder in reversed(folders):
        sync_dir(folder)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _can_sync_file_system() -> bool:
    if sys.platform != "linux":
        return False
    match = re.match(r"([0-9]+)\.([0-9]+)", os.uname().release)
    return match is not None and (int(match[1]), int(match[2])) >= _HONEST_SYNCFS


def _sync_file_system(path: Path) -> None:
    """syncfs(2), which Python does not offer."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if library.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
