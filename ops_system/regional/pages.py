"""What machines boot and what installers read: scripts through the gate, boot files, images, answers."""

import asyncio
import logging
from pathlib import Path

from aiohttp import web
from msgspec.structs import replace

from ops_system.model.errors import NotFound, OpsError
from ops_system.model.tasks import BOOTS_AGENT, ImageRef, InstallMethod, Task, TaskStatus
from ops_system.protocol.agent import INSTALLER_STAGES, Done, InstallCompleteCall, ProgressCall
from ops_system.provision.intents import INSTALLER, is_handed_over
from ops_system.provision.templates import render
from ops_system.regional.boot import menus
from ops_system.regional.boot.answers import METHODS, check_served, is_installers, meta_data, values_for
from ops_system.regional.boot.gate import Verdict, asks, decide
from ops_system.regional.cache import ImageCache
from ops_system.regional.desk import Desk
from ops_system.regional.web import Handler, answer, text

_log = logging.getLogger(__name__)

IMAGE_WITHIN_S = 8.0


class BootPages:
    """The routes of network boot. Each asks the gate; a closed gate answers with the way to the disk."""

    def __init__(self, desk: Desk, cache: ImageCache, place: menus.Place, boot_root: Path) -> None:
        self.desk, self._cache, self._place, self.root = desk, cache, place, boot_root.resolve()
        self.verdicts: dict[str, int] = {}

    @property
    def place(self) -> menus.Place:
        """Where things are, with those who stand by now."""
        return replace(self._place, standbys=self.desk.mirror.standbys(self._place.url))

    def add_routes(self, app: web.Application) -> None:
        """Put the routes in."""
        get = app.router.add_get
        get("/boot.ipxe", self._first)
        get("/boot/{mac}.ipxe", self._ipxe)
        get("/grub/grub.cfg", self._grub_first)
        get("/grub/{name}", self._grub)
        get("/pxelinux/{path:.+}", self._pxelinux)
        for key in ("", "/{key}"):
            get(f"/kickstart/{{sn}}{key}", self._answers("kickstart"))
            get(f"/preseed/{{sn}}{key}", self._answers("preseed"))
            get(f"/autoinstall/{{sn}}{key}/user-data", self._answers("autoinstall"))
            get(f"/autoinstall/{{sn}}{key}/meta-data", self._meta_data)
            get(f"/autoinstall/{{sn}}{key}/vendor-data", self._vendor_data)
        get("/static/{path:.+}", self._static)
        get("/images/{sha256}", self._image)
        app.router.add_post("/api/v1/installer/{sn}/{task_id}/{key}", self._installer_done)
        app.router.add_post("/api/v1/installer/{sn}/{task_id}/{key}/{stage}", self._installer_stage)

    # --- scripts ------------------------------------------------------------------------------------------------------
    def verdict(self, mac: str, sn: str = "", uuid: str = "") -> Verdict:
        """Ask the gate: the one place where a boot is decided. Raises Unavailable for a client that stands by."""
        self.desk.check_serves()
        verdict = decide(self.desk.mirror.find(asks(mac, sn, uuid)))
        self.verdicts[verdict.boots.value] = self.verdicts.get(verdict.boots.value, 0) + 1
        return verdict

    async def _first(self, _request: web.Request) -> web.Response:
        return text(menus.ipxe_first(self.place))

    async def _ipxe(self, request: web.Request) -> web.Response:
        query, mac = request.query, request.match_info["mac"]
        verdict = self.verdict(mac, query.get("serial", ""), query.get("uuid", ""))
        await self._note(verdict)
        card = asks(mac).mac or self._card_of(verdict.sn)
        return text(menus.ipxe(self.place, verdict, card, query.get("arch", "")))

    def _card_of(self, sn: str) -> str:
        """Return the card that a task names, for a machine that does not tell the one it boots by."""
        task = self.desk.mirror.task(sn)
        return task.mac if task else ""

    async def _grub_first(self, _request: web.Request) -> web.Response:
        return text(menus.grub_first(self.place))

    async def _grub(self, request: web.Request) -> web.Response:
        found = menus.GRUB_MAC.fullmatch(request.match_info["name"].lower())
        if found is None:
            raise NotFound(f"no such file: {request.path}")
        verdict = self.verdict(found[1])
        await self._note(verdict)
        return text(menus.grub(self.place, verdict, asks(found[1]).mac, request.query.get("arch", "")))

    async def _pxelinux(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        found = menus.PXELINUX_MAC.fullmatch(path.lower())
        if found is None:
            return await self._send(path)
        verdict = self.verdict(found[1])
        await self._note(verdict)
        return text(menus.pxelinux(self.place, verdict, asks(found[1]).mac))

    async def _note(self, verdict: Verdict) -> None:
        if not verdict.is_local:
            _log.info("%s boots the agent: %s (%s)", verdict.sn or "an unknown machine", verdict.boots, verdict.why)
        if verdict.why == TaskStatus.PENDING.value and verdict.sn:
            await self.desk.note_boot(verdict.sn)

    def tftp_file(self, name: str) -> bytes | Path | None:
        """Return what TFTP serves by a name: scripts through the gate, else a file of the boot root."""
        try:
            return self._tftp_file(name)
        except OpsError as error:
            _log.info("TFTP %s: %s", name, error.message)
            return None

    def _tftp_file(self, name: str) -> bytes | Path | None:
        lower = name.lower().lstrip("/")
        if lower == "boot.ipxe":
            return menus.ipxe_first(self.place).encode()
        if lower in {"grub/grub.cfg", "grub.cfg"}:
            return menus.grub_first(self.place).encode()
        if found := menus.GRUB_MAC.fullmatch(lower):
            mac = asks(found[1]).mac
            return menus.grub(self.place, self.verdict(mac), mac).encode()
        if found := menus.PXELINUX_MAC.fullmatch(lower):
            mac = asks(found[1]).mac
            return menus.pxelinux(self.place, self.verdict(mac), mac).encode()
        return self._file(name)

    # --- files --------------------------------------------------------------------------------------------------------
    async def _static(self, request: web.Request) -> web.StreamResponse:
        return await self._send(request.match_info["path"])

    async def _send(self, name: str) -> web.StreamResponse:
        self.desk.check_serves()
        path = await asyncio.to_thread(self._file, name)
        if path is None:
            raise NotFound(f"no boot file {name[:100]!r} here")
        return web.FileResponse(path)

    def _file(self, name: str) -> Path | None:
        """Return a file of the boot root; a link or `..` that leads out of it is no file."""
        if "\0" in name:
            return None
        path = (self.root / name.lstrip("/")).resolve()
        return path if path.is_relative_to(self.root) and path.is_file() else None

    async def _image(self, request: web.Request) -> web.StreamResponse:
        """Serve an image that a task of this data centre needs now; nothing else is handed out."""
        self.desk.check_serves()
        sha256 = request.match_info["sha256"]
        image = next((each for each in self.images() if each.sha256 == sha256), None)
        if image is None:
            raise NotFound(f"no machine here needs image {sha256[:80]}")
        return web.FileResponse(await self._cache.get(image, IMAGE_WITHIN_S))

    def images(self) -> list[ImageRef]:
        """Return every image that is needed now, or soon."""
        tasks = [task for task in self.desk.mirror.tasks() if task.status in BOOTS_AGENT]
        found = [image for task in tasks for image in (task.install.image, task.install.kernel, task.install.initrd)]
        return [image for image in found if image is not None]

    # --- installers ---------------------------------------------------------------------------------------------------
    def _answers(self, method: InstallMethod) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            task = self._served(request, method)
            key = request.match_info.get("key", "")
            values = values_for(task, self.desk.mirror.machine(task.sn), self.place.url, key)
            return text(await asyncio.to_thread(render, task.install.template, values))

        return serve

    async def _meta_data(self, request: web.Request) -> web.Response:
        task = self._served(request, "autoinstall")
        return text(meta_data(task, self.desk.mirror.machine(task.sn)))

    async def _vendor_data(self, request: web.Request) -> web.Response:
        self._served(request, "autoinstall")
        return text("")

    def _served(self, request: web.Request, method: InstallMethod) -> Task:
        self.desk.check_serves()
        sn, key = request.match_info["sn"], request.match_info.get("key", "")
        return check_served(self.desk.mirror.task(sn), sn, method, key)

    async def _installer_done(self, request: web.Request) -> web.Response:
        """An installer is done: only the one that the task's agent gave the machine to, by the key it was given."""
        task = self._handed_over(request)
        await self.desk.finish(InstallCompleteCall(task.sn, "completed", fence=task.fence))
        return answer(Done())

    async def _installer_stage(self, request: web.Request) -> web.Response:
        """An installer says how far it is: one of few words, shown and never obeyed (P1)."""
        task, stage = self._handed_over(request), INSTALLER_STAGES.get(request.match_info["stage"])
        if stage is None:
            raise NotFound(f"no such stage: write one of {', '.join(INSTALLER_STAGES)}")
        told = ProgressCall(task.sn, task.task_id, INSTALLER, stage.percent, stage.words, fence=task.fence)
        await self.desk.progress(told)
        return answer(Done())

    def _handed_over(self, request: web.Request) -> Task:
        self.desk.check_serves()
        sn, task = request.match_info["sn"], self.desk.mirror.task(request.match_info["sn"])
        if task is None or task.task_id != request.match_info["task_id"]:
            raise NotFound(f"{sn}: no such installation")
        if not is_installers(task, request.match_info["key"]):
            _log.warning("%s: somebody without the installer's key asked in its place (%s)", sn, request.remote)
            raise NotFound(f"{sn}: no such installation")
        if task.install.method not in METHODS or not is_handed_over(task):
            raise NotFound(f"{sn}: no installer is at work")
        return task
