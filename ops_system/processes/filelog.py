"""A log that a service writes and rotates itself: `NAME` with `NAME.1`, `NAME.2.gz`, `NAME-20260102.gz` as one log.

Offsets go on through rotations (`logparts` tells how a file is known again), a truncated or recreated file goes on
behind what there was. They are counted from the oldest file that is there at the first look ever: what is needed to go
on after a restart of the worker is written to `kept` whenever a file comes or goes.
Services own these files: only regular files are opened, and no part of the path below `folder` may be a link.
Belongs to the worker's `logs`; everything blocks, `read_live` least.
"""

import contextlib
import logging
import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec

from ops_system.model.errors import Invalid, NotFound
from ops_system.processes.gzips import GzipText, plain_head, plain_size
from ops_system.processes.logparts import (
    HEAD_BYTES,
    LOST_BYTES,
    File,
    Part,
    Places,
    identities,
    is_lost,
    placed,
    read_places,
)
from ops_system.processes.packs import pread
from ops_system.processes.rotate import Piece
from ops_system.runtime.files import write_atomic

_log = logging.getLogger(__name__)

MAX_FILES = 32  # older ones are not looked at
_OLD = re.compile(r"[.-](\d{1,10}|\d{4}-\d\d-\d\d(?:[-_T]?\d\d)?|\d{8}[-_T]\d{2,6})(\.gz)?")
_FILE_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_FOLDER_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_DIRECTORY", 0)
_HAS_AT = os.open in os.supports_dir_fd


class FileLog:
    """The log `folder/inner`. A missing file is an empty one. Raises NotFound or Invalid for what may not be read.

    `kept` is where its places are kept over restarts; None: they are not.
    """

    def __init__(self, folder: Path, inner: PurePosixPath, kept: Path | None = None) -> None:
        self.path = folder / inner
        self._folder = folder
        self._inner = inner
        self._kept = kept
        self._is_loaded = kept is None
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
        """Return like `read`, at once; None when that would have to wait, to unpack, or to look at other files."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if not self._is_current():
                return None
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
    def _is_current(self) -> bool:
        """Take in what was added to the live file; False when files came or went."""
        with contextlib.suppress(FileNotFoundError), self._parent() as parent:
            now = _stat(self.path, parent)
            return now is not None and self._listing(parent) == self._known_listing and self._has_grown(now)
        return False

    def _listing(self, parent: int | None) -> tuple[int, int, int]:
        folder = self.path.parent.stat() if parent is None else os.fstat(parent)
        return folder.st_dev, folder.st_ino, folder.st_mtime_ns

    def _look(self) -> None:
        """Bring the list of parts up to date; a quick look when no name in the folder has changed."""
        if self._is_current():
            return
        try:
            with self._parent() as parent:
                listing = self._listing(parent)
                self._take(self._list(parent, _stat(self.path, parent)))
                self._known_listing = listing
        except FileNotFoundError:
            self._parts, self._known_listing = [], None

    def _take(self, found: list[File]) -> None:
        """Give the files their places, and keep these."""
        if not self._is_loaded:
            self._load()
            self._end += LOST_BYTES if is_lost(self._parts, found) else 0
        before, self._parts = identities(self._parts), placed(self._parts, found, self._end)
        self._end = self._parts[-1].end if self._parts else self._end
        if self._kept is not None and identities(self._parts) != before:
            self._keep(self._kept)

    def _load(self) -> None:
        self._is_loaded = True
        assert self._kept is not None
        try:
            places = read_places(self._kept.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as problem:
            _log.warning("the places of %s are lost, links to its lines with them: %s", self.path, problem)
            return
        self._parts, self._end = list(places.parts), places.end

    def _keep(self, path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(path, Places(self._end, tuple(self._parts)).as_json())
        except OSError as problem:
            _log.warning(
                "the places of %s cannot be kept; links to its lines end with this process: %s", self.path, problem
            )

    def _has_grown(self, now: os.stat_result) -> bool:
        """Take in what was added; False when it is another file or was truncated."""
        live = self._parts[-1] if self._parts else None
        if live is None or live.name != self.path.name or live.key != _key(now) or now.st_size < live.size:
            return False
        if live.head_size < HEAD_BYTES <= now.st_size:
            return False  # by now it can be known by its beginning
        self._parts[-1] = live._replace(size=now.st_size)
        self._end = self._parts[-1].end
        return True

    def _list(self, parent: int | None, now: os.stat_result | None) -> list[File]:
        """Return the files in order, the live one last."""
        name = self.path.name
        old: list[tuple[int, str, File]] = []
        for other in os.listdir(self.path.parent if parent is None else parent):  # noqa: PTH208 - by descriptor
            match = _OLD.fullmatch(other, len(name)) if other.startswith(name) else None
            if match is None:
                continue
            with contextlib.suppress(NotFound, Invalid, OSError):
                mtime_ns, file = _describe(self.path.with_name(other), parent)
                old.append((mtime_ns, match[1].zfill(10), file))
        newest_first = sorted(old, key=_newest_first)[:MAX_FILES]
        with contextlib.suppress(NotFound):
            live = [] if now is None else [_describe(self.path, parent)[1]]
            return [file for _, _, file in reversed(newest_first)] + live
        return [file for _, _, file in reversed(newest_first)]

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


def _describe(path: Path, parent: int | None) -> tuple[int, File]:
    """Return when a file was changed (Unix nanoseconds), and what is to be known of it."""
    fd = _open_file(path, parent)
    try:
        found = os.fstat(fd)
        is_packed = path.name.endswith(".gz")
        head = plain_head(fd, HEAD_BYTES) if is_packed else pread(fd, HEAD_BYTES, 0)
        size = plain_size(fd) if is_packed else found.st_size
    finally:
        os.close(fd)
    return found.st_mtime_ns, File(path.name, _key(found), size, head[:size])


def _newest_first(item: tuple[int, str, File]) -> tuple[int, str]:
    """Order by time; of files of one time the smaller number is the newer."""
    return -item[0], item[1]


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
