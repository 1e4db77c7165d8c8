"""HTTP and WebSocket of logs: parse, call, answer."""

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

from aiohttp import web

from ops_system.master.logs.rules import (
    LogDownloadQuery,
    LogQuery,
    LogSearchQuery,
    MergedHits,
    MergedLines,
    MergedLogQuery,
    MergedSearchQuery,
    file_name,
)
from ops_system.master.logs.service import Logs, Member
from ops_system.master.logs.viewers import Viewers
from ops_system.master.web.route import Call, Permission, Principal, Route
from ops_system.protocol.logs import LogFiles, LogHits, LogLines
from ops_system.protocol.requests import Crashes

_ERRORS = ("not_found", "node_offline", "timeout")
_GZIP = 16 + zlib.MAX_WBITS
_FRAMES = (
    'text frames {"lines": [{"at", "text", "offset"}], "instance_id"}, {"dropped": n} where lines are left out, '
    'at the end {"end": {"code", "message"}}'
)

Check = Callable[[str, Principal], Awaitable[object]]
"""Raises `NotFound` for an instance that does not exist or lies beyond the principal's scope."""
FindMembers = Callable[[str, Principal], Awaitable[Sequence[Member]]]
"""Returns the instances of a module or system within the principal's scope. Raises `NotFound` as `Check`."""


def routes(service: Logs, viewers: Viewers, check: Check) -> list[Route]:
    """Return the routes of `/instances/{id}/logs` and `/crashes`."""
    return [*_read_routes(service, check), *_stream_routes(service, viewers, check)]


def _read_routes(service: Logs, check: Check) -> list[Route]:
    async def list_logs(call: Call) -> LogFiles:
        await check(call.params["id"], call.principal)
        return await service.list_logs(call.params["id"])

    async def read_log(call: Call) -> LogLines:
        await check(call.params["id"], call.principal)
        return await service.read(call.params["id"], call.params["name"], call.query)

    async def search_log(call: Call) -> LogHits:
        await check(call.params["id"], call.principal)
        return await service.search(call.params["id"], call.params["name"], call.query)

    async def list_crashes(call: Call) -> Crashes:
        await check(call.params["id"], call.principal)
        return await service.list_crashes(call.params["id"])

    base = "/instances/{id}/logs"
    return [
        Route(
            "GET",
            base,
            Permission.VIEW,
            list_logs,
            "List an instance's named logs, stdout and stderr first",
            "list_logs",
            answer=LogFiles,
            tag="logs",
            errors=_ERRORS,
        ),
        Route(
            "GET",
            "/instances/{id}/crashes",
            Permission.VIEW,
            list_crashes,
            "Show the last five unexpected ends, the newest first: exit, limits, parents, the last 200 lines of output",
            "list_crashes",
            answer=Crashes,
            tag="logs",
            errors=_ERRORS,
        ),
        Route(
            "GET",
            f"{base}/{{name}}",
            Permission.VIEW,
            read_log,
            "Read the last lines, or those at an offset or a time; old files count as part of the log",
            "read_log",
            answer=LogLines,
            query=LogQuery,
            tag="logs",
            errors=("invalid", *_ERRORS),
        ),
        Route(
            "GET",
            f"{base}/{{name}}/search",
            Permission.VIEW,
            search_log,
            "Search the whole log with its old files by text or regular expression, some seconds at a time",
            "search_log",
            answer=LogHits,
            query=LogSearchQuery,
            tag="logs",
            errors=("invalid", *_ERRORS),
        ),
    ]


def _stream_routes(service: Logs, viewers: Viewers, check: Check) -> list[Route]:
    async def download_log(call: Call) -> web.StreamResponse:
        instance_id, name = call.params["id"], call.params["name"]
        await check(instance_id, call.principal)
        pieces = service.download(instance_id, name)
        query: LogDownloadQuery = call.query
        return await _send_file(call, _packed(pieces) if query.gzip else pieces, file_name(instance_id, name))

    async def follow_log(call: Call) -> web.StreamResponse:
        await check(call.params["id"], call.principal)
        return await viewers.serve(call.request, call.params["id"], call.params["name"])

    base = "/instances/{id}/logs/{name}"
    return [
        Route(
            "GET",
            f"{base}/download",
            Permission.VIEW,
            download_log,
            "Download what the log has now, old files first",
            "download_log",
            answer=web.StreamResponse,
            query=LogDownloadQuery,
            media="text/plain",
            tag="logs",
            errors=_ERRORS,
        ),
        Route(
            "GET",
            f"{base}/follow",
            Permission.VIEW,
            follow_log,
            f"Follow new lines: {_FRAMES}",
            "follow_log",
            answer=web.StreamResponse,
            is_websocket=True,
            tag="logs",
            errors=_ERRORS,
        ),
    ]


def merged_routes(service: Logs, viewers: Viewers, what: str, find: FindMembers) -> list[Route]:
    """Return the routes of one named log of all instances of a `what`: `module` or `system`."""

    async def read_merged(call: Call) -> MergedLines:
        members = await find(call.params["id"], call.principal)
        return await service.read_merged(members, call.params["name"], call.query)

    async def search_merged(call: Call) -> MergedHits:
        members = await find(call.params["id"], call.principal)
        return await service.search_merged(members, call.params["name"], call.query)

    async def follow_merged(call: Call) -> web.StreamResponse:
        await find(call.params["id"], call.principal)
        members = partial(find, call.params["id"], call.principal)
        return await viewers.serve_merged(call.request, members, call.params["name"])

    base = f"/{what}s/{{id}}/logs/{{name}}"
    return [
        Route(
            "GET",
            base,
            Permission.VIEW,
            read_merged,
            f"Read the last lines of this log of all instances of a {what}, by time",
            f"read_{what}_log",
            answer=MergedLines,
            query=MergedLogQuery,
            tag="logs",
            errors=("invalid", "not_found"),
        ),
        Route(
            "GET",
            f"{base}/search",
            Permission.VIEW,
            search_merged,
            f"Search this log of all instances of a {what} by text or regular expression, some seconds at a time",
            f"search_{what}_log",
            answer=MergedHits,
            query=MergedSearchQuery,
            tag="logs",
            errors=("invalid", "not_found"),
        ),
        Route(
            "GET",
            f"{base}/follow",
            Permission.VIEW,
            follow_merged,
            f"Follow this log of all instances of a {what}: {_FRAMES} of one instance; others go on",
            f"follow_{what}_log",
            answer=web.StreamResponse,
            is_websocket=True,
            tag="logs",
            errors=("not_found",),
        ),
    ]


async def _send_file(call: Call, pieces: AsyncIterator[bytes], name: str) -> web.StreamResponse:
    """Send what comes; what goes wrong before the first piece is an answer, later the connection breaks."""
    query: LogDownloadQuery = call.query
    first = await anext(pieces, b"")
    kind, suffix = ("application/gzip", ".gz") if query.gzip else ("text/plain; charset=utf-8", "")
    headers = {"Content-Type": kind, "Content-Disposition": f'attachment; filename="{name}{suffix}"'}
    response = web.StreamResponse(headers=headers)
    await response.prepare(call.request)
    await response.write(first)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


async def _packed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    async for piece in pieces:
        if data := packer.compress(piece):
            yield data
    yield packer.flush()
