"""One address in front of several servers, as a virtual IP: `target` is the port that answers; answers can be slowed.

with Vip() as vip:
    vip.target = 12345          # new connections go there; none: they are closed at once
    vip.bytes_per_s = 1_000_000 # of each connection's answers
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"
_PIECE_BYTES = 16 * 1024


class Vip:
    """Threads of its own: programs reach each other through it while a test waits."""

    def __init__(self) -> None:
        self.target = 0
        self.bytes_per_s = 0  # 0: as fast as it goes
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, name="vip")]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        _shut(self._listener)
        self._threads[0].join()
        self._listener.close()
        with self._lock:
            for end in self._ends:
                _shut(end)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(near,), name="vip connection")
            self._threads = [each for each in self._threads if each is self._threads[0] or each.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.target), 5.0) as far:
            far.settimeout(None)
            with self._known(near, far):
                asking = threading.Thread(target=_pass_on, args=(near, far), name="vip asks")
                asking.start()
                self._answer(far, near)
                _shut(near)
                _shut(far)
                asking.join()

    def _answer(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := far.recv(_PIECE_BYTES):
                near.sendall(piece)
                if rate := self.bytes_per_s:
                    self._closing.wait(len(piece) / rate)

    @contextlib.contextmanager
    def _known(self, *ends: socket.socket) -> Iterator[None]:
        with self._lock:
            self._ends.update(ends)
            if self._closing.is_set():
                for end in ends:
                    _shut(end)
        try:
            yield
        finally:
            with self._lock:
                self._ends.difference_update(ends)


def _pass_on(near: socket.socket, far: socket.socket) -> None:
    """Pass on what is asked. Whoever asks and then falls silent still hears the answer."""
    with contextlib.suppress(OSError):
        while piece := near.recv(_PIECE_BYTES):
            far.sendall(piece)
        far.shutdown(socket.SHUT_WR)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
