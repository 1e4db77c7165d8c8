"""A real regional client inside the test's own process, and a small agent that speaks to it.

async with run_region(tmp_path, store_url, token) as region:
    agent = FakeAgent(region.url)
    await agent.report()
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp

from ops_system.regional.app import RegionalApp, run_app
from ops_system.regional.config import SCHEMA
from ops_system.regional.leadership import Standing
from ops_system.runtime import config as settings
from ops_system.runtime.tasks import StopRequest, running

READY_WITHIN_S = 30.0
DISK = {"name": "vda", "size_bytes": 20_000_000_000, "serial": "DISK1"}


@dataclass
class RunningRegion:
    """A regional client that is served."""

    app: RegionalApp
    stop: StopRequest = field(repr=False)
    is_to_crash: bool = False  # at the end of the block: no goodbye to the store

    @property
    def url(self) -> str:
        """Where agents reach it."""
        return self.app.url

    async def wait_for(self, standing: Standing) -> None:
        """Return when it stands so."""
        async with asyncio.timeout(READY_WITHIN_S):
            while self.app.lead.standing is not standing:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await self.app.lead.changed.wait()


@contextlib.asynccontextmanager
async def run_region(
    folder: Path,
    store_url: str,
    token: str = "",
    *,
    lead_ttl_s: float = 15.0,
    standing: Standing | None = Standing.ACTIVE,
    **texts: str,
) -> AsyncIterator[RunningRegion]:
    """Run a regional client of `dc1`; `texts` are further settings, with `__` for the dot of a key."""
    given = {
        "region.idc": "dc1",
        "region.listen": "127.0.0.1",
        "region.api_port": "0",
        "region.data_dir": str(folder),
        "store.urls": store_url,
        "store.token": token,
        "region.lead_ttl": f"{lead_ttl_s:g}s",
    } | {name.replace("__", "."): text for name, text in texts.items()}
    stop, ready = StopRequest(lambda _code: None), asyncio.Event()
    apps: list[RegionalApp] = []

    def on_ready(app: RegionalApp) -> None:
        apps.append(app)
        ready.set()

    work = run_app(settings.build(SCHEMA, given), stop, on_ready=on_ready)
    async with running(work, "regional client") as task:
        await asyncio.wait([task, asyncio.ensure_future(ready.wait())], return_when=asyncio.FIRST_COMPLETED)  # noqa: TID251 - the first of two ends
        if task.done():
            await task
        region = RunningRegion(apps[0], stop)
        if standing is not None:
            await region.wait_for(standing)
        yield region
        if region.is_to_crash:
            return
        if not stop.event.is_set():
            stop.ask("end of test")
        await task


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body

    @property
    def reason(self) -> str:
        """The stable word in the details."""
        return str(self.body.get("details", {}).get("reason", ""))


class FakeAgent:
    """One boot of an agent, call by call."""

    def __init__(self, url: str, sn: str = "sn-001", mac: str = "00:1a:2b:3c:4d:5e", **hardware: Any) -> None:
        self.url, self.sn, self.mac = url, sn, mac
        self.boot_id = secrets.token_hex(8)
        self.hardware = {"disks": [DISK], "nics": [{"name": "eth0", "mac": mac}]} | hardware
        self.boot_public_key = ""
        self.token = ""
        self.task_id = ""
        self.fence = 0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Send one request as this agent. Raises Refused."""
        assert self._session is not None
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= options.pop("headers", {})
        if body is not None:
            options["json"] = body
        async with self._session.request(method, self.url + path, headers=headers, **options) as answer:
            if answer.content_type != "application/json":
                told: Any = await answer.text()
            else:
                told = await answer.json()
            if answer.status >= 400:
                raise Refused(answer.status, told if isinstance(told, dict) else {"text": told})
            return told

    async def fetch(self, url: str, headers: dict[str, str] | None = None) -> bytes:
        """GET a file by its whole address, patiently while the region fetches it."""
        assert self._session is not None
        while True:
            async with self._session.get(url, headers=headers or {}) as answer:
                if answer.status < 400:
                    return await answer.read()
                if answer.status != 503:
                    raise Refused(answer.status, await answer.json())

    async def report(self) -> Any:
        """Report, and keep the session."""
        body = {"sn": self.sn, "mac_address": self.mac, "uuid": f"uuid-{self.sn}", "hardware": self.hardware}
        body |= {"boot_id": self.boot_id, "boot_public_key": self.boot_public_key}
        told = await self.ask("POST", "/api/v1/report", body)
        self.token, self.task_id, self.fence = told["session_token"], told["task_id"], told["fence"]
        return told

    async def call(self, path: str, **body: Any) -> Any:
        """POST one call below /api/v1."""
        return await self.ask("POST", f"/api/v1/{path}", {"sn": self.sn} | body)

    async def next(self) -> Any:
        """Ask for the next operation, and take its fence."""
        told = await self.call("device/getNextOperation")
        self.fence = told["data"].get("fence", self.fence)
        self.task_id = told["data"].get("task_id", self.task_id)
        return told

    async def begin(self, step: str, *disks: str) -> Any:
        """Say the intent of a destructive step."""
        return await self.call(
            "device/operationBegin",
            task_id=self.task_id,
            fence=self.fence,
            operation=step,
            disks=list(disks),
            is_destructive=bool(disks),
        )

    async def progress(self, step: str, percent: float, **more: Any) -> Any:
        """Say how far a step is."""
        return await self.call("progress", task_id=self.task_id, step=step, percent=percent, fence=self.fence, **more)

    async def complete(self, step: str, *, success: bool = True, **more: Any) -> Any:
        """Say that a step is done."""
        return await self.call(
            "device/operationComplete", operation=step, success=success, message="", fence=self.fence, **more
        )

    async def finish(self, status: str = "completed") -> Any:
        """Say how the installation ended."""
        return await self.call("device/installComplete", status=status, message="", fence=self.fence)
