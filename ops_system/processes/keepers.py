"""The worker's end of its keeper: finds the one of the last worker, starts one when it is needed. Used by `posix`.

See `keeper` for the protocol. Nothing here waits but `connect`, once, for the keeper's first answer.
"""

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ops_system.processes import keeper, procfs
from ops_system.processes.keeper import ARGUMENT, LINK_FD, LISTENER_FD, SOCKET, Fields, Frames

_log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 15.0
_PASSED_ON = ("PATH", "LANG", "LD_LIBRARY_PATH")


class Keepers:
    """The link to the one keeper this worker uses; after its end the next `send` starts another."""

    def __init__(self, state_dir: Path, on_frame: Callable[[Fields], None], on_lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._state_dir = state_dir
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._socket: socket.socket | None = None
        self._frames = Frames()
        self._unsent = bytearray()
        self.pid: int | None = None
        self.is_child = False  # started by this process

    @property
    def is_reaper(self) -> bool:
        """True where orphans of its children become its own."""
        return self.pid is not None and sys.platform == "linux"

    def connect(self) -> list[Fields]:
        """Look for the keeper of an earlier worker and return what it tells; empty: there is none that answers."""
        link = socket.socket(socket.AF_UNIX)
        try:
            link.settimeout(HELLO_TIMEOUT_S)
            self._reach(link)
            told = self._read_hello(link)
        except OSError as error:
            if not isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
                _log.error("the keeper of the last worker does not answer (%s); its services are only watched", error)
                _end_keepers_of(self._state_dir)
            link.close()
            return []
        self.pid = int(told[0][1])
        self._use(link)
        return told[1:]

    def _reach(self, link: socket.socket) -> None:
        with _short_path(self._state_dir) as path:
            link.connect(path)

    def _read_hello(self, link: socket.socket) -> list[Fields]:
        told: list[Fields] = []
        while not told or told[-1][0] != b"ready":
            data = link.recv(65536)
            if not data:
                raise ConnectionResetError("it hung up")
            told += self._frames.feed(data)
        return told[:-1]

    def begin(self) -> None:
        """Start a keeper when there is none, so that the first start need not wait for it. Raises OSError."""
        if self._socket is None:
            self._begin()

    def send(self, frame: bytes) -> None:
        """Ask the keeper, starting one when there is none. Raises OSError when that fails."""
        self.begin()
        if not self._unsent:
            frame = frame[self._try_send(frame) :]
            if not frame:
                return
            assert self._socket is not None
            self._loop.add_writer(self._socket, self._flush)
        self._unsent += frame

    def _try_send(self, data: bytes | bytearray) -> int:
        assert self._socket is not None
        try:
            return self._socket.send(data)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return 0  # a broken one is found by reading

    def _flush(self) -> None:
        assert self._socket is not None
        del self._unsent[: self._try_send(self._unsent)]
        if not self._unsent:
            self._loop.remove_writer(self._socket)

    def _begin(self) -> None:
        """Start a keeper. It can be reached from before it is asked anything: nobody may overlook what it will do."""
        self._state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        ours, theirs = socket.socketpair()
        try:
            with theirs, _listen(self._state_dir) as listener:
                self.pid = _start_keeper(self._state_dir, theirs.fileno(), listener.fileno())
        except OSError:
            ours.close()
            raise
        self.is_child = True
        self._use(ours)

    def _use(self, link: socket.socket) -> None:
        link.setblocking(False)
        self._socket = link
        self._loop.add_reader(link, self._read)

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            _log.error("the keeper (pid %s) is gone; its services stay in care, the next start makes another", self.pid)
            self.close()
            self._on_lost()
            return
        for fields in self._frames.feed(data):
            self._on_frame(fields)

    def close(self) -> None:
        """Hang up. The keeper waits on; without children it ends."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
        self._socket, self.pid, self.is_child = None, None, False
        self._frames, self._unsent = Frames(), bytearray()


def _end_keepers_of(state_dir: Path) -> None:
    """Kill a keeper that hangs: what it was still asked to start must not come to life behind our back."""
    for pid in procfs.read_table():
        argv = procfs.read_argv(pid)
        if is_keeper(argv) and argv[-1] == str(state_dir):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                end_keeper(pid, HELLO_TIMEOUT_S)


@contextlib.contextmanager
def _short_path(state_dir: Path) -> Iterator[str]:
    """Give the socket's path, by a short name where the system has one: its length is bounded (unix(7))."""
    if sys.platform != "linux":
        yield str(state_dir / SOCKET)
        return
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)


def _listen(state_dir: Path) -> socket.socket:
    """Take the place of an earlier socket. The folder is private, so nobody else reaches it."""
    (state_dir / SOCKET).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        with _short_path(state_dir) as path:
            listener.bind(path)
        listener.listen(4)
    except OSError:
        listener.close()
        raise
    return listener


def _start_keeper(state_dir: Path, link_fd: int, listener_fd: int) -> int:
    """Start the program; its own troubles go to STATE/keeper.log. Raises OSError."""
    log = str(state_dir / "keeper.log")
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    env = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(("_PYI", "_MEI"))}
    actions = [
        (os.POSIX_SPAWN_DUP2, link_fd, LINK_FD),
        (os.POSIX_SPAWN_DUP2, listener_fd, LISTENER_FD),
        (os.POSIX_SPAWN_OPEN, 1, log, append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    argv = [*_command(), str(state_dir)]
    return os.posix_spawn(argv[0], argv, env, file_actions=actions, setpgroup=0)


def _command() -> list[str]:
    if getattr(sys, "frozen", False):
        return [sys.executable, ARGUMENT]
    return [sys.executable, "-I", "-S", keeper.__file__]


def is_keeper(argv: tuple[str, ...]) -> bool:
    """True for the command line of a keeper."""
    return argv[1:2] == (ARGUMENT,) or any(Path(word).name == "keeper.py" for word in argv[3:4])


def end_keeper(pid: int, within_s: float) -> None:
    """Wait for a keeper that has nothing left to do, so that no zombie stays behind."""
    with contextlib.suppress(OSError):
        fd = os.pidfd_open(pid)
        try:
            select.select([fd], [], [], within_s)
            os.waitpid(pid, os.WNOHANG)
        finally:
            os.close(fd)


def end_half_born() -> None:
    """Kill what a keeper had forked and not executed when it died: it would come to life as an entrypoint unseen."""
    for pid in procfs.read_children(os.getpid()) or ():
        if is_keeper(procfs.read_argv(pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
