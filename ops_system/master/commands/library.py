"""Commands kept for later, by name. Used by `api`."""

import secrets

from ops_system.master.audit.service import Audit
from ops_system.master.commands import store
from ops_system.master.commands.rules import MAX_SAVED, NewSavedCommand, SavedCommand, check_saved
from ops_system.master.web.route import ListQuery, Page, Principal
from ops_system.model.errors import Conflict, NotAllowed, NotFound
from ops_system.model.ids import spell_id
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Queries


class Library:
    """The one shelf of commands."""

    def __init__(self, *, database: Database, audit: Audit, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    async def list_page(self, query: ListQuery) -> Page[SavedCommand]:
        """Return one page."""
        items, total = await store.list_saved(self._database, query)
        return Page(items=items, total=total)

    async def get(self, saved_id: str) -> SavedCommand:
        """Return one. Raises `NotFound`."""
        return await _find(self._database, saved_id)

    async def add(self, order: NewSavedCommand, actor: Principal) -> SavedCommand:
        """Keep a command. Raises `Invalid`, `Conflict` when the name is taken, `NotAllowed` when the shelf is full."""
        check_saved(order)
        saved = self._spell(spell_id("cmd", secrets.token_bytes(10)), order, actor)
        async with self._database.transaction() as tx:
            if await store.find_saved_by_name(tx, order.name) is not None:
                raise Conflict(f"a command named {order.name!r} is kept already", name=order.name)
            if await store.count_saved(tx) >= MAX_SAVED:
                raise NotAllowed(f"{MAX_SAVED} commands are kept already; forget one first", limit=MAX_SAVED)
            await store.put_saved(tx, saved, order)
            await self._audit.record(tx, actor, "command.save", f"command:{saved.id}", "done", {"name": saved.name})
        return saved

    async def replace(self, saved_id: str, order: NewSavedCommand, actor: Principal) -> SavedCommand:
        """Write a command anew under its id. Raises `NotFound`, `Invalid`, `Conflict`."""
        check_saved(order)
        saved = self._spell(saved_id, order, actor)
        async with self._database.transaction() as tx:
            await _find(tx, saved_id)
            other = await store.find_saved_by_name(tx, order.name)
            if other is not None and other.id != saved_id:
                raise Conflict(f"a command named {order.name!r} is kept already", name=order.name)
            await store.put_saved(tx, saved, order)
            await self._audit.record(tx, actor, "command.save", f"command:{saved.id}", "done", {"name": saved.name})
        return saved

    async def remove(self, saved_id: str, actor: Principal) -> None:
        """Forget a command. Raises `NotFound`."""
        async with self._database.transaction() as tx:
            known = await _find(tx, saved_id)
            await store.delete_saved(tx, saved_id)
            await self._audit.record(tx, actor, "command.remove", f"command:{saved_id}", "done", {"name": known.name})

    def _spell(self, saved_id: str, order: NewSavedCommand, actor: Principal) -> SavedCommand:
        return SavedCommand(
            id=saved_id,
            name=order.name,
            description=order.description,
            argv=order.argv,
            command=order.command,
            timeout_s=order.timeout_s,
            user=order.user,
            created_at=self._clock.now(),
            created_by=actor.name,
        )


async def _find(reader: Queries, saved_id: str) -> SavedCommand:
    known = await store.find_saved(reader, saved_id)
    if known is None:
        raise NotFound(f"there is no kept command {saved_id}", id=saved_id)
    return known
