"""A service's output file that stays small and loses nothing: its head is archived, then taken out under the writer.

    stdout.log  stdout.log.1.gz  stdout.log.2.gz ...  stdout.log.state        1 is the newest

The service appends to its own descriptor (O_APPEND, no pipe) and notices nothing. Offsets are those of the whole log
since its first byte, so they stay true through rotations: `base` is the offset of the file's first byte, `start` that
of its first byte that is not archived. One rotation, each step harmless to repeat or to lose by a crash:

    1 archive start..cut, cut after a line, into NAME.rotating; fsync      a crash leaves a file that is thrown away
    2 note the archive by its inode in NAME.state                          an inode without a numbered name is nothing
    3 number the archives; NAME.rotating becomes .1.gz                     from here on `start` is the archive's end
    4 punch the head out of the file                                       its disk space is free
    5 collapse the punched blocks (ext4, XFS); elsewhere the hole stays    `collapsing` and the hole tell a crash

Where nothing can be punched (NFS, Windows, macOS) the rest is read, the file truncated, the rest written back: lines
written in between (some microseconds) are lost, and a crash there loses the rest. See docs/decisions/0009.
A log that grows faster than it can be packed is cut off at its old end, and the gap is marked by a line.

`OutputLog` belongs to the worker's `logs`; rotating and reading archives block, call them in a thread.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ops_system.processes import holes
from ops_system.processes.logstate import (
    Archive,
    LogState,
    backup,
    backups,
    beside,
    end_of,
    load,
    save,
    settle,
    without_lost,
)
from ops_system.processes.packs import BLOCK_BYTES, Packed, pread, read_pack, write_pack
from ops_system.runtime.files import stat_each, sync_dir

_LEAST_BLOCKS = 4  # fewer are not worth a collapse, and could not be told from a cut within a block


class RotateRules(msgspec.Struct, frozen=True):
    """When and how much is kept. `max_age_s` 0: old files never go by age.

    A live file above `flood_factor` times its size is cut off at its old end.
    """

    max_size_bytes: int = 50_000_000
    max_backups: int = 5
    max_age_s: float = 30 * 86400.0
    compress: bool = True
    flood_factor: float = 2.0

    @property
    def flood_bytes(self) -> float:
        """The size above which the old end is given up."""
        return self.flood_factor * self.max_size_bytes


class Rotation(msgspec.Struct, frozen=True):
    """What one look did. `is_lossy`: the file system cannot free the head of a file, so lines may have been lost."""

    archived_bytes: int = 0
    dropped_bytes: int = 0
    is_line_cut: bool = False
    is_lossy: bool = False


class Piece(msgspec.Struct, frozen=True):
    """Bytes of a log and where they start: at the offset asked for, or at the next one that is still there."""

    offset: int
    data: bytes


NOTHING = Rotation()


class OutputLog:
    """One output file with its archives. `lock` orders the steps that move bytes against reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = str(path)
        self._lock = threading.Lock()
        self._state: LogState | None = None

    # --- rotating
    def is_large(self, rules: RotateRules) -> bool:
        """True when `rotate` would probably do something; a quick look."""
        try:
            size_bytes = os.stat(self._name).st_size  # noqa: PTH116 - asked of hundreds of files twice a second
        except OSError:
            return False
        dead_bytes = self._state.start - self._state.base if self._state else 0
        return size_bytes < dead_bytes or size_bytes - dead_bytes >= rules.max_size_bytes

    def rotate(self, rules: RotateRules) -> Rotation:
        """Archive the head when the file has reached its size. Raises OSError (disk full): the log is then whole."""
        with contextlib.ExitStack() as stack:
            try:
                fd = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            except FileNotFoundError:
                return NOTHING
            stack.callback(os.close, fd)
            with self._lock:
                state = self._settle(fd)
                live_bytes = end_of(fd, state) - state.start
                if live_bytes < rules.max_size_bytes:
                    return NOTHING
                self._state = state = without_lost(state, self.path)
            dropped_bytes = 0
            if live_bytes > rules.flood_bytes:
                dropped_bytes = self._drop(fd, state, live_bytes - rules.max_size_bytes, rules)
            try:
                done = self._archive_head(fd, rules)
            except OSError:
                if not dropped_bytes:
                    raise
                done = NOTHING  # what was dropped is told now, what is wrong with the disk by the next look
            self._drop_old(rules)
            return msgspec.structs.replace(done, dropped_bytes=dropped_bytes)

    def _archive_head(self, fd: int, rules: RotateRules) -> Rotation:
        state = self._known()
        cut, is_line_cut = _find_cut(fd, state, rules.max_size_bytes)
        if rules.max_backups == 0:
            archived = cut - state.start
            self._note(msgspec.structs.replace(state, start=cut, unmarked_bytes=0))
        else:
            archived = self._archive(fd, state, cut, rules)
        is_lossy = not self._free_head(fd)
        return Rotation(archived, is_line_cut=is_line_cut, is_lossy=is_lossy)

    def _archive(self, fd: int, state: LogState, cut: int, rules: RotateRules) -> int:
        """Do steps 1 to 3; return how many bytes of the file are in the archive."""
        fresh = beside(self.path, "rotating")
        try:
            packed = self._pack(fd, state, cut, rules, fresh)
            end = state.start + packed.read_bytes
            entry = Archive(packed.inode, end - packed.size_bytes, end)
            noted = msgspec.structs.replace(state, archives=(*state.archives, entry))
            save(self.path, noted)
        except BaseException:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise
        with self._lock:
            _shift(self.path, rules.max_backups)
            fresh.replace(backup(self.path, 1, is_packed=rules.compress))
            self._state = without_lost(msgspec.structs.replace(noted, start=end, unmarked_bytes=0), self.path)
        sync_dir(self.path.parent)
        return packed.read_bytes

    def _pack(self, fd: int, state: LogState, cut: int, rules: RotateRules, fresh: Path) -> Packed:
        def may_go_on() -> bool:
            return end_of(fd, state) - state.start <= rules.flood_bytes

        start, end = state.start - state.base, cut - state.base
        head = _marker(state.unmarked_bytes)
        return write_pack(fd, start, end, fresh, compress=rules.compress, head=head, may_go_on=may_go_on)

    def _drop_old(self, rules: RotateRules) -> None:
        now_s = time.time()
        with self._lock:
            for number, (old, stat) in enumerate(stat_each(backups(self.path)), start=1):
                is_old = rules.max_age_s > 0 and now_s - stat.st_mtime > rules.max_age_s
                if is_old or number > rules.max_backups:
                    old.unlink(missing_ok=True)
            self._state = without_lost(self._known(), self.path)

    def _drop(self, fd: int, state: LogState, least_bytes: int, rules: RotateRules) -> int:
        """Give up the oldest bytes, up to the end of a line. Needs no disk space."""
        cut, _ = _find_cut(fd, state, least_bytes)
        dropped_bytes = cut - state.start
        unmarked_bytes = state.unmarked_bytes + dropped_bytes if rules.max_backups else 0
        self._note(msgspec.structs.replace(state, start=cut, unmarked_bytes=unmarked_bytes))
        self._free_head(fd)
        return dropped_bytes

    def _free_head(self, fd: int) -> bool:
        """Do steps 4 and 5. False: it could only be done by truncating."""
        state = self._known()
        dead_bytes = state.start - state.base
        if dead_bytes == 0:
            return True
        if not holes.punch(fd, dead_bytes):
            self._rewrite(fd)
            return False
        block_bytes = holes.block_bytes(fd)
        length = (dead_bytes - 1) // block_bytes * block_bytes
        if length >= _LEAST_BLOCKS * block_bytes:
            self._collapse(fd, length)
        else:
            self._note(state)
        return True

    def _collapse(self, fd: int, length: int) -> None:
        state = self._known()
        try:
            save(self.path, msgspec.structs.replace(state, collapsing=length))
        except OSError:
            return  # a full disk; the hole stays until the next rotation
        with self._lock:
            if holes.collapse(fd, length):
                state = msgspec.structs.replace(state, base=state.base + length)
            self._state = state
        self._note(state)

    def _rewrite(self, fd: int) -> None:
        """Truncate the file and write back what was not archived."""
        state = self._known()
        with self._lock:
            at, rest = state.start - state.base, bytearray()
            while data := pread(fd, BLOCK_BYTES, at + len(rest)):
                rest += data
            os.ftruncate(fd, 0)
            writer = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
            with os.fdopen(writer, "wb", buffering=0) as file:
                file.write(rest)
            self._state = msgspec.structs.replace(state, base=state.start)
        self._note(self._state)

    # --- reading
    def spans(self) -> list[tuple[int, int]]:
        """Return the ranges of offsets that can be read, in order, touching ones joined. Empty: no such log."""
        with self._lock, self._opened() as fd:
            state = self._settle(fd) if fd >= 0 else self._known()
            found: list[tuple[int, int]] = []
            live = [(state.start, end_of(fd, state))] if fd >= 0 else []
            for start, end in [*((item.start, item.end) for item in state.archives), *live]:
                if found and found[-1][1] == start:
                    found[-1] = (found[-1][0], end)
                else:
                    found.append((start, end))
            return found

    def read(self, offset: int, length: int) -> Piece:
        """Return up to `length` bytes at `offset`, or at the next offset that is kept; none at the end."""
        with self._lock:
            piece = self._read(offset, length)
        return piece or self._read_archive(offset, length)

    def read_live(self, offset: int, length: int) -> Piece | None:
        """Return like `read`, at once; None when that would have to wait or to unpack: use `read` in a thread."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._read(offset, length)
        finally:
            self._lock.release()

    def _read(self, offset: int, length: int) -> Piece | None:
        """Read the live file under the lock; None when the offset lies before it."""
        with self._opened() as fd:
            if fd < 0:
                return None if self._archive_at(offset) else Piece(offset, b"")
            state = self._settle(fd)
            if offset < state.start and self._archive_at(offset):
                return None
            end = end_of(fd, state)
            at = max(offset, state.start) if offset <= end else state.start
            return Piece(at, pread(fd, min(length, end - at), at - state.base))

    def _read_archive(self, offset: int, length: int) -> Piece:
        with self._lock:
            found = self._archive_at(offset)
            names = {stat.st_ino: path for path, stat in stat_each(backups(self.path))}
            path = names.get(found.inode) if found else None
            fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)) if path else -1
            if path is None:
                self._state = without_lost(self._known(), self.path)
        if found is None or path is None:
            return self.read(offset, length)  # it was rotated away, or removed by somebody
        try:
            at = max(offset, found.start)
            data = read_pack(fd, at - found.start, length, is_packed=path.suffix == ".gz")
        finally:
            os.close(fd)
        return Piece(at, data) if data else self.read(found.end, length)  # damaged: go on behind it

    def _archive_at(self, offset: int) -> Archive | None:
        return next((item for item in self._known().archives if offset < item.end), None)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """Give the live file opened for reading, -1 when there is none."""
        try:
            fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            yield -1
            return
        try:
            yield fd
        finally:
            os.close(fd)

    # --- the state
    def _known(self) -> LogState:
        if self._state is None:
            self._state = load(self.path)
        return self._state

    def _settle(self, fd: int) -> LogState:
        """Make the state fit the file; under the lock."""
        is_loaded = self._state is None
        self._state = settle(fd, self._known(), is_loaded=is_loaded)
        return self._state

    def _note(self, state: LogState) -> None:
        """Hold the state, and keep it where the disk has room; the file's own holes tell most of it otherwise."""
        with self._lock:
            self._state = state
        with contextlib.suppress(OSError):
            save(self.path, state)


def _find_cut(fd: int, state: LogState, size_bytes: int) -> tuple[int, bool]:
    """Return the offset after the last line that ends within `size_bytes`, else just there (True)."""
    start = state.start - state.base
    top = min(start + size_bytes, os.fstat(fd).st_size)
    at = top
    while at > start:
        lower = max(start, at - BLOCK_BYTES)
        position = pread(fd, at - lower, lower).rfind(b"\n")
        if position >= 0:
            return state.base + lower + position + 1, False
        at = lower
    return state.base + top, True


def _marker(dropped_bytes: int) -> bytes:
    if not dropped_bytes:
        return b""
    return b"[%d bytes of output were dropped here: they came faster than they could be archived]\n" % dropped_bytes


def _shift(path: Path, max_backups: int) -> None:
    """Make room for number 1."""
    for number, old in reversed(list(enumerate(backups(path), start=1))):
        if number >= max_backups:
            old.unlink()
        else:
            old.replace(backup(path, number + 1, is_packed=old.suffix == ".gz"))
