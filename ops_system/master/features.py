"""Every feature of the master, built and loaded floor by floor; what talks upwards is connected here. Used by `app`."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field

from ops_system.master import topics
from ops_system.master.addresses import KnownAddresses
from ops_system.master.alerts import api as alerts_api
from ops_system.master.alerts.desk import Desk
from ops_system.master.alerts.fleet import Fleet
from ops_system.master.alerts.loglines import LogLooker
from ops_system.master.alerts.past import Past
from ops_system.master.alerts.rulebook import Rulebook
from ops_system.master.alerts.service import Alerts
from ops_system.master.alerts.silences import Silences
from ops_system.master.alerts.trials import Trials
from ops_system.master.alerts.watch import Watch
from ops_system.master.artefacts.watch import StoreWatch
from ops_system.master.audit import api as audit_api
from ops_system.master.audit.service import Audit
from ops_system.master.auth import api as auth_api
from ops_system.master.auth.events import SessionsRevoked
from ops_system.master.auth.service import Auth
from ops_system.master.backups import api as backups_api
from ops_system.master.backups.copies import Copies
from ops_system.master.backups.desk import Desk as BackupDesk
from ops_system.master.backups.making import Source
from ops_system.master.backups.rules import Place
from ops_system.master.backups.service import Backups
from ops_system.master.backups.shelf import BlobShelf, LocalShelf, Shelf
from ops_system.master.backups.turnover import Turnover
from ops_system.master.bus import Bus
from ops_system.master.channels import api as channels_api
from ops_system.master.channels.service import Channels
from ops_system.master.commands import api as commands_api
from ops_system.master.commands.library import Library
from ops_system.master.commands.service import Commands
from ops_system.master.config import MasterConfig
from ops_system.master.configs import api as configs_api
from ops_system.master.configs.driver import Driver as ConfigDriver
from ops_system.master.configs.foresight import Foresight
from ops_system.master.configs.service import Configs
from ops_system.master.configs.values import Values
from ops_system.master.gatekeeper import InstanceOwners
from ops_system.master.gauges import channel_gauges, fleet_text, node_gauges
from ops_system.master.instances import adopt_api
from ops_system.master.instances import api as instances_api
from ops_system.master.instances.adopting import Adoptions
from ops_system.master.instances.aftermath import Announcer
from ops_system.master.instances.observer import Observer
from ops_system.master.instances.service import Instances
from ops_system.master.instances.views import InstanceQuery
from ops_system.master.jobs import BackupJob, ExecJob, RestartJob, RetentionJob
from ops_system.master.live import api as live_api
from ops_system.master.live.hub import Hub
from ops_system.master.logs import api as logs_api
from ops_system.master.logs.feeds import Feeds
from ops_system.master.logs.service import Logs, Member
from ops_system.master.logs.viewers import Viewers
from ops_system.master.metrics import api as metrics_api
from ops_system.master.metrics.history import History
from ops_system.master.metrics.service import MetricsBook
from ops_system.master.nodes import api as nodes_api
from ops_system.master.nodes.events import FalseClaim
from ops_system.master.nodes.links import Links
from ops_system.master.nodes.rules import MasterFacts
from ops_system.master.nodes.scope import reached_nodes
from ops_system.master.nodes.service import Nodes
from ops_system.master.nodes.timeline import NodeTimeline
from ops_system.master.notices import Watchman
from ops_system.master.operations import api as operations_api
from ops_system.master.operations.service import Operations
from ops_system.master.outbound.client import Outbound
from ops_system.master.packages import api as packages_api
from ops_system.master.packages.parts import Parts as UploadParts
from ops_system.master.packages.retention import Retention
from ops_system.master.packages.service import Packages
from ops_system.master.provision_store import api as provision_store_api
from ops_system.master.provision_store.service import StoreDoor
from ops_system.master.provision_store.stores import Provision
from ops_system.master.publishers import api as publishers_api
from ops_system.master.publishers.service import Publishers
from ops_system.master.rollouts import api as rollouts_api
from ops_system.master.rollouts.drains import Drains
from ops_system.master.rollouts.service import Rollouts
from ops_system.master.schedules import api as schedules_api
from ops_system.master.schedules.service import Job, Schedules
from ops_system.master.systems import api as systems_api
from ops_system.master.systems.applying import Applier
from ops_system.master.systems.service import Systems
from ops_system.master.templates import api as templates_api
from ops_system.master.templates.service import Templates
from ops_system.master.terminals import api as terminals_api
from ops_system.master.terminals.recordings import Recordings
from ops_system.master.terminals.service import TerminalDesk
from ops_system.master.terminals.shares import Shares
from ops_system.master.trust.service import Trust
from ops_system.master.updates import api as updates_api
from ops_system.master.updates.service import Updates
from ops_system.master.upgrades import api as upgrades_api
from ops_system.master.upgrades.driver import Driver
from ops_system.master.upgrades.meter import Meter
from ops_system.master.upgrades.service import Upgrades
from ops_system.master.web.health import Check, Gauges, Texts
from ops_system.master.web.route import Principal, Route
from ops_system.model.ids import NodeId
from ops_system.protocol.frames import Events, Progress, Report, Sample, Snapshot
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import Part
from ops_system.storage.blobs.base import BlobStore
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations

_SWEEP_KEYS_S = 3600.0
_MAX_PAGE = 500
_LOOK = "SELECT count(*) FROM meta"
_PACKAGE = "ops_system.master"  # holds the migrations in schema/


@dataclass(slots=True)
class Ground:
    """What every feature stands on."""

    config: MasterConfig
    folder: DataFolder
    database: Database
    trust: Trust
    bus: Bus
    clock: Clock
    audit: Audit
    addresses: KnownAddresses
    store: BlobStore
    on_code: Callable[[str], None]
    turnover: Turnover
    backup_blobs: BlobStore | None = None
    jobs: list[Job] = field(default_factory=list)  # what can be scheduled
    provision: Provision | None = None
    routes: list[Route] = field(default_factory=list)
    gauges: list[Gauges] = field(default_factory=list)
    texts: list[Texts] = field(default_factory=list)
    checks: dict[str, Check] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)


async def build_features(ground: Ground) -> tuple[Auth, Links]:
    """Build and load every feature, the lower ones first; fill `ground.routes` and `ground.parts`."""
    ground.routes += audit_api.routes(ground.audit)
    auth = await build_auth(ground)
    build_provision_store(ground)
    operations = await build_operations(ground)
    nodes, links = await build_nodes(ground, auth)
    timeline = build_timeline(ground, nodes)
    channels = build_channels(ground, nodes)
    packages = await build_packages(ground, operations)
    build_backups(ground, operations)
    templates = build_templates(ground)
    systems, applier = await build_systems(ground, packages, templates)
    metrics, history = build_metrics(ground, nodes, links)
    ground.gauges.append(lambda: node_gauges(nodes, links, metrics, history))
    book = Book(operations, nodes, links, packages, systems, metrics)
    instances = await build_instances(ground, book)
    applier.foresee = build_configs(ground, book, templates, instances).of_system
    ground.texts.append(fleet_text(nodes, metrics, instances))
    build_rollouts(ground, book, instances)
    build_logs(ground, book, instances)
    commands = build_commands(ground, book, auth)
    build_terminals(ground, book)
    build_updates(ground, book)
    build_schedules(ground, operations, auth)
    owners = InstanceOwners(ground.bus, await instances.list_views())
    metrics.check_owner(owners.owner_of)
    hub = build_live(ground, book, instances, owners, commands)
    topics.register_alerts(hub, await build_alerts(ground, book, instances, channels, timeline), nodes)
    topics.register_node_events(hub, timeline, nodes)
    return auth, links


@dataclass(frozen=True, slots=True)
class Book:
    """The features below `instances`, handed to those that need many of them."""

    operations: Operations
    nodes: Nodes
    links: Links
    packages: Packages
    systems: Systems
    metrics: MetricsBook


async def build_auth(ground: Ground) -> Auth:
    """Who people, programs and joining workers are."""
    auth = Auth(
        database=ground.database,
        audit=ground.audit,
        bus=ground.bus,
        clock=ground.clock,
        folder=ground.folder,
        sealer=ground.trust,
        ca_key_sha256=ground.trust.ca_key_sha256,
        master_url=ground.addresses.master_url,
        announce=ground.on_code,
    )
    await auth.load()
    ground.parts["auth"] = auth.run
    ground.routes += auth_api.routes(auth)
    return auth


def build_provision_store(ground: Ground) -> None:
    """The state of installations, for regional clients; in process it is `ground.provision`."""
    if ground.provision is None:
        raise RuntimeError("the store is opened before the features are built")
    engine = ground.provision.engine
    door = StoreDoor(engine, ground.audit.record_denied)
    if engine is not None:
        ground.parts["provision store"] = engine.run
    ground.bus.subscribe(SessionsRevoked, lambda event: door.revoke(event.ids))
    ground.checks["provision store"] = ground.provision.check
    ground.gauges.append(ground.provision.gauges)
    ground.routes += provision_store_api.routes(door)


async def build_operations(ground: Ground) -> Operations:
    """Long actions."""
    operations = Operations(ground.database, ground.bus, ground.clock)
    await operations.load()
    ground.routes += operations_api.routes(operations)
    return operations


async def build_nodes(ground: Ground, auth: Auth) -> tuple[Nodes, Links]:
    """Nodes, and the one link of each."""
    signing_key = base64.b64encode(ground.trust.signing_public_key).decode()
    nodes = Nodes(
        database=ground.database,
        audit=ground.audit,
        bus=ground.bus,
        clock=ground.clock,
        join_tokens=auth.join_tokens,
        facts=MasterFacts(ground.trust.ca_pem, signing_key, await read_epoch(ground.database)),
        offline_after_s=ground.config.logic.node_offline_threshold_s,
        heartbeat_s=ground.config.logic.heartbeat_interval_s,
    )
    await nodes.load()
    links = Links(
        nodes,
        ground.audit,
        ground.bus,
        ground.clock,
        is_own_certificate=ground.trust.is_own_certificate,
        heartbeat_s=ground.config.logic.heartbeat_interval_s,
        sample_s=ground.config.logic.monitor_interval_s,
    )
    ground.parts["nodes"] = nodes.run
    ground.routes += nodes_api.routes(nodes, links)
    ground.routes += nodes_api.worker_routes(nodes, links, ground.trust.voucher)
    return nodes, links


def build_timeline(ground: Ground, nodes: Nodes) -> NodeTimeline:
    """What happened to nodes."""
    timeline = NodeTimeline(database=ground.database, bus=ground.bus, nodes=nodes)
    ground.parts["node timeline"] = timeline.run
    ground.routes += nodes_api.timeline_routes(timeline)
    return timeline


async def read_epoch(database: Database) -> int:
    """Return how often the data was restored from a backup, counted from 1."""
    row = await database.fetch_one("SELECT value FROM meta WHERE key = 'epoch'")
    return 1 if row is None else int(row["value"])


def build_channels(ground: Ground, nodes: Nodes) -> Channels:
    """Where notices go, and what becomes one."""
    config = ground.config.outbound
    outbound = Outbound(allow=config.allow, ca_file=config.ca_file, own=ground.addresses.own_listener)
    channels = Channels(
        database=ground.database,
        audit=ground.audit,
        bus=ground.bus,
        clock=ground.clock,
        sealer=ground.trust,
        outbound=outbound,
        public_url=ground.addresses.master_url,
    )
    Watchman(ground.bus, nodes, ground.clock)
    ground.parts["channels"] = channels.run
    ground.gauges.append(lambda: channel_gauges(channels))
    ground.routes += channels_api.routes(channels)
    return channels


async def build_packages(ground: Ground, operations: Operations) -> Packages:
    """The catalogue, and the store below it."""
    watch = StoreWatch(ground.store, ground.config.storage.type)
    await ground.store.sweep()
    is_required = ground.config.storage.require_publisher
    publishers = Publishers(database=ground.database, audit=ground.audit, clock=ground.clock, is_required=is_required)
    packages = Packages(
        database=ground.database,
        blobs=ground.store,
        parts=UploadParts(ground.folder.uploads / "parts"),
        signer=ground.trust,
        publishers=publishers,
        audit=ground.audit,
        bus=ground.bus,
        clock=ground.clock,
        is_direct=ground.config.storage.downloads == "direct",
    )
    retention = Retention(
        database=ground.database, packages=packages, operations=operations, audit=ground.audit, clock=ground.clock
    )
    ground.parts |= {"packages": packages.run, "package retention": retention.run, "storage": watch.run}
    ground.checks["storage"] = watch.check
    ground.gauges.append(watch.gauges)
    ground.routes += [*publishers_api.routes(publishers), *packages_api.routes(packages)]
    ground.routes += packages_api.retention_routes(retention)
    ground.jobs.append(RetentionJob(retention))
    return packages


def build_backups(ground: Ground, operations: Operations) -> None:
    """Hourly copies of the database, and backups of everything."""
    copies = Copies(ground.database, ground.folder.backups, ground.clock)
    master = ground.trust.ca_key_sha256
    shelves: dict[Place, Shelf] = {"local": LocalShelf(ground.config.backup_dir(), master)}
    if ground.backup_blobs is not None:
        shelves["s3"] = BlobShelf(ground.backup_blobs)
    desk = BackupDesk(
        database=ground.database, audit=ground.audit, operations=operations, folder=ground.folder.archives
    )
    backups = Backups(
        source=Source(ground.folder, ground.database, ground.store, master, ground.clock),
        audit=ground.audit,
        desk=desk,
        sealer=ground.trust,
        shelves=shelves,
        local_folder=ground.config.backup_dir(),
        migrations=load_migrations(_PACKAGE),
        turnover=ground.turnover,
    )
    ground.parts |= {"copies": copies.run, "backups": backups.run}
    ground.routes += backups_api.routes(backups)
    ground.jobs.append(BackupJob(backups))


def build_templates(ground: Ground) -> Templates:
    """Config templates and their versions."""
    templates = Templates(database=ground.database, audit=ground.audit, bus=ground.bus, clock=ground.clock)
    ground.routes += templates_api.routes(templates)
    return templates


async def build_systems(ground: Ground, packages: Packages, templates: Templates) -> tuple[Systems, Applier]:
    """Definitions of systems and modules."""
    systems = Systems(
        database=ground.database,
        packages=packages,
        templates=templates,
        audit=ground.audit,
        bus=ground.bus,
        clock=ground.clock,
        sealer=ground.trust,
    )
    await systems.load()
    applier = Applier(systems=systems, database=ground.database, audit=ground.audit, clock=ground.clock)
    ground.routes += [*systems_api.routes(systems), *systems_api.document_routes(applier)]
    return systems, applier


def build_metrics(ground: Ground, nodes: Nodes, links: Links) -> tuple[MetricsBook, History]:
    """The windows of all series, fed by the links, and the files of their history."""
    logic = ground.config.logic
    history = History(ground.folder.metrics, budget_bytes=logic.metrics_disk_bytes)
    metrics = MetricsBook(ground.bus, ground.clock, budget_bytes=logic.metrics_memory_bytes, history=history)
    metrics.check_nodes(lambda node_id: nodes.find(node_id) is not None)
    ground.checks["metrics"] = history.check
    nodes.show_metrics(metrics.current_of_node)
    links.on_quick(Sample, metrics.ingest)
    ground.parts["metrics"] = metrics.run
    ground.routes += metrics_api.routes(metrics, nodes.get)
    return metrics, history


async def build_instances(ground: Ground, book: Book) -> Instances:
    """Wishes and observations; what workers report comes in here."""
    announcer = Announcer(operations=book.operations, links=book.links, bus=ground.bus, clock=ground.clock)
    observer = Observer(
        database=ground.database,
        operations=book.operations,
        audit=ground.audit,
        announcer=announcer,
        clock=ground.clock,
    )
    instances = Instances(
        database=ground.database,
        nodes=book.nodes,
        packages=book.packages,
        systems=book.systems,
        operations=book.operations,
        announcer=announcer,
        observer=observer,
        audit=ground.audit,
        bus=ground.bus,
        clock=ground.clock,
    )
    await instances.load()
    instances.show_metrics(book.metrics.current_of_instance)
    book.links.on(Snapshot, observer.on_snapshot)
    book.links.on(Report, observer.on_report)
    book.links.on(Events, observer.on_events)
    book.links.on_quick(Progress, observer.on_progress)
    ground.bus.subscribe(FalseClaim, observer.on_claim)
    ground.parts["instances"] = instances.run
    ground.routes += instances_api.routes(instances)
    adoptions = Adoptions(
        database=ground.database,
        nodes=book.nodes,
        systems=book.systems,
        instances=instances,
        links=book.links,
        audit=ground.audit,
    )
    ground.routes += adopt_api.routes(adoptions)
    return instances


def build_configs(ground: Ground, book: Book, templates: Templates, instances: Instances) -> Foresight:
    """What changes of configuration reach, and how they get there."""
    foresight = Foresight(book.nodes, book.systems, instances)
    driver = ConfigDriver(
        database=ground.database,
        systems=book.systems,
        instances=instances,
        operations=book.operations,
        foresight=foresight,
        links=book.links,
        bus=ground.bus,
    )
    configs = Configs(
        database=ground.database,
        nodes=book.nodes,
        systems=book.systems,
        templates=templates,
        instances=instances,
        operations=book.operations,
        foresight=foresight,
        driver=driver,
        audit=ground.audit,
    )
    values = Values(database=ground.database, systems=book.systems, instances=instances, audit=ground.audit)
    ground.parts["configuration"] = driver.run
    ground.routes += [*configs_api.routes(configs), *configs_api.value_routes(values)]
    return foresight


def build_rollouts(ground: Ground, book: Book, instances: Instances) -> None:
    """Actions on whole systems, and on all that runs on a node."""
    rollouts = Rollouts(
        database=ground.database,
        nodes=book.nodes,
        packages=book.packages,
        systems=book.systems,
        instances=instances,
        operations=book.operations,
        audit=ground.audit,
        bus=ground.bus,
    )
    drains = Drains(
        database=ground.database,
        nodes=book.nodes,
        systems=book.systems,
        instances=instances,
        operations=book.operations,
        audit=ground.audit,
        bus=ground.bus,
    )
    ground.parts |= {"rollouts": rollouts.run, "drains": drains.run}
    ground.routes += [*rollouts_api.routes(rollouts), *rollouts_api.drain_routes(drains)]
    ground.jobs.append(RestartJob(instances, book.systems, rollouts))
    build_upgrades(ground, book, instances, rollouts)


def build_upgrades(ground: Ground, book: Book, instances: Instances, rollouts: Rollouts) -> None:
    """Other versions of modules for what runs."""
    driver = Driver(
        database=ground.database,
        nodes=book.nodes,
        packages=book.packages,
        systems=book.systems,
        instances=instances,
        operations=book.operations,
        links=book.links,
        meter=Meter(book.metrics, ground.clock),
        bus=ground.bus,
        clock=ground.clock,
    )
    instances.judge_upgrades(driver.on_upgraded)
    instances.show_fetches(driver.on_progress)
    upgrades = Upgrades(
        database=ground.database,
        nodes=book.nodes,
        systems=book.systems,
        instances=instances,
        operations=book.operations,
        rollouts=rollouts,
        driver=driver,
        audit=ground.audit,
    )
    upgrades.guard(book.packages.usage)
    ground.parts["upgrades"] = driver.run
    ground.routes += upgrades_api.routes(upgrades)


def build_logs(ground: Ground, book: Book, instances: Instances) -> None:
    """The logs of instances, read through the links; those of a module or system as one."""
    logs, feeds = Logs(instances, book.links), Feeds()
    viewers = Viewers(logs, feeds)

    async def of_module(module_id: str, actor: Principal) -> list[Member]:
        await book.systems.get_module(module_id, principal=actor)
        page = await instances.list_page(InstanceQuery(module_id=module_id, limit=_MAX_PAGE), actor)
        return [Member(one.id, one.node_id) for one in page.items]

    async def of_system(system_id: str, actor: Principal) -> list[Member]:
        await book.systems.get_system(system_id, principal=actor)
        page = await instances.list_page(InstanceQuery(system_id=system_id, limit=_MAX_PAGE), actor)
        return [Member(one.id, one.node_id) for one in page.items]

    ground.parts["log feeds"] = feeds.run
    ground.routes += logs_api.routes(logs, viewers, instances.get)
    ground.routes += logs_api.merged_routes(logs, viewers, "module", of_module)
    ground.routes += logs_api.merged_routes(logs, viewers, "system", of_system)


def build_commands(ground: Ground, book: Book, auth: Auth) -> Commands:
    """Commands on nodes."""
    commands = Commands(
        database=ground.database,
        audit=ground.audit,
        bus=ground.bus,
        nodes=book.nodes,
        links=book.links,
        operations=book.operations,
        at_once=ground.config.logic.batch_concurrency,
        has_proof=auth.has_step_up,
    )
    library = Library(database=ground.database, audit=ground.audit, clock=ground.clock)
    ground.parts["commands"] = commands.run
    ground.jobs.append(ExecJob(commands, library))
    ground.routes += commands_api.routes(commands, library)
    return commands


def build_schedules(ground: Ground, operations: Operations, auth: Auth) -> None:
    """What runs by the clock: every kind of work that was offered before."""
    schedules = Schedules(
        database=ground.database,
        audit=ground.audit,
        bus=ground.bus,
        clock=ground.clock,
        operations=operations,
        stand_in=auth.stand_in,
    )
    for job in ground.jobs:
        schedules.offer(job)
    ground.parts["schedules"] = schedules.run
    ground.routes += schedules_api.routes(schedules)


def build_terminals(ground: Ground, book: Book) -> None:
    """Terminals on nodes."""
    recordings = Recordings(
        database=ground.database,
        audit=ground.audit,
        clock=ground.clock,
        nodes=book.nodes,
        links=book.links,
        folder=ground.folder.recordings,
    )
    shares = Shares(
        database=ground.database, audit=ground.audit, clock=ground.clock, nodes=book.nodes, links=book.links
    )
    desk = TerminalDesk(nodes=book.nodes, links=book.links, audit=ground.audit, recordings=recordings, shares=shares)
    ground.parts["recordings"] = recordings.run
    ground.routes += terminals_api.routes(desk)


def build_updates(ground: Ground, book: Book) -> None:
    """Updates of the workers themselves."""
    updates = Updates(
        database=ground.database,
        audit=ground.audit,
        nodes=book.nodes,
        packages=book.packages,
        links=book.links,
        operations=book.operations,
    )
    ground.parts["updates"] = updates.run
    ground.routes += updates_api.routes(updates)


async def build_alerts(
    ground: Ground, book: Book, instances: Instances, channels: Channels, timeline: NodeTimeline
) -> Alerts:
    """Rules on what nodes and instances report, what fires by them, and who is told."""
    database, audit, clock = ground.database, ground.audit, ground.clock
    rulebook = Rulebook(database=database, audit=audit, clock=clock, channels=channels)

    def reached(principal: Principal) -> frozenset[NodeId] | None:
        return reached_nodes(book.nodes, principal.scope)

    silences = Silences(database=database, audit=audit, clock=clock, reached=reached)
    fleet = Fleet(ground.bus, book.nodes.list_all(), await instances.list_views())
    lines = LogLooker(book.links, clock, database)
    watch = Watch(fleet, book.metrics, ground.trust.days_left, lines, started_s=clock.monotonic_s())
    desk = Desk(
        database=database,
        bus=ground.bus,
        clock=clock,
        rulebook=rulebook,
        silences=silences,
        fleet=fleet,
        watch=watch,
        outbox=channels,
    )
    alerts = Alerts(
        database=database, audit=audit, clock=clock, rulebook=rulebook, silences=silences, desk=desk, reached=reached
    )
    fleet.on_change = lines.on_hit = alerts.look_soon
    await lines.load()
    await alerts.load()
    ground.parts |= {"alerts": alerts.run, "log rules": lines.run}
    trials = Trials(
        rulebook=rulebook,
        fleet=fleet,
        watch=watch,
        history=book.metrics,
        past=Past(timeline, instances),
        clock=clock,
        reached=reached,
    )
    ground.routes += alerts_api.routes(alerts, trials)
    return alerts


def build_live(ground: Ground, book: Book, instances: Instances, owners: InstanceOwners, commands: Commands) -> Hub:
    """What browsers watch."""
    hub = Hub(ground.bus, ground.clock)
    topics.register_nodes(hub, book.nodes)
    topics.register_definitions(hub, book.packages, book.systems)
    topics.register_operations(hub, book.operations)
    topics.register_commands(hub, commands, book.nodes)
    sight = topics.Sight(book.nodes, owners.owner_of)
    book.packages.usage.limit(lambda who, user: topics.sees_user(sight, book.systems, who, user))
    topics.register_instances(hub, instances, sight)
    topics.register_metrics(hub, book.metrics, book.nodes, instances, sight)
    ground.bus.subscribe(SessionsRevoked, lambda event: hub.close_sessions(event.ids))
    ground.routes += live_api.routes(hub)
    return hub
