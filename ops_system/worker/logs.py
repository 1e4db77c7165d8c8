"""The named logs of an instance: which there are, and the one safe way to each. Answers `logs.*`, `log.*`.

`stdout` and `stderr` come first, then `log_paths` of service.json. Services own what they write, so those names lead
only to regular files inside the instance's folder, and no part of the path may be a link (`FileLog`). What others
started keeps its logs where it likes: there, and only there, a path may be absolute. The folder of stdout and stderr is
the worker's own; their rotation by size is here too, one file at a time. What a rotation could not keep is told to
`on_note`, which the app takes into the instance's timeline.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from ops_system.model.errors import Invalid, NotFound
from ops_system.model.ids import InstanceId
from ops_system.model.instances import InstanceSpec
from ops_system.model.logtimes import LineTimes
from ops_system.model.reasons import Reason
from ops_system.processes.filelog import FileLog
from ops_system.processes.logparts import digest
from ops_system.processes.logsearch import search
from ops_system.processes.matching import open_matcher
from ops_system.processes.rotate import OutputLog, RotateRules, Rotation
from ops_system.processes.surroundings import STDERR_NAME, STDOUT_NAME
from ops_system.processes.tail import Log, Place, describe, read_bytes, read_lines
from ops_system.protocol.logs import (
    FollowLog,
    ListLogs,
    LogBytes,
    LogFile,
    LogFiles,
    LogHits,
    LogLines,
    ReadLog,
    ReadLogBytes,
    SearchLog,
    WatchLogs,
)
from ops_system.runtime.streams import Stream
from ops_system.worker.logfeed import feed
from ops_system.worker.logwatch import LogWatch

_log = logging.getLogger(__name__)

_OUTPUTS = {"stdout": STDOUT_NAME, "stderr": STDERR_NAME}
_NO_LOGS = tuple(PurePosixPath(folder) for folder in ("/proc", "/sys", "/dev"))
MAX_SEARCHES = 2  # at once; each may keep a core busy
QUIET_S = 60.0  # between two lines of one instance's timeline about the same trouble

OnNote = Callable[[InstanceId, Reason], None]


class InstanceLogs:
    """The logs below one `work_dir`. `find` gives an instance's wish, which names its logs; `clock` is monotonic."""

    def __init__(
        self,
        work_dir: Path,
        find: Callable[[InstanceId], InstanceSpec | None],
        on_note: OnNote = lambda _instance_id, _reason: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work_dir = work_dir
        self._find = find
        self._on_note = on_note
        self._clock = clock
        self._outputs: dict[InstanceId, dict[str, OutputLog]] = {}
        self._files: dict[tuple[InstanceId, str], FileLog] = {}
        self._searches = asyncio.Semaphore(MAX_SEARCHES)
        self._unsaid = Troubles()

    def paths(self, instance_id: InstanceId) -> dict[str, tuple[Path, PurePosixPath]]:
        """Return every named log as the folder it must stay in and the path below. Raises NotFound."""
        spec = self._find(instance_id)
        if spec is None:
            raise NotFound(f"this node keeps no instance {instance_id}", id=instance_id)
        output, own = self._work_dir / "logs" / instance_id, self._work_dir / "instances" / instance_id
        named = {name: self._place(spec, own, path) for name, path in spec.service.log_paths.items()}
        return {**{name: (output, PurePosixPath(file)) for name, file in _OUTPUTS.items()}, **named}

    def _place(self, spec: InstanceSpec, own: Path, text: str) -> tuple[Path, PurePosixPath]:
        path = PurePosixPath(text)
        takeover = spec.takeover
        if takeover is None and not spec.service.is_external:
            return own, path
        home = takeover.work_dir if takeover is not None else spec.service.external_work_dir
        path = PurePosixPath(home or own) / path
        forbidden = (*_NO_LOGS, PurePosixPath(self._work_dir))
        if not path.is_relative_to(own) and any(path.is_relative_to(folder) for folder in forbidden):
            return Path(path.anchor), PurePosixPath("..")  # as good as a path that leaves the folder
        return Path(path.anchor), path.relative_to(path.anchor)

    def log(self, instance_id: InstanceId, name: str) -> Log:
        """Return what a log is read from. Raises NotFound (a named log not written yet), Invalid for a way out."""
        paths = self.paths(instance_id)
        if name not in paths:
            known = ", ".join(paths)
            raise NotFound(f'instance {instance_id} has no log "{name}"; it has {known}', id=instance_id, name=name)
        folder, inner = paths[name]
        return self._outputs_of(instance_id)[name] if name in _OUTPUTS else self._file(instance_id, name, folder, inner)

    def _file(self, instance_id: InstanceId, name: str, folder: Path, inner: PurePosixPath) -> FileLog:
        """Return the one object that knows the offsets of this log."""
        check_inside(inner)
        found = self._files.get((instance_id, name))
        if found is None or found.path != folder / inner:
            places = self._work_dir / "logs" / instance_id / "places" / f"{digest(f'{name}:{inner}'.encode())}.json"
            found = FileLog(folder, inner, places)
            self._files[instance_id, name] = found
        found.check()
        return found

    def _outputs_of(self, instance_id: InstanceId) -> dict[str, OutputLog]:
        found = self._outputs.get(instance_id)
        if found is None:
            folder = self._work_dir / "logs" / instance_id
            fresh = {name: OutputLog(folder / file) for name, file in _OUTPUTS.items()}
            found = self._outputs.setdefault(instance_id, fresh)  # one for all, also when a thread was quicker
        return found

    async def list_logs(self, body: ListLogs) -> LogFiles:
        """Answer `logs.list`. A log that was not written yet has no time and no bytes."""
        paths = self.paths(body.instance_id)
        found = await asyncio.to_thread(lambda: [self._describe(body.instance_id, name) for name in paths])
        return LogFiles(tuple(found))

    async def read_log(self, body: ReadLog) -> LogLines:
        """Answer `logs.read`."""
        log = self.log(body.instance_id, body.name)
        place = Place(body.before, body.after, body.around, body.at)
        return await asyncio.to_thread(read_lines, log, body.tail, place, body.q, line_times().of)

    async def search_log(self, body: SearchLog) -> LogHits:
        """Answer `logs.search`. Raises Invalid for an expression that is wrong or explodes."""
        log = self.log(body.instance_id, body.name)
        async with (
            self._searches,
            open_matcher(body.text, is_regex=body.is_regex, ignore_case=body.ignore_case) as matcher,
        ):
            return await search(log, body, matcher, line_times().of, self._clock)

    async def read_log_bytes(self, body: ReadLogBytes) -> LogBytes:
        """Answer `logs.bytes`."""
        log = self.log(body.instance_id, body.name)
        return await asyncio.to_thread(read_bytes, log, body.offset, body.length)

    async def follow_log(self, stream: Stream, body: FollowLog) -> None:
        """Feed the stream `log.follow` until the reader goes."""
        await feed(self.log(body.instance_id, body.name), body.offset, stream.write)

    async def watch_logs(self, stream: Stream, body: WatchLogs) -> None:
        """Feed the stream `log.watch` until the reader goes."""
        await LogWatch(self.log, stream.write, self._clock).run(body.logs)

    # --- rotation -------------------------------------------------------------------------------------------------
    async def rotate(self, instance_ids: Iterable[InstanceId], rules: RotateRules) -> None:
        """Rotate the output files that have reached their size. A full disk is logged; the log goes on growing.

        Call it a few times a second: what a flood writes between two calls comes on top of the bound.
        """
        kept = tuple(instance_ids)
        for instance_id in kept:
            for log in self._outputs_of(instance_id).values():
                if log.is_large(rules):
                    await self._rotate(instance_id, log, rules)
        if len(self._outputs) > len(kept):
            self._outputs = {key: self._outputs_of(key) for key in kept}
            self._files = {key: file for key, file in self._files.items() if key[0] in self._outputs}

    async def _rotate(self, instance_id: InstanceId, log: OutputLog, rules: RotateRules) -> None:
        try:
            done = await asyncio.to_thread(log.rotate, rules)
        except OSError as problem:
            if self._unsaid.is_due(log.path, "not_rotated", self._clock()):
                _log.warning("%s cannot be rotated: %s", log.path, problem)
            return
        for reason in self._unsaid.take(log.path, done, self._clock()):
            self._on_note(instance_id, reason)

    def _describe(self, instance_id: InstanceId, name: str) -> LogFile:
        try:
            return describe(self.log(instance_id, name), name)
        except (NotFound, Invalid):
            return LogFile(name, 0, None)


class Troubles:
    """Counts what rotations could not keep, and says it once in `QUIET_S` for each log and kind."""

    def __init__(self) -> None:
        self._said_s: dict[tuple[Path, str], float] = {}
        self._dropped_bytes: dict[Path, int] = {}

    def take(self, path: Path, done: Rotation, now_s: float) -> list[Reason]:
        """Return what is to be said now. `now_s` is monotonic."""
        self._dropped_bytes[path] = self._dropped_bytes.get(path, 0) + done.dropped_bytes
        found = [reason for reason in self._reasons(path, done) if self.is_due(path, reason.code, now_s)]
        if any(reason.code == "log_dropped" for reason in found):
            del self._dropped_bytes[path]
        return found

    def _reasons(self, path: Path, done: Rotation) -> Iterator[Reason]:
        name = path.name
        if dropped_bytes := self._dropped_bytes[path]:
            message = f"{dropped_bytes} bytes of {name} were dropped; they came faster than they could be archived"
            yield Reason("log_dropped", message, {"name": name, "bytes": dropped_bytes})
        if done.is_line_cut:
            message = f"a line of {name} is longer than log_rotate.max_size and was cut"
            yield Reason("log_line_cut", message, {"name": name})
        if done.is_lossy:
            message = f"{name} lies on a file system that cannot free the head of a file; a rotation may lose lines"
            yield Reason("log_rotation_lossy", message, {"name": name})

    def is_due(self, path: Path, code: str, now_s: float) -> bool:
        """Return whether it was not said lately, and count it as said."""
        said_s = self._said_s.get((path, code))
        if said_s is not None and (code == "log_rotation_lossy" or now_s - said_s < QUIET_S):
            return False
        self._said_s[path, code] = now_s
        return True


def line_times() -> LineTimes:
    """Return what reads times that were written in this node's zone."""
    return LineTimes(lambda naive: naive.astimezone(UTC), datetime.now(UTC))


def check_inside(inner: PurePosixPath) -> None:
    """Raise Invalid for a path that leaves its folder."""
    if inner.is_absolute() or ".." in inner.parts or not inner.parts:
        raise Invalid(f'the log path "{inner}" leaves the instance\'s folder')
