"""A pseudo-terminal on Linux and macOS. The one home of `ptyprocess`."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence

import ptyprocess

from ops_system.processes.pty import MAX_TYPED_BYTES, READ_BYTES, OnData, PtyEnd
from ops_system.processes.sessions import kill_session


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
        self._fd: int = self._process.fd
        os.set_blocking(self._fd, False)
        self._is_reading = False
        self._is_closed = False
        self._typed = bytearray()

    def resume(self) -> None:
        """See `pty.Pty`."""
        if not self._is_reading and not self._is_closed:
            self._loop.add_reader(self._fd, self._read)
            self._is_reading = True

    def pause(self) -> None:
        """See `pty.Pty`."""
        if self._is_reading:
            self._loop.remove_reader(self._fd)
            self._is_reading = False

    def _read(self) -> None:
        """Hand on all that is there: the kernel gives at most 4 KiB a time, and each hand-on costs more than a read."""
        pieces: list[bytes] = []
        size, is_over = 0, False
        while size < READ_BYTES and not is_over:
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                break
            except OSError:  # EIO: the last process let the terminal go
                data = b""
            pieces.append(data)
            size += len(data)
            is_over = not data
        if size:
            self._on_data(b"".join(pieces))
        if is_over:
            self.pause()
            self._on_data(b"")

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
