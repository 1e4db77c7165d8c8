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
import sys
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

from ops_system.model.errors import Conflict, Invalid, NotFound, OpsError, RateLimited
from ops_system.processes.pty import PtyEnd
from ops_system.protocol.pieces import Channel, PieceReader, encode_piece
from ops_system.protocol.terminals import (
    CloseTerminal,
    FromTerminalViewer,
    ListTerminals,
    NameTerminal,
    OpenTerminal,
    TerminalExit,
    TerminalReady,
    Terminals,
)
from ops_system.runtime.streams import MAX_CHUNK_BYTES, Stream
from ops_system.runtime.tasks import running
from ops_system.worker.policy import Policy
from ops_system.worker.terminal_session import CHUNK_BYTES, Session, Viewer, check_size

_log = logging.getLogger(__name__)

STALL_S = 30.0
MAX_SESSIONS = 32
MAX_NAME_CHARS = 64


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
        self._share_time()
        for viewer in session.viewers:
            viewer.news.set()
        if not session.viewers:
            self._ends.pop(session.id, None)
        _log.info("terminal %s of %s has ended", session.id, session.started_by or "the master")

    def _share_time(self) -> None:
        for session in self._sessions.values():
            session.share_time(is_alone=len(self._sessions) == 1)

    # --- requests -------------------------------------------------------------------------------------------------
    async def list_all(self, _body: ListTerminals) -> Terminals:
        """Answer `terminals.list`."""
        self._policy.check_terminals()
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
        known = self._find(body.session) if body.session else None
        self._policy.check_terminal(known.user if known else body.user)
        session = known or self._begin(body)
        viewer = Viewer(
            session.replay.start,
            (body.cols, body.rows),
            stream.write_now,
            is_read_only=body.is_read_only,
            is_recorder=body.is_recorder,
        )
        viewer.words.append(
            TerminalReady(
                session=session.id,
                name=session.name,
                user=session.user,
                cols=session.size[0],
                rows=session.size[1],
                replay_bytes=session.replay.end - viewer.sent,
                read_only=viewer.is_read_only,
                record=session.is_recorded,
                recording=session.is_recording,
            )
        )
        session.enter(viewer)
        try:
            async with running(_listen(stream, session, viewer), "terminal viewer") as listening:
                async for piece in self._speak(session, viewer, listening.done):
                    await stream.write(piece, MAX_CHUNK_BYTES)
                if listening.done():
                    listening.result()
        finally:
            session.leave(viewer)
            if not session.viewers:
                self._ends.pop(session.id, None)

    def _begin(self, body: OpenTerminal) -> Session:
        if len(self._sessions) >= MAX_SESSIONS:
            raise Conflict(f"{MAX_SESSIONS} terminals run on this node already; close one")
        argv, env, cwd = self._shell(body.user)
        try:
            session = Session(body, argv, env, cwd)
        except OSError as problem:
            raise Invalid(f"the terminal cannot be opened: {problem}") from problem
        self._sessions[session.id] = session
        self._share_time()
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
    viewer.is_waiting = True
    try:
        async with asyncio.timeout_at(limit):
            await viewer.news.wait()
    except TimeoutError:
        raise RateLimited(f"nothing was shown for {STALL_S:.0f} s; look at the session again") from None
    finally:
        viewer.is_waiting = False


async def _listen(stream: Stream, session: Session, viewer: Viewer) -> None:
    """Take what the viewer types and says, until it leaves."""
    reader = PieceReader()

    def take(chunk: bytes) -> bool:
        piece = reader.take_whole(chunk)
        if piece is None:
            return False
        with contextlib.suppress(OpsError):  # heard again below, where it ends the look
            _hear(session, viewer, *piece)
            return True
        return False

    stream.offer_to(take)
    try:
        async for chunk in stream:
            for channel, data in reader.feed(chunk):
                _hear(session, viewer, channel, data)
    finally:
        viewer.news.set()


def _hear(session: Session, viewer: Viewer, channel: Channel, data: bytes) -> None:
    """Take one piece. Raises `Invalid`, `RateLimited`; nothing was done then."""
    if channel is Channel.CONTROL:
        session.on_word(viewer, _read_word(data))
    else:
        session.on_typed(viewer, data)


def _read_word(data: bytes) -> FromTerminalViewer:
    try:
        word: FromTerminalViewer = msgspec.json.decode(data, type=FromTerminalViewer)
    except msgspec.MsgspecError as problem:
        raise Invalid(f"a terminal does not understand this: {problem}") from problem
    return word
