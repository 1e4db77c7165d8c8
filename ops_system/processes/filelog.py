"""A log that a service writes and rotates itself: `NAME` with `NAME.1`, `NAME.2.gz`, `NAME-20260102.gz` as one log.

Offsets go on through rotations: a file keeps its place by its inode, a packed one takes the place of the file of its
size that has vanished, a truncated or recreated file goes on behind what there was. They are counted from the oldest
file that is there at the first look, so they hold until the worker is restarted.
Services own these files: only regular files are opened, and no part of the path below `folder` may be a link.
Belongs to the worker's `logs`; everything blocks, `read_live` least.
"""

import contextlib
import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ops_system.model.errors import Invalid, NotFound
from ops_system.processes.gzips import GzipText, plain_size
from ops_system.processes.packs import pread
from ops_system.processes.rotate import Piece

MAX_FILES = 32  # older ones are not looked at
_OLD = re.compile(r"[.-](\d{1,10}|\d{4}-\d\d-\d\d(?:[-_T]?\d\d)?|\d{8}[-_T]\d{2,6})(\.gz)?")
_FILE_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_FOLDER_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_DIRECTORY", 0)
_HAS_AT = os.open in os.supports_dir_fd


class Part(NamedTuple):
    """One file and which bytes of the log it holds, unpacked."""

    name: str
    key: tuple[int, int]  # device and inode
    start: int
    size: int

    @property
    def end(self) -> int:
        """The offset after it."""
        return self.start + self.size

    @property
    def is_packed(self) -> bool:
        """Whether it is a gzip file."""
        return self.name.endswith(".gz")


class FileLog:
    """The log `folder/inner`. A missing file is an empty one. Raises NotFound or Invalid for what may not be read."""

    def __init__(self, folder: Path, inner: PurePosixPath) -> None:
        self.path = folder / inner
        self._folder = folder
        self._inner = inner
        self._lock = threading.Lock()
        self._parts: list[Part] = []
        self._end = 0
        self._known_listing: tuple[int, int, int] | None = None
        self._packed: tuple[tuple[int, int], GzipText] | None = None

    def check(self) -> None:
        """Raise Invalid or NotFound unless there is a file that may be read."""
        with self._parent() as parent:
            os.close(_open_file(self.path, parent))

    def spans(self) -> list[tuple[int, int]]:
        """Return the ranges of offsets that can be read, in order, touching ones joined."""
        with self._lock:
            self._look()
            found: list[tuple[int, int]] = []
            for part in self._parts:
                if found and found[-1][1] == part.start:
                    found[-1] = (found[-1][0], part.end)
                elif part.size:
                    found.append((part.start, part.end))
            return found

    def read(self, offset: int, length: int) -> Piece:
        """Return up to `length` bytes at `offset`, or at the next offset that is kept; none at the end."""
        with self._lock:
            self._look()
            return self._read(offset, length)

    def read_live(self, offset: int, length: int) -> Piece | None:
        """Return like `read`, at once; None when that would have to wait or to unpack."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            self._look()
            part = self._part_at(offset)
            return None if part is not None and part.is_packed else self._read(offset, length)
        finally:
            self._lock.release()

    def rest(self) -> None:
        """Give back what unpacking holds."""
        with self._lock:
            self._close_packed()

    # --- reading
    def _part_at(self, offset: int) -> Part | None:
        return next((part for part in self._parts if offset < part.end), None)

    def _read(self, offset: int, length: int) -> Piece:
        for part in self._parts:
            if offset >= part.end:
                continue
            at = max(offset, part.start)
            data = self._read_part(part, at - part.start, min(length, part.end - at))
            if data:
                return Piece(at, data)
        return Piece(max(offset, self._parts[-1].end if self._parts else 0), b"")

    def _read_part(self, part: Part, at: int, length: int) -> bytes:
        if self._packed is not None and self._packed[0] == part.key:
            return self._packed[1].read(at, length)
        with contextlib.ExitStack() as stack:
            try:
                fd = _open_file(self.path.with_name(part.name), stack.enter_context(self._parent()))
            except (NotFound, Invalid, FileNotFoundError):
                self._known_listing = None
                return b""  # it went meanwhile
            if _key(os.fstat(fd)) != part.key:
                os.close(fd)
                self._known_listing = None
                return b""
            if part.is_packed:
                self._close_packed()
                self._packed = part.key, GzipText(fd)
                return self._packed[1].read(at, length)
            stack.callback(os.close, fd)
            return pread(fd, length, at)

    def _close_packed(self) -> None:
        if self._packed is not None:
            self._packed[1].close()
            self._packed = None

    # --- which files there are
    def _look(self) -> None:
        """Bring the list of parts up to date; a quick look when no name in the folder has changed."""
        try:
            with self._parent() as parent:
                now = _stat(self.path, parent)
                folder = self.path.parent.stat() if parent is None else os.fstat(parent)
                listing = (folder.st_dev, folder.st_ino, folder.st_mtime_ns)
                if now is not None and listing == self._known_listing and self._has_grown(now):
                    return
                self._parts = placed(self._parts, self._list(parent, now), self._end)
                self._known_listing = listing
        except FileNotFoundError:
            self._parts, self._known_listing = [], None
        self._end = self._parts[-1].end if self._parts else self._end

    def _has_grown(self, now: os.stat_result) -> bool:
        """Take in what was added to the live file; False when it is another one or was truncated."""
        live = self._parts[-1] if self._parts else None
        if live is None or live.name != self.path.name or live.key != _key(now) or now.st_size < live.size:
            return False
        self._parts[-1] = live._replace(size=now.st_size)
        self._end = self._parts[-1].end
        return True

    def _list(self, parent: int | None, now: os.stat_result | None) -> list[Part]:
        """Return the files in order, the live one last; their places are not known yet."""
        name = self.path.name
        old: list[tuple[int, str, Part]] = []
        for other in os.listdir(self.path.parent if parent is None else parent):  # noqa: PTH208 - by descriptor
            match = _OLD.fullmatch(other, len(name)) if other.startswith(name) else None
            if match is None:
                continue
            with contextlib.suppress(NotFound, Invalid, OSError):
                fd = _open_file(self.path.with_name(other), parent)
                try:
                    found = os.fstat(fd)
                    size = plain_size(fd) if match[2] else found.st_size
                finally:
                    os.close(fd)
                old.append((found.st_mtime_ns, match[1].zfill(10), Part(other, _key(found), 0, size)))
        newest_first = sorted(old, key=_newest_first)[:MAX_FILES]
        live = [] if now is None else [Part(name, _key(now), 0, now.st_size)]
        return [part for _, _, part in reversed(newest_first)] + live

    @contextlib.contextmanager
    def _parent(self) -> Iterator[int | None]:
        """Give the folder of the file, opened step by step; None where the system cannot. Raises FileNotFoundError."""
        if not _HAS_AT:
            _check_no_link(self._folder, self._inner)
            yield None
            return
        with contextlib.ExitStack() as stack:
            fd = os.open(self._folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
            stack.callback(os.close, fd)
            for part in self._inner.parts[:-1]:
                try:
                    fd = os.open(part, _FOLDER_FLAGS, dir_fd=fd)
                except FileNotFoundError:
                    raise
                except OSError as problem:
                    raise Invalid(
                        f'the log path "{self._inner}" leads through a link, which is not followed'
                    ) from problem
                stack.callback(os.close, fd)
            yield fd


def _newest_first(item: tuple[int, str, Part]) -> tuple[int, str]:
    """Order by time; of files of one time the smaller number is the newer."""
    return -item[0], item[1]


def placed(before: list[Part], found: list[Part], end: int) -> list[Part]:
    """Give every file its place in the log: the one it had, or behind its predecessor. `end` is that of the log.

    A packed file that is new takes the place of the one of its size that has vanished; a new file just before a live
    one that was truncated is the copy of what that held.
    """
    known = {part.key: part for part in before}
    gone = {part.size: part for part in before if part.key not in {part.key for part in found}}
    shrunk = next((known[part.key] for part in found[-1:] if part.size < known.get(part.key, part).size), None)
    done: list[Part] = []
    for index, part in enumerate(found):
        old = known.get(part.key) or (gone.get(part.size) if part.is_packed else None)
        if old is None and shrunk is not None and index == len(found) - 2 and part.size >= shrunk.size:
            old = shrunk
        is_last = index == len(found) - 1
        behind = max(done[-1].end, end if is_last else 0) if done else end
        is_kept = old is not None and old.size <= part.size
        done.append(part._replace(start=old.start if old is not None and is_kept else behind))
    return _without_overlap(done)


def _without_overlap(done: list[Part]) -> list[Part]:
    """Cut off what was written to an old file after its successor had begun, and drop what is out of order."""
    kept: list[Part] = []
    for part in reversed(done):
        if kept and part.start >= kept[-1].start:
            continue
        kept.append(part._replace(size=min(part.size, kept[-1].start - part.start)) if kept else part)
    return kept[::-1]


def _key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _stat(path: Path, parent: int | None) -> os.stat_result | None:
    """Return what the log is now, None when it is not there. Raises NotFound or Invalid."""
    try:
        found = os.lstat(path) if parent is None else os.stat(path.name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    _check_regular(path.name, found)
    return found


def _open_file(path: Path, parent: int | None) -> int:
    try:
        fd = os.open(path, _FILE_FLAGS) if parent is None else os.open(path.name, _FILE_FLAGS, dir_fd=parent)
    except FileNotFoundError as problem:
        raise NotFound(f'log "{path.name}" was not written yet') from problem
    except OSError as problem:
        raise Invalid(f'log "{path.name}" cannot be read: {problem.strerror}') from problem
    try:
        _check_regular(path.name, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_regular(name: str, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _leads_through_link(name)
    if not stat.S_ISREG(found.st_mode):
        raise Invalid(f'"{name}" is no regular file')


def _check_no_link(folder: Path, inner: PurePosixPath) -> None:
    path = folder
    for part in inner.parts[:-1]:
        path /= part
        if stat.S_ISLNK(path.lstat().st_mode):
            raise _leads_through_link(str(inner))


def _leads_through_link(path: str) -> Invalid:
    return Invalid(f'the log path "{path}" leads through a link, which is not followed')
