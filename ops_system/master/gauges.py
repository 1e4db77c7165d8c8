"""The master's numbers about its features, for `/metrics` in Prometheus' names."""

from ops_system.master.channels.rules import DeliveryState
from ops_system.master.channels.service import Channels
from ops_system.master.metrics.service import MetricsBook
from ops_system.master.nodes.links import Links
from ops_system.master.nodes.service import Nodes
from ops_system.model.nodes import NodeStatus


def node_gauges(nodes: Nodes, links: Links, metrics: MetricsBook) -> dict[str, float]:
    """Return nodes by status, live links, and what the metric windows hold and lost."""
    counts = nodes.count_statuses()
    by_status = {f'ops_nodes{{status="{status}"}}': float(counts[status]) for status in NodeStatus}
    return by_status | {
        "ops_node_links": float(len(links.linked())),
        "ops_metrics_window_bytes": float(metrics.used_bytes),
        "ops_metrics_dropped_samples_total": float(metrics.dropped_samples),
    }


def channel_gauges(channels: Channels) -> dict[str, float]:
    """Return how deliveries went since the start: `pending` counts failed attempts that are repeated."""
    name = "ops_channel_deliveries_total"
    return {f'{name}{{state="{state}"}}': float(channels.counts[state]) for state in DeliveryState}
