"""One browser's socket: what it wants, what it has, and one message on the way at a time.

    subscribe -> snapshot in parts, as the browser reads -> changes since, newest per key -> …
    (resume with a known sequence: the snapshot is skipped)

No queue: a viewer knows the sequence it has of each topic and takes the difference when it is ready; one that reads
slowly is told less often, and then what is newest. One that takes nothing of a message while `MAX_LAG_BYTES` more come,
or does not finish it within `SEND_TIMEOUT_S`, is closed (trust R11).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from typing import Any

from aiohttp import WSMsgType

from ops_system.master.live.hub import Hub
from ops_system.master.live.log import TopicLog
from ops_system.master.live.rules import (
    ClientMessage,
    Item,
    Message,
    Pong,
    ResumePoint,
    cut_parts,
    encode,
    encode_refusal,
    read_client,
)
from ops_system.master.web.route import Principal
from ops_system.model.errors import Invalid, OpsError
from ops_system.runtime.sockets import Socket, transport_of

_log = logging.getLogger(__name__)

SEND_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 1.0
MAX_LAG_BYTES = 1024 * 1024
LAG_GRACE_S = 1.0  # half the fleet changing in one moment says nothing about the browser
MAX_PONGS = 16
_CLOSE_CODES = {"unauthenticated": 4401, "too_slow": 4408, "internal": 1011}


class _Subscription:
    """One topic of one viewer. `parts` is the rest of a snapshot that is being sent, as of `seq`.

    `shown` are the keys a viewer with a scope has. It is not known after a break, so such a viewer starts anew.
    """

    def __init__(self, log: TopicLog, resume: ResumePoint | None, *, is_limited: bool) -> None:
        resume = None if is_limited else resume
        self.log = log
        self.shown: set[str] = set()
        self.needs_snapshot = resume is None or not log.can_resume(resume.epoch, resume.seq)
        self.seq = log.seq if resume is None or self.needs_snapshot else resume.seq
        self.parts: Iterator[tuple[list[Item], bool]] | None = None
        self.part = 0

    @property
    def has_news(self) -> bool:
        """Whether something is to be sent."""
        return self.needs_snapshot or self.parts is not None or self.seq < self.log.seq


class _Ended(Exception):
    """Leaves the viewer's task group."""


def _left_bytes(transport: Any) -> int:
    """Return what the system has not taken yet; 0 where nobody knows."""
    return 0 if transport is None else int(transport.get_write_buffer_size())


class Viewer:
    """See the module."""

    def __init__(
        self, hub: Hub, socket: Socket, principal: Principal, *, send_timeout_s: float = SEND_TIMEOUT_S
    ) -> None:
        self.principal = principal
        self._hub = hub
        self._socket = socket
        self._transport = transport_of(socket)
        self._send_timeout_s = send_timeout_s
        self._subscriptions: dict[str, _Subscription] = {}
        self._small: deque[bytes] = deque(maxlen=MAX_PONGS + 256)
        self._wake = asyncio.Event()
        self._lag_bytes: int | None = None  # None: no message is on the way
        self._left_bytes = 0  # of that message, when it was last looked at
        self._stuck_since_s = 0.0
        self.why: tuple[str, str] | None = None

    async def run(self) -> None:
        """Serve the socket until either end closes it."""
        self._hub.enter(self)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(), name="live reader")
                group.create_task(self._write(), name="live writer")
        except* _Ended:
            pass
        finally:
            self._hub.leave(self, self._subscriptions)
            await self._close()

    def wake(self, log: TopicLog) -> None:
        """The log has something new."""
        if self._lag_bytes is not None:
            self._fall_behind(self._lag_bytes + log.newest_bytes)
        self._wake.set()

    def _fall_behind(self, lag_bytes: int) -> None:
        """More waits while a message is on the way. One that reads, however slowly, gets less often what is newest."""
        now_s, left_bytes = asyncio.get_running_loop().time(), _left_bytes(self._transport)
        if left_bytes < self._left_bytes:
            lag_bytes, self._stuck_since_s = 0, now_s
        self._lag_bytes, self._left_bytes = lag_bytes, left_bytes
        if lag_bytes > MAX_LAG_BYTES and now_s - self._stuck_since_s > LAG_GRACE_S:
            self.end("too_slow", "this browser does not read")

    def end(self, code: str, message: str) -> None:
        """Close the socket; a message on the way is not waited for."""
        if self.why is None:
            self.why = (code, message)
        self._wake.set()
        if self._lag_bytes is not None and self._transport is not None:
            self._transport.abort()

    # --- what the browser says ------------------------------------------------------------------------------------
    async def _read(self) -> None:
        while True:
            received = await self._socket.receive()
            if received.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                raise _Ended
            try:
                self._hear(read_client(received.data))
            except Invalid as problem:
                self._say(encode_refusal("", problem))

    def _hear(self, message: ClientMessage) -> None:
        if message.ping is not None:
            self._say(encode(Pong(message.ping)))
        if message.subscribe is not None:
            wanted = dict.fromkeys(message.subscribe)
            for name in [name for name in self._subscriptions if name not in wanted]:
                del self._subscriptions[name]
                self._hub.unwatch(name, self)
            for name in wanted:
                if name not in self._subscriptions:
                    self._subscribe(name, message.resume.get(name))
        self._wake.set()

    def _subscribe(self, name: str, resume: ResumePoint | None) -> None:
        try:
            topic = self._hub.find(name, self.principal)
        except OpsError as problem:
            self._say(encode_refusal(name, problem))
            return
        self._subscriptions[name] = _Subscription(
            self._hub.watch(name, topic, self), resume, is_limited=bool(self.principal.scope)
        )

    def _say(self, message: bytes) -> None:
        self._small.append(message)
        self._wake.set()

    # --- what it gets ---------------------------------------------------------------------------------------------
    async def _write(self) -> None:
        while True:
            self._wake.clear()
            if self.why is not None:
                raise _Ended
            while self._small:
                await self._send(self._small.popleft())
            for name, subscription in list(self._subscriptions.items()):
                if subscription.has_news and self._subscriptions.get(name) is subscription:
                    await self._send_next(name, subscription)
            if not self._has_news():
                await self._wake.wait()

    def _has_news(self) -> bool:
        return bool(self._small) or any(one.has_news for one in self._subscriptions.values())

    async def _send_next(self, name: str, subscription: _Subscription) -> None:
        """Send one message of one topic."""
        if subscription.needs_snapshot and not await self._take_snapshot(name, subscription):
            return
        if subscription.parts is not None:
            await self._send_part(subscription, subscription.parts)
            return
        message = self._change_for(subscription)
        if message is not None:
            await self._send(message)

    def _change_for(self, subscription: _Subscription) -> bytes | None:
        log, after_seq, now_s = subscription.log, subscription.seq, self._now_s()
        if not log.can_resume(log.epoch, after_seq):
            subscription.needs_snapshot = True  # it fell behind what is kept
            return None
        subscription.seq = log.seq
        is_visible = log.topic.is_visible
        if self.principal.scope and is_visible is not None:
            return log.message_for(
                after_seq, now_s, subscription.shown, lambda key: is_visible(self.principal, log.name, key)
            )
        return log.message(after_seq, now_s)

    async def _take_snapshot(self, name: str, subscription: _Subscription) -> bool:
        """Begin a snapshot. What changes while it is taken is sent again afterwards, which does no harm."""
        log = subscription.log
        subscription.seq = log.seq
        try:
            items = await log.topic.snapshot(name, self.principal)
        except OpsError as problem:
            self._subscriptions.pop(name, None)
            self._hub.unwatch(name, self)
            self._say(encode_refusal(name, problem))
            return False
        is_visible = log.topic.is_visible
        if self.principal.scope and is_visible is not None:
            items = [item for item in items if is_visible(self.principal, name, item[0])]
            subscription.shown = {key for key, _ in items}
        subscription.needs_snapshot, subscription.part = False, 0
        subscription.parts = cut_parts(items)
        return True

    async def _send_part(self, subscription: _Subscription, parts: Iterator[tuple[list[Item], bool]]) -> None:
        items, is_last = next(parts)
        log = subscription.log
        data = log.topic.shape("snapshot", items, (), self._now_s())
        message = Message(log.name, subscription.seq, log.epoch, "snapshot", subscription.part, is_last, data)
        subscription.part += 1
        if is_last:
            subscription.parts = None
        await self._send(encode(message))

    async def _send(self, message: bytes) -> None:
        self._lag_bytes, self._left_bytes, self._stuck_since_s = 0, 0, asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self._socket.send_frame(message, WSMsgType.TEXT)
        except TimeoutError:
            self.end("too_slow", f"this browser has not read for {self._send_timeout_s:g} s")
            raise _Ended from None
        except (ConnectionError, RuntimeError):
            raise _Ended from None
        finally:
            self._lag_bytes = None

    def _now_s(self) -> float:
        return self._hub.clock.now().timestamp()

    async def _close(self) -> None:
        code, message = self.why or ("closed", "")
        if self.why is not None:
            _log.info("a live view of %s is closed: %s", self.principal.name, message)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._socket.close(code=_CLOSE_CODES.get(code, 1000), message=message.encode()[:120])
        except (TimeoutError, ConnectionError, RuntimeError) as problem:
            _log.debug("closing a live view: %r", problem)
        finally:
            if self._transport is not None:
                self._transport.abort()
