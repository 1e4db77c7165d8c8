"""What supervision keeps: one `run.json` per instance, and the journal of events until the master has them.

    STATE/run/ID/run.json     which start is asked for, then by identity which is under way; how often it was restarted;
                              how it came to rest: one record a line, the last one counts
    STATE/run/ID/exit         the keeper's note of how the start of that number ended
    STATE/run/events.{0,1}    events that are not on the disk yet, where `run` is memory
    STATE/events.jsonl        one InstanceEvent a line
    STATE/events.meta         {"acked", "reserved", "boot_id"}

`run` lies in memory where that can be had (see `boot_notes`), else on the disk. A record is appended without fsync: it
must outlive this process, which the page cache does (and replacing a file by rename makes ext4 write its data out at
once, which made 200 starts wait for the disk); a power cut ends the processes it speaks of, and a record of another
boot counts for nothing. A start whose record has no pid is found by its marker, has ended when there is its note, or
was never made. So 200 starts cost no 200 disk flushes, and identity stays safe.
"""

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import sys
import threading
from collections import deque
from datetime import datetime
from pathlib import Path

import msgspec

from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId
from ops_system.model.instances import InstanceEvent, State
from ops_system.model.reasons import Reason
from ops_system.processes.base import Identity
from ops_system.processes.boot_notes import RUN
from ops_system.processes.early import EarlyLines
from ops_system.processes.restarts import History
from ops_system.processes.spec import PreparedInstance, RunSpec
from ops_system.runtime.files import write_atomic

_log = logging.getLogger(__name__)

MAX_EVENTS = 20_000
TRIM_BYTES = 512 * 1024
TRIM_RECORD_BYTES = 64 * 1024
TRIM_IN_MEMORY_BYTES = 16 * 1024  # a rename costs nothing there, and the room is dear
FLUSH_AFTER_S = 0.1
RETRY_AFTER_S = 5.0  # a full disk
RECORD = "run.json"
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
_IS_WINDOWS = sys.platform == "win32"
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
    """The `run` folder, which is made with the first record when nobody made it before."""

    def __init__(self, state_dir: Path, *, is_in_memory: bool = False) -> None:
        self._dir = state_dir / RUN
        self._trim_bytes = TRIM_IN_MEMORY_BYTES if is_in_memory else TRIM_RECORD_BYTES
        self._made: dict[InstanceId, Path] = {}

    def is_of_boot(self, boot_id: str) -> bool:
        """True unless every record is readable and of another boot."""
        records = [_newest_record(path) for path in self._dir.glob(f"*/{RECORD}")]
        return any(record is None or record.boot_id == boot_id for record in records)

    def run_dir(self, instance_id: InstanceId) -> Path:
        """Return the instance's private folder, which need not be there. Raises Invalid for an id no file can have."""
        made = self._made.get(instance_id)
        if made is not None:
            return made
        if not instance_id or instance_id.startswith(".") or "/" in instance_id or "\\" in instance_id:
            raise Invalid(f'"{instance_id}" is not an instance id')
        return self._dir / instance_id

    def make_run_dir(self, instance_id: InstanceId) -> Path:
        """Return the folder, made when missing."""
        path = self._made.get(instance_id)
        if path is None:
            path = self.run_dir(instance_id)
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._made[instance_id] = path
        return path

    def save(self, record: RunRecord) -> None:
        """Make this the instance's newest record. Raises OSError with the older ones untouched."""
        instance_id = record.spec.instance_id
        line = b"\n" + msgspec.json.encode(record) + b"\n"  # the first ends a line that a full disk had cut
        try:
            size_bytes = _append(f"{self.make_run_dir(instance_id)}/{RECORD}", line)
        except FileNotFoundError:  # somebody removed the folder
            self._made.pop(instance_id, None)
            size_bytes = _append(f"{self.make_run_dir(instance_id)}/{RECORD}", line)
        if size_bytes > self._trim_bytes:
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
        self._made.pop(instance_id, None)
        shutil.rmtree(self._dir / instance_id, ignore_errors=True)


def _append(path: str, line: bytes) -> int:
    """Write all or raise OSError; return the file's size."""
    fd = os.open(path, _APPEND, 0o600)
    try:
        if os.write(fd, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
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


class _Batch(msgspec.Struct):
    """What goes to the disk in one turn: the lines of new events, or the whole file anew when it shall shrink."""

    lines: list[bytes]
    meta: _Meta | None
    whole: bytes | None
    is_done: bool = False


class EventJournal:
    """Events with numbers that only rise. Appending is one unbuffered write; the kernel keeps it when we die.

    With `early` that write goes to memory, and `run` brings it to the disk from a thread: while a file system commits
    its own journal a single write there waits for tens of milliseconds, and a restart would wait with it.

    After a power cut the tail may be lost; numbers then go on above what was reserved on disk, so that no number ever
    names two events. At most MAX_EVENTS wait for the master; then the oldest are dropped and counted in `dropped`.
    """

    def __init__(self, state_dir: Path, boot_id: str, early: EarlyLines | None = None) -> None:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = state_dir / "events.jsonl"
        self._meta_path = state_dir / "events.meta"
        self._early = early
        self._news = asyncio.Event()
        self._unwritten: list[bytes] = []
        self._batch: _Batch | None = None
        self._is_whole_due = False
        self._disk = threading.Lock()
        self._meta = self._load_meta()
        self._waiting: deque[InstanceEvent] = deque(self._load_events())
        self.last_seq = max([self._meta.acked, *(event.seq for event in self._waiting)])
        if self._meta.boot_id != boot_id:
            self.last_seq = max(self.last_seq, self._meta.reserved)
        self._meta = msgspec.structs.replace(self._meta, boot_id=boot_id)
        self.dropped = 0
        self._reserve()
        self._save_meta(self._meta)
        is_written = self._write_whole(self._whole())
        self._fd = self._open()
        if early is not None and is_written:
            early.empty()

    def append(self, event: InstanceEvent) -> InstanceEvent:
        """Number `event`, write it, and return it with its number. A full disk is logged; the event stays in memory."""
        self.last_seq += 1
        if self.last_seq > self._safe_seq:
            self._reserve()
            with self._disk:
                self._save_meta(self._meta)
        numbered = msgspec.structs.replace(event, seq=self.last_seq)
        self._waiting.append(numbered)
        while len(self._waiting) > MAX_EVENTS:
            self._waiting.popleft()
            self.dropped += 1
        try:
            self._write(msgspec.json.encode(numbered) + b"\n")
        except OSError as error:
            _log.error("%s cannot be written (%s); free disk space", self._path, error)
        return numbered

    def _write(self, line: bytes) -> None:
        if self._early is None:
            os.write(self._fd, line)
            return
        self._unwritten.append(line)
        self._news.set()
        self._early.write(line)

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
        if not self._is_large():
            return
        if self._early is not None:
            self._is_whole_due = True
            self._news.set()
        else:
            self._save_meta(self._meta)
            self._rewrite(self._whole())

    def _is_large(self) -> bool:
        try:
            return self._path.stat().st_size > TRIM_BYTES  # by its name: a thread may be changing the descriptor
        except FileNotFoundError:  # somebody removed the folder
            return False

    # --- to the disk
    async def run(self) -> None:
        """Bring what is in memory to the disk, a moment later, until cancelled."""
        while True:
            await self._news.wait()
            await asyncio.sleep(RETRY_AFTER_S if self._is_owing() else FLUSH_AFTER_S)
            self._news.clear()
            self._batch = batch = self._take()
            await asyncio.to_thread(self._bring, batch)
            if self._is_owing():
                self._is_whole_due = True  # what could not be written is in the whole
                self._news.set()

    def _is_owing(self) -> bool:
        return self._batch is not None and not self._batch.is_done

    def _take(self) -> _Batch:
        """Return what is due, with the other early file in use from now on, unless that still holds what is owed."""
        assert self._early is not None
        if not self._is_owing():
            self._early.turn()
        lines, self._unwritten = self._unwritten, []
        is_whole, self._is_whole_due = self._is_whole_due, False
        is_low = self._meta.reserved - self.last_seq < _RESERVE // 2
        if is_low:
            self._reserve()
        return _Batch(lines, self._meta if is_low or is_whole else None, self._whole() if is_whole else None)

    def _bring(self, batch: _Batch) -> None:
        """Write one batch, once. Runs in a thread; a full disk leaves it undone."""
        with self._disk:
            if batch.is_done or self._early is None:
                return
            if batch.meta is not None:
                self._save_meta(batch.meta)
            if batch.whole is not None:
                batch.is_done = self._rewrite(batch.whole)
            else:
                batch.is_done = self._append_lines(b"".join(batch.lines))
            if batch.is_done:
                self._early.empty_other()

    def _append_lines(self, lines: bytes) -> bool:
        try:
            return os.write(self._fd, lines) == len(lines)
        except OSError as error:
            _log.error("%s cannot be written (%s); free disk space", self._path, error)
            return False

    def close(self) -> None:
        """Note what was acknowledged and let the file go."""
        if self._early is not None:
            if self._batch is not None:
                self._bring(self._batch)
            self._is_whole_due |= self._is_owing()
            self._bring(self._take())
        with self._disk:
            self._save_meta(self._meta)
            os.close(self._fd)
            if self._early is not None:
                self._early.close()
                self._early = None

    def _reserve(self) -> None:
        """Keep numbers for the events to come; whoever calls this writes it down before one is used."""
        self._meta = msgspec.structs.replace(self._meta, reserved=self.last_seq + _RESERVE)

    def _save_meta(self, meta: _Meta) -> None:
        try:
            write_atomic(self._meta_path, msgspec.json.encode(meta))
        except OSError as error:
            _log.error("%s cannot be written (%s); free disk space", self._meta_path, error)
        self._safe_seq = meta.reserved

    def _load_meta(self) -> _Meta:
        try:
            return msgspec.json.decode(self._meta_path.read_bytes(), type=_Meta)
        except FileNotFoundError:
            return _Meta()
        except msgspec.DecodeError as error:
            _log.warning("%s cannot be read (%s); counting on from the journal", self._meta_path, error)
            return _Meta()

    def _load_events(self) -> list[InstanceEvent]:
        found: dict[int, InstanceEvent] = {}
        for line in (*_read(self._path).splitlines(), *(self._early.read().splitlines() if self._early else ())):
            try:
                event = msgspec.json.decode(line, type=InstanceEvent) if line else None
            except msgspec.DecodeError:
                _log.warning("%s: a torn line was left out", self._path)
                continue
            if event is not None and event.seq > self._meta.acked:
                found[event.seq] = event
        return [found[seq] for seq in sorted(found)]

    def _whole(self) -> bytes:
        return b"".join(msgspec.json.encode(event) + b"\n" for event in self._waiting)

    def _rewrite(self, whole: bytes) -> bool:
        """Go on in a fresh file with what still waits; on a full disk go on in the old one."""
        if _IS_WINDOWS:  # where an open file cannot be replaced
            os.close(self._fd)
        is_written = self._write_whole(whole)
        old, self._fd = self._fd, self._open()
        if not _IS_WINDOWS:
            os.close(old)
        return is_written

    def _write_whole(self, whole: bytes) -> bool:
        try:
            write_atomic(self._path, whole)
        except OSError as error:
            _log.error("%s cannot be trimmed (%s); free disk space", self._path, error)
            return False
        return True

    def _open(self) -> int:
        return os.open(self._path, _APPEND, 0o600)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
