"""Questions a master asks a worker over the link: the structs of `Request.body` and of `Reply.body`, by kind."""

from datetime import datetime
from typing import Literal

import msgspec

from ops_system.model.crashes import Crash
from ops_system.model.ids import InstanceId
from ops_system.model.packages import PackageRef
from ops_system.model.reasons import Reason
from ops_system.model.takeover import Learned, Takeover


class Alive(msgspec.Struct, frozen=True):
    """kind `link.ping`, and its answer: is anybody behind this link? Every link answers by itself."""


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


class ListProcesses(msgspec.Struct, frozen=True):
    """kind `processes.list`."""


class ListeningPort(msgspec.Struct, frozen=True):
    """A port a process listens on (UDP: is bound to)."""

    protocol: Literal["tcp", "udp"]
    address: str
    port: int


class ProcessInfo(msgspec.Struct, frozen=True):
    """One process of the node.

    `unit` is the systemd unit its control group belongs to. `is_adoptable`: it may be taken over; else `why_not` has
    the code: `init kernel_thread worker worker_ancestor master keeper already_in_care other_user ended`.
    """

    pid: int
    ppid: int
    name: str
    cmdline: tuple[str, ...]
    user: str
    cpu_percent: float
    mem_bytes: int
    started_at: datetime | None
    instance_id: InstanceId | None = None
    uid: int | None = None
    exe: str = ""
    cwd: str = ""
    cgroup: str = ""
    unit: str = ""
    ports: tuple[ListeningPort, ...] = ()
    is_adoptable: bool = False
    why_not: str = ""


class Processes(msgspec.Struct, frozen=True):
    """Answer of `processes.list`."""

    items: tuple[ProcessInfo, ...]


class RunCommand(msgspec.Struct, frozen=True):
    """StreamOpen kind `exec`: run one command. The stream carries `protocol.pieces`: output, at last a `CommandEnd`.

    `argv` runs as it is; where it is empty, `command` goes to the system's shell. Closing the stream ends the command
    and all it started.
    """

    argv: tuple[str, ...] = ()
    command: str = ""
    timeout_s: float = 60.0
    max_output_bytes: int = 1024 * 1024
    user: str = ""
    asked_by: str = ""


class CommandEnd(msgspec.Struct, frozen=True):
    """How a command ended; exactly one of `exit_code`, `exit_signal` and `timed_out` tells."""

    exit_code: int | None
    exit_signal: str | None
    timed_out: bool
    truncated: bool  # it said more than was asked for; the rest was thrown away
    duration_s: float


class MatchProcess(msgspec.Struct, frozen=True):
    """kind `takeover.match`: whom would this takeover take? Touches nothing."""

    takeover: Takeover


class Matched(msgspec.Struct, frozen=True):
    """Answer of `takeover.match`. Exactly one of `leader` and `refusal` is set.

    `tree`: the leader's own children and theirs, which come with it. `candidates`: those among which no choice is made.
    """

    leader: ProcessInfo | None = None
    tree: tuple[ProcessInfo, ...] = ()
    learned: Learned | None = None
    candidates: tuple[ProcessInfo, ...] = ()
    refusal: Reason | None = None


class ReloadInstance(msgspec.Struct, frozen=True):
    """kind `instances.reload`: run the instance's reload command."""

    instance_id: InstanceId


class ReconfigureInstance(msgspec.Struct, frozen=True):
    """kind `instances.reconfigure`: write the config files of the wish anew, then run the reload command.

    `generation`: the wish whose files are meant; Conflict while the worker has an older one: ask again.
    """

    instance_id: InstanceId
    generation: int


class Reloaded(msgspec.Struct, frozen=True):
    """Answer of `instances.reload` and `instances.reconfigure`. `output`: the last 4 KiB of what the command said."""

    exit_code: int
    output: str
    duration_s: float


class ListCrashes(msgspec.Struct, frozen=True):
    """kind `crashes.list`."""

    instance_id: InstanceId


class Crashes(msgspec.Struct, frozen=True):
    """Answer of `crashes.list`: the last five, the newest first."""

    items: tuple[Crash, ...]


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


class FetchPackage(msgspec.Struct, frozen=True):
    """kind `packages.fetch`: have this package unpacked on the node, so that a later start need not wait for it.

    `instance_id`: for whom; frames `Progress` of generation 0 tell how far it is.
    """

    package: PackageRef
    instance_id: InstanceId = InstanceId("")


class FetchedPackage(msgspec.Struct, frozen=True):
    """The package is on the node. A refusal or failure is an error whose details carry `reason`."""


class UpdateWorker(msgspec.Struct, frozen=True):
    """kind `update.begin`: become the program in this package; answered by `UpdateState`. The same order twice is one.

    The new program has `prove_within_s` to get its link; then the node returns to what ran before.
    """

    order_id: str
    package: PackageRef
    entrypoint: str
    os: str
    arch: str
    prove_within_s: float


class ReadUpdate(msgspec.Struct, frozen=True):
    """kind `update.state`."""


class UpdateState(msgspec.Struct, frozen=True):
    """How far the latest update is. `step`: `fetch verify switch prove`; `version` is of the program that answers.

    An empty `order_id`: there never was one. Ended without `reason`: the new program has proven itself.
    """

    order_id: str
    version: str
    step: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    is_ended: bool = False
    reason: Reason | None = None
