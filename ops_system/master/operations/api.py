"""HTTP of operations: parse, call, answer."""

from ops_system.master.operations.lines import OperationLine
from ops_system.master.operations.rules import OperationQuery
from ops_system.master.operations.service import Operations
from ops_system.master.web.route import Call, Handler, ListQuery, Page, Permission, Route
from ops_system.model.operations import Operation


def routes(service: Operations) -> list[Route]:
    """Return the routes of `/operations`."""

    async def list_operations(call: Call) -> Page[Operation]:
        return await service.list_page(call.query, call.principal)

    async def get_operation(call: Call) -> Operation:
        return await service.get(call.params["id"], call.principal)

    async def list_operation_log(call: Call) -> Page[OperationLine]:
        return await service.list_log(call.params["id"], call.query, call.principal)

    async def cancel_operation(call: Call) -> Operation:
        return await service.cancel(call.params["id"], call.principal)

    async def retry_operation(call: Call) -> Operation:
        return await service.retry(call.params["id"], call.principal)

    async def pause_operation(call: Call) -> Operation:
        return await service.pause(call.params["id"], call.principal)

    async def resume_operation(call: Call) -> Operation:
        return await service.resume(call.params["id"], call.principal)

    def act(name: str, handler: Handler, summary: str, status: int = 200) -> Route:
        return Route(
            "POST",
            f"/operations/{{id}}/{name}",
            Permission.OPERATE,
            handler,
            summary,
            f"{name}_operation",
            answer=Operation,
            status=status,
            tag="operations",
            errors=("not_found", "not_allowed"),
        )

    return [
        Route(
            "GET",
            "/operations",
            Permission.VIEW,
            list_operations,
            "List operations, the newest first",
            "list_operations",
            answer=Page[Operation],
            query=OperationQuery,
            tag="operations",
        ),
        Route(
            "GET",
            "/operations/{id}",
            Permission.VIEW,
            get_operation,
            "Show one operation with steps, targets and progress",
            "get_operation",
            answer=Operation,
            tag="operations",
            errors=("not_found",),
        ),
        Route(
            "GET",
            "/operations/{id}/log",
            Permission.VIEW,
            list_operation_log,
            "What happened to an operation and its targets, the newest first; at most 2 000 lines are kept",
            "list_operation_log",
            answer=Page[OperationLine],
            query=ListQuery,
            tag="operations",
            errors=("not_found",),
        ),
        act("cancel", cancel_operation, "Cancel: what has not begun does not begin; a deploy or start is taken back"),
        act("retry", retry_operation, "Do the failed or cancelled targets again, as a new operation", 202),
        act("pause", pause_operation, "Begin nothing new (refused for kinds whose parts go out together)"),
        act("resume", resume_operation, "Resume a paused operation"),
    ]
