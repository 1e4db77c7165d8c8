"""The history files below DATA/metrics: appends, reads, cuts torn ends, sets damaged files aside. Blocking calls only.

    metrics/node-<id>/10s-<start>.seg       ten-second rows of two hours; `.rolled.seg` once its minutes are written too
    metrics/node-<id>/1m-<start>.seg        minutes of a day, squeezed
    metrics/node-<id>/15m-<start>.seg       quarters of an hour of a week, squeezed
    metrics/node-<id>/<name>.seg.damaged    what could not be read, kept for a look

How many files of a tier stay is counted, not dated: a clock that jumps removes nothing. Nothing is flushed to the disk
by force; after a power cut the last minutes may be missing, never what stands before them.
"""

import contextlib
import errno
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ops_system.master.metrics.segments import (
    HEADER_BYTES,
    Block,
    Damaged,
    Scan,
    encode_header,
    encode_names,
    encode_rows,
    scan,
)
from ops_system.master.metrics.tiers import FINE, TIERS, Batch, Tier, roll_up

_log = logging.getLogger(__name__)

_SUBJECT = re.compile(r"(node|instance):([A-Za-z0-9_-]{1,64})")
_FOLDER = re.compile(r"(node|instance)-([A-Za-z0-9_-]{1,64})")
_FILE = re.compile(r"(10s|1m|15m)-(-?[0-9]{1,12})((?:\.rolled)?\.seg)(\.damaged)?")
_ROLLED = ".rolled.seg"
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class Tail(NamedTuple):
    """A segment that grows: its size, and the names of its groups as they were written last."""

    path: Path
    size: int
    names: dict[int, tuple[str, ...]]


class Segment(NamedTuple):
    """A file of a tier."""

    start_s: int
    path: Path
    is_rolled: bool
    is_damaged: bool


class SegmentStore:
    """One per master. Writing calls come one at a time; `read` may run beside them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tails: dict[tuple[str, str], Tail] = {}
        self._suspects: set[Path] = set()
        self._unrolled: dict[str, int] = {}  # subjects that began a new segment, and which
        self.set_aside = 0

    # --- write ----------------------------------------------------------------------------------------------------
    def append(self, subject: str, batch: Batch) -> None:
        """Add ten-second rows that lie in one segment. Raises OSError with the file as it was before (disk full)."""
        if self._append(subject, FINE, batch):
            self._unrolled[subject] = FINE.segment_of(batch.first)

    def _append(self, subject: str, tier: Tier, batch: Batch) -> bool:
        """Return whether this began to write to another file than before."""
        path = self._folder(subject) / f"{tier.name}-{tier.segment_of(batch.first)}.seg"
        known = self._tails.get((subject, tier.name))
        is_same = known is not None and known.path == path and _size_of(path) == known.size
        tail = known if known is not None and is_same else self._open(path, tier)
        names = dict(tail.names)
        data = b"" if tail.size else encode_header(tier.step_s, tier.segment_of(batch.first))
        for group in batch.groups:
            if names.get(group.number) != group.names:
                names[group.number] = group.names
                data += encode_names(group.number, group.names)
            shape = (len(group.names), batch.first)
            data += encode_rows(group.number, shape, group.columns, is_squeezed=tier is not FINE)
        _write(path, tail.size, data)
        self._tails[subject, tier.name] = Tail(path, tail.size + len(data), names)
        if not is_same:
            self._drop_old(subject, tier, path)
        return not is_same

    def _open(self, path: Path, tier: Tier) -> Tail:
        """Return the end of a segment, made sound; of a missing one its beginning."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._mend(path, tier)
        return Tail(path, found.good_bytes, dict(found.names))

    def _mend(self, path: Path, tier: Tier) -> Scan:
        """Cut a torn end off, set a damaged file aside and keep its sound part; return what stands there now."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return Scan([], {}, 0, is_damaged=False)
        try:
            found = scan(data, tier.step_s)
        except Damaged:
            found = Scan([], {}, 0, is_damaged=True)
        if found.is_damaged:
            beside = path.with_name(path.name + ".damaged")
            path.replace(beside)
            self.set_aside += 1
            _log.warning("history %s is damaged after %d bytes: set aside as %s", path, found.good_bytes, beside.name)
            if found.good_bytes:
                _write(path, 0, data[: found.good_bytes])
        elif found.good_bytes < len(data):
            _log.info("history %s ends in a torn write: cut at %d bytes", path, found.good_bytes)
            os.truncate(path, found.good_bytes)
        return found

    def roll_up(self, limit: int) -> None:
        """Write the minutes of what ended, for `limit` subjects: all end at once, and each takes milliseconds.

        Raises OSError; what is left is done by the next call.
        """
        for _ in range(min(limit, len(self._unrolled))):
            subject, current_s = next(iter(self._unrolled.items()))
            self._roll_up(subject, current_s)
            del self._unrolled[subject]

    def _roll_up(self, subject: str, current_s: int) -> None:
        """Write the minutes of every older ten-second file that has none yet."""
        for segment in self._segments(subject, FINE):
            if segment.start_s == current_s or segment.is_rolled or segment.is_damaged:
                continue
            rolled = segment.path.with_name(f"{FINE.name}-{segment.start_s}{_ROLLED}")  # there if a clock came back
            blocks = [*self._mend(rolled, FINE).blocks, *self._mend(segment.path, FINE).blocks]
            for tier, batch in roll_up(blocks, segment.start_s):
                self._append(subject, tier, batch)
            _join(segment.path, rolled)

    def _drop_old(self, subject: str, tier: Tier, current: Path) -> None:
        segments = self._segments(subject, tier)
        kept = sorted({segment.start_s for segment in segments})[-tier.keep :]
        for segment in segments:
            if segment.start_s not in kept and segment.path != current:
                segment.path.unlink(missing_ok=True)

    def mend_suspects(self) -> None:
        """Look again at the files that a reader found unsound."""
        while self._suspects:
            path = self._suspects.pop()
            match = _FILE.fullmatch(path.name)
            if match is not None:
                self._mend(path, next(tier for tier in TIERS if tier.name == match[1]))

    # --- read -----------------------------------------------------------------------------------------------------
    def segments(self, subject: str, tier: Tier) -> list[Segment]:
        """Return the readable files of a tier, oldest first; none for a subject without history."""
        if _SUBJECT.fullmatch(subject) is None:
            return []
        return [segment for segment in self._segments(subject, tier) if not segment.is_damaged]

    def read(self, segment: Segment, tier: Tier) -> list[Block]:
        """Return the sound blocks of a file; none when it is gone or no history. What is unsound is noted."""
        try:
            found = scan(segment.path.read_bytes(), tier.step_s)
        except FileNotFoundError:
            return []
        except (Damaged, OSError) as problem:
            _log.warning("cannot read history %s: %s", segment.path, problem)
            self._suspects.add(segment.path)
            return []
        if found.is_damaged:
            self._suspects.add(segment.path)
        return found.blocks

    # --- forget ---------------------------------------------------------------------------------------------------
    def remove(self, subject: str) -> None:
        """Delete everything of a subject."""
        if _SUBJECT.fullmatch(subject) is not None:
            shutil.rmtree(self._folder(subject), ignore_errors=True)
        self._unrolled.pop(subject, None)
        for tier in TIERS:
            self._tails.pop((subject, tier.name), None)

    def trim(self, budget_bytes: int, is_known: Callable[[str], bool]) -> int:
        """Delete what belongs to nobody, then the oldest files while all take more than the budget.

        Returns the bytes in use afterwards.
        """
        for subject in [one for one in self._subjects() if not is_known(one)]:
            self.remove(subject)
        found = list(self._all_files())
        used = sum(size for _, size in found)
        for segment, size in sorted(found, key=lambda one: one[0].start_s):
            if used <= budget_bytes:
                break
            segment.path.unlink(missing_ok=True)
            used -= size
        return used

    def _all_files(self) -> Iterator[tuple[Segment, int]]:
        for subject in self._subjects():
            for tier in TIERS:
                for segment in self._segments(subject, tier):
                    yield segment, _size_of(segment.path)

    def _subjects(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._root) as entries:
            return [f"{match[1]}:{match[2]}" for entry in entries if (match := _FOLDER.fullmatch(entry.name))]
        return []

    def _segments(self, subject: str, tier: Tier) -> list[Segment]:
        folder = self._folder(subject)
        found: list[Segment] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                match = _FILE.fullmatch(entry.name)
                if match is not None and match[1] == tier.name:
                    found.append(Segment(int(match[2]), folder / entry.name, match[3] == _ROLLED, bool(match[4])))
        return sorted(found)

    def _folder(self, subject: str) -> Path:
        match = _SUBJECT.fullmatch(subject)
        assert match is not None, subject
        return self._root / f"{match[1]}-{match[2]}"


def is_storable(subject: str) -> bool:
    """Whether a subject's id can name a folder."""
    return _SUBJECT.fullmatch(subject) is not None


def _join(path: Path, rolled: Path) -> None:
    """Add a segment to the one that begins at the same time, or let it become that one."""
    if _size_of(rolled):
        _write(rolled, _size_of(rolled), path.read_bytes()[HEADER_BYTES:] if path.exists() else b"")
        path.unlink(missing_ok=True)
    elif path.exists():
        path.replace(rolled)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _write(path: Path, size: int, data: bytes) -> None:
    """Append whole or not at all. Raises OSError."""
    descriptor = os.open(path, _WRITE, 0o600)
    try:
        _write_whole(descriptor, data)
    except OSError:
        os.ftruncate(descriptor, size)
        raise
    finally:
        os.close(descriptor)


def _write_whole(descriptor: int, data: bytes) -> None:
    if os.write(descriptor, data) != len(data):  # the rest did not fit
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
