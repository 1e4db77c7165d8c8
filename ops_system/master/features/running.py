"""What runs: metrics, instances, their configuration, actions on systems, and other versions of modules."""

from ops_system.master.configs import api as configs_api
from ops_system.master.configs.driver import Driver as ConfigDriver
from ops_system.master.configs.foresight import Foresight
from ops_system.master.configs.service import Configs
from ops_system.master.configs.values import Values
from ops_system.master.features.ground import Book, Ground
from ops_system.master.instances import adopt_api
from ops_system.master.instances import api as instances_api
from ops_system.master.instances.adopting import Adoptions
from ops_system.master.instances.aftermath import Announcer
from ops_system.master.instances.observer import Observer
from ops_system.master.instances.service import Instances
from ops_system.master.jobs import RestartJob
from ops_system.master.metrics import api as metrics_api
from ops_system.master.metrics.history import History
from ops_system.master.metrics.service import MetricsBook
from ops_system.master.nodes.events import FalseClaim
from ops_system.master.nodes.links import Links
from ops_system.master.nodes.service import Nodes
from ops_system.master.rollouts import api as rollouts_api
from ops_system.master.rollouts.drains import Drains
from ops_system.master.rollouts.service import Rollouts
from ops_system.master.templates.service import Templates
from ops_system.master.upgrades import api as upgrades_api
from ops_system.master.upgrades.driver import Driver
from ops_system.master.upgrades.meter import Meter
from ops_system.master.upgrades.service import Upgrades
from ops_system.protocol.frames import Events, Progress, Report, Sample, Snapshot


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
