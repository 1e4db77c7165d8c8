"""The unpacked packages of a node as a cache: bounded by size, the longest unused goes first. Used by `fetch`.

versions/<name>/<version>/<sha256>/       one tree a package; its modification time is when it was last used
"""

import contextlib
import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path

import msgspec

from ops_system.runtime.files import stat_each

FRESH_S = 3600.0  # what was fetched or used so lately stays: a rollout fetches ahead of its start


class Tree(msgspec.Struct, frozen=True):
    """One unpacked package. `used_at_s`: Unix seconds."""

    path: Path
    size_bytes: int
    used_at_s: float

    @property
    def sha256(self) -> str:
        """The package it was unpacked from."""
        return self.path.name


class Cache:
    """The trees below `folder`. Every method blocks."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._sizes: dict[Path, int] = {}

    def note_use(self, tree: Path) -> bool:
        """Note that the tree is used now; False when it is not there."""
        try:
            os.utime(tree)
        except FileNotFoundError:
            return False
        return True

    def find_surplus(self, in_use: Collection[str], room_bytes: int = 0) -> list[Tree]:
        """Return the trees to remove, the longest unused first, so that all fit the limit and `room_bytes` become free.

        Never one in use, nor a fresh one.
        """
        trees = self._list()
        excess_bytes = max(sum(tree.size_bytes for tree in trees) - self._limit_bytes, room_bytes)
        surplus: list[Tree] = []
        for tree in sorted(trees, key=lambda tree: tree.used_at_s):
            if excess_bytes <= 0:
                break
            if tree.sha256 not in in_use and not is_fresh(tree.used_at_s):
                surplus.append(tree)
                excess_bytes -= tree.size_bytes
        return surplus

    def remove(self, tree: Tree) -> None:
        """Remove a tree unless it was used since it was found."""
        try:
            if tree.path.stat().st_mtime > tree.used_at_s:
                return
        except FileNotFoundError:
            return
        shutil.rmtree(tree.path, ignore_errors=True)
        self._sizes.pop(tree.path, None)
        for folder in (tree.path.parent, tree.path.parent.parent):
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()

    def _list(self) -> list[Tree]:
        found = []
        for name_dir in folders(self._folder):
            for version_dir in folders(name_dir):
                for path, stat in stat_each(folders(version_dir)):
                    found.append(Tree(path, self._size_of(path), stat.st_mtime))
        return found

    def _size_of(self, tree: Path) -> int:
        """Trees never change: each is measured once."""
        if tree not in self._sizes:
            files = (Path(root) / name for root, _, names in os.walk(tree) for name in names)
            self._sizes[tree] = sum(stat.st_size for _, stat in stat_each(files))
        return self._sizes[tree]


def is_fresh(used_at_s: float) -> bool:
    """Whether a tree was used so lately that it stays."""
    return time.time() - used_at_s < FRESH_S


def folders(parent: Path) -> list[Path]:
    """Return the folders in a folder but for those that begin with a dot: they are being unpacked."""
    try:
        entries = [entry for entry in parent.iterdir() if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [entry for entry in entries if entry.is_dir() and not entry.is_symlink()]
