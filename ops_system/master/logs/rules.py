"""From bytes to lines, from the lines of many instances to one log, and names for downloads: pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from ops_system.model.errors import Invalid
from ops_system.protocol.logs import LogHits, LogLine, LogLines

MAX_LINE_BYTES = 64 * 1024
MAX_TAIL = 2000
MAX_HITS = 2000

_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")
_BEGINNING = datetime.min.replace(tzinfo=UTC)


# --- questions -------------------------------------------------------------------------------------------------------
class LogQuery(msgspec.Struct, frozen=True):
    """`tail`: at most so many lines (1 to 2000); `q`: a part of a line.

    At most one of: `before` and `after` (offsets of an earlier answer), `around` (the offset of a line), `at` (a time).
    """

    tail: int = 200
    before: int | None = None
    q: str = ""
    after: int | None = None
    around: int | None = None
    at: datetime | None = None


class LogSearchQuery(msgspec.Struct, frozen=True):
    """`q`: what is looked for, as it stands or (`regex=1`) as a regular expression; `nocase=1`: whatever its case.

    The latest first, unless `forward=1`. `start`: the `next` of the last answer; `since`, `until`: times;
    `limit`: at most so many hits (1 to 2000).
    """

    q: str
    regex: bool = False
    nocase: bool = False
    forward: bool = False
    start: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 500


class LogDownloadQuery(msgspec.Struct, frozen=True):
    """`gzip=1`: packed on the way."""

    gzip: bool = False


class MergedLogQuery(msgspec.Struct, frozen=True):
    """`tail`: at most so many lines (1 to 2000); `before`: that of the last answer; `q`: a part of a line."""

    tail: int = 200
    before: str = ""
    q: str = ""


class MergedSearchQuery(msgspec.Struct, frozen=True):
    """As `LogSearchQuery`; `start`: the `next` of the last answer; `limit`: hits of each instance (1 to 2000)."""

    q: str
    regex: bool = False
    nocase: bool = False
    start: str = ""
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 200

    def of_one(self, start: int | None) -> LogSearchQuery:
        """Return what one instance is asked."""
        return LogSearchQuery(
            self.q,
            regex=self.regex,
            nocase=self.nocase,
            start=start,
            since=self.since,
            until=self.until,
            limit=self.limit,
        )


def check_log_query(query: LogQuery) -> None:
    """Raise `Invalid` for a number out of range, or two places."""
    places = [place for place in (query.before, query.after, query.around, query.at) if place is not None]
    numbers = [place for place in places if isinstance(place, int)]
    if not 1 <= query.tail <= MAX_TAIL or any(number < 0 for number in numbers) or len(places) > 1:
        problem = (
            f"tail: 1 to {MAX_TAIL}; before, after, around: an offset from an earlier answer; at: a time; one of them"
        )
        raise Invalid(problem, problems=[problem])
    check_zones(query.at)


def check_zones(*times: datetime | None) -> None:
    """Raise `Invalid` for a time without a zone."""
    if any(time is not None and time.tzinfo is None for time in times):
        problem = "a time needs its zone: 2026-01-02T03:04:05Z"
        raise Invalid(problem, problems=[problem])


def check_search_query(query: LogSearchQuery) -> None:
    """Raise `Invalid` for a number out of range."""
    if not 1 <= query.limit <= MAX_HITS or (query.start is not None and query.start < 0):
        problem = f"limit: 1 to {MAX_HITS}; start: `next` of an earlier answer"
        raise Invalid(problem, problems=[problem])
    check_zones(query.since, query.until)


# --- following -------------------------------------------------------------------------------------------------------
class FollowedLine(msgspec.Struct, frozen=True):
    """One new line. `at` is None where the log carries no time."""

    text: str
    at: datetime | None = None
    offset: int = 0


class FollowedLines(msgspec.Struct, frozen=True):
    """One text frame of a followed log."""

    lines: list[FollowedLine]
    instance_id: str


class Dropped(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text frame: so many lines are left out here. They are stored all the same, where `bytes` are told.

    Without `bytes`, the viewer itself read too slowly.
    """

    dropped: int
    bytes: int = 0
    instance_id: str = ""


class FollowEnd(msgspec.Struct, frozen=True):
    """Why following ended by itself."""

    code: str
    message: str


class FollowEnded(msgspec.Struct, frozen=True):
    """The last text frame of a log; of one of many, when others go on."""

    end: FollowEnd
    instance_id: str


def _no_time(_text: str) -> datetime | None:
    return None


class LineSplitter:
    """Cuts bytes into `lines`; a line longer than `MAX_LINE_BYTES` is cut into several.

    One without a time has that of the line before. Whoever uses it takes the lines away.
    """

    def __init__(self) -> None:
        self.lines: list[FollowedLine] = []
        self._rest = b""
        self._offset = 0  # of the rest
        self._time_of: Callable[[str], datetime | None] = _no_time
        self._last: datetime | None = None

    def begin(self, offset: int, time_of: Callable[[str], datetime | None]) -> None:
        """Say where the next byte stands and how times are read."""
        self._offset = offset
        self._time_of = time_of

    def feed(self, chunk: bytes) -> None:
        """Take in bytes."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            self._add(line)
            self._offset += 1
        while len(self._rest) > MAX_LINE_BYTES:
            head, self._rest = self._rest[:MAX_LINE_BYTES], self._rest[MAX_LINE_BYTES:]
            self._add(head)

    def flush(self) -> None:
        """Count what is left without a line end as a line."""
        rest, self._rest = self._rest, b""
        if rest:
            self._add(rest)

    def _add(self, line: bytes) -> None:
        for start in range(0, max(len(line), 1), MAX_LINE_BYTES):
            piece = line[start : start + MAX_LINE_BYTES]
            text = piece.removesuffix(b"\r").decode("utf-8", "replace")
            self._last = self._time_of(text) or self._last
            self.lines.append(FollowedLine(text, self._last, self._offset))
            self._offset += len(piece)


# --- many instances as one log ---------------------------------------------------------------------------------------
class MergedLine(msgspec.Struct, frozen=True):
    """A line of one of the instances."""

    at: datetime | None
    text: str
    offset: int
    instance_id: str


class Unread(msgspec.Struct, frozen=True):
    """An instance whose log could not be read: why."""

    instance_id: str
    code: str
    message: str


class MergedLines(msgspec.Struct, frozen=True):
    """The last lines of all, by time. `before`: where to go on, None at the beginning.

    `unread`: instances that are missing; `left_out`: how many more there are than are read at once.
    """

    lines: list[MergedLine]
    before: str | None
    unread: list[Unread]
    left_out: int = 0


class MergedHits(msgspec.Struct, frozen=True):
    """Hits in the logs of all, the latest first. `next`: where to go on, None when everything was looked at.

    A page holds what each instance has found so far, so a later page may have younger hits than this one.
    """

    hits: list[MergedLine]
    next: str | None
    unread: list[Unread]
    left_out: int = 0


Cursor = Mapping[str, int]
"""For each instance the offset its next page ends at; 0: it was read to its beginning."""


def read_cursor(text: str) -> dict[str, int]:
    """Return what `before` of an earlier answer means. Raises `Invalid`."""
    try:
        pairs = [pair.split(":") for pair in text.split(",") if pair]
        return {instance_id: int(offset) for instance_id, offset in pairs}
    except ValueError:
        problem = "before: that of an earlier answer"
        raise Invalid(problem, problems=[problem]) from None


def merge_hits(pages: Mapping[str, LogHits]) -> tuple[list[MergedLine], str | None]:
    """Return the hits of all by time, the latest first, and where to go on in those that have more."""
    hits = [
        MergedLine(line.at, line.text, line.offset, instance_id)
        for instance_id, page in pages.items()
        for line in page.hits
    ]
    hits.sort(key=lambda line: line.at or _BEGINNING, reverse=True)
    rest = [f"{instance_id}:{page.next}" for instance_id, page in pages.items() if page.next is not None]
    return hits, ",".join(rest) or None


def merge(pages: Mapping[str, LogLines], cursor: Cursor, count: int) -> tuple[list[MergedLine], str | None]:
    """Return the last `count` lines by time, and where to go on.

    A log without times gives its share of lines, before all that have one.
    """
    share = max(1, count // max(1, len(pages)))
    ordered = [
        MergedLine(line.at, line.text, line.offset, instance_id)
        for instance_id, page in pages.items()
        for line in _share(page.lines, share)
    ]
    ordered.sort(key=lambda line: line.at or _BEGINNING)  # stable: lines of one instance and time keep their order
    taken = ordered[-count:]
    oldest: dict[str, int] = {}
    for line in taken:
        oldest[line.instance_id] = min(line.offset, oldest.get(line.instance_id, line.offset))
    ends = {
        instance_id: _goes_on_at(page, oldest.get(instance_id), cursor.get(instance_id))
        for instance_id, page in pages.items()
    }
    rest = {**cursor, **ends}
    text = ",".join(f"{instance_id}:{offset}" for instance_id, offset in rest.items())
    return taken, text if any(rest.values()) else None


def _share(lines: Sequence[LogLine], share: int) -> Sequence[LogLine]:
    return lines if any(line.at for line in lines) else lines[-share:]


def _goes_on_at(page: LogLines, oldest: int | None, before: int | None) -> int:
    if not page.lines:
        return page.before or 0
    if oldest is None:
        return page.end_offset if before is None else before
    if oldest == page.lines[0].offset:
        return page.before or 0
    return oldest


def file_name(instance_id: str, log_name: str) -> str:
    """Return a plain name for a downloaded log."""
    stem = _UNSAFE.sub("-", f"{instance_id}-{log_name.strip(' .')}").strip("-.")[:120]
    return stem if stem.endswith(".log") else f"{stem}.log"
