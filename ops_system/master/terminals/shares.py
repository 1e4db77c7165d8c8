"""Shares: a session that people who may see its node may look at by a link, for a time, and never type into."""

import asyncio
import contextlib
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta

from ops_system.master.audit.service import Audit
from ops_system.master.nodes.service import Nodes
from ops_system.master.terminals import store
from ops_system.master.terminals.links import Asker
from ops_system.master.terminals.rules import NewShare, SharedQuery, ShareList, TerminalShare, check_share, check_size
from ops_system.master.web.route import Principal
from ops_system.model.errors import Forbidden, NotFound
from ops_system.model.ids import spell_id
from ops_system.protocol.terminals import OpenTerminal
from ops_system.runtime.clock import Clock
from ops_system.runtime.streams import Stream
from ops_system.storage.database import Database


class Shares:
    """Every method raises `NotFound` for a node out of the actor's scope and for a share that is gone."""

    def __init__(self, *, database: Database, audit: Audit, clock: Clock, nodes: Nodes, links: Asker) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._nodes = nodes
        self._links = links
        self._open: dict[str, set[Stream]] = defaultdict(set)

    async def create(self, node_id: str, session: str, name: str, order: NewShare, actor: Principal) -> TerminalShare:
        """Share a session that runs. Raises `Invalid`."""
        check_share(order)
        now = self._clock.now()
        share = TerminalShare(
            id=spell_id("shr", secrets.token_bytes(10)),
            node_id=self._nodes.get(node_id, actor).id,
            session=session,
            name=name,
            created_at=now,
            created_by=actor.name,
            expires_at=now + timedelta(seconds=order.ttl_s),
        )
        async with self._database.transaction() as tx:
            await store.insert_share(tx, share)
            details = {"session": session, "node": share.node_id, "ttl_s": order.ttl_s}
            await self._audit.record(tx, actor, "terminal.share", f"share:{share.id}", "done", details)
        return share

    async def list_all(self, node_id: str, session: str, actor: Principal) -> ShareList:
        """Return the shares of a session."""
        node = self._nodes.get(node_id, actor)
        return ShareList(await store.list_shares(self._database, node.id, session, self._clock.now()))

    async def get(self, share_id: str, actor: Principal) -> TerminalShare:
        """Return a share that has not expired."""
        share = await store.find_share(self._database, share_id, self._clock.now())
        if share is None:
            raise NotFound(f"there is no share {share_id}; it may have expired", id=share_id)
        self._nodes.get(share.node_id, actor)
        return share

    async def revoke(self, share_id: str, actor: Principal) -> None:
        """End a share and every look through it, at once."""
        share = await self.get(share_id, actor)
        async with self._database.transaction() as tx:
            await store.delete_share(tx, share.id)
            details = {"session": share.session, "node": share.node_id}
            await self._audit.record(tx, actor, "terminal.unshare", f"share:{share.id}", "done", details)
        self._end(share.id, "the share was taken back")

    @contextlib.asynccontextmanager
    async def look(self, share_id: str, query: SharedQuery, actor: Principal) -> AsyncIterator[Stream]:
        """Open a look that cannot type, until the share ends; on record first. Raises `Invalid`, `NodeOffline`."""
        check_size(query.cols, query.rows)
        share = await self.get(share_id, actor)
        details = {"session": share.session, "share": share.id, "read_only": True}
        await self._audit.record_alone(actor, "terminal.open", f"node:{share.node_id}", "begun", details)
        body = OpenTerminal(
            session=share.session, cols=query.cols, rows=query.rows, is_read_only=True, asked_by=actor.name
        )
        stream = self._links.open_stream(share.node_id, "terminal", body)
        left_s = (share.expires_at - self._clock.now()).total_seconds()
        timer = asyncio.get_running_loop().call_later(left_s, self._end, share.id, "the share has expired")
        self._open[share.id].add(stream)
        try:
            yield stream
        finally:
            timer.cancel()
            self._open[share.id].discard(stream)
            if not self._open[share.id]:
                del self._open[share.id]

    def _end(self, share_id: str, why: str) -> None:
        for stream in list(self._open.get(share_id, ())):
            stream.end(Forbidden(why))
