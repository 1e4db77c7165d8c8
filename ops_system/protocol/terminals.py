"""Streams and questions of a node's terminals, by kind."""

from datetime import datetime

import msgspec


class OpenTerminal(msgspec.Struct, frozen=True):
    """StreamOpen kind `terminal`: begin a session (empty `session`) or look at one that runs.

    The stream carries `protocol.pieces`. `STDOUT` is what the terminal says, and towards the worker what is typed;
    `CONTROL` is one of the `Terminal…` structs below as JSON with `type`. At most `TERMINAL_WINDOW_BYTES` are on the
    way to a viewer without an `ack`.
    """

    session: str = ""
    cols: int = 80
    rows: int = 24
    user: str = ""
    name: str = ""
    is_read_only: bool = False
    asked_by: str = ""
    is_recorded: bool = False  # of a new session: it is to be recorded while it lives
    is_recorder: bool = False  # this look is the recording itself: it types nothing and counts for nobody
    idle_limit_s: float = 0.0  # of a new session: it ends so long after anybody looked and anything was said; 0: 8 h


TERMINAL_WINDOW_BYTES = 256 * 1024


class _TerminalWord(msgspec.Struct, frozen=True, tag_field="type"):
    """A control message of a terminal: a text frame between browser and master, a CONTROL piece on the link."""


class TerminalResize(_TerminalWord, frozen=True, tag="resize"):
    """Viewer: my window is so large. Worker: the terminal is so large now, by the smallest viewer that types."""

    cols: int
    rows: int


class TerminalAck(_TerminalWord, frozen=True, tag="ack"):
    """Viewer: so many bytes more are shown."""

    bytes: int


class TerminalReady(_TerminalWord, frozen=True, tag="ready"):
    """Worker: this session is yours to look at; `replay_bytes` of what it said before come first.

    `record`: it is to be recorded; `recording`: it is at this moment.
    """

    session: str
    name: str
    user: str
    cols: int
    rows: int
    replay_bytes: int
    read_only: bool
    record: bool = False
    recording: bool = False


class TerminalViewers(_TerminalWord, frozen=True, tag="viewers"):
    """Worker: so many look at the session now."""

    count: int


class TerminalRecording(_TerminalWord, frozen=True, tag="recording"):
    """Worker: from now on what is said is recorded, or is not any more."""

    on: bool


class TerminalExit(_TerminalWord, frozen=True, tag="exit"):
    """Worker: the shell has ended; both None when nobody could learn how."""

    exit_code: int | None
    exit_signal: str | None


FromTerminalViewer = TerminalResize | TerminalAck


ToTerminalViewer = TerminalReady | TerminalResize | TerminalViewers | TerminalRecording | TerminalExit


class ListTerminals(msgspec.Struct, frozen=True):
    """kind `terminals.list`."""


class TerminalInfo(msgspec.Struct, frozen=True):
    """A session that runs on the node, whoever looks at it."""

    id: str
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


class Terminals(msgspec.Struct, frozen=True):
    """Answer of `terminals.list`, the oldest first."""

    items: tuple[TerminalInfo, ...]


class NameTerminal(msgspec.Struct, frozen=True):
    """kind `terminals.name`: give a session another name; answered by `Terminals`."""

    session: str
    name: str


class CloseTerminal(msgspec.Struct, frozen=True):
    """kind `terminals.close`: end a session and all it started; answered by `Terminals`."""

    session: str
