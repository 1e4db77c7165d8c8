"""Files that are there whole or not at all, also after a power cut: what a role keeps outside a database."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `data`: write beside it, fsync, rename, fsync the folder.

    A reader sees the old or the new content. Raises OSError (disk full, no rights) with the old file untouched and
    nothing left beside it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(beside, flags, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    sync_dir(path.parent)


def remove_durably(path: Path) -> None:
    """Remove `path` if it is there, and make the removal survive a power cut."""
    path.unlink(missing_ok=True)
    sync_dir(path.parent)


def sync_dir(path: Path) -> None:
    """Make the folder's entries durable. Windows has no such call: its renames are journalled."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stat_each(paths: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield each path with its status, but for those that went since they were listed. Raises OSError otherwise."""
    for path in paths:
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        yield path, found
