"""Terminal sessions of this node: they live here, so that page changes, reloads and master restarts do not end them.

    viewer (browser) <- master <- stream `terminal` <- session -> pty -> shell

A session keeps the last `REPLAY_BYTES` it said and shows them to whoever looks again. Each viewer acknowledges what it
has shown; the terminal is read only while every viewer has less than `TERMINAL_WINDOW_BYTES` outstanding, so that a
flood is stopped at its source and Ctrl-C works at once. A viewer that shows nothing for `STALL_S` is let go.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime

import msgspec

from ops_system.model.errors import Conflict, Invalid, NotFound, RateLimited
from ops_system.model.ids import spell_id
from ops_system.processes.pty import MAX_CELLS, Pty, PtyEnd, open_pty
from ops_system.protocol.pieces import Channel, PieceReader, encode_piece
from ops_system.protocol.requests import (
    TERMINAL_WINDOW_BYTES,
    CloseTerminal,
    FromTerminalViewer,
    ListTerminals,
    NameTerminal,
    OpenTerminal,
    TerminalAck,
    TerminalExit,
    TerminalInfo,
    TerminalReady,
    TerminalResize,
    Terminals,
    TerminalViewers,
    ToTerminalViewer,
)
from ops_system.runtime.streams import MAX_CHUNK_BYTES, Stream
from ops_system.runtime.tasks import running
from ops_system.worker.policy import Policy

_log = logging.getLogger(__name__)

REPLAY_BYTES = 1024 * 1024
STALL_S = 30.0
IDLE_S = 8 * 3600.0  # nobody looks and nothing is said: the session ends
MAX_SESSIONS = 32
MAX_NAME_CHARS = 64
CHUNK_BYTES = MAX_CHUNK_BYTES - 64  # a piece with its head fits one frame


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
        return bytes(self._data[at : at + size])


class Viewer:
    """Somebody who looks at a session: how far they are, and how large their window is."""

    def __init__(self, place: int, size: tuple[int, int], *, is_read_only: bool) -> None:
        self.sent = place
        self.acked = place
        self.size = size
        self.is_read_only = is_read_only
        self.acked_at_s = asyncio.get_running_loop().time()
        self.news = asyncio.Event()
        self.words: list[ToTerminalViewer] = []

    def tell(self, word: ToTerminalViewer) -> None:
        """Queue a control message."""
        self.words.append(word)
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
        self.started_by = body.asked_by
        self.started_at = self.last_active_at = datetime.now(UTC)
        self._loop = asyncio.get_running_loop()
        self._active_at_s = self._loop.time()
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
            viewers=len(self.viewers),
            pid=self._pty.pid,
        )

    @property
    def idle_left_s(self) -> float:
        """How long it may go on like this; by the monotonic clock."""
        return IDLE_S if self.viewers else self._active_at_s + IDLE_S - self._loop.time()

    def _note_life(self) -> None:
        self.last_active_at = datetime.now(UTC)
        self._active_at_s = self._loop.time()

    # --- from the shell
    def _on_data(self, data: bytes) -> None:
        if not data:
            self.ended.set()
            return
        self._note_life()
        self.replay.add(data)
        for viewer in self.viewers:
            viewer.news.set()
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
        self._count()

    def leave(self, viewer: Viewer) -> None:
        """Somebody looks no more."""
        self.viewers.discard(viewer)
        self._fit()
        self._count()
        self._steer()

    def _count(self) -> None:
        for viewer in self.viewers:
            viewer.tell(TerminalViewers(len(self.viewers)))

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


class TerminalSessions:
    """All sessions of this node. `user_prefix` gives what to put before a command to run it as another user."""

    def __init__(
        self, policy: Policy, user_prefix: Callable[[str], tuple[str, ...]], env: Mapping[str, str] | None = None
    ) -> None:
        self._policy = policy
        self._user_prefix = user_prefix
        self._env = dict(os.environ if env is None else env)
        self._sessions: dict[str, Session] = {}
        self._ends: dict[str, PtyEnd] = {}
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Clear away what has ended, until cancelled; then end every session."""
        try:
            async with asyncio.TaskGroup() as group:
                watched: set[str] = set()
                while True:
                    self._news.clear()
                    for session in [one for one in self._sessions.values() if one.id not in watched]:
                        watched.add(session.id)
                        group.create_task(self._watch(session), name=f"terminal {session.id}")
                    await self._news.wait()
        finally:
            for session in list(self._sessions.values()):
                await session.close()

    async def _watch(self, session: Session) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(session.idle_left_s):
                    await session.ended.wait()
            if session.ended.is_set() or session.idle_left_s <= 0:
                break
        await self._end(session)

    async def _end(self, session: Session) -> None:
        self._ends[session.id] = await session.close()
        self._sessions.pop(session.id, None)
        for viewer in session.viewers:
            viewer.news.set()
        if not session.viewers:
            self._ends.pop(session.id, None)
        _log.info("terminal %s of %s has ended", session.id, session.started_by or "the master")

    # --- requests -------------------------------------------------------------------------------------------------
    async def list_all(self, _body: ListTerminals) -> Terminals:
        """Answer `terminals.list`."""
        self._policy.check_terminal("")
        return Terminals(tuple(session.info for session in self._sessions.values()))

    async def name(self, body: NameTerminal) -> Terminals:
        """Answer `terminals.name`."""
        name = body.name.strip()
        if not 0 < len(name) <= MAX_NAME_CHARS:
            raise Invalid(f"a terminal's name has 1 to {MAX_NAME_CHARS} characters")
        self._find(body.session).name = name
        return await self.list_all(ListTerminals())

    async def close(self, body: CloseTerminal) -> Terminals:
        """Answer `terminals.close`."""
        await self._end(self._find(body.session))
        return await self.list_all(ListTerminals())

    def _find(self, session_id: str) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            raise NotFound(f"this node has no terminal {session_id}; it may have ended", id=session_id)
        return session

    # --- the stream -----------------------------------------------------------------------------------------------
    async def serve(self, stream: Stream, body: OpenTerminal) -> None:
        """Answer the stream `terminal` until the viewer leaves or the shell ends."""
        check_size(body.cols, body.rows)
        self._policy.check_terminal(body.user)
        session = self._find(body.session) if body.session else self._begin(body)
        viewer = Viewer(session.replay.start, (body.cols, body.rows), is_read_only=body.is_read_only)
        viewer.words.append(
            TerminalReady(
                session=session.id,
                name=session.name,
                user=session.user,
                cols=session.size[0],
                rows=session.size[1],
                replay_bytes=session.replay.end - viewer.sent,
                read_only=body.is_read_only,
            )
        )
        session.enter(viewer)
        try:
            async with running(_listen(stream, session, viewer), "terminal viewer") as listening:
                async for piece in self._speak(session, viewer, listening.done):
                    await stream.write(piece)
                if listening.done():
                    listening.result()
        finally:
            session.leave(viewer)

    def _begin(self, body: OpenTerminal) -> Session:
        if len(self._sessions) >= MAX_SESSIONS:
            raise Conflict(f"{MAX_SESSIONS} terminals run on this node already; close one")
        argv, env, cwd = self._shell(body.user)
        try:
            session = Session(body, argv, env, cwd)
        except OSError as problem:
            raise Invalid(f"the terminal cannot be opened: {problem}") from problem
        self._sessions[session.id] = session
        self._news.set()
        _log.info("terminal %s begins for %s", session.id, body.asked_by or "the master")
        return session

    def _shell(self, user: str) -> tuple[tuple[str, ...], dict[str, str], str]:
        """Return the command line, environment and folder of a login shell. Raises `Invalid` for an unknown user."""
        if sys.platform == "win32":
            return ("cmd.exe",), dict(self._env), os.path.expanduser("~")  # noqa: PTH111 - a string is wanted
        from ops_system.processes.accounts import login_of

        login = login_of(user)
        env = {
            "TERM": "xterm-256color",
            "PATH": self._env.get("PATH", os.defpath),
            "LANG": self._env.get("LANG", "C.UTF-8"),
            "HOME": login.home,
            "USER": login.name,
            "LOGNAME": login.name,
            "SHELL": login.shell,
        }
        return (*self._user_prefix(user), login.shell, "-l"), env, login.home if os.path.isdir(login.home) else "/"  # noqa: PTH112

    async def _speak(self, session: Session, viewer: Viewer, has_left: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield what the viewer is to be sent, until it has left, or the session has ended and all is sent."""
        while not has_left():
            viewer.news.clear()
            while viewer.words:
                yield encode_piece(Channel.CONTROL, msgspec.json.encode(viewer.words.pop(0)))
            while viewer.sent < session.replay.end and not viewer.is_full:
                viewer.sent = max(viewer.sent, session.replay.start)
                data = session.replay.read(viewer.sent, CHUNK_BYTES)
                viewer.sent += len(data)
                yield encode_piece(Channel.STDOUT, data)
            if session.id not in self._sessions and viewer.sent >= session.replay.end:
                end = self._ends.get(session.id, PtyEnd())
                yield encode_piece(Channel.CONTROL, msgspec.json.encode(TerminalExit(end.code, end.signal_name)))
                return
            await _wait_for_news(viewer)


async def _wait_for_news(viewer: Viewer) -> None:
    """Wait until there is something to do. Raises `RateLimited` when the viewer shows nothing for too long."""
    limit = viewer.acked_at_s + STALL_S if viewer.is_full else None
    try:
        async with asyncio.timeout_at(limit):
            await viewer.news.wait()
    except TimeoutError:
        raise RateLimited(f"nothing was shown for {STALL_S:.0f} s; look at the session again") from None


async def _listen(stream: Stream, session: Session, viewer: Viewer) -> None:
    """Take what the viewer types and says, until it leaves."""
    reader = PieceReader()
    try:
        async for chunk in stream:
            for channel, data in reader.feed(chunk):
                if channel is Channel.CONTROL:
                    session.on_word(viewer, _read_word(data))
                else:
                    session.on_typed(viewer, data)
    finally:
        viewer.news.set()


def _read_word(data: bytes) -> FromTerminalViewer:
    try:
        word: FromTerminalViewer = msgspec.json.decode(data, type=FromTerminalViewer)
    except msgspec.MsgspecError as problem:
        raise Invalid(f"a terminal does not understand this: {problem}") from problem
    return word


def check_size(cols: int, rows: int) -> tuple[int, int]:
    """Return (cols, rows). Raises `Invalid` for a size no terminal has."""
    if not (1 <= cols <= MAX_CELLS and 1 <= rows <= MAX_CELLS):
        raise Invalid(f"a terminal has 1 to {MAX_CELLS} columns and rows, not {cols} × {rows}")
    return cols, rows
