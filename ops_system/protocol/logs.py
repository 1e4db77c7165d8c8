"""Questions and streams of a node's logs, by kind."""

from datetime import datetime

import msgspec

from ops_system.model.ids import InstanceId


class ListLogs(msgspec.Struct, frozen=True):
    """kind `logs.list`."""

    instance_id: InstanceId


class LogFile(msgspec.Struct, frozen=True):
    """One named log. `stdout` and `stderr` always come first; their size counts archives, unpacked."""

    name: str
    size_bytes: int
    modified_at: datetime | None


class LogFiles(msgspec.Struct, frozen=True):
    """Answer of `logs.list`."""

    items: tuple[LogFile, ...]


class ReadLog(msgspec.Struct, frozen=True):
    """kind `logs.read`: `tail` lines that contain `q`.

    The last ones, or those before the byte offset `before`, from `after` on, half and half `around` one, or those a
    little before and after the time `at`. At most one of the four is set.
    """

    instance_id: InstanceId
    name: str
    tail: int = 200
    before: int | None = None
    q: str = ""
    after: int | None = None
    around: int | None = None
    at: datetime | None = None


class LogLine(msgspec.Struct, frozen=True):
    """One line. `at` is its time, or the last before it; None where the log carries none.

    `offset` counts from the first byte ever written.
    """

    at: datetime | None
    text: str
    offset: int


class LogLines(msgspec.Struct, frozen=True):
    """Answer of `logs.read`, oldest first. `before` and `after` are the offsets to go on at, None at an end of the log.

    The log has bytes from `first_offset` to `end_offset`. `at_offset`: the first line not older than the time asked
    for; None when none was asked for or the log carries no times.
    """

    lines: tuple[LogLine, ...]
    before: int | None
    after: int | None = None
    first_offset: int = 0
    end_offset: int = 0
    at_offset: int | None = None


class SearchLog(msgspec.Struct, frozen=True):
    """kind `logs.search`: lines that contain `text`, or match it as a regular expression (Python's `re`).

    From `start` on (None: the end, forward the beginning), the latest first unless `is_forward`; `since` and `until`
    bound the time. It ends after `limit` hits or `within_s` and says where to go on.
    """

    instance_id: InstanceId
    name: str
    text: str
    is_regex: bool = False
    ignore_case: bool = False
    is_forward: bool = False
    start: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 500
    within_s: float = 3.0


class LogHits(msgspec.Struct, frozen=True):
    """Answer of `logs.search`, in the order of the search. A long line is cut to its first 4 KiB.

    `next`: where to go on, None when everything was looked at. `done_bytes` of `total_bytes` lie behind.
    """

    hits: tuple[LogLine, ...]
    next: int | None
    done_bytes: int
    total_bytes: int


class ReadLogBytes(msgspec.Struct, frozen=True):
    """kind `logs.bytes`: up to `length` raw bytes at `offset`, for downloads."""

    instance_id: InstanceId
    name: str
    offset: int
    length: int


class LogBytes(msgspec.Struct, frozen=True):
    """Answer of `logs.bytes`; empty `data` at the end. `offset`: where `data` starts, when earlier bytes are gone."""

    data: bytes
    size_bytes: int
    offset: int | None = None


class FollowLog(msgspec.Struct, frozen=True):
    """StreamOpen kind `log.follow`: what is written from `offset` on (None: the end), as it is written.

    The stream carries `protocol.pieces`: `STDOUT` is the log's bytes, `CONTROL` is one of the words below as JSON.
    """

    instance_id: InstanceId
    name: str
    offset: int | None = None


class LogPlace(msgspec.Struct, frozen=True, tag_field="type", tag="place"):
    """Worker: the next bytes stand at `offset`. Times without a zone are so far ahead of UTC. Always the first word."""

    offset: int
    utc_offset_s: float


class LogDropped(msgspec.Struct, frozen=True, tag_field="type", tag="dropped"):
    """Worker: so much is left out here, because it was written faster than it is followed. It is stored all the same.

    `lines` is 0 where nobody knows: they were rotated away.
    """

    lines: int
    bytes: int


FromLogFeed = LogPlace | LogDropped


class WatchedLog(msgspec.Struct, frozen=True):
    """One log to count lines in: those from `start` on that contain `text`, or match it (Python's `re`).

    `start` None: those that are completed from now on.
    """

    instance_id: InstanceId
    name: str
    text: str
    is_regex: bool = False
    start: int | None = None


class WatchLogs(msgspec.Struct, frozen=True):
    """StreamOpen kind `log.watch`: count new lines until the stream is closed.

    The stream carries `protocol.pieces` of `CONTROL`: the words below as JSON. `index` is the place in `logs`.
    """

    logs: tuple[WatchedLog, ...]


class LogCounted(msgspec.Struct, frozen=True, tag_field="type", tag="counted", omit_defaults=True):
    """Worker: the log was looked through up to `position`; watched from there again, no line is missed or comes twice.

    `hits` lines matched since the last word, `line` is the newest. `missed_bytes` had gone before they could be read.
    """

    index: int
    position: int
    hits: int = 0
    line: str = ""
    missed_bytes: int = 0


class LogNotCounted(msgspec.Struct, frozen=True, tag_field="type", tag="not_counted"):
    """Worker: why this log, or what of it came lately, is not looked through. It is tried again after a while."""

    index: int
    code: str
    message: str


FromLogWatch = LogCounted | LogNotCounted
