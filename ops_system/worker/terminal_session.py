"""One terminal session: its shell, what it said last, and those who look at it. Kept by `terminals`, which explains."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from ops_system.model.errors import Invalid, RateLimited
from ops_system.model.ids import spell_id
from ops_system.processes.platforms import open_pty
from ops_system.processes.pty import MAX_CELLS, READ_BYTES, SHARED_READ_BYTES, Pty, PtyEnd
from ops_system.protocol.pieces import Channel, encode_piece
from ops_system.protocol.terminals import (
    TERMINAL_WINDOW_BYTES,
    FromTerminalViewer,
    OpenTerminal,
    TerminalAck,
    TerminalInfo,
    TerminalRecording,
    TerminalResize,
    TerminalViewers,
    ToTerminalViewer,
)

REPLAY_BYTES = 1024 * 1024
CHUNK_BYTES = 48 * 1024  # what is read from the terminal in one go is one piece and one frame
IDLE_S = 8 * 3600.0  # nobody looks and nothing is said: the session ends, unless the master names another time


class Replay:
    """The last bytes of a terminal, addressed by their place in all it ever said."""

    def __init__(self, limit_bytes: int = REPLAY_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._data = bytearray()
        self.end = 0

    @property
    def start(self) -> int:
        """The place of the oldest byte that is kept."""
        return self.end - len(self._data)

    def add(self, data: bytes) -> None:
        """Take in what was said; what is too old is forgotten in large steps, which is cheap."""
        self._data += data
        self.end += len(data)
        if len(self._data) > 2 * self._limit_bytes:
            del self._data[: len(self._data) - self._limit_bytes]

    def read(self, place: int, size: int) -> bytes:
        """Return up to `size` bytes from `place` on; from the oldest kept when that is later."""
        at = max(0, place - self.start)
        with memoryview(self._data) as view:
            return bytes(view[at : at + size])


class Viewer:
    """Somebody who looks at a session: how far they are, and how large their window is.

    `send_now` sends a piece without waiting, or tells that it cannot; used while `is_waiting` for news.
    """

    def __init__(
        self,
        place: int,
        size: tuple[int, int],
        send_now: Callable[[bytes], bool],
        *,
        is_read_only: bool,
        is_recorder: bool = False,
    ) -> None:
        self._send_now = send_now
        self.is_waiting = False
        self.sent = place
        self.acked = place
        self.size = size
        self.is_read_only = is_read_only or is_recorder
        self.is_recorder = is_recorder
        self.acked_at_s = asyncio.get_running_loop().time()
        self.news = asyncio.Event()
        self.words: list[ToTerminalViewer] = []

    def tell(self, word: ToTerminalViewer) -> None:
        """Queue a control message."""
        self.words.append(word)
        self.news.set()

    def hear(self, data: bytes, end: int) -> None:
        """Something was said, up to `end`: show it at once where nothing waits before it, else leave it to the task."""
        is_next = self.is_waiting and not self.words and self.sent + len(data) == end
        if (
            is_next
            and not self.is_full
            and len(data) <= CHUNK_BYTES
            and self._send_now(encode_piece(Channel.STDOUT, data))
        ):
            self.sent = end
        else:
            self.news.set()

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be on the way."""
        return self.sent - self.acked >= TERMINAL_WINDOW_BYTES


class Session:
    """One shell in its terminal."""

    def __init__(self, body: OpenTerminal, argv: tuple[str, ...], env: Mapping[str, str], cwd: str) -> None:
        self.id = spell_id("tty", secrets.token_bytes(10))
        self.name = body.name or body.user or "shell"
        self.user = body.user
        self.is_recorded = body.is_recorded
        self.started_by = body.asked_by
        self.started_at = self.last_active_at = datetime.now(UTC)
        self._loop = asyncio.get_running_loop()
        self._active_at_s = self._loop.time()
        self._idle_limit_s = body.idle_limit_s if body.idle_limit_s > 0 else IDLE_S
        self.size = (body.cols, body.rows)
        self.viewers: set[Viewer] = set()
        self.replay = Replay()
        self.ended = asyncio.Event()
        self._pty: Pty = open_pty(argv, env, cwd, self.size, self._on_data)
        self._pty.resume()

    @property
    def info(self) -> TerminalInfo:
        """What a list shows."""
        return TerminalInfo(
            id=self.id,
            name=self.name,
            user=self.user,
            started_by=self.started_by,
            started_at=self.started_at,
            last_active_at=self.last_active_at,
            cols=self.size[0],
            rows=self.size[1],
            viewers=len(self.people),
            pid=self._pty.pid,
            record=self.is_recorded,
            recording=self.is_recording,
        )

    @property
    def people(self) -> list[Viewer]:
        """Who looks, a recording apart."""
        return [viewer for viewer in self.viewers if not viewer.is_recorder]

    @property
    def is_recording(self) -> bool:
        """Whether a recording takes what is said."""
        return len(self.people) < len(self.viewers)

    @property
    def idle_left_s(self) -> float:
        """How long it may go on like this; by the monotonic clock."""
        limit_s = self._idle_limit_s
        return limit_s if self.people else self._active_at_s + limit_s - self._loop.time()

    def _note_life(self) -> None:
        self.last_active_at = datetime.now(UTC)
        self._active_at_s = self._loop.time()

    def share_time(self, *, is_alone: bool) -> None:
        """Take shorter turns beside other sessions: a key of theirs waits behind a turn."""
        self._pty.read_bytes = READ_BYTES if is_alone else SHARED_READ_BYTES

    # --- from the shell
    def _on_data(self, data: bytes) -> None:
        if not data:
            self.ended.set()
            return
        self._note_life()
        self.replay.add(data)
        for viewer in self.viewers:
            viewer.hear(data, self.replay.end)
        self._steer()

    def _steer(self) -> None:
        """Read the terminal only while every viewer keeps up."""
        if any(self.replay.end - viewer.acked >= TERMINAL_WINDOW_BYTES for viewer in self.viewers):
            self._pty.pause()
        elif not self.ended.is_set():
            self._pty.resume()

    # --- from viewers
    def enter(self, viewer: Viewer) -> None:
        """Let somebody look."""
        self.viewers.add(viewer)
        self._fit()
        self._count(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Somebody looks no more."""
        self.viewers.discard(viewer)
        if not viewer.is_recorder:
            self._active_at_s = self._loop.time()
        self._fit()
        self._count(viewer)
        self._steer()

    def _count(self, changed: Viewer) -> None:
        word = TerminalRecording(self.is_recording) if changed.is_recorder else TerminalViewers(len(self.people))
        for viewer in self.viewers:
            viewer.tell(word)

    def _fit(self) -> None:
        """Take the size of the smallest window of those who type."""
        sizes = [viewer.size for viewer in self.viewers if not viewer.is_read_only]
        if not sizes:
            return
        size = (min(cols for cols, _ in sizes), min(rows for _, rows in sizes))
        if size != self.size:
            self.size = size
            self._pty.resize(*size)
            for viewer in self.viewers:
                viewer.tell(TerminalResize(*size))

    def on_word(self, viewer: Viewer, word: FromTerminalViewer) -> None:
        """Take a control message."""
        match word:
            case TerminalAck(count):
                viewer.acked = min(viewer.sent, viewer.acked + max(0, count))
                viewer.acked_at_s = asyncio.get_running_loop().time()
                viewer.news.set()
                self._steer()
            case TerminalResize(cols, rows):
                viewer.size = check_size(cols, rows)
                self._fit()

    def on_typed(self, viewer: Viewer, data: bytes) -> None:
        """Type what a viewer typed. Raises `RateLimited` when the shell takes nothing and too much waits."""
        if viewer.is_read_only:
            return
        self._note_life()
        if not self._pty.write(data):
            raise RateLimited("the terminal does not take what is typed; the rest was not sent")

    async def close(self) -> PtyEnd:
        """End it with everything it started."""
        end = await self._pty.close()
        self.ended.set()
        for viewer in self.viewers:
            viewer.news.set()
        return end


def check_size(cols: int, rows: int) -> tuple[int, int]:
    """Return (cols, rows). Raises `Invalid` for a size no terminal has."""
    if not (1 <= cols <= MAX_CELLS and 1 <= rows <= MAX_CELLS):
        raise Invalid(f"a terminal has 1 to {MAX_CELLS} columns and rows, not {cols} × {rows}")
    return cols, rows
