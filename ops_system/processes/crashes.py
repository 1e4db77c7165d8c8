"""What the supervisor itself knows of an end nobody asked for; the worker adds the last output. Used by `care`."""

import contextlib
from collections.abc import Iterable
from datetime import datetime

import msgspec
import psutil

from ops_system.model.crashes import Crash, CrashParent
from ops_system.processes.base import Handle
from ops_system.processes.spec import RunSpec
from ops_system.processes.states import View

OOM_CODES = frozenset({"oom_killed", "system_oom_killed"})
MAX_PARENTS = 16
MAX_ENV_NAMES = 200
_MAX_WORD = 128
_MAX_CMDLINE = 300


class Ending(msgspec.Struct, frozen=True):
    """What was there when it ended. `running_s`: how long it ran, by the monotonic clock where that is known."""

    before: View
    after: View
    spec: RunSpec
    handle: Handle | None
    env_names: Iterable[str]
    at: datetime
    running_s: float | None
    own_pid: int


def crash_of(ending: Ending) -> Crash | None:
    """Return what to remember; None for an end that somebody asked for."""
    before, after, source = ending.before, ending.after, ending.spec.source
    if after.ended is None:
        return None
    started_at, running_s = before.started_at, ending.running_s
    if running_s is None and started_at is not None:
        running_s = max(0.0, (ending.at - started_at).total_seconds())
    return Crash(
        at=ending.at,
        exit_code=after.exit_code,
        exit_signal=after.exit_signal,
        reason=after.ended.reason,
        oom_killed=after.ended.reason.code in OOM_CODES,
        pid=before.pid or None,
        started_at=started_at,
        uptime_s=running_s,
        restarts=before.restarts,
        version=source.service.version,
        generation=source.generation,
        limits=source.service.limits,
        parents=_parents(ending),
        env_names=tuple(name[:_MAX_WORD] for name in sorted(ending.env_names)[:MAX_ENV_NAMES]),
    )


def _parents(ending: Ending) -> tuple[CrashParent, ...]:
    """Return the keeper, the service's parent, and this process where it started the keeper itself."""
    handle = ending.handle
    if handle is None or not handle.keeper.pid:
        return ()
    keeper = CrashParent(handle.keeper.pid, "keeper")
    return (keeper, CrashParent(ending.own_pid, "")) if handle.is_child else (keeper,)


def read_own_chain() -> tuple[CrashParent, ...]:
    """Return this process and those above it. Reads the process table."""
    own = psutil.Process()
    chain = [own]
    with contextlib.suppress(psutil.Error, NotImplementedError):
        chain += own.parents()
    return tuple(_describe(process) for process in chain[:MAX_PARENTS])


def _describe(process: psutil.Process) -> CrashParent:
    name, cmdline = "", list[str]()
    with contextlib.suppress(psutil.Error, OSError, NotImplementedError):
        name = process.name()[:_MAX_WORD]
        cmdline = process.cmdline()
    return CrashParent(process.pid, name, _cut(cmdline))


def _cut(words: Iterable[str]) -> tuple[str, ...]:
    """Return the first words, as far as they fit."""
    kept: list[str] = []
    left = _MAX_CMDLINE
    for word in words:
        if left <= 0:
            break
        kept.append(word[:left])
        left -= len(word)
    return tuple(kept)
