"""What the regional client tells of itself: `/health`, `/metrics`, `/api/v1/pxe/*`."""

import asyncio
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from stat import S_ISREG

import msgspec
from aiohttp import web

from ops_system import __version__
from ops_system.model.exposition import CONTENT_TYPE, Family, render, single
from ops_system.regional.boot import menus
from ops_system.regional.cache import CacheStatus, ImageCache
from ops_system.regional.leadership import Leadership, Standing
from ops_system.regional.netboot import NetBoot
from ops_system.regional.pages import BootPages
from ops_system.regional.web import answer
from ops_system.runtime.files import stat_each

_MAX_FILES = 500


class Part(msgspec.Struct, frozen=True):
    """One part: `ok`, `degraded` or `off`, and why."""

    status: str
    message: str = ""


class Health(msgspec.Struct, frozen=True):
    """Answer of `/health`. `status` is `ok`, or `degraded` while something needs a look."""

    status: str
    version: str
    idc: str
    client_id: str
    role: Standing
    epoch: int
    api_url: str
    parts: dict[str, Part]
    journal_entries: int
    journal_refused: int
    agents: int
    cache: CacheStatus
    started_at: datetime


class Served(msgspec.Struct, frozen=True):
    """A file that boot loaders may fetch."""

    name: str
    size_bytes: int


class BootConfigs(msgspec.Struct, frozen=True):
    """How this client boots machines, and what a machine would get now."""

    dhcp: str
    tftp: bool
    interface: str
    api_url: str
    discovery: bool
    kernel_args: str
    first_script: str
    unknown_script: str
    verdicts: dict[str, int]


class Telling:
    """The pages about this client. Nothing secret stands on them: they are open, as `/health` is."""

    def __init__(self, lead: Leadership, cache: ImageCache, pages: BootPages, boot: NetBoot, at: datetime) -> None:
        self._desk, self._lead, self._cache, self._pages, self._boot = pages.desk, lead, cache, pages, boot
        self.answers: dict[int, int] = {}
        self._started_at = at

    def add_routes(self, app: web.Application) -> None:
        """Put the routes in."""
        get = app.router.add_get
        get("/health", self._health)
        get("/metrics", self._metrics)
        get("/api/v1/pxe/dhcp/status", self._dhcp_status)
        get("/api/v1/pxe/dhcp/leases", self._dhcp_leases)
        get("/api/v1/pxe/tftp/status", self._tftp_status)
        get("/api/v1/pxe/tftp/files", self._tftp_files)
        get("/api/v1/pxe/configs", self._configs)

    async def _health(self, _request: web.Request) -> web.Response:
        return answer(await asyncio.to_thread(self.health))

    def health(self) -> Health:
        """Return the picture."""
        lead, cache = self._lead, self._cache.status()
        parts = self._parts(cache)
        return Health(
            status="ok" if all(part.status != "degraded" for part in parts.values()) else "degraded",
            version=__version__,
            idc=self._desk.idc,
            client_id=lead.client_id,
            role=lead.standing,
            epoch=lead.epoch,
            api_url=self._pages.place.url,
            parts=parts,
            journal_entries=len(self._desk.journal),
            journal_refused=self._desk.journal.refused,
            agents=len(self._desk.sessions.alive()),
            cache=cache,
            started_at=self._started_at,
        )

    def _parts(self, cache: CacheStatus) -> dict[str, Part]:
        lead, journal = self._lead, self._desk.journal
        is_away = lead.standing in {Standing.CUT_OFF, Standing.STARTING}
        waiting = f"{len(journal)} events wait for the store" if len(journal) else ""
        return {
            "store": Part("degraded", lead.last_error or "not asked yet") if is_away else Part("ok"),
            "journal": Part("degraded", waiting) if waiting else Part("ok"),
            "images": Part("degraded", cache.last_error) if cache.last_error else Part("ok"),
            "dhcp": _server(self._boot.dhcp is not None, self._boot.dhcp and self._boot.dhcp.status().is_listening),
            "tftp": _server(self._boot.tftp is not None, self._boot.tftp and self._boot.tftp.status().is_listening),
        }

    async def _metrics(self, _request: web.Request) -> web.Response:
        body = await asyncio.to_thread(self.metrics)
        return web.Response(body=body.encode(), headers={"Content-Type": CONTENT_TYPE})

    def metrics(self) -> str:
        """Return everything measured in Prometheus' text format."""
        return render(self._families(self.health()))

    def _families(self, health: Health) -> Iterator[Family]:
        info = {"version": health.version, "idc": health.idc}
        yield Family("ops_regional_info", "1, with the version and the data centre.", [(info, 1.0)])
        roles = [({"role": each.value}, float(each is health.role)) for each in Standing]
        yield Family("ops_regional_role", "1 for what this client is now.", roles)
        yield single("ops_regional_epoch", "Rises with each take-over.", float(health.epoch))
        yield single("ops_regional_journal_entries", "Events the store has not heard.", float(health.journal_entries))
        yield single("ops_regional_journal_refused_total", "Events it refused.", float(health.journal_refused))
        yield single("ops_regional_journal_replayed_total", "Events told late.", float(self._desk.journal.replayed))
        yield single("ops_regional_agents", "Agents heard within their lease.", float(health.agents))
        yield single(
            "ops_regional_store_events_total", "Changes heard from the store.", float(self._desk.mirror.events)
        )
        yield single("ops_regional_cache_bytes", "Images kept here.", float(health.cache.size_bytes))
        calls = [({"call": name}, float(count)) for name, count in self._desk.counts.items()]
        yield Family("ops_regional_agent_calls_total", "Calls of agents.", calls)
        answers = [({"status": str(status)}, float(count)) for status, count in self.answers.items()]
        yield Family("ops_regional_answers_total", "HTTP answers by status.", answers)
        verdicts = [({"boots": name}, float(count)) for name, count in self._pages.verdicts.items()]
        yield Family("ops_regional_boots_total", "Boots decided by the gate.", verdicts)

    async def _dhcp_status(self, _request: web.Request) -> web.Response:
        return answer(self._boot.dhcp.status() if self._boot.dhcp else {"mode": "off", "is_listening": False})

    async def _dhcp_leases(self, _request: web.Request) -> web.Response:
        leases = self._boot.dhcp.leases() if self._boot.dhcp else []
        return answer({"items": leases, "total": len(leases)})

    async def _tftp_status(self, _request: web.Request) -> web.Response:
        return answer(self._boot.tftp.status() if self._boot.tftp else {"is_listening": False})

    async def _tftp_files(self, _request: web.Request) -> web.Response:
        files = await asyncio.to_thread(list_files, self._pages.root)
        return answer({"items": files, "total": len(files)})

    async def _configs(self, _request: web.Request) -> web.Response:
        config, place = self._boot.config, self._pages.place
        verdict = self._pages.verdict("")
        return answer(
            BootConfigs(
                dhcp=config.dhcp,
                tftp=config.tftp,
                interface=config.interface,
                api_url=place.url,
                discovery=self._desk.mirror.settings.discovery,
                kernel_args=place.kernel_args,
                first_script=menus.ipxe_first(place),
                unknown_script=menus.ipxe(place, verdict, ""),
                verdicts=dict(self._pages.verdicts),
            )
        )


def list_files(root: Path) -> list[Served]:
    """Return the boot files, by name. Blocking."""
    found: list[Served] = []
    for folder, _, names in os.walk(root):
        for path, stat in stat_each(Path(folder) / name for name in names):
            if S_ISREG(stat.st_mode) and len(found) < _MAX_FILES:
                found.append(Served(str(path.relative_to(root)), stat.st_size))
    return sorted(found, key=lambda each: each.name)


def _server(is_on: bool, is_listening: object) -> Part:
    if not is_on:
        return Part("off")
    return Part("ok") if is_listening else Part("degraded", "not listening")
