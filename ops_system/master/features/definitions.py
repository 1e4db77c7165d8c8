"""What is to run: packages, templates, systems; and the backups of it all."""

from ops_system.master.artefacts.watch import StoreWatch
from ops_system.master.backups import api as backups_api
from ops_system.master.backups.copies import Copies
from ops_system.master.backups.desk import Desk as BackupDesk
from ops_system.master.backups.making import Source
from ops_system.master.backups.rules import Place
from ops_system.master.backups.service import Backups
from ops_system.master.backups.shelf import BlobShelf, LocalShelf, Shelf
from ops_system.master.features.ground import Ground
from ops_system.master.jobs import BackupJob, RetentionJob
from ops_system.master.operations.service import Operations
from ops_system.master.packages import api as packages_api
from ops_system.master.packages import retention_api
from ops_system.master.packages.parts import Parts as UploadParts
from ops_system.master.packages.retention import Retention
from ops_system.master.packages.service import Packages
from ops_system.master.packages.uploads import Uploads
from ops_system.master.publishers import api as publishers_api
from ops_system.master.publishers.service import Publishers
from ops_system.master.systems import api as systems_api
from ops_system.master.systems.applying import Applier
from ops_system.master.systems.service import Systems
from ops_system.master.templates import api as templates_api
from ops_system.master.templates.service import Templates
from ops_system.storage.migrations import load_migrations

_PACKAGE = "ops_system.master"  # holds the migrations in schema/


async def build_packages(ground: Ground, operations: Operations) -> Packages:
    """The catalogue, and the store below it."""
    watch = StoreWatch(ground.store, ground.config.storage.type)
    await ground.store.sweep()
    is_required = ground.config.storage.require_publisher
    publishers = Publishers(database=ground.database, audit=ground.audit, clock=ground.clock, is_required=is_required)
    uploads = Uploads(
        database=ground.database,
        blobs=ground.store,
        parts=UploadParts(ground.folder.uploads / "parts"),
        audit=ground.audit,
        clock=ground.clock,
    )
    packages = Packages(
        database=ground.database,
        blobs=ground.store,
        uploads=uploads,
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
    ground.routes += retention_api.routes(retention)
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
