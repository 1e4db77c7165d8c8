"""A real master inside the test's own process, on free ports, with a data folder of its own.

async with run_master(tmp_path) as master:
    async with master.admin_client() as api:
        nodes = await api.get("/nodes")
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp

from ops_system.master.app import Master, Opened, open_master
from ops_system.master.auth.offline import create_join_token, create_token, create_user
from ops_system.master.config import SCHEMA
from ops_system.model.errors import OpsError
from ops_system.runtime import config as settings
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import StopRequest, running

PASSWORD = "correct horse battery"
READY_WITHIN_S = 30.0


class ApiError(OpsError):
    """The master's error answer, as the test's client saw it."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


class Api:
    """A small JSON client: paths below /api/v1, answers decoded, errors raised as `ApiError`."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self.session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Send one request; `options` go to aiohttp."""
        if body is not None:
            options["json"] = body
        url = self._url + (path if path.startswith("/health") else f"/api/v1{path}")
        async with self.session.request(method, url, **options) as answer:
            told = await answer.json()
            if answer.status >= 400:
                raise ApiError(answer.status, told)
            return told

    async def get(self, path: str, **options: Any) -> Any:
        """GET."""
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """POST."""
        return await self.ask("POST", path, body, **options)

    async def patch(self, path: str, body: Any = None, **options: Any) -> Any:
        """PATCH."""
        return await self.ask("PATCH", path, body, **options)

    async def delete(self, path: str, **options: Any) -> Any:
        """DELETE."""
        return await self.ask("DELETE", path, **options)

    async def upload(self, path: Path) -> Any:
        """Upload a package."""
        with path.open("rb") as file:
            return await self.ask("POST", "/packages", data=file, headers={"Content-Type": "application/zip"})

    def socket(self, path: str) -> Any:
        """Open a WebSocket (an async context manager)."""
        return self.session.ws_connect(f"{self._url}/api/v1{path}")


@dataclass
class RunningMaster:
    """A served master."""

    master: Master
    opened: Opened
    stop: StopRequest = field(repr=False)

    @property
    def url(self) -> str:
        """The plain address on loopback."""
        return f"http://127.0.0.1:{self.master.doors.port}"

    @property
    def tls_url(self) -> str:
        """The TLS address; there is none before an administrator exists (see `wait_for_tls`)."""
        return f"https://127.0.0.1:{self.master.doors.tls_port}"

    async def wait_for_tls(self) -> str:
        """Return the TLS address once the door is open."""
        async with asyncio.timeout(READY_WITHIN_S):
            while not self.master.doors.tls_port:  # noqa: ASYNC110 - a user made on the data folder sends no event
                await asyncio.sleep(0.02)
        return self.tls_url

    def tls_context(self) -> ssl.SSLContext:
        """Trust exactly this master's authority."""
        return ssl.create_default_context(cadata=self.master.ground.trust.ca_pem)

    async def create_user(self, name: str, role: str = "admin", password: str = PASSWORD) -> None:
        """Make a user as the command line does, beside the running master."""
        await asyncio.to_thread(create_user, self.master.ground.folder, name, role, password)

    async def create_token(self, name: str = "test", role: str = "admin", idc: str | None = None) -> str:
        """Make an API token as the command line does."""
        return await asyncio.to_thread(create_token, self.master.ground.folder, name, role, idc=idc)

    async def create_join_token(self, uses: int = 1) -> str:
        """Make a join token as the command line does."""
        return await asyncio.to_thread(create_join_token, self.master.ground.folder, uses=uses)

    @contextlib.asynccontextmanager
    async def admin_client(self, role: str = "admin") -> AsyncIterator[Api]:
        """Give an API client with a token of its own."""
        async with Api(self.url, await self.create_token(f"test-{role}", role)) as api:
            yield api


@contextlib.asynccontextmanager
async def run_master(
    folder: Path, *, clock: Clock | None = None, is_set_up: bool = True, **texts: str
) -> AsyncIterator[RunningMaster]:
    """Run a master on `folder`/data. `texts` sets keys, `logic__heartbeat_interval="1s"` for `logic.heartbeat_interval`.

    With `is_set_up` the administrator `admin` (password `PASSWORD`) exists and TLS is open. At the end the chain of the
    audit log must hold, whatever the test did.
    """
    own = {
        "server.port": "0",
        "server.tls_port": "0",
        "server.listen": "127.0.0.1",
        "server.data_dir": str(folder / "data"),
    }
    config = settings.build(SCHEMA, own | {name.replace("__", "."): text for name, text in texts.items()})
    stop, ready = StopRequest(_must_not_exit), asyncio.get_running_loop().create_future()
    async with (
        open_master(config, clock=clock) as master,
        running(master.run(ready.set_result, stop), "master") as task,
    ):
        async with asyncio.timeout(READY_WITHIN_S):
            await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        made = RunningMaster(master, ready.result(), stop)
        if is_set_up:
            await made.create_user("admin")
            await made.wait_for_tls()
        yield made
        if not stop.event.is_set():  # a restore has stopped it already
            stop.ask("the test is over")
        async with asyncio.timeout(READY_WITHIN_S):
            await asyncio.wait([task])
        verdict = await master.ground.audit.verify()
        assert verdict.ok, f"the audit log of this master does not hold: row {verdict.first_bad} of {verdict.rows}"


def _must_not_exit(code: int) -> None:
    raise AssertionError(f"the master did not stop in time and would have exited with {code}")
