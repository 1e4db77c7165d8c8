"""A pseudo-terminal on Linux and macOS. The one home of `ptyprocess`.

    shell runs -> shell has ended -> what the kernel still held is read (`DRAIN_BYTES` at most) -> end is told

The end is told also while a job in the background holds the terminal open: it is the shell's terminal.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence

import ptyprocess

from ops_system.processes.pty import MAX_TYPED_BYTES, READ_BYTES, OnData, PtyEnd
from ops_system.processes.sessions import kill_session
from ops_system.processes.watch import make_watch

DRAIN_BYTES = 128 * 1024  # more than a terminal holds; what is said later comes from somebody who stayed behind
LINGER_S = 0.1  # the kernel hands the last words on a moment after the shell has ended


class PosixPty:
    """See `pty.Pty`."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, size: tuple[int, int], on_data: OnData
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_data = on_data
        self._process = ptyprocess.PtyProcess.spawn(
            list(argv), cwd=cwd, env=dict(env), dimensions=(size[1], size[0]), preexec_fn=_reset_signals
        )
        self.pid: int = self._process.pid
        self.read_bytes = READ_BYTES
        self._fd: int = self._process.fd
        os.set_blocking(self._fd, False)
        self._watch = make_watch()
        self._is_reading = False
        self._drain_bytes: int | None = None  # once the shell has ended: how much more is read
        self._is_lingering = True
        self._is_closed = False
        self._typed = bytearray()
        try:
            self._watch.add(self.pid, self._on_shell_end)
        except ProcessLookupError:  # somebody else waited for it already
            self._on_shell_end()

    def _on_shell_end(self) -> None:
        self._drain_bytes = DRAIN_BYTES
        self._loop.call_later(LINGER_S, self._leave)

    def _leave(self) -> None:
        self._is_lingering = False
        self._read()

    def resume(self) -> None:
        """See `pty.Pty`."""
        if not self._is_reading and not self._is_closed:
            self._loop.add_reader(self._fd, self._read)
            self._is_reading = True
            if not self._is_lingering:
                self._loop.call_soon(self._read)

    def pause(self) -> None:
        """See `pty.Pty`."""
        if self._is_reading:
            self._loop.remove_reader(self._fd)
            self._is_reading = False

    def _read(self) -> None:
        """Hand on all that is there: the kernel gives at most 4 KiB a time, and each hand-on costs more than a read."""
        if not self._is_reading:
            return
        data, is_over = self._take()
        if self._drain_bytes is not None:
            self._drain_bytes -= len(data)
            is_said = not self._is_lingering and len(data) < self.read_bytes
            is_over = is_over or is_said or self._drain_bytes <= 0
        if data:
            self._on_data(data)
        if is_over:
            self.pause()
            self._is_closed = True
            self._on_data(b"")

    def _take(self) -> tuple[bytes, bool]:
        """Return what is there, and whether nothing more can come."""
        pieces: list[bytes] = []
        size = 0
        while size < self.read_bytes:
            try:
                data = os.read(self._fd, self.read_bytes)
            except BlockingIOError:
                break
            except OSError:  # EIO: the last process let the terminal go
                data = b""
            if not data:
                return b"".join(pieces), True
            pieces.append(data)
            size += len(data)
        return b"".join(pieces), False

    def write(self, data: bytes) -> bool:
        """See `pty.Pty`."""
        if len(self._typed) + len(data) > MAX_TYPED_BYTES:
            return False
        is_waiting = bool(self._typed)
        self._typed += data
        if not is_waiting and not self._is_closed:
            self._write()
            if self._typed:
                self._loop.add_writer(self._fd, self._write)
        return True

    def _write(self) -> None:
        try:
            del self._typed[: os.write(self._fd, self._typed)]
        except BlockingIOError:
            return
        except OSError:
            self._typed.clear()
        if not self._typed:
            self._loop.remove_writer(self._fd)

    def resize(self, cols: int, rows: int) -> None:
        """See `pty.Pty`."""
        with contextlib.suppress(OSError):
            self._process.setwinsize(rows, cols)

    async def close(self) -> PtyEnd:
        """See `pty.Pty`."""
        if not self._process.closed:
            self.pause()
            self._loop.remove_writer(self._fd)
            self._watch.close()
            self._is_closed = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGHUP)
            await kill_session(self.pid)
            with contextlib.suppress(ptyprocess.PtyProcessError):  # somebody else waited: how it ended is not known
                await asyncio.to_thread(self._process.wait)
            self._let_go()
        number = self._process.signalstatus
        return PtyEnd(self._process.exitstatus, signal.Signals(number).name if number else None)

    def _let_go(self) -> None:
        """Close the descriptor by its owner, once: a second close of the number would hit somebody else's file."""
        self._process.closed = True
        with contextlib.suppress(OSError):
            self._process.fileobj.close()


def _reset_signals() -> None:
    """In the child: what Python ignores or catches must not be inherited, else Ctrl-C does nothing."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
