"""HTTP and WebSocket of terminals: parse, call, answer."""

from aiohttp import web

from ops_system.master.terminals.bridge import Traffic, bridge
from ops_system.master.terminals.rules import TerminalList, TerminalName, TerminalQuery
from ops_system.master.terminals.service import TerminalDesk
from ops_system.master.web.route import Call, Permission, Route

_ERRORS = ("not_found", "node_offline", "timeout")


def routes(desk: TerminalDesk) -> list[Route]:
    """Return the routes of `/nodes/{id}/terminal` and `/nodes/{id}/terminals`."""

    async def open_terminal(call: Call) -> web.StreamResponse:
        node_id = call.params["id"]
        with desk.place(call.principal):
            stream = await desk.open(node_id, call.query, call.principal)
            traffic = Traffic()
            try:
                return await bridge(call.request, stream, traffic)
            finally:
                details = {name: getattr(traffic, name) for name in Traffic.__struct_fields__}
                await desk.note_end(node_id, call.principal, details)

    async def list_terminals(call: Call) -> TerminalList:
        return await desk.list_all(call.params["id"], call.principal)

    async def name_terminal(call: Call) -> TerminalList:
        return await desk.name(call.params["id"], call.params["session"], call.body.name, call.principal)

    async def end_terminal(call: Call) -> TerminalList:
        return await desk.end(call.params["id"], call.params["session"], call.principal)

    return [
        Route(
            "GET",
            "/nodes/{id}/terminal",
            Permission.TERMINAL,
            open_terminal,
            "Open a terminal: binary frames are its bytes both ways, text frames are control "
            '({"type": "resize|ack|ready|viewers|exit|closed"})',
            "open_terminal",
            answer=web.StreamResponse,
            query=TerminalQuery,
            is_websocket=True,
            needs_step_up=True,
            tag="terminals",
            errors=("invalid", "rate_limited", *_ERRORS),
        ),
        Route(
            "GET",
            "/nodes/{id}/terminals",
            Permission.TERMINAL,
            list_terminals,
            "List the terminal sessions that run on a node",
            "list_terminals",
            answer=TerminalList,
            needs_step_up=True,
            tag="terminals",
            errors=_ERRORS,
        ),
        Route(
            "PATCH",
            "/nodes/{id}/terminals/{session}",
            Permission.TERMINAL,
            name_terminal,
            "Give a session another name",
            "name_terminal",
            answer=TerminalList,
            body=TerminalName,
            needs_step_up=True,
            tag="terminals",
            errors=("invalid", *_ERRORS),
        ),
        Route(
            "DELETE",
            "/nodes/{id}/terminals/{session}",
            Permission.TERMINAL,
            end_terminal,
            "End a session and all it started",
            "end_terminal",
            answer=TerminalList,
            needs_step_up=True,
            tag="terminals",
            errors=_ERRORS,
        ),
    ]
