"""The story of data centres: regions and their settings, machines, the queue, counts."""

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from ops_system.master.audit.service import Audit
from ops_system.master.provisioning.mirror import Key, Mirror
from ops_system.master.provisioning.rules import (
    check_settings,
    is_seen,
    machine_matches,
    machine_view,
    page_of,
    sees_idc,
    stats_of,
    summed,
)
from ops_system.master.provisioning.shapes import AllStats, IdcView, MachineView, ServerView, SettingsPatch, Stats
from ops_system.master.web.route import ListQuery, Page, Principal
from ops_system.model.errors import NotFound
from ops_system.model.machines import Machine, check_idc
from ops_system.provision.book import TaskBook
from ops_system.provision.regions import RegionSettings


class Sites:
    """Data centres, as the API sees them."""

    def __init__(self, book: TaskBook, mirror: Mirror, audit: Audit) -> None:
        self._book, self._mirror, self._audit = book, mirror, audit

    # --- data centres -------------------------------------------------------------------------------------------------
    async def list_idcs(self, query: ListQuery, principal: Principal) -> Page[IdcView]:
        """Return the data centres a principal sees something of."""
        await self._mirror.reach(self._book.revision)
        names = [name for name in self._mirror.idcs() if principal.scope.get("idc", name) == name]
        text = query.q.lower()
        views = [view for name in names if text in f"{name} {(view := self._view(name)).settings.name}".lower()]
        sorts = {"idc": lambda view: view.idc, "name": lambda view: view.settings.name}
        return Page(page_of(views, query.sort or "idc", query.offset, query.limit, sorts), len(views))

    def view(self, idc: str) -> IdcView:
        """Return a data centre; it is alive while the heartbeat of its regional client is there."""
        return self._view(idc)

    def _view(self, idc: str) -> IdcView:
        heard = self._mirror.heard.get(idc)
        return IdcView(
            idc=idc,
            is_alive=heard is not None,
            info=self._mirror.infos.get(idc),
            heartbeat=heard.beat if heard else None,
            settings=self._mirror.settings.get(idc, RegionSettings()),
            counts=self._stats_of(idc),
        )

    async def change_settings(self, idc: str, body: SettingsPatch, actor: Principal) -> RegionSettings:
        """Change what `body` names. Raises Invalid; NotFound beyond the scope."""
        self._check_scope(idc, principal=actor)
        wanted = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not msgspec.UNSET}
        check_settings(replace(await self._book.settings(check_idc(idc)), **wanted))
        await self._audit.record_alone(actor, "idc.settings", f"idc:{idc}", "done", wanted)
        return await self._book.change_settings(idc, lambda before: replace(before, **wanted))

    # --- counts -------------------------------------------------------------------------------------------------------
    async def all_stats(self, principal: Principal) -> AllStats:
        """Return the counts of all data centres, and of each."""
        await self._mirror.reach(self._book.revision)
        each = {idc: self._stats_of(idc) for idc in self._mirror.idcs() if sees_idc(principal.scope, idc)}
        total = stats_of(
            summed(self._mirror.counts[idc] for idc in each),
            sum(one.machines for one in each.values()),
            sum(one.unmatched for one in each.values()),
        )
        return AllStats(**msgspec.structs.asdict(total), idcs=each)

    async def stats(self, idc: str, principal: Principal) -> Stats:
        """Return the counts of one data centre. Raises NotFound."""
        await self._known(idc, principal)
        return self._stats_of(idc)

    def _stats_of(self, idc: str) -> Stats:
        mirror = self._mirror
        return stats_of(mirror.counts.get(idc, {}), mirror.machine_counts[idc], mirror.unmatched_counts[idc])

    # --- the queue and the machines -----------------------------------------------------------------------------------
    async def list_servers(self, idc: str, query: ListQuery, principal: Principal) -> Page[ServerView]:
        """Return the queue of a data centre, oldest first. Raises NotFound."""
        await self._known(idc, principal)
        found = [view for key in self._keys(self._mirror.queue, idc, principal) if (view := self._server(key))]
        text = query.q.lower()
        views = [view for view in found if text in f"{view.sn} {view.mac} {view.os_type} {view.status}".lower()]
        sorts = {
            "sn": lambda view: view.sn,
            "status": lambda view: view.status,
            "added_at": lambda view: view.added_at,
        }
        return Page(page_of(views, query.sort or "added_at", query.offset, query.limit, sorts), len(views))

    def _server(self, key: Key) -> ServerView | None:
        server, row = self._mirror.queue.get(key), self._mirror.tasks.get(key)
        if server is None or row is None:
            return None
        return ServerView(key[1], server.status, server.added_at, row.task_id, row.mac, row.os_type, row.os_version)

    async def list_machines(self, idc: str, query: ListQuery, principal: Principal) -> Page[MachineView]:
        """Return the machines that reported in a data centre. Raises NotFound."""
        await self._known(idc, principal)
        return self._machines(self._keys(self._mirror.machines, idc, principal), self._mirror.machines, query)

    async def get_machine(self, idc: str, sn: str, principal: Principal) -> MachineView:
        """Return a machine. Raises NotFound before its first report."""
        machine = await self._book.machine(idc, sn) if is_seen(principal.scope, idc, sn) else None
        if machine is None:
            raise NotFound(f"machine {sn} in {idc} has not reported yet", idc=idc, sn=sn)
        is_alive = await self._book.agent(idc, sn) is not None
        return machine_view(machine, self._mirror.tasks.get((idc, sn)), is_alive=is_alive)

    async def list_unmatched(self, idc: str, query: ListQuery, principal: Principal) -> Page[MachineView]:
        """Return the machines that reported without a task, of one data centre or of all."""
        await self._mirror.reach(self._book.revision)
        return self._machines(self._keys(self._mirror.unmatched, idc, principal), self._mirror.unmatched, query)

    async def forget_unmatched(self, idc: str, sn: str, actor: Principal) -> None:
        """Remove an unmatched machine; its next report brings it back. Raises NotFound."""
        if not is_seen(actor.scope, idc, sn) or (idc, sn) not in self._mirror.unmatched:
            raise NotFound(f"no unmatched machine {sn} in {idc}", idc=idc, sn=sn)
        await self._audit.record_alone(actor, "machine.forget", f"machine:{idc}/{sn}", "done", {})
        await self._book.forget_unmatched(idc, sn)

    def _machines(self, keys: Iterable[Key], among: dict[Key, Machine], query: ListQuery) -> Page[MachineView]:
        found = [
            machine_view(among[key], self._mirror.tasks.get(key), is_alive=key in self._mirror.agents)
            for key in keys
            if machine_matches(among[key], query.q)
        ]
        sorts = {
            "sn": lambda view: view.sn,
            "idc": lambda view: view.idc,
            "last_seen_at": lambda view: str(view.last_seen_at),
            "first_seen_at": lambda view: str(view.first_seen_at),
        }
        return Page(page_of(found, query.sort or "sn", query.offset, query.limit, sorts), len(found))

    def _keys(self, among: Iterable[Key], idc: str, principal: Principal) -> list[Key]:
        return [key for key in among if idc in {"", key[0]} and is_seen(principal.scope, *key)]

    async def _known(self, idc: str, principal: Principal) -> None:
        await self._mirror.reach(self._book.revision)
        if principal.scope.get("idc", idc) != idc or idc not in self._mirror.idcs():
            raise NotFound(f"there is no data centre {idc}; it exists from its first task or client", idc=idc)

    def _check_scope(self, idc: str, principal: Principal) -> None:
        if not sees_idc(principal.scope, idc):
            raise NotFound(f"there is no data centre {idc}", idc=idc)
