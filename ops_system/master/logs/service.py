"""Asks nodes for the logs of their instances: lists, lines, bytes, and live lines.

A follower has a stream of its own on the link; its window is the back-pressure: a viewer that does not read stops its
own stream, and nothing else. Lines are gathered for `BATCH_S`, so that a flood becomes few messages.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol, TypeVar

import msgspec

from ops_system.master.logs.rules import MAX_TAIL, FollowedLine, LineSplitter, LogQuery
from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId, NodeId
from ops_system.protocol.requests import (
    Crashes,
    FollowLog,
    ListCrashes,
    ListLogs,
    LogBytes,
    LogFiles,
    LogLines,
    ReadLog,
    ReadLogBytes,
)
from ops_system.runtime.streams import Stream

T = TypeVar("T")

ANSWER_WITHIN_S = 10.0
SEARCH_WITHIN_S = 30.0
CHUNK_BYTES = 256 * 1024
BATCH_S = 0.05
MAX_BATCH_LINES = 1000


class Asker(Protocol):
    """The part of the links that logs need."""

    async def request(
        self, node_id: str, kind: str, body: msgspec.Struct, reply_type: type[T], timeout_s: float = ...
    ) -> T:
        """Ask a node. Raises `NodeOffline`, `TimedOut`, or what the worker answers."""
        ...

    def open_stream(self, node_id: str, kind: str, body: msgspec.Struct) -> Stream:
        """Open a stream to a node. Raises `NodeOffline`."""
        ...


class Whereabouts(Protocol):
    """Where an instance is."""

    async def node_of(self, instance_id: str) -> NodeId:
        """Return the node. Raises `NotFound`."""
        ...


class Logs:
    """Every method raises `NotFound` (instance or log), `NodeOffline`, `TimedOut`."""

    def __init__(self, whereabouts: Whereabouts, links: Asker) -> None:
        self._whereabouts = whereabouts
        self._links = links

    async def list_logs(self, instance_id: str) -> LogFiles:
        """Return the named logs, `stdout` and `stderr` first."""
        node_id = await self._whereabouts.node_of(instance_id)
        body = ListLogs(instance_id=InstanceId(instance_id))
        return await self._links.request(node_id, "logs.list", body, LogFiles, ANSWER_WITHIN_S)

    async def read(self, instance_id: str, name: str, query: LogQuery) -> LogLines:
        """Return the last lines, or those before an offset. Raises `Invalid` for a `tail` out of range."""
        if not 1 <= query.tail <= MAX_TAIL or (query.before is not None and query.before < 0):
            problem = f"tail: 1 to {MAX_TAIL}; before: an offset from an earlier answer"
            raise Invalid(problem, problems=[problem])
        node_id = await self._whereabouts.node_of(instance_id)
        body = ReadLog(instance_id=InstanceId(instance_id), name=name, tail=query.tail, before=query.before, q=query.q)
        timeout_s = SEARCH_WITHIN_S if query.q else ANSWER_WITHIN_S
        return await self._links.request(node_id, "logs.read", body, LogLines, timeout_s)

    async def list_crashes(self, instance_id: str) -> Crashes:
        """Return the last unexpected ends with the output before them, the newest first."""
        node_id = await self._whereabouts.node_of(instance_id)
        body = ListCrashes(instance_id=InstanceId(instance_id))
        return await self._links.request(node_id, "crashes.list", body, Crashes, ANSWER_WITHIN_S)

    async def download(self, instance_id: str, name: str) -> AsyncIterator[bytes]:
        """Yield the bytes the log has now, piece by piece; what is written meanwhile is not waited for."""
        node_id = await self._whereabouts.node_of(instance_id)
        offset, size_bytes = 0, CHUNK_BYTES
        while offset < size_bytes:
            length = min(CHUNK_BYTES, size_bytes - offset)
            body = ReadLogBytes(instance_id=InstanceId(instance_id), name=name, offset=offset, length=length)
            answer = await self._links.request(node_id, "logs.bytes", body, LogBytes, ANSWER_WITHIN_S)
            if not answer.data:
                return
            size_bytes = answer.size_bytes if offset == 0 else size_bytes
            offset = (offset if answer.offset is None else answer.offset) + len(answer.data)
            yield answer.data

    async def open_follow(self, instance_id: str, name: str) -> Stream:
        """Open the stream of what is written from now on. The caller closes it."""
        node_id = await self._whereabouts.node_of(instance_id)
        await self.list_logs(instance_id)  # a node that is away or an instance it lost is told as an error, not an end
        return self._links.open_stream(node_id, "log", FollowLog(instance_id=InstanceId(instance_id), name=name))


async def batches(stream: Stream) -> AsyncIterator[list[FollowedLine]]:
    """Yield the lines of a followed log, gathered for `BATCH_S`, until the stream ends; raises what ended it."""
    loop = asyncio.get_running_loop()
    splitter, lines, due_s = LineSplitter(), list[FollowedLine](), 0.0
    is_open = True
    while is_open:
        try:
            async with asyncio.timeout_at(due_s if lines else None):
                fresh = splitter.feed(await anext(stream))
        except TimeoutError:
            fresh = []
        except StopAsyncIteration:
            fresh, is_open = splitter.flush(), False
        if fresh and not lines:
            due_s = loop.time() + BATCH_S
        lines += fresh
        while lines and (not is_open or loop.time() >= due_s or len(lines) >= MAX_BATCH_LINES):
            yield lines[:MAX_BATCH_LINES]
            lines = lines[MAX_BATCH_LINES:]
