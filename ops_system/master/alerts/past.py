"""What nodes and instances were in the past, as their timelines tell. Used by `trials`."""

from typing import Protocol

from ops_system.master.instances.views import TimelineEvent
from ops_system.master.nodes.notes import NodeEvent, NodeEventQuery, NoteKind
from ops_system.master.web.route import ListQuery, Page
from ops_system.model.alerts import ConditionKind
from ops_system.model.errors import NotFound

MOST = 5000  # lines of one timeline: all of it

Words = list[tuple[float, str]]
"""From when on (Unix seconds) it was so, oldest first."""


class NodeLines(Protocol):
    """The timelines of nodes."""

    async def list_page(self, node_id: str, query: NodeEventQuery) -> Page[NodeEvent]:
        """Return one page. Raises `NotFound`."""
        ...


class InstanceLines(Protocol):
    """The timelines of instances."""

    async def list_events(self, instance_id: str, query: ListQuery) -> Page[TimelineEvent]:
        """Return one page. Raises `NotFound`."""
        ...


class Past:
    """What was, by subject."""

    def __init__(self, nodes: NodeLines, instances: InstanceLines) -> None:
        self._nodes = nodes
        self._instances = instances

    async def statuses(self, node_id: str) -> Words:
        """Return the statuses of a node; nothing for one that is gone."""
        try:
            page = await self._nodes.list_page(node_id, NodeEventQuery(limit=MOST, sort="at", kind=NoteKind.STATUS))
        except NotFound:
            return []
        return [(event.at.timestamp(), event.status) for event in page.items if event.status is not None]

    async def states(self, instance_id: str, kind: ConditionKind) -> Words:
        """Return the states of an instance, or its healths; nothing for one that is gone."""
        try:
            page = await self._instances.list_events(instance_id, ListQuery(limit=MOST, sort="at"))
        except NotFound:
            return []
        is_health = kind is ConditionKind.INSTANCE_HEALTH
        return [(event.at.timestamp(), event.health if is_health else event.state) for event in page.items]
