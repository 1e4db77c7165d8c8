"""The topics of `/live` (contract section 4): which feature answers for which, and what a first look shows."""

from collections.abc import Iterable
from typing import Any

from ops_system.master.instances.service import Instances
from ops_system.master.live.hub import Hub
from ops_system.master.live.rules import Topic, shape_fleet, shape_series
from ops_system.master.metrics.rules import MetricsQuery
from ops_system.master.metrics.service import MetricsBook
from ops_system.master.nodes.rules import is_in_scope
from ops_system.master.nodes.service import Nodes
from ops_system.master.operations.rules import OperationQuery
from ops_system.master.operations.service import Operations
from ops_system.master.packages.rules import PackageQuery
from ops_system.master.packages.service import Packages
from ops_system.master.systems.service import Systems
from ops_system.master.web.decode import MAX_PAGE
from ops_system.master.web.route import ListQuery, Permission, Principal
from ops_system.model.ids import InstanceId, NodeId

RECENT = 100  # ended operations, and lines of a timeline, that a first look shows
METRICS_INTERVAL_S = 1.0

Snapshot = Iterable[tuple[str, Any]]


def register_nodes(hub: Hub, nodes: Nodes) -> None:
    """`nodes`, narrowed to the labels of a principal with a scope."""

    async def show(_name: str, principal: Principal) -> Snapshot:
        return [(node.id, node) for node in nodes.list_all(principal)]

    def is_visible(principal: Principal, _name: str, key: str) -> bool:
        record = nodes.find(key)
        return record is not None and is_in_scope(record.labels, principal.scope)

    hub.register(Topic("nodes", Permission.VIEW, show, is_visible=is_visible))


def register_definitions(hub: Hub, packages: Packages, systems: Systems) -> None:
    """`packages`, `systems`, `modules`."""

    async def show_packages(_name: str, _principal: Principal) -> Snapshot:
        found: list[tuple[str, Any]] = []
        while True:
            page = await packages.list_page(PackageQuery(limit=MAX_PAGE, offset=len(found)))
            found += [(f"{item.name}/{item.version}", item) for item in page.items]
            if len(page.items) < MAX_PAGE:
                return found

    async def show_systems(_name: str, _principal: Principal) -> Snapshot:
        found: list[tuple[str, Any]] = []
        while True:
            page = await systems.list_systems(ListQuery(limit=MAX_PAGE, offset=len(found)))
            found += [(item.id, item) for item in page.items]
            if len(page.items) < MAX_PAGE:
                return found

    async def show_modules(name: str, principal: Principal) -> Snapshot:
        owners = [key for key, _ in await show_systems(name, principal)]
        return [(module.id, module) for owner in owners for module in await systems.list_modules(owner)]

    hub.register(Topic("packages", Permission.VIEW, show_packages))
    hub.register(Topic("systems", Permission.VIEW, show_systems))
    hub.register(Topic("modules", Permission.VIEW, show_modules))


def register_operations(hub: Hub, operations: Operations) -> None:
    """`operations`: what has not ended, and what ended last."""

    async def show(_name: str, _principal: Principal) -> Snapshot:
        recent = await operations.list_page(OperationQuery(limit=RECENT))
        both = {item.id: item for item in (*recent.items, *operations.list_open())}
        return [(str(key), item) for key, item in both.items()]

    hub.register(Topic("operations", Permission.VIEW, show))


def register_instances(hub: Hub, instances: Instances) -> None:
    """`instances`, and `events:instance:ID`, the newest lines of one timeline."""

    async def show(_name: str, _principal: Principal) -> Snapshot:
        return [(item.id, item) for item in await instances.list_views()]

    async def show_events(name: str, _principal: Principal) -> Snapshot:
        page = await instances.list_events(name.removeprefix("events:instance:"), ListQuery(limit=RECENT))
        return [(str(line.id), line) for line in page.items]

    hub.register(Topic("instances", Permission.VIEW, show))
    hub.register(Topic("events:instance:", Permission.VIEW, show_events))


def register_metrics(hub: Hub, metrics: MetricsBook, nodes: Nodes, instances: Instances) -> None:
    """`metrics:fleet`, `metrics:node:ID`, `metrics:instance:ID`: at most once a second each."""

    async def show_fleet(_name: str, _principal: Principal) -> Snapshot:
        return metrics.fleet()

    async def show_node(name: str, principal: Principal) -> Snapshot:
        node = nodes.get(name.removeprefix("metrics:node:"), principal)
        return metrics.query_node(NodeId(node.id), MetricsQuery()).series.items()

    async def show_instance(name: str, _principal: Principal) -> Snapshot:
        instance = await instances.get(name.removeprefix("metrics:instance:"))
        return metrics.query_instance(InstanceId(instance.id), MetricsQuery()).series.items()

    pace = METRICS_INTERVAL_S
    hub.register(Topic("metrics:fleet", Permission.VIEW, show_fleet, shape=shape_fleet, interval_s=pace))
    hub.register(Topic("metrics:node:", Permission.VIEW, show_node, shape=shape_series, interval_s=pace))
    hub.register(Topic("metrics:instance:", Permission.VIEW, show_instance, shape=shape_series, interval_s=pace))
    metrics.tell(hub.is_watched)
