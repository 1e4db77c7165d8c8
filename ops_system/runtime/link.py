"""One WebSocket between master and worker, either end: sending by class, questions, streams, deadlines, one clean end.

    link = Link(socket, "worker", handlers)
    await link.send_now(frame); await link.receive(10)       the opening, before `run`
    end = await link.run(on_frame)                           until either end closes, falls silent, or breaks the rules

`run` holds three tasks: a reader (answers, streams and questions are dealt with at once), a dispatcher that awaits
`on_frame` for everything else in order, and a writer that empties the `Outbox`. What somebody waits for (`_PROMPT`)
does not wait for the writer while nothing else does.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, NoReturn, TypeVar

import msgspec
from aiohttp import WebSocketError, WSMessage, WSMsgType

from ops_system.model.errors import Invalid, NodeOffline, OpsError, RateLimited, TimedOut, Unavailable
from ops_system.protocol import session
from ops_system.protocol.codec import (
    Frame,
    decode_body,
    decode_from_master,
    decode_from_worker,
    encode,
    encode_body,
    tag_of,
)
from ops_system.protocol.frames import (
    READ_DEADLINE_S,
    Goodbye,
    Pong,
    Reply,
    Request,
    StreamAck,
    StreamClose,
    StreamData,
    StreamOpen,
)
from ops_system.protocol.outbox import Outbox
from ops_system.protocol.requests import Alive
from ops_system.runtime.handlers import Handlers
from ops_system.runtime.silence import Silence
from ops_system.runtime.sockets import Socket, has_room, send_at_once, transport_of
from ops_system.runtime.streams import Stream
from ops_system.runtime.tap import Taker, taking

_log = logging.getLogger(__name__)

__all__ = ["Handlers", "Link", "LinkEnd"]

CLOSE_GRACE_S = 2.0
MAX_WAITING_FRAMES = 256
MAX_HANDLERS = 64
HEARTBEATS_A_DEADLINE = 4
_TIMER_SLACK_S = 0.01
_PROMPT = (StreamData, StreamAck, StreamOpen, StreamClose, Request, Reply, Pong)
_SOCKET_CODES = {"invalid": 1008, "internal": 1011, "overloaded": 1013}

Side = Literal["master", "worker"]
T = TypeVar("T")


class LinkEnd(msgspec.Struct, frozen=True):
    """Why a link is over: a code of ours or of the peer's `Goodbye`, or `closed`, `lost`, `silent`, `overloaded`."""

    code: str
    message: str = ""
    goodbye: Goodbye | None = None


class _Ended(Exception):
    """Leaves the task group of `run`; the reason is in `Link.end`."""


class Link:
    """See the module. `side` is the end we are."""

    def __init__(
        self,
        socket: Socket,
        side: Side,
        handlers: Handlers | None = None,
        *,
        read_deadline_s: float = READ_DEADLINE_S,
        outbox: Outbox | None = None,
    ) -> None:
        self._socket = socket
        self._transport = transport_of(socket)
        self._side = side
        self._decode: Callable[[bytes], Frame] = decode_from_worker if side == "master" else decode_from_master
        self._handlers = handlers or Handlers()
        self._read_deadline_s = read_deadline_s
        self._outbox = Outbox() if outbox is None else outbox
        self._inbox: asyncio.Queue[Frame] = asyncio.Queue(MAX_WAITING_FRAMES)
        self._wake = asyncio.Event()
        self._is_idle = False  # the writer waits for something to do
        self._calls = session.Calls()
        self._answers: dict[int, asyncio.Future[Reply]] = {}
        self._streams: dict[int, Stream] = {}
        self._serving: dict[int, asyncio.Task[None]] = {}
        self._next_stream_id = 1
        self._handling = 0
        self._group: asyncio.TaskGroup | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        self.end: LinkEnd | None = None

    @property
    def dropped_samples(self) -> int:
        """How many samples this end has thrown away because the peer did not read."""
        return self._outbox.dropped_samples

    def expect_every(self, heartbeat_s: float) -> None:
        """Allow for heartbeats slower than usual before silence ends the link."""
        self._read_deadline_s = max(self._read_deadline_s, HEARTBEATS_A_DEADLINE * heartbeat_s)

    # --- the opening ----------------------------------------------------------------------------------------------
    async def send_now(self, frame: Frame) -> None:
        """Send a frame past the outbox; for the opening only. The caller owns the timeout."""
        await self._socket.send_frame(encode(frame), WSMsgType.BINARY)

    async def receive(self, timeout_s: float) -> Frame:
        """Return the peer's next frame; for the opening only. Raises `TimedOut`, `Unavailable` or `Invalid`."""
        try:
            async with asyncio.timeout(timeout_s):
                frame = self._frame_in(await self._socket.receive())
        except TimeoutError as problem:
            raise TimedOut(f"the {self._peer} said nothing for {timeout_s:g} s") from problem
        if frame is None:
            raise Unavailable(f"the {self._peer} closed the link during the opening")
        return frame

    # --- life -----------------------------------------------------------------------------------------------------
    async def run(
        self,
        on_frame: Callable[[Frame], Awaitable[None]],
        on_heard: Callable[[Frame], bool] | None = None,
        at_once: tuple[type[Frame], ...] = (),
    ) -> LinkEnd:
        """Carry frames until the link ends, and return why; the socket is closed then.

        `on_frame` is awaited one frame at a time and must not wait for an answer over this same link without bound.
        `on_heard` is called at once for each frame; when it returns True the frame is dealt with and goes no further.
        It always deals with frames of the types `at_once`: where the socket has a tap, no task wakes for those.
        An exception of theirs ends the link.
        """
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._read(on_heard, at_once), name="link reader")
                self._group.create_task(self._dispatch(on_frame), name="link dispatcher")
                self._group.create_task(self._write(), name="link writer")
        except* _Ended:
            pass
        finally:
            await self._shut_down()
        assert self.end is not None
        return self.end

    def send(self, frame: Frame) -> bool:
        """Queue a frame by its class, never waiting; False when the link is over."""
        if self.end is not None:
            return False
        if self._is_idle and isinstance(frame, _PROMPT) and self._send_through(frame):
            return True
        self._outbox.put(frame)
        if self._outbox.is_overfull:
            self._finish(LinkEnd("overloaded", f"the {self._peer} does not read"))
            self._abort()
            return False
        self._wake.set()
        return True

    def _send_through(self, frame: Frame) -> bool:
        """Send past the outbox while that is empty and the peer keeps up; False: queue it."""
        if self._outbox or not has_room(self._transport):
            return False
        try:
            send_at_once(self._socket, encode(frame))
        except (ConnectionError, RuntimeError):  # the writer meets the same, and ends the link
            return False
        return True

    def close(self, code: str = "closed", message: str = "") -> None:
        """End the link after the control frames already queued, within `CLOSE_GRACE_S`."""
        if self._finish(LinkEnd(code, message)):
            self._abort_timer = asyncio.get_running_loop().call_later(CLOSE_GRACE_S, self._abort)

    def say_goodbye(self, goodbye: Goodbye) -> None:
        """Tell the peer why, then close."""
        self.send(goodbye)
        self.close(goodbye.code, goodbye.message)

    # --- questions ------------------------------------------------------------------------------------------------
    async def request(self, kind: str, body: msgspec.Struct, reply_type: type[T], timeout_s: float) -> T:
        """Ask the peer and return its answer.

        Raises `TimedOut` (the effect is unknown), `NodeOffline` or `Unavailable` when the link ends first, and
        whatever error the peer answers.
        """
        loop = asyncio.get_running_loop()
        frame = self._calls.open(kind, body, loop.time(), timeout_s)
        future: asyncio.Future[Reply] = loop.create_future()
        self._answers[frame.request_id] = future
        timer = loop.call_later(timeout_s, self._expire)
        try:
            if not self.send(frame):
                raise self._gone()
            return decode_body(session.body_of(await future), reply_type)
        finally:
            timer.cancel()
            self._calls.abandon(frame.request_id)
            del self._answers[frame.request_id]

    async def ping(self, timeout_s: float) -> bool:
        """Return whether the peer's program answers within the time; the socket alone may be half open."""
        try:
            await self.request("link.ping", Alive(), Alive, timeout_s)
        except (TimedOut, NodeOffline, Unavailable):
            return False
        return True

    # --- streams --------------------------------------------------------------------------------------------------
    def open_stream(self, kind: str, body: msgspec.Struct) -> Stream:
        """Start a stream that the peer's handler of this kind feeds. Raises as `request` when the link is over."""
        stream_id = self._next_stream_id
        self._next_stream_id += 1
        if not self.send(StreamOpen(stream_id=stream_id, kind=kind, body=encode_body(body))):
            raise self._gone()
        return self._add_stream(stream_id)

    def _add_stream(self, stream_id: int) -> Stream:
        stream = Stream(stream_id, self.send, self._forget_stream)
        self._streams[stream_id] = stream
        return stream

    def _forget_stream(self, stream_id: int) -> None:
        self._streams.pop(stream_id, None)
        self._serving.pop(stream_id, None)

    def _accept_stream(self, frame: StreamOpen) -> None:
        if frame.stream_id in self._streams:
            self._stop(LinkEnd("invalid", f"stream {frame.stream_id} is open already"))
        stream = self._add_stream(frame.stream_id)
        if self._handling >= MAX_HANDLERS:
            stream.close(RateLimited(f"{MAX_HANDLERS} requests and streams are being served already"))
        else:
            self._serving[frame.stream_id] = self._spawn(self._handlers.serve(stream, frame), f"stream {frame.kind}")

    def _on_stream_close(self, frame: StreamClose) -> None:
        stream, serving = self._streams.get(frame.stream_id), self._serving.get(frame.stream_id)
        if stream is not None:  # else it crossed our own close on the way
            self._outbox.discard_stream(frame.stream_id)
            stream.on_close(frame)
        if serving is not None:
            serving.cancel()

    def _on_stream_data(self, frame: StreamData) -> None:
        stream = self._streams.get(frame.stream_id)
        if stream is not None and not stream.on_data(frame):
            stream.close(Invalid("more bytes than the window allows"))

    # --- the three tasks ------------------------------------------------------------------------------------------
    async def _read(self, on_heard: Callable[[Frame], bool] | None, at_once: tuple[type[Frame], ...]) -> None:
        try:
            async with Silence(self._read_deadline_s) as silence:
                if on_heard is None or not at_once:
                    await self._read_frames(silence, on_heard)
                    return
                taker = Taker(tuple(map(tag_of, at_once)), silence, self._decode, on_heard, self._on_fault)
                with taking(self._socket, taker):
                    await self._read_frames(silence, on_heard)
        except TimeoutError:
            self._stop(LinkEnd("silent", f"nothing heard for {self._read_deadline_s:g} s"))

    async def _read_frames(self, silence: Silence, on_heard: Callable[[Frame], bool] | None) -> None:
        receive = self._socket.receive
        while True:
            silence.listen()
            message = await receive()
            silence.hear()
            try:
                frame = self._frame_in(message)
            except Invalid as problem:
                _log.warning("link ends: %s", problem.message)
                self._stop(LinkEnd("invalid", problem.message))
            if frame is None:
                self._stop(LinkEnd("lost", f"the {self._peer} went away"))
            if on_heard is None or not self._hear(on_heard, frame):
                await self._sort(frame)

    async def _sort(self, frame: Frame) -> None:
        """Deal with what belongs to the link itself at once; leave the rest to the dispatcher."""
        match frame:
            case Reply():
                self._on_reply(frame)
            case Request():
                self._on_request(frame)
            case StreamData():
                self._on_stream_data(frame)
            case StreamAck() if frame.stream_id in self._streams:
                self._streams[frame.stream_id].on_ack(frame)
            case StreamAck():
                pass  # crossed our own close on the way
            case StreamClose():
                self._on_stream_close(frame)
            case StreamOpen():
                self._accept_stream(frame)
            case Goodbye():
                self._stop(LinkEnd(frame.code, frame.message, frame))
            case _:
                await self._inbox.put(frame)

    async def _dispatch(self, on_frame: Callable[[Frame], Awaitable[None]]) -> None:
        while True:
            frame = await self._inbox.get()
            try:
                await on_frame(frame)
            except Exception:  # noqa: BLE001 - one peer's frame may end its own link, not the role
                _log.exception("link ends: handling %s failed", type(frame).__name__)
                self._stop(LinkEnd("internal", f"handling {type(frame).__name__} failed"))

    async def _write(self) -> None:
        while True:
            if self.end is not None and not self._outbox.has_control:
                raise _Ended
            try:
                data = self._outbox.take()
                if data is not None:
                    await self._socket.send_frame(data, WSMsgType.BINARY)
                    continue
            except Invalid as problem:
                _log.error("a frame is not sent: %s", problem.message)
                continue
            except (ConnectionError, RuntimeError) as problem:
                self._stop(LinkEnd("lost", str(problem)))
            self._wake.clear()
            self._is_idle = True
            await self._wake.wait()
            self._is_idle = False

    def _frame_in(self, message: WSMessage) -> Frame | None:
        """Return the frame, None when the socket is closed. Raises `Invalid`."""
        if message.type is WSMsgType.BINARY:
            return self._decode(message.data)
        if message.type is WSMsgType.TEXT:
            raise Invalid("a text message on a link that carries binary frames")
        if message.type is WSMsgType.ERROR and isinstance(message.data, WebSocketError):
            raise Invalid(f"the {self._peer} broke the rules of the WebSocket: {message.data}")
        return None

    def _on_reply(self, reply: Reply) -> None:
        future = self._answers.get(reply.request_id) if self._calls.settle(reply) else None
        if future is not None and not future.done():
            future.set_result(reply)

    def _on_request(self, request: Request) -> None:
        if self._handling >= MAX_HANDLERS and request.kind != "link.ping":
            busy = RateLimited(f"{MAX_HANDLERS} requests and streams are being served already")
            self.send(session.refuse(request, busy))
        else:
            self._spawn(self._answer(request), f"request {request.kind}")

    async def _answer(self, request: Request) -> None:
        try:
            self.send(await self._handlers.answer(request))
        except Invalid as problem:
            self.send(session.refuse(request, problem))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        assert self._group is not None
        self._handling += 1
        task = self._group.create_task(work, name=f"link {name}")
        task.add_done_callback(self._handled)
        return task

    def _handled(self, _task: "asyncio.Task[None]") -> None:
        self._handling -= 1

    def _expire(self) -> None:
        for request_id in self._calls.expire(asyncio.get_running_loop().time() + _TIMER_SLACK_S):
            future = self._answers.get(request_id)
            if future is not None and not future.done():
                future.set_exception(TimedOut(f"the {self._peer} did not answer in time; the effect is unknown"))

    def _hear(self, on_heard: Callable[[Frame], bool], frame: Frame) -> bool:
        try:
            return on_heard(frame)
        except Exception:  # noqa: BLE001 - one peer's frame may end its own link, not the role
            _log.exception("link ends: hearing %s failed", type(frame).__name__)
            self._stop(LinkEnd("internal", f"hearing {type(frame).__name__} failed"))

    def _on_fault(self) -> None:
        """One peer's frame may end its own link, not the role."""
        _log.exception("link ends: hearing a frame failed")
        self.close("internal", "hearing a frame failed")

    # --- the end --------------------------------------------------------------------------------------------------
    @property
    def _peer(self) -> Side:
        return "worker" if self._side == "master" else "master"

    def _gone(self) -> OpsError:
        why = f": {self.end.message or self.end.code}" if self.end else ""
        return (
            NodeOffline(f"the node's link is over{why}")
            if self._side == "master"
            else Unavailable(f"the link to the master is over{why}")
        )

    def _finish(self, end: LinkEnd) -> bool:
        """Note the first reason; True when it is ours."""
        if self.end is not None:
            return False
        self.end = end
        self._wake.set()
        return True

    def _stop(self, end: LinkEnd) -> NoReturn:
        """Leave `run` now."""
        self._finish(end)
        raise _Ended

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _shut_down(self) -> None:
        self._finish(LinkEnd("closed", "this end is stopping"))
        self._fail_waiting()
        assert self.end is not None
        try:
            async with asyncio.timeout(CLOSE_GRACE_S):
                code = _SOCKET_CODES.get(self.end.code, 1000)
                await self._socket.close(code=code, message=self.end.message.encode()[:120])
        except (TimeoutError, ConnectionError, RuntimeError) as problem:
            _log.debug("closing the socket: %r", problem)
        finally:
            if self._abort_timer is not None:
                self._abort_timer.cancel()
            self._abort()

    def _fail_waiting(self) -> None:
        gone = self._gone()
        for future in self._answers.values():
            if not future.done():
                future.set_exception(gone)
        for stream in list(self._streams.values()):
            stream.on_close(StreamClose(stream_id=stream.stream_id, code=gone.code, message=gone.message))
