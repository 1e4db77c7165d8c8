"""One command through a node's link: asks, gathers what it says, and tells how it ended. Used by the service."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from ops_system.master.commands.rules import Output
from ops_system.model.errors import NodeOffline, TimedOut, Unavailable
from ops_system.protocol.codec import decode_body
from ops_system.protocol.pieces import Channel, PieceReader
from ops_system.protocol.requests import CommandEnd, RunCommand
from ops_system.runtime.streams import Stream

GRACE_S = 10.0  # beyond the command's own limit, for the way there and back


class Opener(Protocol):
    """The part of the links that commands need."""

    def open_stream(self, node_id: str, kind: str, body: msgspec.Struct) -> Stream:
        """Open a stream to a node. Raises `NodeOffline`."""
        ...


async def run_through(
    links: Opener, node_id: str, request: RunCommand, output: Output, on_output: Callable[[], None] = lambda: None
) -> CommandEnd:
    """Run a command on a node and fill `output`.

    Raises `NodeOffline` before it began, `Unavailable` when the link broke and nobody knows how it ended, `TimedOut`
    when the node says nothing in time, and what the worker refuses it with. Cancelled, the command is killed.
    """
    stream = links.open_stream(node_id, "exec", request)
    try:
        async with asyncio.timeout(request.timeout_s + GRACE_S):
            return await _gather(stream, output, on_output)
    except NodeOffline as problem:
        raise Unavailable(f"{problem.message}; how the command ended is not known", **problem.details) from problem
    except TimeoutError:
        raise TimedOut(f"node {node_id} did not tell how the command ended; it may still run there") from None
    finally:
        stream.close()


async def _gather(stream: Stream, output: Output, on_output: Callable[[], None]) -> CommandEnd:
    reader = PieceReader()
    async for chunk in stream:
        for channel, data in reader.feed(chunk):
            match channel:
                case Channel.CONTROL:
                    return decode_body(msgspec.Raw(data), CommandEnd)
                case Channel.STDOUT:
                    output.stdout += data
                case Channel.STDERR:
                    output.stderr += data
        on_output()
    raise Unavailable("the link to the node broke; how the command ended is not known")
