"""From a worker's stream to a browser's WebSocket and back: bytes as binary frames, control as JSON text frames.

Nothing is kept here: the worker sends what the browser has acknowledged room for, so this end never fills up. What the
terminal says goes on in the very turn of the loop in which it came, while the browser's socket has room.
"""

import contextlib
from collections.abc import Callable

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from ops_system.model.errors import OpsError
from ops_system.protocol.pieces import MAX_PIECE_BYTES, Channel, PieceReader, encode_piece
from ops_system.protocol.terminals import TerminalReady
from ops_system.runtime.sockets import has_room, send_at_once, transport_of
from ops_system.runtime.streams import Stream
from ops_system.runtime.tasks import running

HEARTBEAT_S = 20.0
MAX_MESSAGE_BYTES = 1024 * 1024


class TerminalClosed(msgspec.Struct, frozen=True, tag_field="type", tag="closed"):
    """The last text frame when the bridge ended for a reason: why. The session may go on."""

    code: str
    message: str


class Traffic(msgspec.Struct):
    """What went over one bridge, for the record."""

    session: str = ""
    typed_bytes: int = 0
    shown_bytes: int = 0
    code: str = ""


async def bridge(
    request: web.Request,
    stream: Stream,
    traffic: Traffic,
    on_ready: Callable[[TerminalReady], None] = lambda _ready: None,
    *,
    may_type: bool = True,
) -> web.WebSocketResponse:
    """Carry both directions until either end closes; `traffic` is filled. A revoked credential ends it from above.

    `on_ready` hears which session it is. Unless `may_type`, what is typed goes no further.
    """
    try:
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, compress=False)
        await socket.prepare(request)
        async with running(_show(socket, stream, traffic, on_ready), "terminal bridge"):
            await _type(socket, stream, traffic, may_type=may_type)
        return socket
    finally:
        stream.close()


async def _show(
    socket: web.WebSocketResponse, stream: Stream, traffic: Traffic, on_ready: Callable[[TerminalReady], None]
) -> None:
    """Worker to browser."""
    reader = PieceReader()
    transport = transport_of(socket)
    end = TerminalClosed("", "the terminal is not shown any more")

    def pass_on(chunk: bytes) -> bool:
        piece = reader.take_whole(chunk) if has_room(transport) else None
        if piece is None or piece[0] is Channel.CONTROL:
            return False
        try:
            send_at_once(socket, piece[1])
        except (ConnectionError, RuntimeError):  # met again below, where it ends the bridge
            return False
        traffic.shown_bytes += len(piece[1])
        return True

    stream.offer_to(pass_on)
    with contextlib.suppress(ConnectionError):
        try:
            async for chunk in stream:
                for channel, data in reader.feed(chunk):
                    if channel is Channel.CONTROL:
                        if not traffic.session and (ready := _read_ready(data)):
                            traffic.session = ready.session
                            on_ready(ready)
                        await socket.send_str(data.decode())
                    else:
                        traffic.shown_bytes += len(data)
                        await socket.send_bytes(data)
        except OpsError as problem:
            end = TerminalClosed(problem.code, problem.message)
            traffic.code = problem.code
        await socket.send_str(msgspec.json.encode(end).decode())
        await socket.close(code=WSCloseCode.GOING_AWAY if end.code else WSCloseCode.OK)


async def _type(socket: web.WebSocketResponse, stream: Stream, traffic: Traffic, *, may_type: bool) -> None:
    """Browser to worker."""
    with contextlib.suppress(OpsError):  # the stream is over; `_show` tells why
        async for message in socket:
            if message.type is WSMsgType.BINARY and may_type:
                traffic.typed_bytes += len(message.data)
                for at in range(0, len(message.data), MAX_PIECE_BYTES):
                    await stream.write(encode_piece(Channel.STDOUT, message.data[at : at + MAX_PIECE_BYTES]))
            elif message.type is WSMsgType.TEXT:
                await stream.write(encode_piece(Channel.CONTROL, message.data.encode()[:MAX_PIECE_BYTES]))


def _read_ready(data: bytes) -> TerminalReady | None:
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.json.decode(data, type=TerminalReady)
    return None
