"""One recording while it lasts: looks at a session as one more viewer and writes what it says into a file.

What the session said before the recording found it comes first. A disk that is slow slows the session down; one that
is full, or `max_bytes`, ends the recording and not the session.
"""

import asyncio
import contextlib
import os
from datetime import datetime
from pathlib import Path

import msgspec

from ops_system.master.terminals.cast import CastWriter
from ops_system.model.errors import OpsError
from ops_system.model.reasons import Reason
from ops_system.protocol.pieces import Channel, PieceReader, encode_piece
from ops_system.protocol.terminals import TerminalAck, TerminalExit, TerminalReady, TerminalResize, ToTerminalViewer
from ops_system.runtime.clock import Clock
from ops_system.runtime.streams import Stream

_CUT = Reason("recording_full", "the recording has reached its largest size; the session went on")
_NO_ROOM = Reason("recording_unwritable", "the recording could not be written any more; the session went on")
_LOST = Reason("recording_lost", "the link to the node broke")


class Recorder:
    """See the module. `size_bytes`, `duration_s` and `size` may be read at any time."""

    def __init__(self, path: Path, clock: Clock, at: datetime, title: str, max_bytes: int) -> None:
        self._path = path
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._at = at
        self._title = title
        self._max_bytes = max_bytes
        self._cast = CastWriter()
        self.size = (80, 24)
        self.size_bytes = 0
        self.duration_s = 0.0

    async def record(self, stream: Stream) -> Reason | None:
        """Write until the session ends (None), or return why it ended before."""
        reader = PieceReader()
        try:
            async for chunk in stream:
                for channel, data in reader.feed(chunk):
                    if channel is Channel.CONTROL:
                        if await self._hear(data):
                            return None
                    elif not await self._take(stream, data):
                        return _CUT
        except OSError:
            return _NO_ROOM
        except OpsError:
            return _LOST
        return _LOST

    async def _hear(self, data: bytes) -> bool:
        """Take a control message; True when the session has ended."""
        try:
            word = msgspec.json.decode(data, type=ToTerminalViewer)
        except msgspec.MsgspecError:  # a word of a newer worker
            return False
        match word:
            case TerminalReady() as ready:
                self.size = (ready.cols, ready.rows)
                await self._write(self._cast.header(self.size, self._at, self._title))
            case TerminalResize(cols, rows):
                await self._write(self._cast.resize(self._now_s(), cols, rows))
            case TerminalExit():
                return True
            case _:
                pass
        return False

    async def _take(self, stream: Stream, data: bytes) -> bool:
        """Write what was said, then make room for more. False: the file is full."""
        line = self._cast.output(self._now_s(), data)
        if self.size_bytes + len(line) > self._max_bytes:
            return False
        await self._write(line)
        with contextlib.suppress(OpsError):  # over already: how it ended comes behind what it said last
            await stream.write(encode_piece(Channel.CONTROL, msgspec.json.encode(TerminalAck(len(data)))))
        return True

    async def _write(self, line: bytes) -> None:
        await asyncio.to_thread(_append, self._path, line)
        self.size_bytes += len(line)

    def _now_s(self) -> float:
        self.duration_s = self._clock.monotonic_s() - self._began_s
        return self.duration_s


def _append(path: Path, line: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
        file.write(line)
