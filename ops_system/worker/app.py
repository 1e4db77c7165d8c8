"""The worker's composition root: builds every part, wires them, and runs them until a signal. Called by `main`.

    lock → status port → identity (enrol when there is none) → parts → one TaskGroup

A stop ends the parts and never the services: they belong to themselves (R1).
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from ops_system import __version__
from ops_system.model.crashes import Crash
from ops_system.model.errors import TimedOut
from ops_system.model.ids import InstanceId
from ops_system.model.instances import InstanceEvent, InstanceReport, State
from ops_system.model.nodes import BootService, Fingerprint
from ops_system.model.reasons import Reason
from ops_system.processes.platforms import make_platform
from ops_system.processes.rotate import RotateRules
from ops_system.processes.supervisor import Supervisor
from ops_system.runtime.handlers import Handlers
from ops_system.runtime.tasks import Part, StopRequest, every, running, serve
from ops_system.service.local import local_services
from ops_system.worker.commands import register, register_packages, register_takeovers, register_updates
from ops_system.worker.config import OPTIONS, WorkerConfig
from ops_system.worker.crashes import CrashStore
from ops_system.worker.deploy import Deployer, NodeFacts
from ops_system.worker.enrol import Applicant, JoinToken, check_address, enrol, enrol_once, parse_join_token
from ops_system.worker.execution import Execution
from ops_system.worker.fetch import PackageStore
from ops_system.worker.fingerprint.base import local_probe, read_fingerprint
from ops_system.worker.identity import Identity, key_place, load_identity, load_key, load_or_make_key, save_identity
from ops_system.worker.instances import DesiredStore, Instances
from ops_system.worker.logs import InstanceLogs
from ops_system.worker.metrics.sampler import Sampler, local_counters
from ops_system.worker.picture import CRASHES, DESIRED, JOURNAL, note_port, take_lock
from ops_system.worker.policy import Policy
from ops_system.worker.starts import OrderedStarts
from ops_system.worker.status import Health, LinkStatus, StatusServer, prometheus_text
from ops_system.worker.switch import Seat
from ops_system.worker.takeover import MasterFinder, Takeovers
from ops_system.worker.terminals import TerminalSessions
from ops_system.worker.transfer import Source
from ops_system.worker.updates import Updates
from ops_system.worker.uplink import Uplink
from ops_system.worker.words import say

_log = logging.getLogger(__name__)

SWEEP_EVERY_S = 3600.0
ROTATE_EVERY_S = 0.5
RETRY_SAVE_EVERY_S = 5.0
PRIVATE_FOLDERS = ("state", "downloads", "versions")


class WorkerApp:
    """Everything a joined worker is made of. Before `run` only the key and the fingerprint are read."""

    def __init__(
        self,
        config: WorkerConfig,
        identity: Identity,
        *,
        boot_service: BootService | None = None,
        on_ready: Callable[[], None] = lambda: None,
        seat: Seat | None = None,
    ) -> None:
        self._config = config
        self._identity = identity
        self._boot_service = boot_service
        self._on_ready = on_ready
        self._has_news = asyncio.Event()
        self._work_dir = config.work_dir().absolute()
        self._probe = local_probe()
        self._fingerprint = self._read_fingerprint()
        self._started_at = datetime.now(UTC)
        self._wishes = DesiredStore(self._work_dir / DESIRED)
        handlers = Handlers()
        self.uplink = Uplink(identity, load_key(self._work_dir), self._read_fingerprint, handlers)
        self._policy = Policy(config.policy)
        packages = self._make_packages()
        self._deployer = self._make_deployer(packages)
        register_packages(handlers, self._deployer)
        self._starts = OrderedStarts(self._deployer, self._tell_waiting)
        platform = make_platform()
        self.supervisor = Supervisor(
            self._work_dir / JOURNAL,
            self._starts,
            on_report=self._on_report,
            on_event=self._on_event,
            on_progress=self.uplink.send_progress,
            on_crash=self._on_crash,
            platform=platform,
            masters=MasterFinder(identity.master_url).find,
        )
        self.instances = Instances(
            identity.node_id,
            self._wishes,
            self.supervisor,
            starts=self._starts,
            resolve=self._deployer.resolve,
            on_report=self.uplink.send_report,
        )
        takeovers = Takeovers(self._policy, self.supervisor, self._wishes.get, self._deployer.rewrite)
        register_takeovers(handlers, takeovers)
        self._updates = Updates(
            self._work_dir,
            seat,
            self._policy,
            packages,
            linked=self.uplink.session_token,
            why_not_linked=lambda: self.uplink.picture.message,
        )
        register_updates(handlers, self._updates)
        self.sampler = Sampler(local_counters(), self.supervisor.read_counters, self.uplink.send_sample)
        self._logs = InstanceLogs(self._work_dir, self._wishes.get, self.supervisor.note)
        self._crashes = CrashStore(self._work_dir / CRASHES, self._logs.read_log, self._wishes.is_wanted)
        self._terminals = TerminalSessions(self._policy, platform.user_prefix)
        register(handlers, self._logs, self._crashes, Execution(self._policy, platform.user_prefix), self._terminals)

    def _make_packages(self) -> PackageStore:
        source = Source(self.uplink.http, self.uplink.session_token)
        return PackageStore(
            self._work_dir,
            source,
            self._identity.signing_public_key,
            self._config.packages,
            in_use=lambda: self._wishes.packages_in_use() | self._updates.packages_in_use(),
        )

    def _make_deployer(self, packages: PackageStore) -> Deployer:
        return Deployer(
            self._work_dir,
            packages,
            self._policy,
            facts=self._facts,
            tell=self.uplink.send_progress,
        )

    # --- life -----------------------------------------------------------------------------------------------------
    async def run(self, stop: StopRequest | None = None) -> None:
        """Run every part until a signal or `stop`."""
        request = stop or StopRequest()
        for name in PRIVATE_FOLDERS:
            (self._work_dir / name).mkdir(mode=0o700, exist_ok=True)
        self._wishes.load()
        await self._deployer.sweep_rests()
        interval_s = self._config.logic.monitor_interval_s
        parts: dict[str, Part] = {
            "supervisor": self.supervisor.run,
            "uplink": self._run_uplink,
            "crashes": self._crashes.run,
            "hang-up": self._hear_hang_up,
            "terminals": self._terminals.run,
            "sampler": lambda: self.sampler.run(interval_s),
            "unsaved wishes": lambda: every(RETRY_SAVE_EVERY_S, self.instances.retry_unsaved, "unsaved wishes"),
            "rotator": lambda: every(ROTATE_EVERY_S, self._rotate, "rotator"),
            "sweeper": lambda: every(SWEEP_EVERY_S, self._deployer.sweep, "sweeper"),
            "updates": lambda: self._updates.run(request),
        }
        await serve(parts, stop=request)

    async def remove_instances(self, within_s: float) -> None:
        """Instead of `run`: stop and remove every instance, with no master. Raises TimedOut naming what resists."""
        self._wishes.load()
        async with running(self.supervisor.run(), "supervisor"):
            await self.instances.remove_all()
            try:
                async with asyncio.timeout(within_s):
                    while not all(report.removed for report in self.instances.reports()):
                        self._has_news.clear()
                        await self._has_news.wait()
            except TimeoutError:
                left = ", ".join(f"{item.name} ({item.state})" for item in self.instances.statuses())
                raise TimedOut(f"not removed within {within_s:.0f} s: {left}; nothing was forgotten") from None

    async def _run_uplink(self) -> None:
        """Take care of what should run here first, then talk about it."""
        await self.instances.reconcile()
        self._on_ready()
        if strays := self.supervisor.unclaimed():
            _log.warning(
                "services without a wish on this disk (another worker's, or the state was lost) are left alone: %s",
                ", ".join(strays),
            )
        await self.uplink.run(self.instances)

    async def _hear_hang_up(self) -> None:
        """Take SIGHUP as the wish to ask the master again."""
        loop = asyncio.get_running_loop()
        if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
            return
        loop.add_signal_handler(signal.SIGHUP, self.uplink.try_again)
        try:
            await asyncio.Event().wait()
        finally:
            loop.remove_signal_handler(signal.SIGHUP)

    async def _rotate(self) -> None:
        rotate = self._config.log_rotate
        rules = RotateRules(rotate.max_size_bytes, rotate.max_backups, rotate.max_age_s, rotate.compress)
        await self._logs.rotate([spec.instance_id for spec in self._wishes.in_start_order()], rules)

    def _tell_waiting(self, instance_id: InstanceId, reason: Reason | None) -> None:
        self.supervisor.tell_waiting(instance_id, reason)

    def _on_report(self, report: InstanceReport) -> None:
        self._has_news.set()
        self._starts.see(report)
        if report.removed:
            self._crashes.forget(report.instance_id)
        self.uplink.send_report(report)

    def _on_crash(self, instance_id: InstanceId, crash: Crash) -> None:
        self._crashes.note(instance_id, crash)

    def _on_event(self, _event: InstanceEvent) -> None:
        self.uplink.wake_events()

    # --- pictures -------------------------------------------------------------------------------------------------
    def health(self) -> Health:
        """Return what `/health` answers."""
        picture = self.uplink.picture
        instances = self.instances.statuses()
        is_well = picture.state == "linked" and all(item.state is not State.FAILED for item in instances)
        return Health(
            status="ok" if is_well else "degraded",
            version=__version__,
            node_id=self._identity.node_id,
            node_name=self.uplink.node_name,
            link=LinkStatus(
                state=picture.state,
                master_url=self._identity.master_url,
                since=picture.since,
                message=picture.message,
                times_linked=picture.times_linked,
                clock_skew_s=picture.clock_skew_s,
            ),
            instances=instances,
            started_at=self._started_at,
        )

    def metrics(self) -> str:
        """Return what `/metrics` answers."""
        return prometheus_text(self.health(), self.sampler.last, self.uplink.dropped_samples, self.sampler.pace)

    # --- facts ----------------------------------------------------------------------------------------------------
    def _read_fingerprint(self) -> Fingerprint:
        seen = read_fingerprint(self._probe, self._identity.master_url)
        self._fingerprint = msgspec.structs.replace(
            seen, key_place=key_place(self._work_dir), boot_service=self._boot_service
        )
        return self._fingerprint

    def _facts(self) -> NodeFacts:
        return NodeFacts(self._identity.node_id, self.uplink.node_name, self._fingerprint.ips[0])


async def run_app(
    config: WorkerConfig,
    stop: StopRequest | None = None,
    *,
    on_ready: Callable[[], None] = lambda: None,
    seat: Seat | None = None,
) -> None:
    """Run a worker: take its folder and port, join when needed, then work until a signal or `stop`.

    `on_ready` hears that everything that should run here is under care. Raises UsageError or SafetyRefusal when it must
    not or cannot start.
    """
    work_dir = config.work_dir().absolute()
    known = load_identity(work_dir)
    invitation = None if known else read_invitation(config)
    lock = take_lock(work_dir)
    pages = Pages(config.connect.master_url)
    server = StatusServer(config.server.port, pages.health, pages.metrics)
    try:
        await server.open()
        note_port(work_dir, server.port)
        identity = await _join(config, invitation, stop) if invitation else known
        if identity is None:
            return
        identity = follow_master(config, identity)
        boot_service = await asyncio.to_thread(local_services().status, "worker")
        pages.app = app = WorkerApp(config, identity, boot_service=boot_service, on_ready=on_ready, seat=seat)
        await app.run(stop)
    finally:
        await server.close()
        lock.release()


class Pages:
    """What the status port answers, before and after the worker has joined."""

    def __init__(self, master_url: str) -> None:
        self._master_url = master_url
        self.app: WorkerApp | None = None

    def health(self) -> Health:
        """Return the picture."""
        if self.app is not None:
            return self.app.health()
        return Health(
            status="degraded",
            version=__version__,
            node_id="",
            node_name="",
            link=LinkStatus(state="joining", master_url=self._master_url),
            instances=(),
        )

    def metrics(self) -> str:
        """Return the measurements."""
        return self.app.metrics() if self.app is not None else prometheus_text(self.health(), None, 0)


def follow_master(config: WorkerConfig, identity: Identity) -> Identity:
    """Return the identity with the address to dial: one that was set for this start, else the one it joined by.

    The CA pinned at enrolment stays, so that a master may move and a stranger cannot take its place.
    """
    default = next(option.default for option in OPTIONS if option.key == "connect.master_url")
    url = identity.master_url if config.connect.master_url == default else config.connect.master_url
    url = check_address(url, allow_plain_http=config.connect.allow_plain_http)
    return msgspec.structs.replace(identity, master_url=url)


class Invitation(msgspec.Struct, frozen=True):
    """Where to join and by which token."""

    url: str
    token: JoinToken


def read_invitation(config: WorkerConfig) -> Invitation:
    """Return how to join. Raises UsageError for an unsafe address or a broken token, before anything is touched."""
    connect = config.connect
    url = check_address(connect.master_url, allow_plain_http=connect.allow_plain_http)
    return Invitation(url, parse_join_token(connect.token.reveal()))


async def join_once(config: WorkerConfig) -> Identity:
    """Join now and keep the identity. Raises UsageError for a bad token, Unavailable while the master is away."""
    invitation = read_invitation(config)
    work_dir = config.work_dir().absolute()
    lock = take_lock(work_dir)
    try:
        identity = await enrol_once(invitation.url, invitation.token, _applicant(config, invitation.url))
        save_identity(work_dir, identity)
    finally:
        lock.release()
    return identity


def _applicant(config: WorkerConfig, url: str) -> Applicant:
    fingerprint = read_fingerprint(local_probe(), url)
    return Applicant(
        name=config.connect.name or fingerprint.hostname,
        labels=config.connect.labels,
        public_key=load_or_make_key(config.work_dir().absolute()).public_text(),
        fingerprint=fingerprint,
    )


async def _join(config: WorkerConfig, invitation: Invitation, stop: StopRequest | None) -> Identity | None:
    """Enrol and keep the identity; None when a signal came first."""
    work_dir = config.work_dir().absolute()
    applicant = _applicant(config, invitation.url)

    async def join() -> None:
        save_identity(work_dir, await enrol(invitation.url, invitation.token, applicant))

    await serve({"joining": join}, stop=stop)
    identity = load_identity(work_dir)
    if identity is not None:
        _log.info("%s", say("joined", name=identity.node_name, id=identity.node_id, master=identity.master_url))
    return identity
