"""Takeover: how a process that somebody else started is found, again and again, and by which commands it is steered.

Written by the master, obeyed by the worker. Commands are argument lists; nothing here ever reaches a shell.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

from ops_system.model.manifest import PidStrategy

MAX_PID = 2**22
MAX_UID = 2**32 - 2
MAX_PATH_CHARS = 4096
MAX_NAME_CHARS = 4096
MAX_COMMAND_BYTES = 32 * 1024
INIT_PID = 1

_ABSOLUTE = re.compile(r"/|[A-Za-z]:[\\/]")

Problem = tuple[str, str]  # path, text


class Learned(msgspec.Struct, frozen=True):
    """Whom a takeover found the first time: the process itself, and what another start of it would look like."""

    boot_id: str
    pid: int
    start_time: int
    executable: str
    uid: int
    cmdline_sha256: str


class Takeover(msgspec.Struct, frozen=True):
    """How to find the process and what to do with it. Without a start command it is only watched.

    `strategy`: `pidfile`, `match` (by `process_name`), or `pid` (once by its number, later by what was `learned`).
    `executable`, `work_dir` and `uid` must match exactly where they are given.
    """

    strategy: PidStrategy
    pid: int = 0
    pid_file: str = ""
    process_name: str = ""
    executable: str = ""
    uid: int | None = None
    work_dir: str = ""
    start_command: tuple[str, ...] = ()
    stop_command: tuple[str, ...] = ()
    restart_command: tuple[str, ...] = ()
    learned: Learned | None = None

    @property
    def is_watched_only(self) -> bool:
        """Nothing can be started: an end is shown and stays."""
        return not self.start_command


def find_takeover_problems(takeover: Takeover) -> Iterator[Problem]:
    """Yield every fault as (path, text)."""
    yield from _strategy_problems(takeover)
    for path, text in (("$.executable", takeover.executable), ("$.external_work_dir", takeover.work_dir)):
        if text:
            yield from _path_problems(path, text)
    if takeover.uid is not None and not 0 <= takeover.uid <= MAX_UID:
        yield "$.uid", f"must be from 0 to {MAX_UID}"
    for name in ("start_command", "stop_command", "restart_command"):
        yield from find_command_problems(f"$.{name}", getattr(takeover, name))


def find_command_problems(path: str, argv: Sequence[str]) -> Iterator[Problem]:
    """Yield the faults of an argument list; an empty one is no command and has none."""
    if argv and (not argv[0].strip() or not argv[0].isprintable()):
        yield f"{path}[0]", "must be the program to run"
    if any("\0" in word for word in argv):
        yield path, "cannot hold a NUL character"
    if sum(len(word.encode(errors="replace")) for word in argv) > MAX_COMMAND_BYTES:
        yield path, f"is longer than {MAX_COMMAND_BYTES} bytes; put it into a script"


def _strategy_problems(takeover: Takeover) -> Iterator[Problem]:
    given = {"pid": bool(takeover.pid), "pidfile": bool(takeover.pid_file), "match": bool(takeover.process_name)}
    fields = {"pid": "pid", "pidfile": "pid_file", "match": "process_name"}
    if takeover.strategy not in fields:
        yield "$.pid_strategy", "must be match, pidfile or pid: what runs already is not spawned"
        return
    for strategy, field in fields.items():
        if strategy == takeover.strategy and not given[strategy]:
            yield f"$.{field}", f'required by pid_strategy "{strategy}"'
        elif strategy != takeover.strategy and given[strategy]:
            yield f"$.{field}", f'only pid_strategy "{strategy}" uses it'
    if takeover.strategy == "pid" and takeover.pid:
        yield from _pid_problems(takeover.pid)
    if takeover.pid_file:
        yield from _path_problems("$.pid_file", takeover.pid_file)
    if takeover.process_name:
        yield from _name_problems(takeover.process_name)


def _pid_problems(pid: int) -> Iterator[Problem]:
    if pid == INIT_PID:
        yield "$.pid", "1 is the system's first process, which nobody takes over"
    elif not 1 < pid <= MAX_PID:
        yield "$.pid", f"must be from 2 to {MAX_PID}"


def _path_problems(path: str, text: str) -> Iterator[Problem]:
    if not _ABSOLUTE.match(text):
        yield path, "must be an absolute path"
    if len(text) > MAX_PATH_CHARS or not text.isprintable():
        yield path, f"must have at most {MAX_PATH_CHARS} printable characters"
    if ".." in re.split(r"[\\/]", text):
        yield path, 'must not go up by ".."'


def _name_problems(name: str) -> Iterator[Problem]:
    if len(name) > MAX_NAME_CHARS or not name.isprintable() or name != name.strip():
        yield "$.process_name", f"must be 1 to {MAX_NAME_CHARS} printable characters, no space at either end"
