"""What aiohttp's server and client WebSockets have in common, and what they lack.

That is dropping a deaf peer, and sending without a wait while the peer keeps up.
"""

from collections.abc import Coroutine
from typing import Any, Protocol

from aiohttp import WSMessage, WSMsgType

ROOM_BYTES = 32 * 1024  # so much may wait below a socket whose peer keeps up


class Socket(Protocol):
    """One end of a WebSocket."""

    async def receive(self) -> WSMessage:
        """Return the next message."""

    def send_frame(self, message: bytes, opcode: WSMsgType) -> Coroutine[Any, Any, None]:
        """Send one message; waits while the peer does not read."""

    async def close(self, *, code: int = ..., message: bytes = ...) -> bool:
        """Say goodbye on the WebSocket layer."""


def transport_of(socket: Socket) -> Any:
    """Return the transport below an open socket, None where there is none.

    aiohttp has no public way to drop a connection whose peer does not read: closing would wait for it.
    """
    return getattr(getattr(socket, "_writer", None), "transport", None)


def has_room(transport: Any) -> bool:
    """Whether hardly anything waits below, so that what is sent now leaves now."""
    return transport is not None and transport.get_write_buffer_size() < ROOM_BYTES


def send_at_once(socket: Socket, message: bytes, opcode: WSMsgType = WSMsgType.BINARY) -> None:
    """Send one message where there is room, without a task of its own and without waiting.

    The socket must not compress: then a frame is written before anything is waited for, and leaving that wait out
    loses nothing. Raises what `send_frame` raises.
    """
    sending = socket.send_frame(message, opcode)
    try:
        sending.send(None)
    except StopIteration:
        return
    sending.close()
