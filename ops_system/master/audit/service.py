"""Writes and checks the audit log.

Every feature calls `record` inside the transaction of the act: an act whose row cannot be written does not happen.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from ops_system.master.audit import store
from ops_system.master.audit.rules import (
    GENESIS,
    AuditQuery,
    AuditRow,
    Entry,
    Verdict,
    check_links,
    link,
    spell_details,
)
from ops_system.master.web.route import Page, Principal
from ops_system.model.errors import OpsError
from ops_system.model.stamps import to_ms
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Transaction

_CHUNK = 1000


class Audit:
    """The one log."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def record(  # noqa: PLR0917 - who did what to which: every caller gives them in this order
        self,
        tx: Transaction,
        actor: Principal,
        action: str,
        target: str,
        outcome: str = "done",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a row inside `tx`. `action` is `noun.verb`, `target` `kind:id`, `outcome` done, denied or failed.

        Secrets in `details` are hidden by the names of their fields and by their shape.
        """
        seq, previous = await store.find_last(tx)
        entry = Entry(
            seq=seq + 1,
            at_ms=to_ms(self._clock.now()),
            actor_kind=actor.kind,
            actor_id=actor.id,
            actor_name=actor.name,
            action=action,
            target=target,
            outcome=outcome,
            details=spell_details(details or {}),
        )
        await store.append(tx, entry, link(previous, entry))

    async def record_alone(
        self, actor: Principal, action: str, target: str, outcome: str, details: Mapping[str, Any] | None = None
    ) -> None:
        """Add a row in a transaction of its own: for what changed nothing else, such as a denied attempt."""
        async with self._database.transaction() as tx:
            await self.record(tx, actor, action, target, outcome, details)

    async def record_denied(self, actor: Principal, action: str, target: str, error: OpsError) -> None:
        """Record an attempt that was refused; the web floor's hook."""
        await self.record_alone(actor, action, target, "denied", {"reason": error.code, **error.details})

    async def list_page(self, query: AuditQuery) -> Page[AuditRow]:
        """Return one page, newest first unless sorted otherwise."""
        items, total = await store.list_page(self._database, query)
        return Page(items=items, total=total)

    async def verify(self) -> Verdict:
        """Follow the whole chain; new rows may be added meanwhile."""
        previous, seq, rows = GENESIS, 0, 0
        while chunk := await store.list_chain(self._database, seq, _CHUNK):
            previous, first_bad = await asyncio.to_thread(check_links, previous, seq, chunk)
            if first_bad is not None:
                return Verdict(ok=False, rows=rows + len(chunk), first_bad=first_bad)
            rows += len(chunk)
            seq = chunk[-1][0].seq
        return Verdict(ok=True, rows=rows, first_bad=None)
