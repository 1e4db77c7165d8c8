"""What aiohttp's server and client WebSockets have in common, and the one thing they lack: dropping a deaf peer."""

from typing import Any, Protocol

from aiohttp import WSMessage, WSMsgType


class Socket(Protocol):
    """One end of a WebSocket."""

    async def receive(self) -> WSMessage:
        """Return the next message."""

    async def send_frame(self, message: bytes, opcode: WSMsgType) -> None:
        """Send one message; waits while the peer does not read."""

    async def close(self, *, code: int = ..., message: bytes = ...) -> bool:
        """Say goodbye on the WebSocket layer."""


def transport_of(socket: Socket) -> Any:
    """Return the transport below an open socket, None where there is none.

    aiohttp has no public way to drop a connection whose peer does not read: closing would wait for it.
    """
    return getattr(getattr(socket, "_writer", None), "transport", None)
