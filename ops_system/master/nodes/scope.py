"""Which nodes a principal with a scope reaches (trust S9). Features above ask here before they show or act.

A scope is a set of labels: a node counts when it carries all of them. An empty scope is no limit.
"""

from collections.abc import Mapping

from ops_system.master.nodes.rules import is_in_scope
from ops_system.master.nodes.service import Nodes
from ops_system.model.ids import NodeId


def reached_nodes(nodes: Nodes, scope: Mapping[str, str]) -> frozenset[NodeId] | None:
    """Return the ids of the nodes a scope reaches; None: every node, also one that is gone."""
    if not scope:
        return None
    return frozenset(node.id for node in nodes.list_all() if is_in_scope(node.labels, scope))


def reaches(nodes: Nodes, scope: Mapping[str, str], node_id: str) -> bool:
    """Whether a scope reaches a node; one that is gone is reached only without a scope."""
    if not scope:
        return True
    record = nodes.find(node_id)
    return record is not None and is_in_scope(record.labels, scope)
