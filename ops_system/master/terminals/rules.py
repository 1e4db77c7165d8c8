"""What may be asked of terminals, and the list's shape: pure. Called by the service."""

from datetime import datetime, timedelta

import msgspec

from ops_system.master.web.route import ListQuery
from ops_system.model.errors import Invalid
from ops_system.model.reasons import Reason

MAX_PER_PERSON = 8
MAX_CELLS = 1000
MAX_NAME_CHARS = 64
MAX_SHARE_S = 7 * 86_400.0
MIN_SHARE_S = 60.0
MIN_IDLE_S = 60.0
MAX_IDLE_S = 30 * 86_400.0
IDLE_LIMIT_S = 8 * 3600.0


class TerminalQuery(msgspec.Struct, frozen=True):
    """`cols`, `rows`: the viewer's window. `session`: one that runs; without it a new one begins.

    `user`: whose shell, empty for the worker's own; `read_only=1`: look, do not type; `record=1`: a new session is
    recorded while it lives.
    """

    cols: int = 80
    rows: int = 24
    session: str = ""
    user: str = ""
    name: str = ""
    read_only: bool = False
    record: bool = False


class SharedQuery(msgspec.Struct, frozen=True):
    """`cols`, `rows`: the window; it does not change the terminal's size."""

    cols: int = 80
    rows: int = 24


class TerminalName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A session's new name."""

    name: str


class TerminalSession(msgspec.Struct, frozen=True):
    """A session as lists show it. `record`: it is to be recorded; `recording`: it is at this moment."""

    id: str
    node_id: str
    name: str
    user: str
    started_by: str
    started_at: datetime
    last_active_at: datetime
    cols: int
    rows: int
    viewers: int
    pid: int
    record: bool = False
    recording: bool = False


class TerminalList(msgspec.Struct, frozen=True):
    """All sessions of a node, the oldest first."""

    items: list[TerminalSession]


def check_query(query: TerminalQuery) -> None:
    """Raise `Invalid` for a size or a name no terminal has."""
    problems = _size_problems(query.cols, query.rows)
    if len(query.name) > MAX_NAME_CHARS:
        problems.append(f"name: at most {MAX_NAME_CHARS} characters")
    if problems:
        raise Invalid("the terminal cannot be opened: " + "; ".join(problems), problems=problems)


def check_size(cols: int, rows: int) -> None:
    """Raise `Invalid` for a size no terminal has."""
    if problems := _size_problems(cols, rows):
        raise Invalid("the terminal cannot be opened: " + "; ".join(problems), problems=problems)


def _size_problems(cols: int, rows: int) -> list[str]:
    return [
        f"{name}: 1 to {MAX_CELLS}, not {value}"
        for name, value in (("cols", cols), ("rows", rows))
        if not 1 <= value <= MAX_CELLS
    ]


def check_name(name: str) -> None:
    """Raise `Invalid` for a name that will not do."""
    if not 0 < len(name.strip()) <= MAX_NAME_CHARS or not name.isprintable():
        problem = f"$.name: 1 to {MAX_NAME_CHARS} printable characters"
        raise Invalid(problem, problems=[problem])


class NewShare(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Let people who may see the node look at this session, for `ttl_s` seconds (1 min to 7 days)."""

    ttl_s: float = 3600.0


class TerminalShare(msgspec.Struct, frozen=True):
    """A session that people who may see its node may look at, never type into. Its page is `/terminal/shared/{id}`."""

    id: str
    node_id: str
    session: str
    name: str
    created_at: datetime
    created_by: str
    expires_at: datetime


class ShareList(msgspec.Struct, frozen=True):
    """The shares of a session that have not expired, the newest first."""

    items: list[TerminalShare]


class Recording(msgspec.Struct, frozen=True):
    """What a session said, as asciicast v2. Without `ended_at` it goes on.

    `reason` says why it ended before its session.
    """

    id: str
    node_id: str
    node_name: str
    session: str
    name: str
    user: str
    started_by: str
    started_at: datetime
    cols: int
    rows: int
    ended_at: datetime | None = None
    duration_s: float = 0.0
    size_bytes: int = 0
    reason: Reason | None = None


class RecordingQuery(ListQuery, frozen=True):
    """`node`: only those of this node."""

    node: str = ""


class TerminalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`always_record`: every new session on every node is recorded.

    `idle_limit_s`: a new session ends so long after anybody looked and anything was said.
    """

    always_record: bool = False
    idle_limit_s: float = IDLE_LIMIT_S


class TerminalSettingsChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out stays as it is. `idle_limit_s`: a minute to 30 days."""

    always_record: bool | None = None
    idle_limit_s: float | None = None


def change_settings(known: TerminalSettings, change: TerminalSettingsChange) -> TerminalSettings:
    """Return what holds from now on. Raises `Invalid`."""
    idle_s = known.idle_limit_s if change.idle_limit_s is None else change.idle_limit_s
    if not MIN_IDLE_S <= idle_s <= MAX_IDLE_S:
        problem = f"$.idle_limit_s: {MIN_IDLE_S:.0f} to {MAX_IDLE_S:.0f} seconds"
        raise Invalid(problem, problems=[problem])
    is_on = known.always_record if change.always_record is None else change.always_record
    return TerminalSettings(always_record=is_on, idle_limit_s=idle_s)


def check_share(order: NewShare) -> None:
    """Raise `Invalid` for a time that will not do."""
    if not MIN_SHARE_S <= order.ttl_s <= MAX_SHARE_S:
        problem = f"$.ttl_s: {MIN_SHARE_S:.0f} to {MAX_SHARE_S:.0f} seconds"
        raise Invalid(problem, problems=[problem])


def expired_recordings(found: list[Recording], now: datetime, keep: timedelta, max_bytes: int) -> list[Recording]:
    """Return which ended recordings go: those too old, then the oldest until the rest fits into `max_bytes`."""
    kept_bytes, gone = 0, []
    for one in sorted(found, key=lambda item: item.started_at, reverse=True):
        kept_bytes += one.size_bytes
        if one.ended_at is not None and (now - one.ended_at > keep or kept_bytes > max_bytes):
            gone.append(one)
            kept_bytes -= one.size_bytes
    return gone
