"""The named logs of an instance: which there are, and the one safe way to each. Answers `logs.*` and the stream `log`.

`stdout` and `stderr` come first, then `log_paths` of service.json. Services own what they write, so those names lead
only to regular files inside the instance's folder, and no part of the path may be a link. The folder of stdout and
stderr is the worker's own; their rotation by size is here too.
"""

import asyncio
import logging
import stat
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from ops_system.model.errors import Invalid, NotFound
from ops_system.model.ids import InstanceId
from ops_system.model.instances import InstanceSpec
from ops_system.processes.rotate import RotateRules, rotate_if_large
from ops_system.processes.surroundings import STDERR_NAME, STDOUT_NAME
from ops_system.processes.tail import describe, follow, read_bytes, read_lines
from ops_system.protocol.requests import (
    FollowLog,
    ListLogs,
    LogBytes,
    LogFile,
    LogFiles,
    LogLines,
    ReadLog,
    ReadLogBytes,
)
from ops_system.runtime.streams import Stream

_log = logging.getLogger(__name__)

_OUTPUTS = {"stdout": STDOUT_NAME, "stderr": STDERR_NAME}


class InstanceLogs:
    """The logs below one `work_dir`. `find` gives an instance's wish, which names its logs."""

    def __init__(self, work_dir: Path, find: Callable[[InstanceId], InstanceSpec | None]) -> None:
        self._work_dir = work_dir
        self._find = find

    def paths(self, instance_id: InstanceId) -> dict[str, tuple[Path, PurePosixPath]]:
        """Return every named log as the folder it must stay in and the path below. Raises NotFound."""
        spec = self._find(instance_id)
        if spec is None:
            raise NotFound(f"this node keeps no instance {instance_id}", id=instance_id)
        output, own = self._work_dir / "logs" / instance_id, self._work_dir / "instances" / instance_id
        named = {name: (own, PurePosixPath(path)) for name, path in spec.service.log_paths.items()}
        return {**{name: (output, PurePosixPath(file)) for name, file in _OUTPUTS.items()}, **named}

    def path(self, instance_id: InstanceId, name: str) -> Path:
        """Return the file of a log. Raises NotFound (also before a named log is written), Invalid for a way out."""
        paths = self.paths(instance_id)
        if name not in paths:
            known = ", ".join(paths)
            raise NotFound(f'instance {instance_id} has no log "{name}"; it has {known}', id=instance_id, name=name)
        folder, inner = paths[name]
        return folder / inner if name in _OUTPUTS else safe_file(folder, inner)

    async def list_logs(self, body: ListLogs) -> LogFiles:
        """Answer `logs.list`. A log that was not written yet has no time and no bytes."""
        paths = self.paths(body.instance_id)
        return LogFiles(tuple(self._describe(name, *place) for name, place in paths.items()))

    async def read_log(self, body: ReadLog) -> LogLines:
        """Answer `logs.read`."""
        path = self.path(body.instance_id, body.name)
        return await asyncio.to_thread(read_lines, path, body.tail, body.before, body.q)

    async def read_log_bytes(self, body: ReadLogBytes) -> LogBytes:
        """Answer `logs.bytes`."""
        path = self.path(body.instance_id, body.name)
        return await asyncio.to_thread(read_bytes, path, body.offset, body.length)

    async def follow_log(self, stream: Stream, body: FollowLog) -> None:
        """Feed the stream `log` until the reader goes."""
        path = self.path(body.instance_id, body.name)
        async for data in follow(path, body.offset):
            await stream.write(data)

    # --- rotation -------------------------------------------------------------------------------------------------
    async def rotate(self, instance_ids: Iterable[InstanceId], rules: RotateRules) -> None:
        """Rotate the output files that have reached their size. A full disk is logged; the log goes on growing."""
        for instance_id in instance_ids:
            for file in _OUTPUTS.values():
                path = self._work_dir / "logs" / instance_id / file
                if _size_of(path) >= rules.max_size_bytes:
                    await self._rotate(path, rules)

    async def _rotate(self, path: Path, rules: RotateRules) -> None:
        try:
            await asyncio.to_thread(rotate_if_large, path, rules)
        except OSError as problem:
            _log.warning("%s cannot be rotated: %s", path, problem)

    @staticmethod
    def _describe(name: str, folder: Path, inner: PurePosixPath) -> LogFile:
        try:
            return describe(folder / inner if name in _OUTPUTS else safe_file(folder, inner), name)
        except (NotFound, Invalid):
            return LogFile(name, 0, None)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def safe_file(folder: Path, inner: PurePosixPath) -> Path:
    """Return `folder/inner` when it is a regular file reached through no link. Raises NotFound or Invalid."""
    if inner.is_absolute() or ".." in inner.parts or not inner.parts:
        raise Invalid(f'the log path "{inner}" leaves the instance\'s folder')
    path = folder
    for part in inner.parts:
        path /= part
        try:
            mode = path.lstat().st_mode
        except OSError as problem:
            raise NotFound(f"the log {inner} was not written yet") from problem
        if stat.S_ISLNK(mode):
            raise Invalid(f'the log path "{inner}" leads through a link, which is not followed')
    if not stat.S_ISREG(mode):
        raise Invalid(f'"{inner}" is no regular file')
    return path
