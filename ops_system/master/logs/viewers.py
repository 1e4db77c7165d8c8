"""The WebSockets of people who follow a log: one pump each, closed when their credential is revoked."""

import contextlib
from collections import defaultdict

import msgspec
from aiohttp import WSCloseCode, web

from ops_system.master.auth.events import SessionsRevoked
from ops_system.master.bus import Bus
from ops_system.master.logs.rules import FollowedLines, FollowEnd, FollowEnded
from ops_system.master.logs.service import batches
from ops_system.master.web.route import Principal
from ops_system.model.errors import OpsError
from ops_system.runtime.streams import Stream
from ops_system.runtime.tasks import running

_HEARTBEAT_S = 20.0
_MAX_MESSAGE_BYTES = 4096


class Viewers:
    """All open viewers."""

    def __init__(self, bus: Bus) -> None:
        self._streams: defaultdict[str, set[Stream]] = defaultdict(set)
        bus.subscribe(SessionsRevoked, self._on_revoked)

    async def serve(self, request: web.Request, principal: Principal, stream: Stream) -> web.WebSocketResponse:
        """Send the stream's lines to a fresh WebSocket until either end closes."""
        key = principal.session_id or principal.id
        self._streams[key].add(stream)
        try:
            socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S, max_msg_size=_MAX_MESSAGE_BYTES, compress=False)
            await socket.prepare(request)
            async with running(_pump(socket, stream), "log follow"):
                async for _ in socket:
                    pass  # a follower has nothing to say; this waits for its end
            return socket
        finally:
            stream.close()
            self._streams[key].discard(stream)
            if not self._streams[key]:
                del self._streams[key]

    def _on_revoked(self, event: SessionsRevoked) -> None:
        for key in event.ids:
            for stream in tuple(self._streams.get(key, ())):
                stream.close()


async def _pump(socket: web.WebSocketResponse, stream: Stream) -> None:
    end = FollowEnd("", "the log is not followed any more")
    with contextlib.suppress(ConnectionError):
        try:
            async for lines in batches(stream):
                await socket.send_str(msgspec.json.encode(FollowedLines(lines)).decode())
        except OpsError as problem:
            end = FollowEnd(problem.code, problem.message)
        await socket.send_str(msgspec.json.encode(FollowEnded(end)).decode())
        await socket.close(code=WSCloseCode.GOING_AWAY if end.code else WSCloseCode.OK)
