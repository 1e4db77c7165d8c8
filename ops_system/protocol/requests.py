"""Questions a master asks a worker over the link: the structs of `Request.body` and of `Reply.body`, by kind."""

from datetime import datetime

import msgspec

from ops_system.model.ids import InstanceId


class Alive(msgspec.Struct, frozen=True):
    """kind `link.ping`, and its answer: is anybody behind this link? Every link answers by itself."""


class ListLogs(msgspec.Struct, frozen=True):
    """kind `logs.list`."""

    instance_id: InstanceId


class LogFile(msgspec.Struct, frozen=True):
    """One named log. `stdout` and `stderr` always come first."""

    name: str
    size_bytes: int
    modified_at: datetime | None


class LogFiles(msgspec.Struct, frozen=True):
    """Answer of `logs.list`."""

    items: tuple[LogFile, ...]


class ReadLog(msgspec.Struct, frozen=True):
    """kind `logs.read`: the last `tail` lines that contain `q`, before byte offset `before` (None: the end)."""

    instance_id: InstanceId
    name: str
    tail: int = 200
    before: int | None = None
    q: str = ""


class LogLine(msgspec.Struct, frozen=True):
    """One line. `at` is None where the log carries no time; `offset` is where the line starts in the file."""

    at: datetime | None
    text: str
    offset: int


class LogLines(msgspec.Struct, frozen=True):
    """Answer of `logs.read`, oldest first. `before` is the offset to ask for next, None at the beginning."""

    lines: tuple[LogLine, ...]
    before: int | None


class ReadLogBytes(msgspec.Struct, frozen=True):
    """kind `logs.bytes`: up to `length` raw bytes at `offset`, for downloads."""

    instance_id: InstanceId
    name: str
    offset: int
    length: int


class LogBytes(msgspec.Struct, frozen=True):
    """Answer of `logs.bytes`; empty `data` at the end."""

    data: bytes
    size_bytes: int


class FollowLog(msgspec.Struct, frozen=True):
    """StreamOpen kind `log`: raw bytes from `offset` (None: the end) as they are written."""

    instance_id: InstanceId
    name: str
    offset: int | None = None


class ListProcesses(msgspec.Struct, frozen=True):
    """kind `processes.list`."""


class ProcessInfo(msgspec.Struct, frozen=True):
    """One process of the node."""

    pid: int
    ppid: int
    name: str
    cmdline: tuple[str, ...]
    user: str
    cpu_percent: float
    mem_bytes: int
    started_at: datetime | None
    instance_id: InstanceId | None = None


class Processes(msgspec.Struct, frozen=True):
    """Answer of `processes.list`."""

    items: tuple[ProcessInfo, ...]
