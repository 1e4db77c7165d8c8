"""A pseudo-terminal on Windows (ConPTY, or WinPTY where that is missing), by pywinpty. The one home of `winpty`.

pywinpty reads in its own way only: a thread does it and hands the bytes to the loop; paused, it waits before the next
read, so that the writer is stopped in the end. Not proven on a real Windows (docs/windows.md).
"""

import asyncio
import contextlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ops_system.processes.pty import READ_BYTES, OnData, PtyEnd


class WindowsPty:
    """See `pty.Pty`."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, size: tuple[int, int], on_data: OnData
    ) -> None:
        import winpty

        self._loop = asyncio.get_running_loop()
        self._on_data = on_data
        self._process: Any = winpty.PtyProcess.spawn(list(argv), cwd=cwd, env=dict(env), dimensions=(size[1], size[0]))
        self.pid: int = self._process.pid
        self.read_bytes = READ_BYTES
        self._may_read = threading.Event()
        self._is_closed = False
        threading.Thread(target=self._read, name=f"terminal {self.pid}", daemon=True).start()

    def resume(self) -> None:
        """See `pty.Pty`."""
        self._may_read.set()

    def pause(self) -> None:
        """See `pty.Pty`."""
        self._may_read.clear()

    def _read(self) -> None:
        data = "start"
        while data:
            self._may_read.wait()
            try:
                data = self._process.read(self.read_bytes)
            except (EOFError, OSError):
                data = ""
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._on_data, data.encode())

    def write(self, data: bytes) -> bool:
        """See `pty.Pty`."""
        with contextlib.suppress(EOFError, OSError):
            self._process.write(data.decode(errors="replace"))
        return True

    def resize(self, cols: int, rows: int) -> None:
        """See `pty.Pty`."""
        with contextlib.suppress(EOFError, OSError):
            self._process.setwinsize(rows, cols)

    async def close(self) -> PtyEnd:
        """See `pty.Pty`."""
        if not self._is_closed:
            self._is_closed = True
            self._may_read.set()
            with contextlib.suppress(EOFError, OSError):
                await asyncio.to_thread(self._process.close, True)
        return PtyEnd(self._process.exitstatus)
