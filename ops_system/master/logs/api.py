"""HTTP and WebSocket of logs: parse, call, answer."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from ops_system.master.logs.rules import LogQuery, file_name
from ops_system.master.logs.service import Logs
from ops_system.master.logs.viewers import Viewers
from ops_system.master.web.route import Call, Permission, Principal, Route
from ops_system.protocol.requests import Crashes, LogFiles, LogLines

_ERRORS = ("not_found", "node_offline", "timeout")


Check = Callable[[str, Principal], Awaitable[object]]
"""Raises `NotFound` for an instance that does not exist or lies beyond the principal's scope."""


def routes(service: Logs, viewers: Viewers, check: Check) -> list[Route]:
    """Return the routes of `/instances/{id}/logs` and `/crashes`."""

    async def list_logs(call: Call) -> LogFiles:
        await check(call.params["id"], call.principal)
        return await service.list_logs(call.params["id"])

    async def read_log(call: Call) -> LogLines:
        await check(call.params["id"], call.principal)
        return await service.read(call.params["id"], call.params["name"], call.query)

    async def list_crashes(call: Call) -> Crashes:
        await check(call.params["id"], call.principal)
        return await service.list_crashes(call.params["id"])

    async def download_log(call: Call) -> web.StreamResponse:
        instance_id, name = call.params["id"], call.params["name"]
        await check(instance_id, call.principal)
        pieces = service.download(instance_id, name)
        first = await anext(pieces, b"")
        headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Disposition": f'attachment; filename="{file_name(instance_id, name)}"',
        }
        response = web.StreamResponse(headers=headers)
        await response.prepare(call.request)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
        return response

    async def follow_log(call: Call) -> web.StreamResponse:
        await check(call.params["id"], call.principal)
        stream = await service.open_follow(call.params["id"], call.params["name"])
        return await viewers.serve(call.request, call.principal, stream)

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
            "Read the last lines, or those before an offset",
            "read_log",
            answer=LogLines,
            query=LogQuery,
            tag="logs",
            errors=("invalid", *_ERRORS),
        ),
        Route(
            "GET",
            f"{base}/{{name}}/download",
            Permission.VIEW,
            download_log,
            "Download what the log has now",
            "download_log",
            answer=web.StreamResponse,
            media="text/plain",
            tag="logs",
            errors=_ERRORS,
        ),
        Route(
            "GET",
            f"{base}/{{name}}/follow",
            Permission.VIEW,
            follow_log,
            'Follow new lines: text frames {"lines": [{"at", "text"}]}, at the end {"end": {"code", "message"}}',
            "follow_log",
            answer=web.StreamResponse,
            is_websocket=True,
            tag="logs",
            errors=_ERRORS,
        ),
    ]
