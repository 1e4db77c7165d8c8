"""Takes messages off a server's WebSocket where they come in, before a task would be woken for each. Used by `link`.

aiohttp puts every message into a queue and wakes whoever waits there: a future, a turn of the loop and some ten calls,
several times the price of what a small frame is about. A `Tap` is that queue, and asks first whether somebody takes the
message at once. What is not taken goes the usual way, in order, with the queue's limits.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from aiohttp import WSMessage, WSMsgType, web
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

from ops_system.model.errors import Invalid
from ops_system.runtime.silence import Silence
from ops_system.runtime.sockets import Socket

T = TypeVar("T")

QUEUE_BYTES = 64 * 1024  # as aiohttp's own; twice that stops the reading
TURN_BYTES = 64 * 1024  # so much of one peer is taken in one turn of the loop; the rest waits in the queue


class Tap(WebSocketDataQueue):
    """The queue of one socket. `take` returns whether it took the bytes of a message; it must never raise."""

    __slots__ = ("take",)

    take: Callable[[bytes], bool] | None

    def feed_data(self, data: WSMessage, size: int) -> None:  # type: ignore[override] # texts come as another type
        """Hand a message over, or keep it for whoever reads. Behind one that is kept all are kept."""
        take = self.take
        if take is not None and data[0] is WSMsgType.BINARY and not self._buffer and take(data[1]):
            return
        super().feed_data(data, size)


def put_tap(socket: web.WebSocketResponse, request: web.Request, max_msg_bytes: int) -> None:
    """Put a tap before a socket that was prepared this very moment; what its peer said before is lost.

    aiohttp has no public way for it; `tests/unit/runtime/test_tap.py` tells when its own has changed.
    """
    protocol = request.protocol
    tap = Tap(protocol, QUEUE_BYTES, loop=asyncio.get_running_loop())
    tap.take = None
    parser = WebSocketReader(tap, max_msg_bytes, compress=False, decode_text=True)
    socket._reader, socket._parser = tap, parser  # noqa: SLF001 - see above
    protocol._payload_parser = parser  # noqa: SLF001 - see above


class Taker:
    """Takes messages that begin with one of `tags` (behind their first byte), and counts them as heard.

    `hear` gets what `decode` makes of them. What `decode` refuses is left to the reader, who says so; where anything
    else fails, `on_fault` is called and the message is gone.
    """

    __slots__ = ("_decode", "_hear", "_left_bytes", "_on_fault", "_silence", "_tags", "_turn_s")

    def __init__(
        self,
        tags: tuple[bytes, ...],
        silence: Silence,
        decode: Callable[[bytes], T],
        hear: Callable[[T], bool],
        on_fault: Callable[[], None],
    ) -> None:
        self._tags = tags
        self._silence = silence
        self._decode: Callable[[bytes], Any] = decode
        self._hear: Callable[[Any], bool] = hear
        self._on_fault = on_fault
        self._turn_s = -1.0
        self._left_bytes = TURN_BYTES

    def take(self, data: bytes) -> bool:
        """Return whether the message was dealt with. What comes faster than it should is not taken here."""
        if not data.startswith(self._tags, 1):
            return False
        now_s = self._silence.touch()
        if now_s != self._turn_s:
            self._turn_s, self._left_bytes = now_s, TURN_BYTES
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            return False
        try:
            return self._hear(self._decode(data))
        except Invalid:
            return False
        except Exception:  # noqa: BLE001 - aiohttp's reader, which calls this, must not meet a bug of ours
            self._on_fault()
            return True


@contextmanager
def taking(socket: Socket, taker: Taker) -> Iterator[None]:
    """Let `taker` have what comes while the block runs, where the socket has a tap."""
    tap = tap_of(socket)
    if tap is None:
        yield
        return
    tap.take = taker.take
    try:
        yield
    finally:
        tap.take = None


def tap_of(socket: Socket) -> Tap | None:
    """Return the tap before a socket, None where there is none."""
    reader = getattr(socket, "_reader", None)
    return reader if isinstance(reader, Tap) else None
