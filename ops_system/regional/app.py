"""The regional client's composition root: builds every part, wires them, and runs them until a signal.

lock → journal, picture → HTTP port → one TaskGroup: lead, watcher, replay, images, DHCP, TFTP
"""

import asyncio
import logging
import secrets
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from aiohttp import web

from ops_system import __version__
from ops_system.kv.base import Store
from ops_system.kv.client import Client, Login, tls_context
from ops_system.model.errors import SafetyRefusal, UsageError
from ops_system.model.tasks import TaskStatus
from ops_system.protocol.agent import MAX_REPORT_BYTES
from ops_system.provision.keys import region_key
from ops_system.provision.regions import RegionClient, RegionHeartbeat, RegionInfo
from ops_system.regional.api import AgentApi
from ops_system.regional.boot.menus import Place
from ops_system.regional.cache import ImageCache, Source
from ops_system.regional.config import RegionalConfig
from ops_system.regional.desk import Desk, Stores
from ops_system.regional.dhcp.questions import BootFiles
from ops_system.regional.fenced import Fenced
from ops_system.regional.health import Telling
from ops_system.regional.journal import Journal
from ops_system.regional.leadership import Duties, Leadership, Standing, Who
from ops_system.regional.mirror import Mirror
from ops_system.regional.netboot import Answers, NetBoot, own_url
from ops_system.regional.pages import BootPages
from ops_system.regional.polling import Documents, Polling
from ops_system.regional.presence import Presence
from ops_system.regional.timely import Timely
from ops_system.regional.watcher import Watcher
from ops_system.regional.web import make_middleware
from ops_system.runtime.clock import SystemClock
from ops_system.runtime.collector import collect_in_time
from ops_system.runtime.connection import Listener, bind
from ops_system.runtime.files import write_atomic
from ops_system.runtime.tasks import Part, StopRequest, serve
from ops_system.storage.lock import FileLock, acquire

_log = logging.getLogger(__name__)

LOCK, CLIENT_ID, LEAD, PICTURE, LEASES = "lock", "client-id", "lead.json", "picture.json", "dhcp-leases.jsonl"
PREFETCH_EVERY_S, PREFETCH_AGAIN_S = 1.0, 30.0


class RegionalApp:
    """Everything a regional client is made of. `listener` is bound already: agents are told its port."""

    def __init__(
        self, config: RegionalConfig, store: Store, listener: socket.socket, tls: ssl.SSLContext | None
    ) -> None:
        self._config, self._listener = config, listener
        self._clock = clock = SystemClock()
        folder, idc = config.data_dir(), config.region.idc
        self._hostname = socket.gethostname()
        self.started_at = clock.now()
        port = int(listener.getsockname()[1])
        region, boot = config.region, config.boot
        self.url = own_url(region.api_url, region.listen, port, boot.interface, config.store.urls[0])
        self.mirror = Mirror(idc)
        self.lead = Leadership(store, Who(idc, _client_id(folder)), clock, folder / LEAD, region.lead_ttl_s)
        self.presence = Presence(store, idc, RegionClient(self.lead.client_id, self.url))
        timely = Timely(store)
        fenced = Fenced(timely, region_key(idc, "active"), lambda: self.lead.value)
        self.journal = Journal(folder)
        self.desk = Desk(Stores(fenced, timely), self.lead, self.mirror, self.journal, clock)
        self.watcher = Watcher(store, self.mirror, folder / PICTURE)
        self.watcher.on_vacancy = self.lead.vacancy.set
        self.desk.on_step = self.watcher.keep_soon
        source = Source(config.master_url(), config.store.token.reveal())
        self.cache = ImageCache(folder / "images", config.cache.size_bytes, source, tls, config.cache.publisher_keys)
        place = Place(self.url, boot.kernel_args)
        self.pages = BootPages(self.desk, self.cache, place, Path(boot.root))
        self.cache.in_use = lambda: {image.sha256 for image in self.pages.images()}
        answers = Answers(self.mirror, BootFiles(f"{self.url}/boot.ipxe", f"{self.url}/static"), self._serves)
        self.netboot = NetBoot(boot, folder / LEASES, answers, self.pages.tftp_file)
        self.telling = Telling(self.lead, self.cache, self.pages, self.netboot, self.started_at)
        self._tried: dict[str, float] = {}

    async def run(self, stop: StopRequest | None, on_ready: Callable[["RegionalApp"], None]) -> None:
        """Run every part until a signal or `stop`."""
        await asyncio.to_thread(self._open)
        self.lead.load()
        self.watcher.load()
        self.desk.load()
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        door = Listener(runner)
        try:
            await door.open(self._listener)
            _log.info("regional client of %s at %s", self._config.region.idc, self.url)
            on_ready(self)
            await serve(self.parts(), stop=stop)
            await self._leave()
        finally:
            door.close()
            await runner.cleanup()
            self.journal.close()

    def application(self) -> web.Application:
        """Return the HTTP application."""
        app = web.Application(client_max_size=MAX_REPORT_BYTES, middlewares=[make_middleware(self.telling.answers)])
        AgentApi(
            self.desk, Polling(self.desk), Documents(self.desk, self.url, Path(self._config.boot.root))
        ).add_routes(app)
        self.pages.add_routes(app)
        self.telling.add_routes(app)
        return app

    def parts(self) -> Mapping[str, Part]:
        """Return what runs."""
        duties = Duties(self.desk.on_gain, self._info, self._heartbeat)
        return {
            "lead": lambda: self.lead.run(duties),
            "presence": self.presence.run,
            "watcher": self.watcher.run,
            "replay": self.desk.run,
            "progress": self.desk.batches.run,
            "renewals": self.desk.renewals.run,
            "images": self.cache.run,
            "prefetch": self._prefetch,
            "collector": collect_in_time,
            **self.netboot.parts(),
        }

    def _open(self) -> None:
        self.journal.open()
        self.cache.open()

    async def _leave(self) -> None:
        """A standby takes over at once; what is on the disk stays for the next start."""
        try:
            async with asyncio.timeout(2.0):
                await self.watcher.keep()
                await self.lead.resign()
                await self.presence.leave()
        except TimeoutError:
            _log.info("the lead ends with its lease")

    async def _prefetch(self) -> None:
        """Fetch the images of tasks that are near, so that no agent waits for them."""
        while True:
            if self.lead.standing is Standing.ACTIVE:
                now_s = self._clock.monotonic_s()
                for image in self.pages.images():
                    if now_s - self._tried.get(image.sha256, float("-inf")) >= PREFETCH_AGAIN_S:
                        self._tried[image.sha256] = now_s
                        self.cache.want(image)
            await self.mirror.changed()
            await asyncio.sleep(PREFETCH_EVERY_S)

    def _serves(self) -> bool:
        return self.lead.standing in {Standing.ACTIVE, Standing.CUT_OFF}

    def _info(self, epoch: int) -> RegionInfo:
        config = self._config
        return RegionInfo(
            config.region.idc,
            self.lead.client_id,
            self._hostname,
            __version__,
            self.url,
            config.boot.dhcp,
            config.boot.tftp,
            self.started_at,
            epoch,
        )

    def _heartbeat(self, epoch: int) -> RegionHeartbeat:
        installing = sum(task.status is TaskStatus.INSTALLING for task in self.mirror.tasks())
        size_bytes = self.cache.status().size_bytes
        return RegionHeartbeat(self.lead.client_id, epoch, self._clock.now(), installing, len(self.journal), size_bytes)


async def run_app(
    config: RegionalConfig,
    stop: StopRequest | None = None,
    *,
    on_ready: Callable[[RegionalApp], None] = lambda _app: None,
) -> None:
    """Run a regional client until a signal or `stop`. Raises UsageError or SafetyRefusal when it must not start."""
    config.check()
    folder = config.data_dir()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            "-data_dir {folder}: {trouble}; choose a folder that can be written",
            folder=folder,
            trouble=error.strerror,
        ) from error
    with ExitStack() as stack:
        stack.callback(_take_lock(folder).release)
        listener = stack.enter_context(bind(config.region.listen, config.region.api_port))
        tls = _tls(config)
        login = Login(config.store_token(), config.store.user, config.store.password.reveal())
        async with Client(config.store.urls, login, tls) as store:
            app = RegionalApp(config, store, listener, tls)
            await app.run(stop, on_ready)


def _take_lock(folder: Path) -> FileLock:
    try:
        return acquire(folder / LOCK)
    except SafetyRefusal as taken:
        raise SafetyRefusal(
            "another regional client is already running on {folder}; stop it or choose another -data_dir",
            folder=folder,
        ) from taken


def _tls(config: RegionalConfig) -> ssl.SSLContext | None:
    store = config.store
    if not (store.ca_file or store.cert_file):
        return None
    try:
        return tls_context(store.ca_file, store.cert_file, store.key_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError("-ca-file, -cert-file or -key-file cannot be used: {error}", error=error) from error


def _client_id(folder: Path) -> str:
    """Return the name of this client: made once for a folder, so that a restart knows its own lead again."""
    path = folder / CLIENT_ID
    try:
        if known := path.read_text().strip():
            return known
    except FileNotFoundError:
        pass
    made = secrets.token_hex(8)
    write_atomic(path, made.encode())
    return made
