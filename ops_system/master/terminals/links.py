"""What terminals need of the links to the nodes."""

from typing import Protocol, TypeVar

import msgspec

from ops_system.runtime.streams import Stream

T = TypeVar("T")


class Asker(Protocol):
    """The part of the links that terminals need."""

    async def request(
        self, node_id: str, kind: str, body: msgspec.Struct, reply_type: type[T], timeout_s: float = ...
    ) -> T:
        """Ask a node. Raises `NodeOffline`, `TimedOut`, or what the worker answers."""
        ...

    def open_stream(self, node_id: str, kind: str, body: msgspec.Struct) -> Stream:
        """Open a stream to a node. Raises `NodeOffline`."""
        ...
