"""The master's numbers about its features and its fleet, for `/metrics` in Prometheus' names."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from ops_system.master.channels.rules import DeliveryState
from ops_system.master.channels.service import Channels
from ops_system.master.instances.service import Instances
from ops_system.master.instances.views import Instance
from ops_system.master.metrics.history import History
from ops_system.master.metrics.service import CURRENT_FOR_S, MetricsBook
from ops_system.master.nodes.links import Links
from ops_system.master.nodes.service import Nodes
from ops_system.master.web.route import Principal
from ops_system.model.exposition import HELP, Family, Row, name_extra, render
from ops_system.model.ids import NodeId
from ops_system.model.metrics import INSTANCE_SERIES, NODE_SERIES
from ops_system.model.nodes import NodeStatus

Values = Mapping[str, float]


def node_gauges(nodes: Nodes, links: Links, metrics: MetricsBook, history: History) -> dict[str, float]:
    """Return nodes by status, live links, and what the metric windows and files hold and lost."""
    counts = nodes.count_statuses()
    by_status = {f'ops_nodes{{status="{status}"}}': float(counts[status]) for status in NodeStatus}
    return by_status | {
        "ops_node_links": float(len(links.linked())),
        "ops_metrics_window_bytes": float(metrics.used_bytes),
        "ops_metrics_refused_values_total": float(metrics.refused_values),
        "ops_metrics_dropped_samples_total": float(metrics.dropped_samples),
        "ops_metrics_history_bytes": float(history.used_bytes),
        "ops_metrics_history_up": float(not history.problem),
        "ops_metrics_history_damaged_files_total": float(history.damaged_files),
    }


def channel_gauges(channels: Channels) -> dict[str, float]:
    """Return how deliveries went since the start: `pending` counts failed attempts that are repeated."""
    name = "ops_channel_deliveries_total"
    return {f'{name}{{state="{state}"}}': float(channels.counts[state]) for state in DeliveryState}


def fleet_text(nodes: Nodes, metrics: MetricsBook, instances: Instances) -> Callable[[Principal], Awaitable[str]]:
    """Return what tells the fleet to one who asks, within their scope; written in a thread, as it may be long."""

    async def tell(principal: Principal) -> str:
        known = {record.id: record.name for record in nodes.list_records(principal)}
        seen = [
            ({"node": node_id, "name": name}, nodes.status(node_id), _current(metrics, f"node:{node_id}"))
            for node_id, name in known.items()
        ]
        views = [view for view in await instances.list_views() if view.node_id in known]
        numbers = [(view, _current(metrics, f"instance:{view.id}")) for view in views]
        return await asyncio.to_thread(lambda: render([*_node_families(seen), *_instance_families(numbers, known)]))

    return tell


def _current(metrics: MetricsBook, subject: str) -> Values:
    found = metrics.newest(subject)
    return found[0] if found is not None and found[1] < CURRENT_FOR_S else {}


def _node_families(seen: Iterable[tuple[Mapping[str, str], NodeStatus, Values]]) -> list[Family]:
    up: list[Row] = []
    rows: dict[str, list[Row]] = {f"ops_node_{name}": [] for name in NODE_SERIES}
    fixed = frozenset(NODE_SERIES)
    for labels, status, values in seen:
        up.append((labels, float(status is NodeStatus.ONLINE)))
        for series, value in values.items():
            name, more = (f"ops_node_{series}", {}) if series in fixed else name_extra(series)
            rows.setdefault(name, []).append(({**labels, **more} if more else labels, value))
    families = [Family(name, HELP.get(name.removeprefix("ops_node_"), ""), found) for name, found in rows.items()]
    return [Family("ops_node_up", "Whether the node is online.", up), *families]


def _instance_families(numbers: list[tuple[Instance, Values]], nodes: Mapping[NodeId, str]) -> list[Family]:
    named = [(_labels_of(view, nodes), view, values) for view, values in numbers]
    states = [({**labels, "state": view.state}, 1.0) for labels, view, _ in named]
    restarts = [(labels, float(view.restarts)) for labels, view, _ in named]
    families = [
        Family("ops_instance_state", "1 for the state an instance is in.", states),
        Family("ops_instance_restarts", "Restarts of an instance so far.", restarts),
    ]
    for name in INSTANCE_SERIES:
        rows = [(labels, values[name]) for labels, _, values in named if name in values]
        families.append(Family(f"ops_instance_{name}", _INSTANCE_HELP.get(name, HELP.get(name, "")), rows))
    return families


def _labels_of(view: Instance, nodes: Mapping[NodeId, str]) -> dict[str, str]:
    return {"instance_id": view.id, "name": view.name, "node": view.node_id, "node_name": nodes[view.node_id]}


_INSTANCE_HELP = {"cpu_percent": "CPU of the whole process tree; 100 is one core."}
