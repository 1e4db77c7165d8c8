"""HTTP of metrics: parse, call, answer."""

from collections.abc import Awaitable, Callable

from ops_system.master.metrics.rules import Metrics, MetricsQuery
from ops_system.master.metrics.service import MetricsBook
from ops_system.master.web.route import Call, Handler, Permission, Principal, Route
from ops_system.model.ids import InstanceId, NodeId

NodeCheck = Callable[[str, Principal], object]
"""Raises `NotFound` for a node that does not exist or that the principal may not see."""

InstanceCheck = Callable[[str, Principal], Awaitable[object]]
"""The same for an instance."""


def routes(book: MetricsBook, check_node: NodeCheck, check_instance: InstanceCheck | None = None) -> list[Route]:
    """Return the routes of metrics. Without `check_instance` an instance is visible where its node is."""

    async def get_node_metrics(call: Call) -> Metrics:
        check_node(call.params["id"], call.principal)
        return await book.ask_node(NodeId(call.params["id"]), call.query)

    async def get_instance_metrics(call: Call) -> Metrics:
        instance_id = InstanceId(call.params["id"])
        if check_instance is not None:
            await check_instance(instance_id, call.principal)
        else:
            check_node(book.node_of(instance_id), call.principal)
        return await book.ask_instance(instance_id, call.query)

    def get(path: str, handler: Handler, summary: str, operation_id: str) -> Route:
        return Route(
            "GET",
            path,
            Permission.VIEW,
            handler,
            summary,
            operation_id,
            answer=Metrics,
            query=MetricsQuery,
            tag="metrics",
            errors=("not_found", "invalid"),
        )

    return [
        get("/nodes/{id}/metrics", get_node_metrics, "Show the metrics of a node", "get_node_metrics"),
        get("/instances/{id}/metrics", get_instance_metrics, "Show the metrics of an instance", "get_instance_metrics"),
    ]
