"""What is remembered of an end nobody asked for: enough to understand it after the process is gone."""

from datetime import datetime

import msgspec

from ops_system.model.manifest import Limits
from ops_system.model.reasons import Reason


class CrashParent(msgspec.Struct, frozen=True):
    """One process above the one that ended."""

    pid: int
    name: str
    cmdline: tuple[str, ...] = ()


class CrashLine(msgspec.Struct, frozen=True):
    """One line of the last output. `stream` is `stdout` or `stderr`."""

    stream: str
    text: str


class Crash(msgspec.Struct, frozen=True):
    """One unexpected end. `pid` is None when it ended before its number was known.

    `parents`: nearest first, as they were when it ended; `env_names`: without values, which may be secret; `lines`: the
    last output, stdout before stderr, each in its own order.
    """

    at: datetime
    exit_code: int | None
    exit_signal: str | None
    reason: Reason
    oom_killed: bool
    pid: int | None
    started_at: datetime | None
    uptime_s: float | None
    restarts: int
    version: str
    generation: int
    limits: Limits
    parents: tuple[CrashParent, ...] = ()
    env_names: tuple[str, ...] = ()
    lines: tuple[CrashLine, ...] = ()
