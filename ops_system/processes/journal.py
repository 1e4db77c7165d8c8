"""What supervision keeps on disk: one `run.json` per instance, and the journal of events until the master has them.

    STATE/run/ID/run.json     which start is asked for, then by identity which is under way; how often it was restarted;
                              how it came to rest: one record a line, the last one counts
    STATE/run/ID/exit         the keeper's note of how the start of that number ended
    STATE/events.jsonl        one InstanceEvent a line, oldest first
    STATE/events.meta         {"acked", "reserved", "boot_id"}

A record is appended without fsync: it must outlive this process, which the page cache does (and replacing a file by
rename makes ext4 write its data out at once, which made 200 starts wait for the disk); a power cut
ends the processes it speaks of, and a record of another boot (or one that cannot be read) is only a hint. A start
whose record has no pid is found by its marker, has ended when there is its note, or was never made. So 200 starts cost
no 200 disk flushes, and identity stays safe.
"""

import contextlib
import errno
import logging
import os
import shutil
from collections import deque
from datetime import datetime
from pathlib import Path

import msgspec

from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId
from ops_system.model.instances import InstanceEvent, State
from ops_system.model.reasons import Reason
from ops_system.processes.base import Identity
from ops_system.processes.restarts import History
from ops_system.processes.spec import PreparedInstance, RunSpec
from ops_system.runtime.files import write_atomic

_log = logging.getLogger(__name__)

MAX_EVENTS = 20_000
TRIM_BYTES = 512 * 1024
TRIM_RECORD_BYTES = 64 * 1024
RECORD = "run.json"
_RESERVE = 1000


class RunRecord(msgspec.Struct, frozen=True):
    """The last known start of an instance. `is_proven`: it had reached `running`."""

    spec: RunSpec
    boot_id: str
    number: int = 0
    keeper: Identity | None = None  # None while `starting`: asked for, and nothing heard yet
    leader: Identity | None = None
    started_at: datetime | None = None
    is_proven: bool = False
    state: State = State.PENDING
    reason: Reason | None = None
    exit_code: int | None = None
    exit_signal: str | None = None
    restarts: int = 0
    history: History = History()
    prepared: PreparedInstance | None = None


class RunStore:
    """The `run` folder."""

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir / "run"
        self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._made: set[InstanceId] = set()

    def run_dir(self, instance_id: InstanceId) -> Path:
        """Return the instance's private folder, which need not be there. Raises Invalid for an id no file can have."""
        if not instance_id or instance_id.startswith(".") or "/" in instance_id or "\\" in instance_id:
            raise Invalid(f'"{instance_id}" is not an instance id')
        return self._dir / instance_id

    def make_run_dir(self, instance_id: InstanceId) -> Path:
        """Return the folder, made when missing."""
        path = self.run_dir(instance_id)
        if instance_id not in self._made:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._made.add(instance_id)
        return path

    def save(self, record: RunRecord) -> None:
        """Make this the instance's newest record. Raises OSError with the older ones untouched."""
        instance_id = record.spec.instance_id
        line = b"\n" + msgspec.json.encode(record) + b"\n"  # the first ends a line that a full disk had cut
        try:
            size_bytes = _append(self.make_run_dir(instance_id) / RECORD, line)
        except FileNotFoundError:  # somebody removed the folder
            self._made.discard(instance_id)
            size_bytes = _append(self.make_run_dir(instance_id) / RECORD, line)
        if size_bytes > TRIM_RECORD_BYTES:
            write_atomic(self.run_dir(instance_id) / RECORD, line)

    def load_all(self) -> dict[InstanceId, RunRecord]:
        """Return the newest readable records. A file without one is kept aside and left to the search by marker."""
        found: dict[InstanceId, RunRecord] = {}
        for path in sorted(self._dir.glob(f"*/{RECORD}")):
            record = _newest_record(path)
            if record is None:
                _log.warning("%s cannot be read; its processes are searched by marker", path)
                with contextlib.suppress(OSError):
                    path.replace(path.with_name(f"{RECORD}.damaged"))
            else:
                found[record.spec.instance_id] = record
        return found

    def remove(self, instance_id: InstanceId) -> None:
        """Remove the instance's folder."""
        self._made.discard(instance_id)
        shutil.rmtree(self._dir / instance_id, ignore_errors=True)


def _append(path: Path, line: bytes) -> int:
    """Write all or raise OSError; return the file's size."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    try:
        if os.write(fd, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return os.lseek(fd, 0, os.SEEK_CUR)
    finally:
        os.close(fd)


def _newest_record(path: Path) -> RunRecord | None:
    """Return the last line that is whole: a torn one was never believed by anybody."""
    with contextlib.suppress(OSError):
        for line in reversed(path.read_bytes().splitlines()):
            with contextlib.suppress(msgspec.DecodeError):
                return msgspec.json.decode(line, type=RunRecord)
    return None


class _Meta(msgspec.Struct, frozen=True):
    acked: int = 0
    reserved: int = 0
    boot_id: str = ""


class EventJournal:
    """Events with numbers that only rise. Appending is one unbuffered write; the kernel keeps it when we die.

    After a power cut the tail may be lost; numbers then go on above what was reserved on disk, so that no number ever
    names two events. At most MAX_EVENTS wait for the master; then the oldest are dropped and counted in `dropped`.
    """

    def __init__(self, state_dir: Path, boot_id: str) -> None:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = state_dir / "events.jsonl"
        self._meta_path = state_dir / "events.meta"
        self._meta = self._load_meta()
        self._waiting: deque[InstanceEvent] = deque(self._load_events())
        self.last_seq = max([self._meta.acked, *(event.seq for event in self._waiting)])
        if self._meta.boot_id != boot_id:
            self.last_seq = max(self.last_seq, self._meta.reserved)
        self._meta = msgspec.structs.replace(self._meta, boot_id=boot_id)
        self.dropped = 0
        self._reserve()
        self._rewrite()

    def append(self, event: InstanceEvent) -> InstanceEvent:
        """Number `event`, write it, and return it with its number. A full disk is logged; the event stays in memory."""
        self.last_seq += 1
        if self.last_seq > self._meta.reserved:
            self._reserve()
        numbered = msgspec.structs.replace(event, seq=self.last_seq)
        self._waiting.append(numbered)
        while len(self._waiting) > MAX_EVENTS:
            self._waiting.popleft()
            self.dropped += 1
        try:
            os.write(self._fd, msgspec.json.encode(numbered) + b"\n")
        except OSError as error:
            _log.error("%s cannot be written (%s); free disk space", self._path, error)
        return numbered

    def pending(self, after_seq: int = 0, limit: int = 500) -> tuple[InstanceEvent, ...]:
        """Return up to `limit` events that were not acknowledged and come after `after_seq`, oldest first."""
        found: list[InstanceEvent] = []
        for event in self._waiting:
            if event.seq > after_seq:
                found.append(event)
                if len(found) == limit:
                    break
        return tuple(found)

    def ack(self, seq: int) -> None:
        """Drop events up to and including `seq`; the file shrinks when it is worth a rewrite."""
        while self._waiting and self._waiting[0].seq <= seq:
            self._waiting.popleft()
        self._meta = msgspec.structs.replace(self._meta, acked=max(self._meta.acked, min(seq, self.last_seq)))
        if os.fstat(self._fd).st_size > TRIM_BYTES:
            self._save_meta()
            os.close(self._fd)
            self._rewrite()

    def close(self) -> None:
        """Note what was acknowledged and let the file go."""
        self._save_meta()
        os.close(self._fd)

    def _reserve(self) -> None:
        self._meta = msgspec.structs.replace(self._meta, reserved=self.last_seq + _RESERVE)
        self._save_meta()

    def _save_meta(self) -> None:
        try:
            write_atomic(self._meta_path, msgspec.json.encode(self._meta))
        except OSError as error:
            _log.error("%s cannot be written (%s); free disk space", self._meta_path, error)

    def _load_meta(self) -> _Meta:
        try:
            return msgspec.json.decode(self._meta_path.read_bytes(), type=_Meta)
        except FileNotFoundError:
            return _Meta()
        except msgspec.DecodeError as error:
            _log.warning("%s cannot be read (%s); counting on from the journal", self._meta_path, error)
            return _Meta()

    def _load_events(self) -> list[InstanceEvent]:
        found: list[InstanceEvent] = []
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return found
        for line in data.splitlines():
            try:
                event = msgspec.json.decode(line, type=InstanceEvent)
            except msgspec.DecodeError:
                _log.warning("%s: a torn line was left out", self._path)
                continue
            if event.seq > self._meta.acked:
                found.append(event)
        return found

    def _rewrite(self) -> None:
        """Write what still waits to a fresh file and go on there; on a full disk go on in the old one."""
        lines = b"".join(msgspec.json.encode(event) + b"\n" for event in self._waiting)
        try:
            write_atomic(self._path, lines)
        except OSError as error:
            _log.error("%s cannot be trimmed (%s); free disk space", self._path, error)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
