"""What happened to each node, kept for people to read. Acts are proven by the audit; this is the story around them.

Notes come over the bus, wait in memory for a moment, and are written many at a time, so that 500 workers that come
back at once cost one commit. While the disk is full they wait; beyond `MAX_WAITING` the oldest are dropped and counted.
"""

import asyncio
import logging
from collections import deque

from ops_system.master.bus import Bus, Changed
from ops_system.master.nodes import store
from ops_system.master.nodes.notes import NodeEvent, NodeEventQuery, NodeNoted, line_of
from ops_system.master.nodes.service import Nodes
from ops_system.master.web.route import Page, Principal
from ops_system.model.errors import StorageFull, Unavailable
from ops_system.storage.database import Database

_log = logging.getLogger(__name__)

TOPIC = "events:node:"
MAX_WAITING = 10_000
AT_ONCE = 200
RETRY_WRITE_S = 5.0


class NodeTimeline:
    """The keeper of all timelines of nodes."""

    def __init__(self, *, database: Database, bus: Bus, nodes: Nodes, retry_write_s: float = RETRY_WRITE_S) -> None:
        self._database = database
        self._bus = bus
        self._nodes = nodes
        self._retry_write_s = retry_write_s
        self._waiting: deque[NodeNoted] = deque()
        self._wake = asyncio.Event()
        self.dropped = 0
        bus.subscribe(NodeNoted, self._take)

    async def run(self) -> None:
        """Write what was noted, until cancelled."""
        while True:
            await self._wake.wait()
            try:
                await self.write_waiting()
            except (StorageFull, Unavailable) as problem:
                _log.warning("%d lines of nodes' timelines wait: %s", len(self._waiting), problem.message)
                await asyncio.sleep(self._retry_write_s)

    async def write_waiting(self) -> None:
        """Write all that waits and tell the viewers. Raises `StorageFull`, `Unavailable`; nothing is lost then."""
        self._wake.clear()
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            try:
                async with self._database.transaction() as tx:
                    added = await store.add_events(tx, batch)
            except BaseException:
                self._waiting.extendleft(reversed(batch))
                self._wake.set()
                raise
            for event_id, note in added:
                self._bus.publish(Changed(f"{TOPIC}{note.node_id}", str(event_id), line_of(event_id, note)))

    async def list_page(
        self, node_id: str, query: NodeEventQuery, principal: Principal | None = None
    ) -> Page[NodeEvent]:
        """Return one page, the newest first unless `sort=at`. Raises `NotFound`, also beyond the scope; `Invalid`."""
        node = self._nodes.get(node_id, principal)
        items, total = await store.list_events(self._database, node.id, query)
        return Page(items=items, total=total)

    def _take(self, note: NodeNoted) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(note)
        self._wake.set()
