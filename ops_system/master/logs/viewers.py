"""The WebSockets of people who follow a log, or the logs of many instances as one. Each reads from a box of its own.

A socket opens once the node has said where it begins to read: all that is written after that is heard. A revoked
credential ends the handler from above (`web.server`).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from aiohttp import WSCloseCode, web

from ops_system.master.logs.feeds import Box, Feeds, Message, encoded
from ops_system.master.logs.rules import FollowEnd, FollowEnded
from ops_system.master.logs.service import MAX_MERGED, Logs, Member
from ops_system.model.errors import NodeOffline, OpsError, Unavailable
from ops_system.runtime.sockets import transport_of
from ops_system.runtime.tasks import running

SEND_WITHIN_S = 30.0  # a browser that reads nothing for so long is let go (trust R11)
PLACED_WITHIN_S = 5.0  # of a node that says nothing; the socket opens all the same
LOOK_AGAIN_S = 3.0  # for instances that came, and nodes that are back
_HEARTBEAT_S = 20.0
_MAX_MESSAGE_BYTES = 4096

FindMembers = Callable[[], Awaitable[Sequence[Member]]]


class Viewers:
    """All open viewers."""

    def __init__(self, logs: Logs, feeds: Feeds) -> None:
        self._logs = logs
        self._feeds = feeds

    async def serve(self, request: web.Request, instance_id: str, name: str) -> web.WebSocketResponse:
        """Send the lines of one log to a fresh WebSocket until either end closes. Raises as `Logs` before that."""
        box = Box()
        member = await self._logs.where(instance_id)
        with self._feeds.joined((instance_id, name), box, partial(self._logs.open_follow, member, name)) as placed:
            await _wait_for((placed,))
            return await _serve(request, box, is_merged=False)

    async def serve_merged(self, request: web.Request, find: FindMembers, name: str) -> web.WebSocketResponse:
        """Send the lines of all the instances that `find` tells, also of those that come later."""
        box, placed = Box(), asyncio.Event()
        async with running(self._follow_all(box, find, name, placed), "merged log"):
            await placed.wait()
            return await _serve(request, box, is_merged=True)

    async def _follow_all(self, box: Box, find: FindMembers, name: str, placed: asyncio.Event) -> None:
        """Keep the box at the feeds of all members; tell it when there cannot be any.

        `placed` is set when those of the first look have begun, or there are none.
        """
        joined: set[str] = set()
        try:
            while True:
                members = {member.instance_id: member for member in (await find())[:MAX_MERGED]}
                for instance_id in joined - members.keys():
                    self._feeds.leave((instance_id, name), box)
                joined = set(members)
                await _wait_for([event for member in members.values() if (event := self._join(member, name, box))])
                placed.set()
                await asyncio.sleep(LOOK_AGAIN_S)
        except OpsError as problem:
            end = FollowEnded(FollowEnd(problem.code, problem.message), "")
            box.put(Message(encoded(end), is_end=True, is_last=True))
        finally:
            placed.set()
            for instance_id in joined:
                self._feeds.leave((instance_id, name), box)

    def _join(self, member: Member, name: str, box: Box) -> asyncio.Event | None:
        with contextlib.suppress(NodeOffline, Unavailable):  # the next look tries again
            return self._feeds.join((member.instance_id, name), box, partial(self._logs.open_follow, member, name))
        return None


async def _wait_for(placed: Sequence[asyncio.Event]) -> None:
    """Return when all are set, or after `PLACED_WITHIN_S`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PLACED_WITHIN_S):
            for event in placed:
                await event.wait()


async def _serve(request: web.Request, box: Box, *, is_merged: bool) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S, max_msg_size=_MAX_MESSAGE_BYTES, compress=False)
    await socket.prepare(request)
    async with running(_pump(socket, box, is_merged=is_merged), "log viewer"):
        async for _ in socket:
            pass  # a follower has nothing to say; this waits for its end
    return socket


async def _pump(socket: web.WebSocketResponse, box: Box, *, is_merged: bool) -> None:
    """Send what is in the box until its end, or until the browser reads nothing any more."""
    with contextlib.suppress(ConnectionError):
        while True:
            message = await box.take()
            try:
                async with asyncio.timeout(SEND_WITHIN_S):
                    await socket.send_str(message.text)
            except TimeoutError:
                if (transport := transport_of(socket)) is not None:
                    transport.abort()
                break
            if message.is_last or (message.is_end and not is_merged):
                await socket.close(code=WSCloseCode.OK)
                break
