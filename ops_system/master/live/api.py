"""The WebSocket of browsers: accept, then hand over to a `Viewer`."""

from aiohttp import web

from ops_system.master.live.hub import Hub
from ops_system.master.live.viewer import SEND_TIMEOUT_S, Viewer
from ops_system.master.web.route import Call, Permission, Route

MAX_MESSAGE_BYTES = 64 * 1024
WRITER_LIMIT_BYTES = 16 * 1024
CLOSE_TIMEOUT_S = 1.0
HEARTBEAT_S = 25.0


def routes(hub: Hub, *, send_timeout_s: float = SEND_TIMEOUT_S) -> list[Route]:
    """Return the route of `/live`."""

    async def open_live(call: Call) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            max_msg_size=MAX_MESSAGE_BYTES,
            compress=False,
            timeout=CLOSE_TIMEOUT_S,
            heartbeat=HEARTBEAT_S,
            writer_limit=WRITER_LIMIT_BYTES,
        )
        await socket.prepare(call.request)
        await Viewer(hub, socket, call.principal, send_timeout_s=send_timeout_s).run()
        return socket

    return [
        Route(
            "GET",
            "/live",
            Permission.VIEW,
            open_live,
            "Watch topics: a snapshot, then what changes",
            "open_live",
            answer=web.StreamResponse,
            is_websocket=True,
            tag="live",
        )
    ]
