"""What every feature stands on, and the features that many others need."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ops_system.master.addresses import KnownAddresses
from ops_system.master.audit.service import Audit
from ops_system.master.backups.turnover import Turnover
from ops_system.master.bus import Bus
from ops_system.master.config import MasterConfig
from ops_system.master.metrics.service import MetricsBook
from ops_system.master.nodes.links import Links
from ops_system.master.nodes.service import Nodes
from ops_system.master.operations.service import Operations
from ops_system.master.packages.service import Packages
from ops_system.master.provision_store.stores import Provision
from ops_system.master.schedules.service import Job
from ops_system.master.systems.service import Systems
from ops_system.master.trust.service import Trust
from ops_system.master.web.health import Check, Gauges, Texts
from ops_system.master.web.route import Route
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import Part
from ops_system.storage.blobs.base import BlobStore
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder


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


@dataclass(frozen=True, slots=True)
class Book:
    """The features below `instances`, handed to those that need many of them."""

    operations: Operations
    nodes: Nodes
    links: Links
    packages: Packages
    systems: Systems
    metrics: MetricsBook
