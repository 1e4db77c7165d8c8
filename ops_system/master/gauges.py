"""The master's numbers about its features and its fleet, for `/metrics` in Prometheus' names."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache

from ops_system.master.channels.rules import DeliveryState
from ops_system.master.channels.service import Channels
from ops_system.master.instances.service import Instances
from ops_system.master.instances.views import Instance
from ops_system.master.metrics.history import History
from ops_system.master.metrics.service import CURRENT_FOR_S, MetricsBook
from ops_system.master.nodes.links import Links
from ops_system.master.nodes.service import Nodes
from ops_system.master.web.route import Principal
from ops_system.model.exposition import HELP, Sheet, name_extra, write_labels
from ops_system.model.ids import NodeId
from ops_system.model.metrics import INSTANCE_SERIES, NODE_SERIES
from ops_system.model.nodes import NodeStatus

Values = Mapping[str, float]

SUBJECTS_AT_ONCE = 25  # about 0.5 ms
LINES_AT_ONCE = 1000


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


def fleet_text(nodes: Nodes, metrics: MetricsBook, instances: Instances) -> Callable[[Principal], AsyncIterator[str]]:
    """Return what tells the fleet to one who asks, within their scope; in pieces, between which others run."""

    async def tell(principal: Principal) -> AsyncIterator[str]:
        sheet = Sheet(_help_of)
        known = {record.id: record.name for record in nodes.list_records(principal)}
        for number, (node_id, name) in enumerate(known.items()):
            _put_node(
                sheet, {"node": node_id, "name": name}, nodes.status(node_id), _current(metrics, f"node:{node_id}")
            )
            await _let_others_run(number)
        for number, view in enumerate(await instances.list_views()):
            if view.node_id in known:
                _put_instance(sheet, _labels_of(view, known), view, _current(metrics, f"instance:{view.id}"))
            await _let_others_run(number)
        for piece in sheet.pieces(LINES_AT_ONCE):
            yield piece
            await asyncio.sleep(0)

    return tell


async def _let_others_run(number: int) -> None:
    if number % SUBJECTS_AT_ONCE == SUBJECTS_AT_ONCE - 1:
        await asyncio.sleep(0)


def _current(metrics: MetricsBook, subject: str) -> Values:
    found = metrics.newest(subject)
    return found[0] if found is not None and found[1] < CURRENT_FOR_S else {}


def _put_node(sheet: Sheet, labels: Mapping[str, str], status: NodeStatus, values: Values) -> None:
    text = write_labels(labels)
    sheet.put("ops_node_up", text, float(status is NodeStatus.ONLINE))
    for series, value in values.items():
        if series in _FIXED:
            sheet.put(_FIXED[series], text, value)
        else:
            name, more = _name_extra(series)
            sheet.put(name, f"{text[:-1]},{more}", value)


@lru_cache(maxsize=4096)
def _name_extra(series: str) -> tuple[str, str]:
    """Return the name and the labels that come behind those of the node."""
    name, labels = name_extra(series)
    return name, write_labels(labels)[1:]


def _put_instance(sheet: Sheet, labels: Mapping[str, str], view: Instance, values: Values) -> None:
    text = write_labels(labels)
    sheet.put("ops_instance_state", write_labels({**labels, "state": view.state}), 1.0)
    sheet.put("ops_instance_restarts", text, float(view.restarts))
    for series in INSTANCE_SERIES:
        if series in values:
            sheet.put(f"ops_instance_{series}", text, values[series])


def _help_of(name: str) -> str:
    series = name.removeprefix("ops_node_").removeprefix("ops_instance_")
    return _HELP.get(name) or HELP.get(series, "")


def _labels_of(view: Instance, nodes: Mapping[NodeId, str]) -> dict[str, str]:
    return {"instance_id": view.id, "name": view.name, "node": view.node_id, "node_name": nodes[view.node_id]}


_FIXED = {series: f"ops_node_{series}" for series in NODE_SERIES}
_HELP = {
    "ops_instance_cpu_percent": "CPU of the whole process tree; 100 is one core.",
    "ops_instance_restarts": "Restarts of an instance so far.",
    "ops_instance_state": "1 for the state an instance is in.",
    "ops_node_up": "Whether the node is online.",
}
