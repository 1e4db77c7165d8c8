"""The master's numbers about its features, for `/metrics` in Prometheus' names."""

from collections import Counter

from ops_system.master.metrics.service import MetricsBook
from ops_system.master.nodes.links import Links
from ops_system.master.nodes.service import Nodes
from ops_system.model.nodes import NodeStatus


def node_gauges(nodes: Nodes, links: Links, metrics: MetricsBook) -> dict[str, float]:
    """Return nodes by status, live links, and what the metric windows hold and lost."""
    counts = Counter(node.status for node in nodes.list_all())
    by_status = {f'ops_nodes{{status="{status}"}}': float(counts[status]) for status in NodeStatus}
    return by_status | {
        "ops_node_links": float(len(links.linked())),
        "ops_metrics_window_bytes": float(metrics.used_bytes),
        "ops_metrics_dropped_samples_total": float(metrics.dropped_samples),
    }
