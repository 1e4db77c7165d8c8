"""HTTP of commands: parse, call, answer."""

import msgspec

from ops_system.master.commands.library import Library
from ops_system.master.commands.rules import (
    Command,
    CommandAnswer,
    CommandQuery,
    CommandResult,
    CommandRun,
    CommandRunDetails,
    ManyCommand,
    NewSavedCommand,
    SavedCommand,
)
from ops_system.master.commands.service import Commands
from ops_system.master.web.route import Call, ListQuery, Nothing, Page, Permission, Route
from ops_system.model.operations import Operation

_EXEC = Permission.EXEC


class RunAccepted(msgspec.Struct, frozen=True):
    """The command is on its way; the operation has one target a node."""

    operation: Operation


def routes(service: Commands, library: Library) -> list[Route]:
    """Return the routes of `/nodes/{id}/exec`, `/exec` and `/saved-commands`."""
    return [*_run_routes(service), *_history_routes(service), *_library_routes(library)]


def _run_routes(service: Commands) -> list[Route]:
    async def run_one(call: Call) -> CommandAnswer:
        return await service.run_one(call.params["id"], call.body, call.principal)

    async def run_many(call: Call) -> RunAccepted:
        return RunAccepted(await service.run_many(call.body, call.principal))

    return [
        Route(
            "POST",
            "/nodes/{id}/exec",
            _EXEC,
            run_one,
            "Run a command on a node and wait for its end, at most 60 s",
            "run_command",
            answer=CommandAnswer,
            body=Command,
            needs_step_up=True,
            tag="commands",
            errors=("invalid", "not_found", "node_offline", "rate_limited", "timeout", "unavailable"),
        ),
        Route(
            "POST",
            "/exec",
            _EXEC,
            run_many,
            "Run a command on many nodes, at most an hour, as an operation",
            "run_command_on_many",
            answer=RunAccepted,
            body=ManyCommand,
            status=202,
            needs_step_up=True,
            tag="commands",
            errors=("invalid", "not_found"),
        ),
    ]


def _history_routes(service: Commands) -> list[Route]:
    async def list_runs(call: Call) -> Page[CommandRun]:
        return await service.list_page(call.query, call.principal)

    async def get_run(call: Call) -> CommandRunDetails:
        return await service.get(call.params["id"], call.principal)

    async def get_result(call: Call) -> CommandResult:
        return await service.get_result(call.params["id"], call.params["node_id"], call.principal)

    return [
        Route(
            "GET",
            "/exec",
            _EXEC,
            list_runs,
            "List the commands that ran on many nodes, the newest first",
            "list_command_runs",
            answer=Page[CommandRun],
            query=CommandQuery,
            tag="commands",
            errors=("invalid",),
        ),
        Route(
            "GET",
            "/exec/{id}",
            _EXEC,
            get_run,
            "Show a run with the end of each node's output",
            "get_command_run",
            answer=CommandRunDetails,
            tag="commands",
            errors=("not_found",),
        ),
        Route(
            "GET",
            "/exec/{id}/results/{node_id}",
            _EXEC,
            get_result,
            "Show all that one node said",
            "get_command_result",
            answer=CommandResult,
            tag="commands",
            errors=("not_found",),
        ),
    ]


def _library_routes(library: Library) -> list[Route]:
    async def list_saved(call: Call) -> Page[SavedCommand]:
        return await library.list_page(call.query)

    async def add_saved(call: Call) -> SavedCommand:
        return await library.add(call.body, call.principal)

    async def replace_saved(call: Call) -> SavedCommand:
        return await library.replace(call.params["id"], call.body, call.principal)

    async def remove_saved(call: Call) -> Nothing:
        await library.remove(call.params["id"], call.principal)
        return Nothing()

    return [
        Route(
            "GET",
            "/saved-commands",
            _EXEC,
            list_saved,
            "List the commands kept for later",
            "list_saved_commands",
            answer=Page[SavedCommand],
            query=ListQuery,
            tag="commands",
            errors=("invalid",),
        ),
        Route(
            "POST",
            "/saved-commands",
            _EXEC,
            add_saved,
            "Keep a command for later",
            "add_saved_command",
            answer=SavedCommand,
            body=NewSavedCommand,
            status=201,
            tag="commands",
            errors=("invalid", "conflict", "not_allowed"),
        ),
        Route(
            "PUT",
            "/saved-commands/{id}",
            _EXEC,
            replace_saved,
            "Change a kept command",
            "replace_saved_command",
            answer=SavedCommand,
            body=NewSavedCommand,
            tag="commands",
            errors=("invalid", "not_found", "conflict"),
        ),
        Route(
            "DELETE",
            "/saved-commands/{id}",
            _EXEC,
            remove_saved,
            "Forget a kept command",
            "remove_saved_command",
            tag="commands",
            errors=("not_found",),
        ),
    ]
