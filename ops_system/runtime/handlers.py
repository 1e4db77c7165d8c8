"""What one end of a link answers: requests and streams by kind. Made once per role and given to each `Link`."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from ops_system.model.errors import NotFound, OpsError
from ops_system.protocol import session
from ops_system.protocol.codec import decode_body
from ops_system.protocol.frames import Reply, Request, StreamOpen
from ops_system.protocol.requests import Alive
from ops_system.runtime.streams import Stream

_log = logging.getLogger(__name__)

B = TypeVar("B")
H = TypeVar("H")


class Handlers:
    """The table. `link.ping` is always answered."""

    def __init__(self) -> None:
        self._requests: dict[str, tuple[Any, Callable[[Any], Awaitable[msgspec.Struct]]]] = {}
        self._streams: dict[str, tuple[Any, Callable[[Stream, Any], Awaitable[None]]]] = {}
        self.on_request("link.ping", Alive, _still_here)

    def on_request(self, kind: str, body_type: type[B], answer: Callable[[B], Awaitable[msgspec.Struct]]) -> None:
        """Let `answer` reply to requests of this kind. An `OpsError` it raises travels to the asker."""
        self._requests[kind] = (body_type, answer)

    def on_stream(self, kind: str, body_type: type[B], serve: Callable[[Stream, B], Awaitable[None]]) -> None:
        """Let `serve` feed streams of this kind.

        The stream closes when `serve` returns, with its `OpsError` when it raises one; `serve` is cancelled when the
        peer closes the stream or the link ends.
        """
        self._streams[kind] = (body_type, serve)

    async def answer(self, request: Request) -> Reply:
        """Return the answer to a request; every failure is an answer too."""
        try:
            body_type, handler = _find(self._requests, request.kind)
            return session.answer(request, await handler(decode_body(request.body, body_type)))
        except OpsError as problem:
            return session.refuse(request, problem)
        except Exception:  # noqa: BLE001 - a bug in one handler is one failed answer, not a lost link
            _log.exception("the handler of request %r failed", request.kind)
            return session.refuse(request, OpsError(f"the handler of {request.kind!r} failed; see the log there"))

    async def serve(self, stream: Stream, frame: StreamOpen) -> None:
        """Feed a stream that the peer has opened, then close it."""
        try:
            body_type, handler = _find(self._streams, frame.kind)
            await handler(stream, decode_body(frame.body, body_type))
        except OpsError as problem:
            stream.close(problem)
        except Exception:  # noqa: BLE001 - a bug in one handler is one closed stream, not a lost link
            _log.exception("the handler of stream %r failed", frame.kind)
            stream.close(OpsError(f"the handler of stream {frame.kind!r} failed; see the log there"))
        finally:
            stream.close()


def _find(table: dict[str, H], kind: str) -> H:
    try:
        return table[kind]
    except KeyError:
        raise NotFound(f"the other end does not know {kind!r}; is it older?") from None


async def _still_here(_question: Alive) -> Alive:
    return Alive()
