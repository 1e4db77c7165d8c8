"""What agents said while the store was away: on the disk before it is answered, told to the store in order (P12).

One line of JSON an event. A line that a power cut left unfinished was never answered and is cut off at the start.
"""

import asyncio
import io
import logging
import os
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from ops_system.model.errors import (
    Conflict,
    Invalid,
    NotAllowed,
    NotFound,
    OpsError,
    SafetyRefusal,
    StorageFull,
    Unavailable,
)
from ops_system.protocol.agent import BeginCall, CompleteCall, InstallCompleteCall, ProgressCall
from ops_system.runtime.files import sync_dir, write_atomic

_log = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024 * 1024
POSITION_EVERY = 20
FILE, POSITION, REFUSED = "journal.jsonl", "journal.position", "journal-refused.jsonl"
MAX_REFUSED_BYTES = 4 * 1024 * 1024

Kind = Literal["begin", "progress", "complete", "finish"]
Call = BeginCall | ProgressCall | CompleteCall | InstallCompleteCall
_TYPES: dict[Kind, type[Call]] = {
    "begin": BeginCall,
    "progress": ProgressCall,
    "complete": CompleteCall,
    "finish": InstallCompleteCall,
}
_KINDS = {kind_type: kind for kind, kind_type in _TYPES.items()}


class Entry(msgspec.Struct, frozen=True):
    """One event."""

    kind: Kind
    at: datetime
    sn: str
    call: msgspec.Raw

    def read(self) -> Call:
        """Return the call as the agent made it."""
        return msgspec.json.decode(self.call, type=_TYPES[self.kind])


class _Line:
    """An event on its way to the disk."""

    def __init__(self, entry: Entry, data: bytes) -> None:
        self.entry, self.data = entry, data
        self.is_over = False
        self.error: OpsError | None = None


class Journal:
    """The events that the store has not heard yet. `open` before anything else."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path, self._position, self._refused = folder / FILE, folder / POSITION, folder / REFUSED
        self._max_bytes = max_bytes
        self._file: io.FileIO | None = None
        self._waiting: deque[Entry] = deque()
        self._by_sn: Counter[str] = Counter()
        self._lines: list[_Line] = []
        self._done = 0  # of the file's lines
        self._size_bytes = 0
        self._writing = asyncio.Lock()
        self._replaying = asyncio.Lock()
        self.replayed = 0
        self.refused = 0

    def open(self) -> None:
        """Read what an earlier run left. Blocking. Raises OSError; SafetyRefusal for a journal that is damaged."""
        done = _read_position(self._position)
        data = self._path.read_bytes() if self._path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        entries = [self._read(number, line) for number, line in enumerate(whole.splitlines(), 1) if line]
        self._file = self._path.open("ab", 0)
        if len(whole) != len(data):
            _log.warning("the journal's last line was never finished: %d bytes cut off", len(data) - len(whole))
            self._file.truncate(len(whole))
            os.fsync(self._file.fileno())
        sync_dir(self._path.parent)
        self._size_bytes, self._done = len(whole), min(done, len(entries))
        for entry in entries[self._done :]:
            self._note(entry)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __len__(self) -> int:
        return len(self._waiting)

    def has(self, sn: str) -> bool:
        """Whether something of this machine waits."""
        return self._by_sn[sn] > 0

    def count(self, sn: str) -> int:
        """Return how much of this machine waits."""
        return self._by_sn[sn]

    def entries(self) -> tuple[Entry, ...]:
        """Return what waits, oldest first."""
        return tuple(self._waiting)

    async def append(self, call: Call, at: datetime) -> None:
        """Put an event on the disk; when this returns it survives everything. Raises StorageFull."""
        kind = _KINDS[type(call)]
        entry = Entry(kind, at, call.sn, msgspec.Raw(msgspec.json.encode(call)))
        line = msgspec.json.encode(entry) + b"\n"
        mine = _Line(entry, line)
        self._lines.append(mine)
        async with self._writing:
            if not mine.is_over:
                await self._write_waiting()
        if mine.error is not None:
            raise mine.error

    async def replay(self, tell: Callable[[Entry], Awaitable[None]]) -> None:
        """Tell the store everything, in order. Raises Unavailable and TimedOut when it went away again.

        What the store refuses (an operator decided otherwise meanwhile) is logged, kept in a file of its own, and done.
        """
        async with self._replaying:
            while self._waiting:
                entry = self._waiting[0]
                try:
                    await tell(entry)
                except (Conflict, Invalid, NotAllowed, NotFound) as error:
                    await self._refuse(entry, error)
                self._waiting.popleft()
                self._by_sn[entry.sn] -= 1
                self._done += 1
                self.replayed += 1
                if self._done % POSITION_EVERY == 0:
                    await self._keep_position()
            await self._clear()

    # --- inside -----------------------------------------------------------------------------------------------------
    def _read(self, number: int, line: bytes) -> Entry:
        try:
            entry = msgspec.json.decode(line, type=Entry)
            entry.read()
        except msgspec.MsgspecError as error:
            raise SafetyRefusal(
                "{path}, line {number}: no event ({error}); they are nowhere else: "
                "mend the line, or move the file away to go on without them",
                path=self._path,
                number=number,
                error=error,
            ) from error
        return entry

    async def _write_waiting(self) -> None:
        """Put everything that waits on the disk by one flush: whoever comes first writes for all."""
        lines, self._lines = self._lines, []
        data = b"".join([each.data for each in lines])
        error: OpsError | None = Unavailable("the journal is being closed")  # stands when we are cancelled
        try:
            if self._size_bytes + len(data) > self._max_bytes:
                error = StorageFull(f"the journal {self._path} has {self._max_bytes} bytes; it waits for the store")
            else:
                await asyncio.to_thread(self._write, data)
                self._size_bytes += len(data)
                error = None
        except OSError as problem:
            error = StorageFull(f"the journal {self._path} cannot be written: {problem.strerror}")
        finally:
            for each in lines:
                each.is_over, each.error = True, error
                if error is None:
                    self._note(each.entry)

    def _note(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self._by_sn[entry.sn] += 1

    def _write(self, line: bytes) -> None:
        file, rest = self._opened(), memoryview(line)
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(self._size_bytes)  # a part of the line must not stand before the next one
            raise

    async def _refuse(self, entry: Entry, error: OpsError) -> None:
        if error.details.get("reason") == "step_done":
            return  # told before, and the note of it was lost
        self.refused += 1
        _log.warning("the store refuses what %s said at %s (%s): %s", entry.sn, entry.at, entry.kind, error.message)
        await asyncio.to_thread(_append_bounded, self._refused, msgspec.json.encode(entry) + b"\n")

    async def _keep_position(self) -> None:
        try:
            await asyncio.to_thread(write_atomic, self._position, str(self._done).encode())
        except OSError as error:
            _log.warning("%s cannot be written (%s): events may be told twice", self._position, error.strerror)

    async def _clear(self) -> None:
        async with self._writing:
            if self._waiting or not self._done:
                return
            await asyncio.to_thread(self._truncate)
            self._size_bytes = self._done = 0

    def _truncate(self) -> None:
        """The position goes first: an old one beside new lines would skip them."""
        self._position.unlink(missing_ok=True)
        sync_dir(self._path.parent)
        file = self._opened()
        file.truncate(0)
        os.fsync(file.fileno())

    def _opened(self) -> io.FileIO:
        if self._file is None:
            raise Unavailable("the journal is closed")
        return self._file


def _read_position(path: Path) -> int:
    try:
        return int(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return 0


def _append_bounded(path: Path, line: bytes) -> None:
    try:
        if not path.exists() or path.stat().st_size < MAX_REFUSED_BYTES:
            with path.open("ab") as file:
                file.write(line)
    except OSError as error:
        _log.warning("%s cannot be written: %s", path, error.strerror)
