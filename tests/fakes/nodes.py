"""The nodes feature on a real database, with a clock that moves only when told and join tokens that are real."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from ops_system.master.audit.service import Audit
from ops_system.master.auth.tokens import JoinTokens
from ops_system.master.auth.views import JoinTokenCreate
from ops_system.master.bus import Bus, Changed
from ops_system.master.nodes.events import NodeLinked, NodeRemoved, NodeStatusChanged, NodeUnlinked
from ops_system.master.nodes.links import Links
from ops_system.master.nodes.rules import MasterFacts
from ops_system.master.nodes.service import Nodes
from ops_system.master.web.route import Permission, Principal, Role
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations
from tests.fakes.clock import FakeClock

ADMIN = Principal("token", "tok_a", "ada", frozenset(Permission), Role.ADMIN)
OPERATOR = Principal("token", "tok_o", "otto", frozenset({Permission.VIEW, Permission.OPERATE}), Role.OPERATOR)
OFFLINE_AFTER_S = 25.0


@dataclass
class Rig:
    """Everything a test of nodes needs."""

    database: Database
    audit: Audit
    bus: Bus
    clock: FakeClock
    join_tokens: JoinTokens
    nodes: Nodes
    links: Links
    certificates: set[bytes]
    events: list[object] = field(default_factory=list)

    async def join_token(self, uses: int = 1, labels: dict[str, str] | None = None) -> tuple[str, str]:
        """Make a join token; return its id and secret."""
        made = await self.join_tokens.create(JoinTokenCreate(uses=uses, labels=labels or {}), ADMIN)
        return made.id, made.token.rsplit(".", 1)[1]


def make_nodes(database: Database, audit: Audit, bus: Bus, clock: FakeClock, tokens: JoinTokens) -> Nodes:
    """Return the service, not yet loaded."""
    return Nodes(
        database=database,
        audit=audit,
        bus=bus,
        clock=clock,
        join_tokens=tokens,
        facts=MasterFacts("CA PEM", "c2lnbmluZyBrZXk=", 7),
        offline_after_s=OFFLINE_AFTER_S,
    )


@contextlib.asynccontextmanager
async def nodes_rig(folder: Path) -> AsyncIterator[Rig]:
    """Open a database in `folder` and build the feature on it."""
    data = DataFolder(folder)
    data.create()
    database = await Database.open(data, load_migrations("ops_system.master"))
    clock, bus = FakeClock(), Bus()
    audit = Audit(database, clock)
    tokens = JoinTokens(database, audit, clock, ca_key_sha256="ab" * 32, master_url=lambda: "https://m:8443")
    nodes = make_nodes(database, audit, bus, clock, tokens)
    certificates: set[bytes] = set()
    links = Links(nodes, audit, bus, clock, is_own_certificate=certificates.__contains__)
    rig = Rig(database, audit, bus, clock, tokens, nodes, links, certificates)
    for event_type in (NodeLinked, NodeUnlinked, NodeStatusChanged, NodeRemoved, Changed):
        bus.subscribe(event_type, rig.events.append)
    await nodes.load()
    try:
        yield rig
    finally:
        await database.close()
