"""The crash capsules of this node: the last five unexpected ends of each instance, with the output that came before.

    state/crashes/<instance id>.json    the newest first; goes with the instance

The supervisor tells of an end (`note`); one task at a time reads the logs and writes. Of ends that come faster than
that, only the newest gets its output. Answers `crashes.list`.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from ops_system.model.crashes import Crash, CrashLine, CrashParent
from ops_system.model.errors import OpsError
from ops_system.model.ids import InstanceId
from ops_system.processes.crashes import read_own_chain
from ops_system.protocol.logs import LogLines, ReadLog
from ops_system.protocol.requests import Crashes, ListCrashes

_log = logging.getLogger(__name__)

MAX_KEPT = 5
MAX_LINES = 200
MAX_LINE_CHARS = 2000
MAX_OUTPUT_BYTES = 64 * 1024  # of one capsule: five of them fit one frame
STREAMS = ("stdout", "stderr")

ReadLines = Callable[[ReadLog], Awaitable[LogLines]]


class CrashStore:
    """See the module. `is_wanted` tells whether the instance is still one of ours."""

    def __init__(self, folder: Path, read_lines: ReadLines, is_wanted: Callable[[InstanceId], bool]) -> None:
        self._folder = folder
        self._read_lines = read_lines
        self._is_wanted = is_wanted
        self._waiting: dict[InstanceId, tuple[Crash, ...]] = {}
        self._news = asyncio.Event()
        self._lock = threading.Lock()  # Windows puts nothing in the place of a file that is being read

    def note(self, instance_id: InstanceId, crash: Crash) -> None:
        """Remember an end; its last output is read soon."""
        self._waiting[instance_id] = (crash, *self._waiting.get(instance_id, ()))[:MAX_KEPT]
        self._news.set()

    async def run(self) -> None:
        """Write down what was noted, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                instance_id = next(iter(self._waiting))
                await self._keep(instance_id, self._waiting.pop(instance_id))

    async def _keep(self, instance_id: InstanceId, crashes: tuple[Crash, ...]) -> None:
        newest = msgspec.structs.replace(crashes[0], lines=await self._last_output(instance_id))
        try:
            await asyncio.to_thread(self._write, instance_id, (newest, *crashes[1:]))
        except OSError as problem:
            _log.warning("a crash of %s is not remembered: %s", instance_id, problem)

    async def _last_output(self, instance_id: InstanceId) -> tuple[CrashLine, ...]:
        texts: list[list[str]] = []
        for stream in STREAMS:
            try:
                read = await self._read_lines(ReadLog(instance_id=instance_id, name=stream, tail=MAX_LINES))
            except (OpsError, OSError):
                texts.append([])
            else:
                texts.append([line.text for line in read.lines])
        return last_lines(*texts)

    def _write(self, instance_id: InstanceId, crashes: tuple[Crash, ...]) -> None:
        chain = read_own_chain()
        known = tuple(_with_chain(crash, chain) for crash in crashes)
        with self._lock:  # one that is removed meanwhile is forgotten after this, or not wanted by then
            if self._is_wanted(instance_id):
                self._replace(instance_id, (*known, *self._load(instance_id))[:MAX_KEPT])

    def _replace(self, instance_id: InstanceId, kept: tuple[Crash, ...]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(instance_id)
        beside = path.with_name(f"{path.name}.tmp")
        try:
            beside.write_bytes(msgspec.json.encode(kept))
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise

    def _read(self, instance_id: InstanceId) -> tuple[Crash, ...]:
        with self._lock:
            return self._load(instance_id)

    def _load(self, instance_id: InstanceId) -> tuple[Crash, ...]:
        try:
            return msgspec.json.decode(self._path(instance_id).read_bytes(), type=tuple[Crash, ...])
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError) as problem:
            _log.warning("%s cannot be read (%s); the crashes before are forgotten", self._path(instance_id), problem)
            return ()

    async def list_crashes(self, body: ListCrashes) -> Crashes:
        """Answer `crashes.list`."""
        return Crashes(await asyncio.to_thread(self._read, body.instance_id) if _is_name(body.instance_id) else ())

    def forget(self, instance_id: InstanceId) -> None:
        """Forget an instance that was removed."""
        self._waiting.pop(instance_id, None)
        try:
            with self._lock:
                self._path(instance_id).unlink(missing_ok=True)
        except OSError as problem:
            _log.warning("the crashes of %s stay on the disk: %s", instance_id, problem)

    def _path(self, instance_id: InstanceId) -> Path:
        return self._folder / f"{instance_id}.json"


def _is_name(instance_id: str) -> bool:
    """Whether an id from outside can be the name of a file."""
    return Path(instance_id).name == instance_id and not instance_id.startswith(".")


def _with_chain(crash: Crash, chain: tuple[CrashParent, ...]) -> Crash:
    """Put this process and those above it in place of the bare number the supervisor knew."""
    below = tuple(parent for parent in crash.parents if parent.pid != chain[0].pid)
    if len(below) == len(crash.parents):
        return crash
    return msgspec.structs.replace(crash, parents=(*below, *chain))


def last_lines(stdout: list[str], stderr: list[str]) -> tuple[CrashLine, ...]:
    """Return the last lines of both within `MAX_LINES` and `MAX_OUTPUT_BYTES`; neither crowds the other out."""
    half = MAX_LINES // 2
    room = {"stdout": max(half, MAX_LINES - len(stderr)), "stderr": max(half, MAX_LINES - len(stdout))}
    lines: list[CrashLine] = []
    for stream, texts in (("stdout", stdout), ("stderr", stderr)):
        kept: list[CrashLine] = []
        left = MAX_OUTPUT_BYTES // 2
        for text in reversed(texts[-room[stream] :]):
            cut = text[:MAX_LINE_CHARS]
            left -= len(cut.encode(errors="replace"))
            if left < 0:
                break
            kept.append(CrashLine(stream, cut))
        lines += reversed(kept)
    return tuple(lines)
