"""One byte stream inside a link: a log that is followed, a terminal. Made by `runtime.link` on both ends.

Each direction has a window of `WINDOW_BYTES`: so much may be on the way unread. A reader that stops reading stops the
writer, and nothing else on the link.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from ops_system.model.errors import OpsError, Unavailable
from ops_system.protocol.codec import Frame
from ops_system.protocol.frames import StreamAck, StreamClose, StreamData
from ops_system.protocol.session import error_from

WINDOW_BYTES = 256 * 1024
CHUNK_BYTES = 16 * 1024  # what `write` cuts into: so much goes between two frames of another stream
MAX_CHUNK_BYTES = 64 * 1024  # what the other end may send in one frame
ACK_STEP_BYTES = 64 * 1024


class Stream:
    """Iterate it for the peer's bytes; `write` waits while the peer does not read.

    Iteration ends when either end closes well, and raises the `OpsError` of a close with a code.
    """

    def __init__(self, stream_id: int, send: Callable[[Frame], bool], forget: Callable[[int], None]) -> None:
        self.stream_id = stream_id
        self._send = send
        self._forget = forget
        self._chunks: deque[bytes] = deque()
        self._unacked_bytes = 0  # received, not yet acknowledged
        self._consumed_bytes = 0  # read by our user, not yet acknowledged
        self._credit_bytes = WINDOW_BYTES
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._is_awaited = False
        self._taker: Callable[[bytes], bool] | None = None
        self._end: StreamClose | None = None

    @property
    def is_open(self) -> bool:
        """Whether bytes may still be written."""
        return self._end is None

    async def write(self, data: bytes, chunk_bytes: int = CHUNK_BYTES) -> None:
        """Send `data` in frames of at most `chunk_bytes`, waiting for the peer to read.

        Raises `Unavailable`, or the peer's error, once closed.
        """
        if len(data) <= min(chunk_bytes, self._credit_bytes) and self._end is None:
            self._put(data)
            return
        rest = memoryview(data)
        while rest:
            await self._wait_for_credit()
            size = min(len(rest), chunk_bytes, self._credit_bytes)
            self._put(bytes(rest[:size]))
            rest = rest[size:]

    def write_now(self, data: bytes) -> bool:
        """Send `data` in one frame when there is credit for all of it; False: nothing was sent, `write` may wait.

        Not while a `write` is under way.
        """
        if self._end is not None or len(data) > min(MAX_CHUNK_BYTES, self._credit_bytes):
            return False
        self._put(data)
        return True

    def offer_to(self, taker: Callable[[bytes], bool]) -> None:
        """Offer chunks to `taker` as they come, while whoever iterates has dealt with all before: no task wakes.

        It must not raise; False: it did nothing, and the chunk is iterated over.
        """
        self._taker = taker

    def _put(self, data: bytes) -> None:
        if data:
            self._credit_bytes -= len(data)
            self._send(StreamData(stream_id=self.stream_id, data=data))

    def close(self, error: OpsError | None = None) -> None:
        """End the stream in both directions, after what was written. Harmless when it has ended."""
        if self._end is not None:
            return
        code, message = (error.code, error.message) if error else ("", "")
        self._send(StreamClose(stream_id=self.stream_id, code=code, message=message))
        self._finish(StreamClose(stream_id=self.stream_id))

    def end(self, error: OpsError) -> None:
        """End the stream as `close` does; whoever iterates it at this end hears `error`."""
        if self._end is None:
            self._send(StreamClose(stream_id=self.stream_id))
            self._finish(StreamClose(stream_id=self.stream_id, code=error.code, message=error.message))

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._end is not None:
                raise error_from(self._end.code, self._end.message) if self._end.code else StopAsyncIteration
            self._readable.clear()
            self._is_awaited = True
            try:
                await self._readable.wait()
            finally:
                self._is_awaited = False
        data = self._chunks.popleft()
        self._acknowledge(len(data))
        return data

    def on_data(self, frame: StreamData) -> bool:
        """Take bytes from the peer; False when it has overrun the window."""
        self._unacked_bytes += len(frame.data)
        if self._unacked_bytes > WINDOW_BYTES or len(frame.data) > MAX_CHUNK_BYTES:
            return False
        if self._is_awaited and not self._chunks and self._taker is not None and self._taker(frame.data):
            self._acknowledge(len(frame.data))
        else:
            self._chunks.append(frame.data)
            self._readable.set()
        return True

    def on_ack(self, frame: StreamAck) -> None:
        """The peer has read so many bytes; never more than were sent."""
        self._credit_bytes = min(WINDOW_BYTES, self._credit_bytes + max(0, frame.consumed_bytes))
        self._writable.set()

    def on_close(self, frame: StreamClose) -> None:
        """The peer, or the loss of the link, ends the stream; bytes already here can still be read."""
        if self._end is None:
            self._finish(frame)

    async def _wait_for_credit(self) -> None:
        while self._credit_bytes == 0 and self._end is None:
            self._writable.clear()
            await self._writable.wait()
        if self._end is not None:
            raise (
                error_from(self._end.code, self._end.message) if self._end.code else Unavailable("the stream is closed")
            )

    def _acknowledge(self, size_bytes: int) -> None:
        self._consumed_bytes += size_bytes
        if self._consumed_bytes >= ACK_STEP_BYTES and self._end is None:
            self._send(StreamAck(stream_id=self.stream_id, consumed_bytes=self._consumed_bytes))
            self._unacked_bytes -= self._consumed_bytes
            self._consumed_bytes = 0

    def _finish(self, end: StreamClose) -> None:
        self._end = end
        self._readable.set()
        self._writable.set()
        self._forget(self.stream_id)
