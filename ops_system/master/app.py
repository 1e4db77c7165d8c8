"""The composition root: opens the data folder, builds every feature floor by floor, serves until it is told to stop.

Nothing below knows what stands above it; whatever must talk upwards is connected here.
"""

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import msgspec

from ops_system import __version__
from ops_system.master import security
from ops_system.master.addresses import KnownAddresses
from ops_system.master.artefacts.stores import open_backup_blobs, open_store
from ops_system.master.audit.service import Audit
from ops_system.master.auth.events import SessionsRevoked, SetupDone
from ops_system.master.auth.service import Auth
from ops_system.master.backups.turnover import Turnover
from ops_system.master.bus import Bus
from ops_system.master.config import MasterConfig
from ops_system.master.features.build import build_features
from ops_system.master.features.ground import Ground
from ops_system.master.gatekeeper import Gatekeeper
from ops_system.master.nodes.links import Links
from ops_system.master.provision_store.stores import check_settings, open_provision
from ops_system.master.trust.own import OwnCertificate
from ops_system.master.trust.service import Trust
from ops_system.master.web.clients import read_networks
from ops_system.master.web.doors import LOOPBACK, Doors
from ops_system.master.web.health import SelfReport, answer_gauges
from ops_system.master.web.idempotency import Idempotency
from ops_system.master.web.openapi import build_document
from ops_system.master.web.route import Route
from ops_system.master.web.server import Front, Parts
from ops_system.master.web.static import Console
from ops_system.master.web.table import Table
from ops_system.model.stamps import to_ms
from ops_system.protocol.frames import PROTOCOL_VERSION
from ops_system.runtime.clock import Clock, SystemClock
from ops_system.runtime.collector import collect_in_time
from ops_system.runtime.connection import bind
from ops_system.runtime.tasks import StopRequest, every, serve
from ops_system.storage.database import Database
from ops_system.storage.lock import acquire
from ops_system.storage.migrations import load_migrations

_SWEEP_KEYS_S = 3600.0
_LOOK = "SELECT count(*) FROM meta"
_PACKAGE = "ops_system.master"  # holds the migrations in schema/


@dataclass(frozen=True, slots=True)
class Opened:
    """What is told once the master answers. Until there is an administrator only the code is set, then only the URL."""

    port: int
    network_url: str
    setup_code: str


class Master:
    """An opened master: everything is built and loaded, nobody is served yet."""

    def __init__(self, ground: Ground, auth: Auth, front: Front, doors: Doors, plain: socket.socket) -> None:
        self.ground = ground
        self.auth = auth
        self.front = front
        self.doors = doors
        self._plain = plain

    @property
    def routes(self) -> list[Route]:
        """Every route of every feature."""
        return self.ground.routes

    async def run(self, on_ready: Callable[[Opened], None], stop: StopRequest | None = None) -> None:
        """Open the doors, tell `on_ready`, and serve until a signal or `stop`. Raises what a broken part raised."""

        async def keep_doors() -> None:  # signals are caught from here on, so that being ready means stopping cleanly
            network_url, code = self.ground.addresses.network_url, self.auth.setup_code.current
            on_ready(Opened(self.doors.port, network_url, code))
            await self.doors.run()

        stop = stop or StopRequest()
        self.ground.turnover.stop = stop

        try:
            await self.doors.open(self._plain)
            await serve(self.ground.parts | {"doors": keep_doors}, stop=stop)
        finally:
            await self.doors.close()


@contextlib.asynccontextmanager
async def open_master(
    config: MasterConfig, *, clock: Clock | None = None, on_code: Callable[[str], None] = lambda _code: None
) -> AsyncIterator[Master]:
    """Open the data folder and build the master. `on_code` hears each new setup code.

    Raises `SafetyRefusal` when the port is taken, another master runs here, or data is damaged; `UsageError` for a
    setting this version cannot serve.
    """
    check_settings(config.provision)
    used_clock = clock or SystemClock()
    own = OwnCertificate.of(config.server.tls_cert, config.server.tls_key)
    if own is not None:
        await asyncio.to_thread(own.read, used_clock.now())
    async with contextlib.AsyncExitStack() as stack:
        store = stack.enter_context(open_store(config))
        folder = config.folder()
        folder.create()
        stack.callback(acquire(folder.lock).release)
        turnover = Turnover()
        stack.callback(turnover.carry_out)
        plain = stack.enter_context(bind(LOOPBACK, config.server.port))
        database = await Database.open(folder, load_migrations(_PACKAGE))
        stack.push_async_callback(database.close)
        addresses = KnownAddresses(config.server)
        addresses.note_port(plain.getsockname()[1])
        await asyncio.to_thread(addresses.look)
        trust = await asyncio.to_thread(Trust.open, folder, addresses.look, used_clock, own)
        folder.mark_initialized()
        audit = Audit(database, used_clock)
        ground = Ground(config, folder, database, trust, Bus(), used_clock, audit, addresses, store, on_code, turnover)
        ground.backup_blobs = stack.enter_context(open_backup_blobs(config))
        ground.parts |= {"addresses": addresses.run, "trust": trust.run}
        ground.provision = await stack.enter_async_context(open_provision(config, folder, used_clock))
        yield build_master(ground, *await build_features(ground), plain)


# --- the web floor --------------------------------------------------------------------------------------------------
def build_master(ground: Ground, auth: Auth, links: Links, plain: socket.socket) -> Master:
    """Put the table of all routes behind the two doors."""
    gatekeeper = Gatekeeper(auth, links)
    report = SelfReport(ground.clock.now(), PROTOCOL_VERSION)
    ground.routes += report.routes()
    require_publisher = ground.config.storage.require_publisher
    ground.routes += security.routes(
        ground.trust, lambda: security.listeners_of(doors), require_publisher=require_publisher
    )
    report.document = functools.cache(lambda: msgspec.json.encode(build_document(ground.routes, __version__)))
    idempotency = Idempotency(ground.database, ground.trust, lambda: to_ms(ground.clock.now()))
    ground.parts["collector"] = collect_in_time
    ground.parts["idempotency"] = lambda: every(_SWEEP_KEYS_S, idempotency.sweep, "sweep idempotency keys")
    front = Front(
        Parts(
            Table(ground.routes),
            gatekeeper,
            Console(),
            idempotency,
            lambda: ground.addresses.names,
            ground.config.server.public_url,
            read_networks(ground.config.server.trusted_proxies),
            ground.audit.record_denied,
        )
    )
    server = ground.config.server
    doors = Doors(
        front,
        listen=server.listen,
        tls_port=server.tls_port,
        may_open_tls=lambda: not gatekeeper.setup_required(),
        tls=ground.trust.ssl_context,
        on_tls=ground.addresses.note_tls_port,
    )
    ground.bus.subscribe(SetupDone, lambda _event: doors.knock())
    ground.bus.subscribe(SessionsRevoked, lambda event: front.revoke(event.ids))
    report.checks |= ground.checks
    report.checks |= {"database": lambda: ground.database.fetch_one(_LOOK), "listener": doors.check}
    report.texts += ground.texts
    report.gauges += [*ground.gauges, lambda: answer_gauges(front.answers)]
    return Master(ground, auth, front, doors, plain)
