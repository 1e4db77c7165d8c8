"""A pseudo-terminal with a shell in it, as a Protocol: `pty_posix` and `pty_windows` are it. Used by the worker.

Reading is by the loop, so that nothing waits in a thread; typing never blocks: what the terminal does not take at once
is kept, up to `MAX_TYPED_BYTES`.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

READ_BYTES = 32 * 1024  # at least: what one hand-on holds while more waits
SHARED_READ_BYTES = 16 * 1024  # the same beside other terminals, whose keys wait behind it
MAX_TYPED_BYTES = 16 * 1024 * 1024
MAX_CELLS = 1000  # columns and rows a terminal may have


class PtyEnd(msgspec.Struct, frozen=True):
    """How the shell ended; both None when nobody could learn it."""

    code: int | None = None
    signal_name: str | None = None


class Pty(Protocol):
    """A running terminal."""

    pid: int
    read_bytes: int

    def resume(self) -> None:
        """Let `on_data` hear what the terminal says. Harmless when it does."""

    def pause(self) -> None:
        """Leave what the terminal says in the kernel, which stops the writer."""

    def write(self, data: bytes) -> bool:
        """Type. False: too much is waiting already, nothing of `data` was taken."""

    def resize(self, cols: int, rows: int) -> None:
        """Tell the terminal its size."""

    async def close(self) -> PtyEnd:
        """End the shell and all of its session; return how the shell ended."""


OnData = Callable[[bytes], None]
"""Hears what the terminal says; empty bytes at the end of it."""
