"""HTTP and WebSocket of terminals: parse, call, answer."""

import msgspec
from aiohttp import web

from ops_system.master.terminals.bridge import Traffic, bridge
from ops_system.master.terminals.recordings import Recordings
from ops_system.master.terminals.rules import (
    NewShare,
    Recording,
    RecordingQuery,
    SharedQuery,
    ShareList,
    TerminalList,
    TerminalName,
    TerminalQuery,
    TerminalSettings,
    TerminalSettingsChange,
    TerminalShare,
)
from ops_system.master.terminals.service import TerminalDesk
from ops_system.master.web.route import Call, Nothing, Page, Permission, Route

_ERRORS = ("not_found", "node_offline", "timeout")
_CAST = "application/x-asciicast"


def routes(desk: TerminalDesk) -> list[Route]:
    """Return the routes of terminals, their shares and their recordings."""
    return [*_session_routes(desk), *_share_routes(desk), *_recording_routes(desk.recordings)]


def _session_routes(desk: TerminalDesk) -> list[Route]:
    async def open_terminal(call: Call) -> web.StreamResponse:
        node_id = call.params["id"]
        with desk.place(call.principal):
            stream = await desk.open(node_id, call.query, call.principal)
            traffic = Traffic()
            try:
                return await bridge(
                    call.request,
                    stream,
                    traffic,
                    lambda ready: desk.note_ready(node_id, call.query, call.principal, ready),
                )
            finally:
                await desk.note_end(node_id, call.principal, msgspec.structs.asdict(traffic))

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
            '({"type": "resize|ack|ready|viewers|recording|exit|closed"})',
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


def _share_routes(desk: TerminalDesk) -> list[Route]:
    async def create_share(call: Call) -> TerminalShare:
        return await desk.share(call.params["id"], call.params["session"], call.body, call.principal)

    async def list_shares(call: Call) -> ShareList:
        return await desk.shares.list_all(call.params["id"], call.params["session"], call.principal)

    async def get_share(call: Call) -> TerminalShare:
        return await desk.shares.get(call.params["id"], call.principal)

    async def revoke_share(call: Call) -> Nothing:
        await desk.shares.revoke(call.params["id"], call.principal)
        return Nothing()

    async def look(call: Call) -> web.StreamResponse:
        traffic = Traffic()
        with desk.place(call.principal):
            share = await desk.shares.get(call.params["id"], call.principal)
            async with desk.shares.look(share.id, call.query, call.principal) as stream:
                try:
                    return await bridge(call.request, stream, traffic, may_type=False)
                finally:
                    await desk.note_end(share.node_id, call.principal, msgspec.structs.asdict(traffic))

    of_session = "/nodes/{id}/terminals/{session}/shares"
    return [
        Route(
            "POST",
            of_session,
            Permission.TERMINAL,
            create_share,
            "Let people who may see the node look at a session for a time; they cannot type",
            "share_terminal",
            answer=TerminalShare,
            body=NewShare,
            status=201,
            needs_step_up=True,
            tag="terminals",
            errors=("invalid", *_ERRORS),
        ),
        Route(
            "GET",
            of_session,
            Permission.TERMINAL,
            list_shares,
            "List the shares of a session",
            "list_terminal_shares",
            answer=ShareList,
            tag="terminals",
            errors=("not_found",),
        ),
        Route(
            "GET",
            "/terminal-shares/{id}",
            Permission.VIEW,
            get_share,
            "Show a share",
            "get_terminal_share",
            answer=TerminalShare,
            tag="terminals",
            errors=("not_found",),
        ),
        Route(
            "DELETE",
            "/terminal-shares/{id}",
            Permission.TERMINAL,
            revoke_share,
            "Take a share back; every look through it ends at once",
            "revoke_terminal_share",
            tag="terminals",
            errors=("not_found",),
        ),
        Route(
            "GET",
            "/terminal-shares/{id}/terminal",
            Permission.VIEW,
            look,
            "Look at a shared session: as a terminal, but what is typed goes nowhere",
            "open_shared_terminal",
            answer=web.StreamResponse,
            query=SharedQuery,
            is_websocket=True,
            tag="terminals",
            errors=("invalid", "rate_limited", *_ERRORS),
        ),
    ]


def _recording_routes(recordings: Recordings) -> list[Route]:
    async def list_recordings(call: Call) -> Page[Recording]:
        return await recordings.list_page(call.query, call.principal)

    async def get_recording(call: Call) -> Recording:
        return await recordings.get(call.params["id"], call.principal)

    async def read_recording(call: Call) -> web.StreamResponse:
        recording, path = await recordings.open(call.params["id"], call.principal)
        disposition = f'attachment; filename="{recording.id}.cast"'
        return web.FileResponse(path, headers={"Content-Type": _CAST, "Content-Disposition": disposition})

    async def delete_recording(call: Call) -> Nothing:
        await recordings.delete(call.params["id"], call.principal)
        return Nothing()

    async def get_settings(_call: Call) -> TerminalSettings:
        return await recordings.settings()

    async def change_settings(call: Call) -> TerminalSettings:
        return await recordings.change_settings(call.body, call.principal)

    return [
        Route(
            "GET",
            "/recordings",
            Permission.TERMINAL,
            list_recordings,
            "List recordings of terminals: administrators see all, others those of sessions they began",
            "list_recordings",
            answer=Page[Recording],
            query=RecordingQuery,
            tag="terminals",
            errors=("invalid",),
        ),
        Route(
            "GET",
            "/recordings/{id}",
            Permission.TERMINAL,
            get_recording,
            "Show a recording",
            "get_recording",
            answer=Recording,
            tag="terminals",
            errors=("not_found",),
        ),
        Route(
            "GET",
            "/recordings/{id}/cast",
            Permission.TERMINAL,
            read_recording,
            "Read a recording as asciicast v2; who reads it is on record",
            "read_recording",
            answer=web.StreamResponse,
            other_answers=((206, web.StreamResponse),),
            tag="terminals",
            errors=("not_found",),
        ),
        Route(
            "DELETE",
            "/recordings/{id}",
            Permission.ADMIN,
            delete_recording,
            "Remove a recording that has ended",
            "delete_recording",
            needs_step_up=True,
            tag="terminals",
            errors=("not_found", "not_allowed"),
        ),
        Route(
            "GET",
            "/terminal-settings",
            Permission.TERMINAL,
            get_settings,
            "Show what holds for terminals on every node",
            "get_terminal_settings",
            answer=TerminalSettings,
            tag="terminals",
        ),
        Route(
            "PUT",
            "/terminal-settings",
            Permission.ADMIN,
            change_settings,
            "Change what holds for sessions that begin from now on",
            "change_terminal_settings",
            answer=TerminalSettings,
            body=TerminalSettingsChange,
            needs_step_up=True,
            tag="terminals",
            errors=("invalid",),
        ),
    ]
