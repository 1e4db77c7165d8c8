"""`ops-master backup create | list | restore` on the data folder.

`create` works beside a running master, too. `restore` wants the folder for itself; into an empty folder it makes a
whole master of the backup: database, keys and packages.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ops_system.master.artefacts.stores import open_backup_blobs, open_store
from ops_system.master.audit.service import Audit
from ops_system.master.auth.offline import local_principal
from ops_system.master.backups.making import Source, Wanted, make_backup, sweep_work, work_folder
from ops_system.master.backups.progress import Progress
from ops_system.master.backups.restoring import Order, Staged, Target, stage
from ops_system.master.backups.rules import Backup
from ops_system.master.backups.shelf import BlobShelf, LocalShelf, Shelf
from ops_system.master.backups.store import read_restored
from ops_system.master.config import MasterConfig
from ops_system.master.trust.authority import Authority
from ops_system.model.errors import NotFound, OpsError, SafetyRefusal, UsageError
from ops_system.runtime.clock import SystemClock
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.lock import acquire
from ops_system.storage.migrations import load_migrations
from ops_system.storage.restore import commit_restore

FROM_S3 = "s3:"
NEWEST = "latest"
_PACKAGE = "ops_system.master"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CreateOrder:
    """What to make. `file` None: among the master's backups, under a name of its own."""

    file: Path | None
    has_artefacts: bool
    passphrase: str
    note: str = ""


def create(config: MasterConfig, order: CreateOrder, say: Say) -> Path:
    """Make a backup of the data folder. Blocking; not inside a loop.

    Raises UsageError for an empty folder, StorageFull, SafetyRefusal, Invalid.
    """
    folder = config.folder()
    if not folder.is_initialized:
        raise UsageError("{root} holds no data of a master; name the folder by -data_dir", root=folder.root)
    if order.file is not None and order.file.exists():
        raise UsageError("{file} is there already; name another file", file=order.file)
    return asyncio.run(_create(config, folder, order, say))


async def _create(config: MasterConfig, folder: DataFolder, order: CreateOrder, say: Say) -> Path:
    with open_store(config) as blobs:
        async with _open(folder) as (database, audit):
            master = Authority.open(folder, SystemClock().now()).key_sha256
            shelf = LocalShelf(order.file.absolute().parent if order.file else config.backup_dir(), master)
            source = Source(folder, database, blobs, master, SystemClock())
            wanted = Wanted(has_artefacts=order.has_artefacts, passphrase=order.passphrase, note=order.note)
            async with work_folder(folder.archives) as work:
                made = await make_backup(source, wanted, work, Progress(_teller(say)))
                name = order.file.name if order.file else made.name
                await shelf.put(made.path, name)
            await audit.record_alone(local_principal(), "backup.create", f"backup:{name}", "done", {"place": "local"})
            return (order.file.absolute() if order.file else config.backup_dir() / name).absolute()


def list_all(config: MasterConfig) -> list[Backup]:
    """Return every backup in reach, the newest first. Blocking. Raises Unavailable."""

    async def gather() -> list[Backup]:
        with _shelves(config) as shelves:
            return [backup for shelf in shelves.values() for backup in await shelf.list()]

    return sorted(asyncio.run(gather()), key=lambda backup: backup.created_at, reverse=True)


def restore(config: MasterConfig, name: str, passphrase: str, *, has_artefacts: bool, say: Say) -> Staged:
    """Put the data of a backup in place: a file, `s3:NAME`, or `s3:latest`. Blocking; not inside a loop.

    Raises SafetyRefusal while a master runs here, Invalid (why it is refused), NotFound, StorageFull. Until its last
    step nothing is changed, and that step is done whole, if need be by whoever opens the folder next.
    """
    folder = config.folder()
    folder.create()
    lock = acquire(folder.lock)
    try:
        order = Order(Path(name), name, passphrase, has_artefacts, local_principal())
        return asyncio.run(_restore(config, folder, order, say))
    finally:
        lock.release()


async def _restore(config: MasterConfig, folder: DataFolder, order: Order, say: Say) -> Staged:
    clock, progress = SystemClock(), Progress(_teller(say))
    await asyncio.to_thread(sweep_work, folder.archives)
    with open_store(config) as blobs:
        target = Target(folder, blobs, load_migrations(_PACKAGE), clock, await _known_epoch(folder))
        async with work_folder(folder.archives) as work:
            path, shown = await _find(config, order.name, work, progress)
            used = Order(path, shown, order.passphrase, order.has_artefacts, order.actor)
            staged = await stage(target, used, work, progress)
        await asyncio.to_thread(commit_restore, folder, int(clock.now().timestamp() * 1000))
    return staged


async def _known_epoch(folder: DataFolder) -> int:
    """Return the epoch of the present data; 0 for none, or for data that cannot be read: that is why one restores."""
    if not folder.database.exists():
        return 0
    try:
        async with _open(folder) as (database, _):
            return (await read_restored(database))[0]
    except (SafetyRefusal, OpsError):
        return 0


async def _find(config: MasterConfig, name: str, work: Path, progress: Progress) -> tuple[Path, str]:
    """Return a file of this machine with the backup, and its name."""
    if not name.startswith(FROM_S3):
        path = Path(name)
        if not path.is_file():
            raise NotFound(f"there is no file {path}; ops-master backup list names the backups", id=name)
        return path, path.name
    with _shelves(config) as shelves:
        if "s3" not in shelves:
            raise UsageError("no S3 server is set up; set storage.minio.endpoint, ak and sk")
        shelf = shelves["s3"]
        wanted = name.removeprefix(FROM_S3)
        if wanted == NEWEST:
            there = sorted(await shelf.list(), key=lambda backup: backup.created_at)
            if not there:
                raise NotFound(f"there is no backup in bucket {config.backup.bucket}", id=name)
            wanted = there[-1].name
        path = work / wanted
        progress.begin("fetch")
        with await asyncio.to_thread(path.open, "xb") as file:
            async for piece in shelf.read(wanted):
                await asyncio.to_thread(file.write, piece)
                progress.hear(len(piece))
        return path, wanted


@contextlib.contextmanager
def _shelves(config: MasterConfig) -> Iterator[dict[str, Shelf]]:
    shelves: dict[str, Shelf] = {"local": LocalShelf(config.backup_dir(), "")}
    with open_backup_blobs(config) as blobs:
        if blobs is not None:
            shelves["s3"] = BlobShelf(blobs)
        yield shelves


@contextlib.asynccontextmanager
async def _open(folder: DataFolder) -> AsyncIterator[tuple[Database, Audit]]:
    database = await Database.open(folder, load_migrations(_PACKAGE), readers=1)
    try:
        yield database, Audit(database, SystemClock())
    finally:
        await database.close()


def _teller(say: Say) -> Callable[[str, int, int], None]:
    """Say each step once."""
    said: list[str] = []

    def tell(step: str, done_bytes: int, total_bytes: int) -> None:
        del done_bytes
        if step not in said:
            said.append(step)
            say(f"{step} ({total_bytes // 1_000_000} MB)" if total_bytes else step)

    return tell
