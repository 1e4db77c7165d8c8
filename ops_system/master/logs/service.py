"""Asks nodes for the logs of their instances: lists, lines, hits, bytes; and opens the streams of new lines.

Nothing is stored here. The logs of many instances are read side by side and merged by time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from ops_system.master.logs.rules import (
    LogQuery,
    LogSearchQuery,
    MergedHits,
    MergedLines,
    MergedLogQuery,
    MergedSearchQuery,
    Unread,
    check_log_query,
    check_search_query,
    merge,
    merge_hits,
    read_cursor,
)
from ops_system.model.errors import OpsError
from ops_system.model.ids import InstanceId, NodeId
from ops_system.protocol.logs import (
    FollowLog,
    ListLogs,
    LogBytes,
    LogFiles,
    LogHits,
    LogLines,
    ReadLog,
    ReadLogBytes,
    SearchLog,
)
from ops_system.protocol.requests import Crashes, ListCrashes
from ops_system.runtime.streams import Stream
from ops_system.runtime.tasks import spawn

T = TypeVar("T")

ANSWER_WITHIN_S = 10.0
SEARCH_WITHIN_S = 30.0
CHUNK_BYTES = 256 * 1024
MAX_MERGED = 50  # instances that are read as one log
MERGED_AT_ONCE = 8


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


class Member(NamedTuple):
    """One of the instances that are read as one log."""

    instance_id: str
    node_id: NodeId


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
        """Return the last lines, or those at a place. Raises `Invalid` for a question out of range."""
        check_log_query(query)
        return await self._read(Member(instance_id, await self._whereabouts.node_of(instance_id)), name, query)

    async def _read(self, member: Member, name: str, query: LogQuery) -> LogLines:
        body = ReadLog(
            instance_id=InstanceId(member.instance_id),
            name=name,
            tail=query.tail,
            before=query.before,
            q=query.q,
            after=query.after,
            around=query.around,
            at=query.at,
        )
        timeout_s = SEARCH_WITHIN_S if query.q or query.at else ANSWER_WITHIN_S
        return await self._links.request(member.node_id, "logs.read", body, LogLines, timeout_s)

    async def search(self, instance_id: str, name: str, query: LogSearchQuery) -> LogHits:
        """Return the next hits. Raises `Invalid` for an expression that is wrong or takes too long."""
        check_search_query(query)
        return await self._search(Member(instance_id, await self._whereabouts.node_of(instance_id)), name, query)

    async def _search(self, member: Member, name: str, query: LogSearchQuery) -> LogHits:
        body = SearchLog(
            instance_id=InstanceId(member.instance_id),
            name=name,
            text=query.q,
            is_regex=query.regex,
            ignore_case=query.nocase,
            is_forward=query.forward,
            start=query.start,
            since=query.since,
            until=query.until,
            limit=query.limit,
        )
        return await self._links.request(member.node_id, "logs.search", body, LogHits, SEARCH_WITHIN_S)

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

    async def where(self, instance_id: str) -> Member:
        """Return the instance with its node, once that has answered: who cannot be followed is an error, not an end."""
        await self.list_logs(instance_id)
        return Member(instance_id, await self._whereabouts.node_of(instance_id))

    def open_follow(self, member: Member, name: str) -> Stream:
        """Open the stream of what is written from now on. The caller closes it."""
        return self._links.open_stream(member.node_id, "log.follow", FollowLog(InstanceId(member.instance_id), name))

    # --- many as one ----------------------------------------------------------------------------------------------
    async def read_merged(self, members: Sequence[Member], name: str, query: MergedLogQuery) -> MergedLines:
        """Return the last lines of all, by time. What one node cannot answer is told beside them."""
        check_log_query(LogQuery(tail=query.tail))
        cursor = read_cursor(query.before)

        async def read_one(member: Member) -> LogLines:
            asked = LogQuery(tail=query.tail, before=cursor.get(member.instance_id), q=query.q)
            return await self._read(member, name, asked)

        known = [member for member in members[:MAX_MERGED] if not cursor or cursor.get(member.instance_id)]
        pages, unread = await _ask_all(known, read_one)
        lines, before = merge(pages, cursor, query.tail)
        return MergedLines(lines, before, unread, max(0, len(members) - MAX_MERGED))

    async def search_merged(self, members: Sequence[Member], name: str, query: MergedSearchQuery) -> MergedHits:
        """Return the next hits of all. What one node cannot answer is told beside them."""
        check_search_query(query.of_one(None))
        cursor = read_cursor(query.start)

        async def search_one(member: Member) -> LogHits:
            return await self._search(member, name, query.of_one(cursor.get(member.instance_id)))

        known = [member for member in members[:MAX_MERGED] if not cursor or member.instance_id in cursor]
        pages, unread = await _ask_all(known, search_one)
        hits, start = merge_hits(pages)
        return MergedHits(hits, start, unread, max(0, len(members) - MAX_MERGED))


async def _ask_all(
    members: Sequence[Member], ask: Callable[[Member], Awaitable[T]]
) -> tuple[dict[str, T], list[Unread]]:
    """Return the answers by instance, in order, and who gave none."""
    answers: dict[str, T] = {}
    unread: list[Unread] = []
    room = asyncio.Semaphore(MERGED_AT_ONCE)

    async def ask_one(member: Member) -> None:
        try:
            async with room:
                answers[member.instance_id] = await ask(member)
        except OpsError as problem:
            unread.append(Unread(member.instance_id, problem.code, problem.message))

    async with asyncio.TaskGroup() as group:
        for member in members:
            spawn(group, ask_one(member), f"read log of {member.instance_id}")
    return {one.instance_id: answers[one.instance_id] for one in members if one.instance_id in answers}, unread
