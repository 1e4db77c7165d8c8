"""Opening, listing and ending terminals on nodes (trust S9, S10, S12, S17, S20).

Of a look nothing is stored but the audit trail.

The shells live on the workers; a master that restarts loses the bridges, not the sessions.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.nodes.service import Nodes
from ops_system.master.terminals.links import Asker
from ops_system.master.terminals.recordings import Recordings, Wanted
from ops_system.master.terminals.rules import (
    MAX_PER_PERSON,
    NewShare,
    TerminalList,
    TerminalQuery,
    TerminalSession,
    TerminalShare,
    check_name,
    check_query,
)
from ops_system.master.terminals.shares import Shares
from ops_system.master.web.route import Principal
from ops_system.model.errors import NotFound, RateLimited
from ops_system.protocol.terminals import (
    CloseTerminal,
    ListTerminals,
    NameTerminal,
    OpenTerminal,
    TerminalReady,
    Terminals,
)
from ops_system.runtime.streams import Stream

ANSWER_WITHIN_S = 10.0


class TerminalDesk:
    """Every method raises `NotFound` (node, session), `NodeOffline`, `TimedOut`, `Forbidden` (the node's policy)."""

    def __init__(self, *, nodes: Nodes, links: Asker, audit: Audit, recordings: Recordings, shares: Shares) -> None:
        self._nodes = nodes
        self._links = links
        self._audit = audit
        self.recordings = recordings
        self.shares = shares
        self._looking: Counter[str] = Counter()

    async def list_all(self, node_id: str, actor: Principal) -> TerminalList:
        """Return the sessions that run on a node."""
        node = self._nodes.get(node_id, actor)
        return _show(node.id, await self._ask(node.id, "terminals.list", ListTerminals()))

    async def name(self, node_id: str, session_id: str, name: str, actor: Principal) -> TerminalList:
        """Give a session another name. Raises `Invalid`."""
        check_name(name)
        node = self._nodes.get(node_id, actor)
        return _show(node.id, await self._ask(node.id, "terminals.name", NameTerminal(session_id, name)))

    async def end(self, node_id: str, session_id: str, actor: Principal) -> TerminalList:
        """End a session and all it started; on record first."""
        node = self._nodes.get(node_id, actor)
        await self._audit.record_alone(actor, "terminal.end", f"node:{node.id}", "done", {"session": session_id})
        return _show(node.id, await self._ask(node.id, "terminals.close", CloseTerminal(session_id)))

    async def _ask(self, node_id: str, kind: str, body: msgspec.Struct) -> Terminals:
        return await self._links.request(node_id, kind, body, Terminals, ANSWER_WITHIN_S)

    # --- looking --------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def place(self, actor: Principal) -> Iterator[None]:
        """Hold one of a person's places. Raises `RateLimited` when all are taken."""
        if self._looking[actor.id] >= MAX_PER_PERSON:
            raise RateLimited(f"{actor.name} looks at {MAX_PER_PERSON} terminals already; close one")
        self._looking[actor.id] += 1
        try:
            yield
        finally:
            self._looking[actor.id] -= 1
            self._looking += Counter()  # forget those at zero

    async def open(self, node_id: str, query: TerminalQuery, actor: Principal) -> Stream:
        """Open the stream to a new or running session, once that is on record. Raises `Invalid`."""
        check_query(query)
        node = self._nodes.get(node_id, actor)
        if query.session:
            await self._find(node_id, query.session, actor)
        settings = await self.recordings.settings()
        details = {"session": query.session, "user": query.user, "read_only": query.read_only}
        await self._audit.record_alone(actor, "terminal.open", f"node:{node.id}", "begun", details)
        body = OpenTerminal(
            session=query.session,
            cols=query.cols,
            rows=query.rows,
            user=query.user,
            name=query.name,
            is_read_only=query.read_only,
            asked_by=actor.name,
            is_recorded=(query.record or settings.always_record) and not query.session,
            idle_limit_s=settings.idle_limit_s,
        )
        return self._links.open_stream(node.id, "terminal", body)

    async def _find(self, node_id: str, session: str, actor: Principal) -> TerminalSession:
        known = await self.list_all(node_id, actor)
        found = next((item for item in known.items if item.id == session), None)
        if found is None:
            raise NotFound(f"the node has no terminal {session}; it may have ended", id=session)
        return found

    def note_ready(self, node_id: str, query: TerminalQuery, actor: Principal, ready: TerminalReady) -> None:
        """The session has been found: one that is to be recorded is recorded from now on."""
        if ready.record:
            wanted = Wanted(node_id, ready.session, ready.name, ready.user, actor, is_new=not query.session)
            self.recordings.ensure(wanted)

    async def share(self, node_id: str, session: str, order: NewShare, actor: Principal) -> TerminalShare:
        """Let others look at a session that runs. Raises `Invalid`."""
        known = await self._find(node_id, session, actor)
        return await self.shares.create(known.node_id, session, known.name, order, actor)

    async def note_end(self, node_id: str, actor: Principal, details: dict[str, object]) -> None:
        """Put on record that somebody looks no more."""
        outcome = "denied" if details.get("code") == "forbidden" else "done"
        await self._audit.record_alone(actor, "terminal.leave", f"node:{node_id}", outcome, details)


def _show(node_id: str, found: Terminals) -> TerminalList:
    return TerminalList([TerminalSession(node_id=node_id, **msgspec.structs.asdict(item)) for item in found.items])
