"""The topics of `/live` (contract section 4): which feature answers for which, and what a first look shows."""

from collections.abc import Callable, Iterable
from typing import Any

from ops_system.master.alerts.service import Alerts
from ops_system.master.commands.service import Commands
from ops_system.master.instances.service import Instances
from ops_system.master.live.hub import Hub
from ops_system.master.live.rules import Topic, shape_fleet, shape_series
from ops_system.master.metrics.rules import MetricsQuery
from ops_system.master.metrics.service import MetricsBook
from ops_system.master.nodes import timeline as node_timeline
from ops_system.master.nodes.notes import NodeEventQuery
from ops_system.master.nodes.rules import is_in_scope
from ops_system.master.nodes.scope import reaches
from ops_system.master.nodes.service import Nodes
from ops_system.master.operations.rules import OperationQuery
from ops_system.master.operations.service import Operations
from ops_system.master.packages.rules import PackageQuery, PackageUser
from ops_system.master.packages.service import Packages
from ops_system.master.provisioning.mirror import Mirror
from ops_system.master.provisioning.rules import is_seen as is_machine_seen
from ops_system.master.provisioning.rules import sees_idc as sees_whole_idc
from ops_system.master.schedules.service import TOPIC as SCHEDULES
from ops_system.master.schedules.service import Schedules
from ops_system.master.systems.service import Systems
from ops_system.master.web.decode import MAX_PAGE
from ops_system.master.web.route import ListQuery, Permission, Principal
from ops_system.model.ids import InstanceId, NodeId

RECENT = 100  # ended operations, and lines of a timeline, that a first look shows
METRICS_INTERVAL_S = 1.0
TASKS_INTERVAL_S = 0.25  # thousands of machines tell their progress: a page shows the newest of each

Snapshot = Iterable[tuple[str, Any]]


class Sight:
    """What a principal with a scope sees. `node_of` knows where an instance is."""

    def __init__(self, nodes: Nodes, node_of: Callable[[InstanceId], NodeId | None]) -> None:
        self._nodes = nodes
        self._node_of = node_of

    def sees(self, principal: Principal, key: str) -> bool:
        """Whether `node:ID` or `instance:ID` lies within the scope."""
        kind, _, object_id = key.partition(":")
        is_node = kind == "node"
        return reaches(self._nodes, principal.scope, object_id) if is_node else self.sees_instance(principal, object_id)

    def sees_instance(self, principal: Principal, instance_id: str) -> bool:
        """Whether an instance lies within the scope."""
        return reaches(self._nodes, principal.scope, self._node_of(InstanceId(instance_id)) or "")


def sees_user(sight: Sight, systems: Systems, principal: Principal, user: PackageUser) -> bool:
    """Whether a principal may be told that this module, instance or rollout uses a package."""
    if user.kind == "instance":
        return sight.sees_instance(principal, user.id)
    return systems.sees_module(principal, user.id)


def register_nodes(hub: Hub, nodes: Nodes) -> None:
    """`nodes`, narrowed to the labels of a principal with a scope."""

    async def show(_name: str, principal: Principal) -> Snapshot:
        return [(node.id, node) for node in nodes.list_all(principal)]

    def is_visible(principal: Principal, _name: str, key: str) -> bool:
        record = nodes.find(key)
        return record is not None and is_in_scope(record.labels, principal.scope)

    hub.register(Topic("nodes", Permission.VIEW, show, is_visible=is_visible))


def register_node_events(hub: Hub, timeline: node_timeline.NodeTimeline, nodes: Nodes) -> None:
    """`events:node:ID`, the newest lines of one timeline."""
    prefix = node_timeline.TOPIC

    async def show(name: str, principal: Principal) -> Snapshot:
        page = await timeline.list_page(name.removeprefix(prefix), NodeEventQuery(limit=RECENT), principal)
        return [(str(line.id), line) for line in page.items]

    def is_visible(principal: Principal, name: str, _key: str) -> bool:
        return reaches(nodes, principal.scope, name.removeprefix(prefix))

    hub.register(Topic(prefix, Permission.VIEW, show, is_visible=is_visible))


def register_definitions(hub: Hub, packages: Packages, systems: Systems) -> None:
    """`packages`, `systems`, `modules`."""
    _register_packages(hub, packages)
    _register_systems(hub, systems)


def _register_packages(hub: Hub, packages: Packages) -> None:
    async def show_packages(_name: str, _principal: Principal) -> Snapshot:
        found: list[tuple[str, Any]] = []
        while True:
            page = await packages.list_page(PackageQuery(limit=MAX_PAGE, offset=len(found)))
            found += [(f"{item.name}/{item.version}", item) for item in page.items]
            if len(page.items) < MAX_PAGE:
                return found

    def is_visible(_principal: Principal, _name: str, _key: str) -> bool:
        return True  # packages belong to no node

    hub.register(Topic("packages", Permission.VIEW, show_packages, is_visible=is_visible))


def _register_systems(hub: Hub, systems: Systems) -> None:
    async def show_systems(_name: str, principal: Principal) -> Snapshot:
        found: list[tuple[str, Any]] = []
        while True:
            page = await systems.list_systems(ListQuery(limit=MAX_PAGE, offset=len(found)), principal)
            found += [(item.id, item) for item in page.items]
            if len(page.items) < MAX_PAGE:
                return found

    async def show_modules(name: str, principal: Principal) -> Snapshot:
        owners = [key for key, _ in await show_systems(name, principal)]
        return [(module.id, module) for owner in owners for module in await systems.list_modules(owner)]

    def is_system_visible(principal: Principal, _name: str, key: str) -> bool:
        return systems.sees_system(principal, key)

    def is_module_visible(principal: Principal, _name: str, key: str) -> bool:
        return systems.sees_module(principal, key)

    hub.register(Topic("systems", Permission.VIEW, show_systems, is_visible=is_system_visible))
    hub.register(Topic("modules", Permission.VIEW, show_modules, is_visible=is_module_visible))


def register_operations(hub: Hub, operations: Operations) -> None:
    """`operations`: what has not ended, and what ended last."""

    async def show(_name: str, principal: Principal) -> Snapshot:
        recent = await operations.list_page(OperationQuery(limit=RECENT), principal)
        both = {item.id: item for item in (*recent.items, *operations.list_open())}
        return [(str(key), item) for key, item in both.items()]

    def is_visible(principal: Principal, _name: str, key: str) -> bool:
        return operations.is_visible(key, principal)

    hub.register(Topic("operations", Permission.VIEW, show, is_visible=is_visible))


def register_provisioning(hub: Hub, mirror: Mirror) -> None:
    """Installations and machines: of a whole data centre, one by one for what a page shows, and the counts."""
    _register_places(hub, mirror)
    _register_single(hub, mirror)


def _register_single(hub: Hub, mirror: Mirror) -> None:
    """`task:{idc}/{sn}` (without its log) and `machine:{idc}/{sn}`."""

    def sees(principal: Principal, _name: str, key: str) -> bool:
        return is_machine_seen(principal.scope, *_key_of(key))

    async def show_task(name: str, principal: Principal) -> Snapshot:
        key = name.removeprefix("task:")
        row = mirror.tasks.get(_key_of(key))
        return [(key, row)] if row is not None and sees(principal, name, key) else []

    async def show_machine(name: str, principal: Principal) -> Snapshot:
        key = name.removeprefix("machine:")
        view = mirror.machine_view(_key_of(key))
        return [(key, view)] if view is not None and sees(principal, name, key) else []

    hub.register(Topic("task:", Permission.VIEW, show_task, is_visible=sees, interval_s=TASKS_INTERVAL_S))
    hub.register(Topic("machine:", Permission.VIEW, show_machine, is_visible=sees, interval_s=TASKS_INTERVAL_S))


def _key_of(name: str) -> tuple[str, str]:
    idc, _, sn = name.partition("/")
    return idc, sn


def _register_places(hub: Hub, mirror: Mirror) -> None:
    """`tasks:{idc}` (without logs), `machines:{idc}`, `stats`, and `idcs`, which names those to be read again."""

    def sees(principal: Principal, name: str, key: str) -> bool:
        return is_machine_seen(principal.scope, name.partition(":")[2], key.rpartition("/")[2])

    async def show_tasks(name: str, principal: Principal) -> Snapshot:
        idc = name.removeprefix("tasks:")
        rows = [row for (where, _), row in mirror.tasks.items() if where == idc]
        return [(f"{idc}/{row.sn}", row) for row in rows if sees(principal, name, row.sn)]

    async def show_machines(name: str, principal: Principal) -> Snapshot:
        idc = name.removeprefix("machines:")
        keys = [key for key in (*mirror.machines, *mirror.unmatched) if key[0] == idc]
        views = [(f"{idc}/{key[1]}", mirror.machine_view(key)) for key in keys if sees(principal, name, key[1])]
        return [(key, view) for key, view in views if view is not None]

    async def show_idcs(_name: str, principal: Principal) -> Snapshot:
        return [(idc, {"idc": idc}) for idc in mirror.idcs() if principal.scope.get("idc", idc) == idc]

    async def show_stats(_name: str, principal: Principal) -> Snapshot:
        return [(idc, mirror.stats(idc)) for idc in mirror.idcs() if counts_seen(principal, "", idc)]

    def sees_idc(principal: Principal, _name: str, key: str) -> bool:
        return principal.scope.get("idc", key) == key

    def counts_seen(principal: Principal, _name: str, key: str) -> bool:
        return sees_whole_idc(principal.scope, key)

    hub.register(Topic("stats", Permission.VIEW, show_stats, is_visible=counts_seen, interval_s=TASKS_INTERVAL_S))
    hub.register(Topic("tasks:", Permission.VIEW, show_tasks, is_visible=sees, interval_s=TASKS_INTERVAL_S))
    hub.register(Topic("machines:", Permission.VIEW, show_machines, is_visible=sees, interval_s=TASKS_INTERVAL_S))
    hub.register(Topic("idcs", Permission.VIEW, show_idcs, is_visible=sees_idc, interval_s=TASKS_INTERVAL_S))


def register_commands(hub: Hub, commands: Commands, nodes: Nodes) -> None:
    """`exec:OPERATION`: what each node of a command has said, its last 16 KiB."""

    async def show(name: str, principal: Principal) -> Snapshot:
        found = await commands.get(name.removeprefix("exec:"), principal)
        return [(result.node_id, result) for result in found.results]

    def is_visible(principal: Principal, _name: str, key: str) -> bool:
        return reaches(nodes, principal.scope, key)

    hub.register(Topic("exec:", Permission.EXEC, show, is_visible=is_visible))


def register_instances(hub: Hub, instances: Instances, sight: Sight) -> None:
    """`instances`, and `events:instance:ID`, the newest lines of one timeline."""

    async def show(_name: str, _principal: Principal) -> Snapshot:
        return [(item.id, item) for item in await instances.list_views()]

    async def show_events(name: str, principal: Principal) -> Snapshot:
        instance_id = name.removeprefix("events:instance:")
        page = await instances.list_events(instance_id, ListQuery(limit=RECENT), principal)
        return [(str(line.id), line) for line in page.items]

    def is_visible(principal: Principal, _name: str, key: str) -> bool:
        return sight.sees_instance(principal, key)

    def is_line_visible(principal: Principal, name: str, _key: str) -> bool:
        return sight.sees_instance(principal, name.removeprefix("events:instance:"))

    hub.register(Topic("instances", Permission.VIEW, show, is_visible=is_visible))
    hub.register(Topic("events:instance:", Permission.VIEW, show_events, is_visible=is_line_visible))


def register_alerts(hub: Hub, alerts: Alerts, nodes: Nodes) -> None:
    """`alerts`: what is pending or fires, and what ended last; an alert that ends is shown once more as `resolved`."""

    async def show(_name: str, principal: Principal) -> Snapshot:
        return alerts.snapshot(principal)

    def is_visible(principal: Principal, _name: str, key: str) -> bool:
        node_id = alerts.node_of(key)
        return node_id is not None and reaches(nodes, principal.scope, node_id)

    hub.register(Topic("alerts", Permission.VIEW, show, is_visible=is_visible))


def register_schedules(hub: Hub, schedules: Schedules) -> None:
    """`schedules`: each with its last run."""

    async def show(_name: str, principal: Principal) -> Snapshot:
        return await schedules.snapshot(principal)

    def is_visible(principal: Principal, _name: str, key: str) -> bool:
        return schedules.sees(principal, key)

    hub.register(Topic(SCHEDULES, Permission.VIEW, show, is_visible=is_visible))


def register_metrics(hub: Hub, metrics: MetricsBook, nodes: Nodes, instances: Instances, sight: Sight) -> None:
    """`metrics:fleet`, `metrics:node:ID`, `metrics:instance:ID`: at most once a second each."""

    async def show_fleet(_name: str, _principal: Principal) -> Snapshot:
        return metrics.fleet()

    async def show_node(name: str, principal: Principal) -> Snapshot:
        node = nodes.get(name.removeprefix("metrics:node:"), principal)
        return (await metrics.ask_node(NodeId(node.id), MetricsQuery())).series.items()

    async def show_instance(name: str, principal: Principal) -> Snapshot:
        instance = await instances.get(name.removeprefix("metrics:instance:"), principal)
        return (await metrics.ask_instance(InstanceId(instance.id), MetricsQuery())).series.items()

    def is_dot_visible(principal: Principal, _name: str, key: str) -> bool:
        return sight.sees(principal, key)

    def is_point_visible(principal: Principal, name: str, _key: str) -> bool:
        return sight.sees(principal, name.removeprefix("metrics:"))

    pace = METRICS_INTERVAL_S
    hub.register(Topic("metrics:fleet", Permission.VIEW, show_fleet, shape_fleet, pace, is_dot_visible))
    hub.register(Topic("metrics:node:", Permission.VIEW, show_node, shape_series, pace, is_point_visible))
    hub.register(Topic("metrics:instance:", Permission.VIEW, show_instance, shape_series, pace, is_point_visible))
    metrics.tell(hub.is_watched, hub.put)
