"""Makes the data of a backup ready beside the present data, and then lets it take its place.

    examine   the whole backup is read and judged; nothing is written
    unpack    database and keys lie staged; packages go into the store, where nobody knows them yet
    renew     the staged database gets this program's schema, a higher epoch, and forgets what must not come back
    commit    `storage.restore` puts everything in its place (the master is down, or was never up)

Until the commit the present data is not touched; whatever goes wrong takes back what was made.
"""

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ops_system.master.backups.archive import OpenArchive, is_database, open_archive
from ops_system.master.backups.copy_facts import check_copy
from ops_system.master.backups.envelope import refuse
from ops_system.master.backups.making import check_room
from ops_system.master.backups.progress import Progress
from ops_system.master.backups.renewal import Origin, renew
from ops_system.master.backups.rules import Contents, File
from ops_system.master.web.route import Principal
from ops_system.model.errors import OpsError
from ops_system.runtime.clock import Clock
from ops_system.runtime.files import sync_dir
from ops_system.storage.blobs.base import BlobStore
from ops_system.storage.blobs.incoming import os_errors
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import Migration
from ops_system.storage.restore import discard_staged, places, staged_place

STEPS = ("check", "unpack", "renew", "switch")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a backup is restored to. `epoch`: the present data's, 0 where there is none."""

    folder: DataFolder
    store: BlobStore
    migrations: tuple[Migration, ...]
    clock: Clock
    epoch: int


@dataclass(frozen=True, slots=True)
class Order:
    """What is restored, by whom. `name` is for the record."""

    path: Path
    name: str
    passphrase: str
    has_artefacts: bool
    actor: Principal


@dataclass(frozen=True, slots=True)
class Staged:
    """What lies ready."""

    epoch: int
    created_at: datetime
    artefact_count: int


async def stage(target: Target, order: Order, work: Path, progress: Progress) -> Staged:
    """Make everything ready.

    Raises Invalid (why the backup is refused), StorageFull, Unavailable, SafetyRefusal, Cancelled; then the data folder
    is as it was.
    """
    with os_errors(target.folder.root):
        if await asyncio.to_thread(is_database, order.path):
            return await _stage_copy(target, order, work, progress)
        schema = frozenset(migration.number for migration in target.migrations)
        await asyncio.to_thread(_read_through, order, schema, work / "look.db", progress)
        with contextlib.ExitStack() as opened:
            archive = await asyncio.to_thread(opened.enter_context, open_archive(order.path, order.passphrase, schema))
            async with _taken_back(target) as added:
                return await _stage_archive(target, order, archive, work, added, progress)


@contextlib.asynccontextmanager
async def _taken_back(target: Target) -> AsyncIterator[list[str]]:
    """Yield the list of packages that were added; on failure they and what is staged go."""
    added: list[str] = []
    await asyncio.to_thread(discard_staged, target.folder)
    try:
        yield added
    except BaseException:
        discard_staged(target.folder)
        for sha256 in added:
            with contextlib.suppress(OpsError):  # they are known to nobody and only take room
                await target.store.delete(sha256)
        raise


def _read_through(order: Order, schema: frozenset[int], look: Path, progress: Progress) -> None:
    """Read every byte of what will be used, before anything is written where it stays."""
    with open_archive(order.path, order.passphrase, schema) as archive:
        used = _used(archive.contents, has_artefacts=order.has_artefacts)
        progress.begin("check", sum(file.size_bytes for file in used))
        for file in used:
            if file.name == "ops.db":
                check_room(look.parent, file.size_bytes)
                archive.unpack(file, look, progress.hear)
                check_copy(look)
                look.unlink()
            else:
                archive.check_file(file, progress.hear)


def _used(contents: Contents, *, has_artefacts: bool) -> list[File]:
    return [file for file in contents.files if has_artefacts or not file.name.startswith("artefacts/")]


async def _stage_archive(  # noqa: PLR0917 - one story, told once
    target: Target, order: Order, archive: OpenArchive, work: Path, added: list[str], progress: Progress
) -> Staged:
    contents = archive.contents
    used = _used(contents, has_artefacts=order.has_artefacts)
    progress.begin("unpack", sum(file.size_bytes for file in used))
    base = [file for file in used if not file.name.startswith("artefacts/")]
    await asyncio.to_thread(_unpack_base, target.folder, archive, base, progress)
    for file in used:
        if file.name.startswith("artefacts/"):
            await _add_package(target.store, archive, file, added, progress)
    progress.begin("renew")
    origin = Origin(order.name, contents.created_at)
    epoch = await _renew(target, order.actor, origin, work)
    return Staged(epoch, contents.created_at, len(added))


def _unpack_base(folder: DataFolder, archive: OpenArchive, files: list[File], progress: Progress) -> None:
    """Stage database and keys, each beside what it replaces."""
    sizes = sum(file.size_bytes for file in files)
    for place in places(folder).values():
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_room(folder.database.parent, 2 * sizes)
    staged_ca = staged_place(folder.ca)
    staged_ca.mkdir(mode=0o700)
    for file in files:
        archive.unpack(file, _staged_file(folder, file.name), progress.hear)
    for parent in {staged_ca, *(place.parent for place in places(folder).values())}:
        sync_dir(parent)


def _staged_file(folder: DataFolder, name: str) -> Path:
    inner = name.removeprefix("keys/")
    if inner.startswith("ca/"):
        return staged_place(folder.ca) / inner.removeprefix("ca/")
    return staged_place(places(folder)[inner])


async def _add_package(
    store: BlobStore, archive: OpenArchive, file: File, added: list[str], progress: Progress
) -> None:
    """Put one package into the store unless it is there."""
    if await store.stat(file.sha256) is not None:
        progress.hear(file.size_bytes)
        return
    async with store.draft(expected_bytes=file.size_bytes) as draft:
        pieces = archive.read(file)
        while piece := await asyncio.to_thread(next, pieces, b""):
            await draft.write(piece)
            progress.hear(len(piece))
        added.append(file.sha256)
        await draft.keep(file.sha256)


async def _stage_copy(target: Target, order: Order, work: Path, progress: Progress) -> Staged:
    """Stage one of the hourly copies: a database alone, for a folder that still has its keys."""
    if not target.folder.is_initialized or not target.folder.master_key.exists():
        raise refuse(
            "needs_keys",
            "it is a copy of the database alone, without keys: it fits only the data folder it was made in;"
            " restore a backup (ops-master backup create makes one)",
        )
    progress.begin("check", order.path.stat().st_size)
    await asyncio.to_thread(check_copy, order.path)
    created_at = datetime.fromtimestamp(order.path.stat().st_mtime, tz=target.clock.now().tzinfo)
    async with _taken_back(target):
        progress.begin("unpack")
        staged = staged_place(target.folder.database)
        check_room(staged.parent, 2 * order.path.stat().st_size)
        await asyncio.to_thread(shutil.copyfile, order.path, staged)
        staged.chmod(0o600)
        progress.begin("renew")
        return Staged(await _renew(target, order.actor, Origin(order.name, created_at), work), created_at, 0)


async def _renew(target: Target, actor: Principal, origin: Origin, work: Path) -> int:
    staged = staged_place(target.folder.database)
    folder = DataFolder(work, staged)
    epoch = await renew(folder, target.migrations, target.clock, actor, origin, known_epoch=target.epoch)
    await asyncio.to_thread(_make_one_file, staged)
    return epoch


def _make_one_file(staged: Path) -> None:
    """Leave nothing beside the database, and have it on the disk."""
    with closing(sqlite3.connect(staged, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode = DELETE")
    for left in staged.parent.glob(f"{staged.name}.before-*"):  # what the schema's steps kept of it
        left.unlink()
    with staged.open("rb+") as file:
        os.fsync(file.fileno())
    sync_dir(staged.parent)
