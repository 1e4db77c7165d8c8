"""`ops terminal NODE`: a shell of a node on this screen. Keys go out as they are; one key leaves the session open.

keyboard ─ raw bytes ─▶ socket        socket ─ bytes ─▶ screen, and an `ack` for what was shown
SIGWINCH ─ {"type": "resize"} ─▶      {"type": "exit" | "closed"} ends it
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ops_system.cli import EXIT_FAILED, EXIT_FINE, Argument, Flag
from ops_system.client.acts import Special
from ops_system.client.connection import fill
from ops_system.client.desk import Desk
from ops_system.client.render import clean
from ops_system.client.resolve import Names
from ops_system.client.shapes import Json
from ops_system.client.sockets import open_socket
from ops_system.model.errors import NotAllowed, UsageError
from ops_system.model.kinds import SWITCH, TEXT

if TYPE_CHECKING:
    import aiohttp

_READ_BYTES = 64 * 1024
_ACK_EVERY_BYTES = 64 * 1024
_CONTROL_MASK = 0x1F
_DETACH = "^]"


def open_terminal(desk: Desk) -> int:
    """Open or rejoin a session and give it the screen until the shell ends or the detach key is typed."""
    if sys.platform == "win32":
        raise NotAllowed(desk.words.say("terminal.windows"))
    if not (desk.around.stdin.isatty() and desk.around.stdout.isatty()):
        raise UsageError(desk.words.say("terminal.tty"))
    leave = detach_byte(desk.parsed.text("detach-key", _DETACH))
    path, query = _place(desk)
    screen = Screen(desk, leave)
    asyncio.run(screen.run(path, query))
    return screen.tell_end()


def detach_byte(text: str) -> int:
    """Return the byte of a control key written `^X`. Raises UsageError."""
    if len(text) == 2 and text[0] == "^" and "@" <= text[1].upper() <= "_":  # noqa: PLR2004 - ^ and one sign
        return ord(text[1].upper()) & _CONTROL_MASK
    raise UsageError('-detach-key: "{text}" is no control key; write ^] or ^A', text=text)


def _place(desk: Desk) -> tuple[str, dict[str, str | int | bool | None]]:
    size = shutil.get_terminal_size()
    query: dict[str, str | int | bool | None] = {"cols": size.columns, "rows": size.lines}
    if share := desk.parsed.text("share"):
        return fill("/terminal-shares/{id}/terminal", {"id": share}), query
    if "NODE" not in desk.parsed.arguments:
        raise UsageError('"ops terminal" needs NODE, or --share ID')
    node_id = Names(desk.master, desk.words).id_of("NODE", desk.parsed.arguments["NODE"])
    query |= {name: desk.parsed.text(name) for name in ("session", "user", "name")}
    query |= {"read_only": desk.parsed.switch("read-only"), "record": desk.parsed.switch("record")}
    return fill("/nodes/{id}/terminal", {"id": node_id}), query


class Screen:
    """One look at one session."""

    def __init__(self, desk: Desk, leave: int) -> None:
        self._desk = desk
        self._leave = leave
        self._keys: asyncio.Queue[bytes] = asyncio.Queue()  # bounded by a person's fingers and what they paste
        self._end: Json | None = None
        self._session = ""
        self._is_left = False

    async def run(self, path: str, query: dict[str, str | int | bool | None]) -> None:
        """Look until the end."""
        async with open_socket(self._desk.master, path, query) as socket:
            with raw_keyboard(sys.stdin.fileno()), self._listening():
                async with asyncio.TaskGroup() as group:
                    typing = group.create_task(self._type(socket), name="keyboard")
                    await self._show(socket)
                    typing.cancel()

    def tell_end(self) -> int:
        """Say how it ended; return the exit code."""
        words, node = self._desk.words, self._desk.parsed.arguments.get("NODE", "")
        if self._is_left:
            self._desk.note(words.say("terminal.left", node=node, session=self._session))
            return EXIT_FINE
        end = self._end or {"message": "the connection broke"}
        if end.get("type") != "exit":
            self._desk.note(clean(str(end.get("message", ""))))
            return EXIT_FAILED
        how = end.get("exit_signal") or end.get("exit_code")
        self._desk.note(words.say("terminal.ended", how=how))
        return EXIT_FINE if end.get("exit_code") == 0 else EXIT_FAILED

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        loop, keyboard = asyncio.get_running_loop(), sys.stdin.fileno()
        loop.add_reader(keyboard, lambda: self._keys.put_nowait(os.read(keyboard, _READ_BYTES)))
        loop.add_signal_handler(signal.SIGWINCH, lambda: self._keys.put_nowait(b""))
        try:
            yield
        finally:
            loop.remove_reader(keyboard)
            loop.remove_signal_handler(signal.SIGWINCH)

    async def _type(self, socket: "aiohttp.ClientWebSocketResponse") -> None:
        """Send what is typed; an empty piece is a screen of another size."""
        while True:
            typed = await self._keys.get()
            if not typed:
                size = shutil.get_terminal_size()
                await socket.send_str(json.dumps({"type": "resize", "cols": size.columns, "rows": size.lines}))
                continue
            before, key, _ = typed.partition(bytes([self._leave]))
            if before:
                await socket.send_bytes(before)
            if key:
                self._is_left = True
                await socket.close()
                return

    async def _show(self, socket: "aiohttp.ClientWebSocketResponse") -> None:
        """Show what is said and acknowledge it."""
        shown_bytes = 0
        async for message in socket:
            if isinstance(message.data, str):
                self._control(json.loads(message.data))
                continue
            await asyncio.to_thread(_write_all, sys.stdout.fileno(), message.data)
            shown_bytes += len(message.data)
            if shown_bytes >= _ACK_EVERY_BYTES:
                await socket.send_str(json.dumps({"type": "ack", "bytes": shown_bytes}))
                shown_bytes = 0

    def _control(self, frame: Json) -> None:
        match frame.get("type"):
            case "ready":
                self._session = str(frame.get("session", ""))
                node = self._desk.parsed.arguments.get("NODE", "")
                key = self._desk.parsed.text("detach-key", _DETACH)
                words = self._desk.words.say("terminal.open", node=node, session=self._session, key=key)
                self._desk.around.stderr.write(f"{words}\r\n")
                self._desk.around.stderr.flush()
            case "exit" | "closed" if self._end is None:  # what comes after the end is its echo
                self._end = frame


@contextlib.contextmanager
def raw_keyboard(descriptor: int) -> Iterator[None]:
    """Let every key come as it is typed, and give the screen back as it was."""
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


TERMINAL = (
    Special(
        ("terminal",),
        ("a shell of a node on this screen", "在本终端打开节点的 shell"),
        open_terminal,
        (Argument("NODE", is_optional=True),),
        (
            Flag("session", TEXT, "rejoin this session; ops terminals list NODE names them"),
            Flag("user", TEXT, "whose login shell"),
            Flag("name", TEXT, "name of a new session"),
            Flag("read-only", SWITCH, "look, type nothing"),
            Flag("record", SWITCH, "record a new session"),
            Flag("share", TEXT, "look through this share"),
            Flag("detach-key", TEXT, "leaves the session open", _DETACH),
        ),
        ("GET /nodes/{id}/terminal", "GET /terminal-shares/{id}/terminal"),
    ),
)
