"""Makes one backup in a work folder: copy, check, pack, read back. Whatever ends it, nothing half made stays."""

import asyncio
import contextlib
import secrets
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ops_system import __version__
from ops_system.master.backups.archive import ArchiveWriter, open_archive
from ops_system.master.backups.copy_facts import CopyFacts, check_copy, read_facts
from ops_system.master.backups.progress import Progress
from ops_system.master.backups.rules import FORMAT, Contents, File, backup_name
from ops_system.model.errors import Invalid, NotFound, StorageFull
from ops_system.runtime.archives import hash_file
from ops_system.runtime.clock import Clock
from ops_system.storage.blobs.base import BlobStore
from ops_system.storage.blobs.incoming import os_errors
from ops_system.storage.connection import connect_raw, translate
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import copy_database

RESERVE_BYTES = 64 << 20
WORK = ".work-"
STEPS = ("copy", "check", "pack", "verify", "store")


@dataclass(frozen=True, slots=True)
class Source:
    """What is backed up. `master`: the SHA-256 of the authority's key."""

    folder: DataFolder
    database: Database
    store: BlobStore
    master: str
    clock: Clock


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the backup shall be. `passphrase` empty: not encrypted."""

    has_artefacts: bool
    passphrase: str
    note: str


@dataclass(frozen=True, slots=True)
class Made:
    """A finished backup that lies at `path` until its work folder goes."""

    path: Path
    name: str
    contents: Contents


@contextlib.asynccontextmanager
async def work_folder(parent: Path) -> AsyncIterator[Path]:
    """Yield a fresh folder for one piece of work; it is gone afterwards."""
    with os_errors(parent):
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = parent / f"{WORK}{secrets.token_hex(6)}"
        folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def sweep_work(parent: Path) -> None:
    """Remove what a killed master left. Call once, before any work."""
    for left in parent.glob(f"{WORK}*") if parent.is_dir() else ():
        shutil.rmtree(left, ignore_errors=True)


async def make_backup(source: Source, wanted: Wanted, work: Path, progress: Progress) -> Made:
    """Make a backup in `work`. Raises StorageFull, Unavailable, Invalid (something kept is damaged), Cancelled."""
    copy = work / "ops.db"
    progress.begin("copy")
    with os_errors(work):
        await asyncio.to_thread(check_room, work, 2 * source.database.path.stat().st_size)
        await source.database.backup(copy)
        await asyncio.to_thread(copy_file, source.folder.provision, work / "provision.db")
        progress.begin("check")
        await asyncio.to_thread(check_copy, copy)
        facts = await asyncio.to_thread(read_facts, copy)
        files = await asyncio.to_thread(_list_files, source, facts, copy, has_artefacts=wanted.has_artefacts)
        contents = _describe(source, wanted, facts, tuple(file for file, _ in files))
        path = work / backup_name(contents.created_at, contents.id, is_encrypted=bool(wanted.passphrase))
        total_bytes = sum(file.size_bytes for file, _ in files)
        await asyncio.to_thread(check_room, work, total_bytes)
        progress.begin("pack", total_bytes)
        await _pack(source, wanted, contents, files, path, progress)
        progress.begin("verify", total_bytes)
        schema, look = frozenset(facts.schema), work / "look.db"
        await asyncio.to_thread(examine, path, wanted.passphrase, schema, look, progress, contents.files[0].sha256)
    return Made(path, path.name, contents)


def copy_file(database: Path, target: Path) -> None:
    """Copy a database that others have open, where there is one. Blocking; raises OSError, Unavailable."""
    if not database.exists():
        return
    try:
        with closing(connect_raw(database, readonly=True)) as raw:
            copy_database(raw, target)
    except sqlite3.Error as error:
        raise translate(error, database) from error


def check_room(folder: Path, size_bytes: int) -> None:
    """Raise StorageFull when the disk of `folder` has no room for so many bytes and a reserve."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < size_bytes + RESERVE_BYTES:
        raise StorageFull(
            f"the disk that holds {folder} has {free_bytes // 1_000_000} MB free and this needs"
            f" {(size_bytes + RESERVE_BYTES) // 1_000_000} MB; free some space",
            path=str(folder),
        )


def examine(  # noqa: PLR0917 - everything a look at a backup needs
    path: Path, passphrase: str, schema: frozenset[int], look: Path, progress: Progress, checked: str = ""
) -> Contents:
    """Open a backup, read every byte, and look into its database, unpacked to `look` for a moment. Raises Invalid.

    `checked`: the SHA-256 of a database that was looked into already; the same bytes are not looked into twice.
    """
    with open_archive(path, passphrase, schema) as archive:
        for listed in archive.contents.files:
            if listed.name == "ops.db" and listed.sha256 != checked:
                check_room(look.parent, listed.size_bytes)
                archive.unpack(listed, look, progress.hear)
                check_copy(look)
                look.unlink()
            else:
                archive.check_file(listed, progress.hear)
        return archive.contents


def _list_files(source: Source, facts: CopyFacts, copy: Path, *, has_artefacts: bool) -> list[tuple[File, Path | None]]:
    """Return what goes in with where it lies; None: in the store, not on this machine."""
    databases = (path for path in (copy, copy.with_name("provision.db")) if path.exists())
    files: list[tuple[File, Path | None]] = [(_file(path.name, path), path) for path in databases]
    files += [(_file(f"keys/{name}", path), path) for name, path in _keys(source.folder)]
    if has_artefacts:
        for sha256, size_bytes in sorted(facts.packages.items()):
            files.append((File(f"artefacts/{sha256}", sha256, size_bytes), source.store.local_path(sha256)))
    return files


def _keys(folder: DataFolder) -> Iterator[tuple[str, Path]]:
    yield "master.key", folder.master_key
    yield "signing.key", folder.signing_key
    for path in sorted(folder.ca.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            yield f"ca/{path.name}", path


def _file(name: str, path: Path) -> File:
    return File(name, hash_file(path), path.stat().st_size)


def _describe(source: Source, wanted: Wanted, facts: CopyFacts, files: tuple[File, ...]) -> Contents:
    artefacts = [file for file in files if file.name.startswith("artefacts/")]
    return Contents(
        format=FORMAT,
        id=secrets.token_hex(3),
        version=__version__,
        created_at=source.clock.now(),
        epoch=facts.epoch,
        master=source.master,
        note=wanted.note,
        schema=facts.schema,
        rows=facts.rows,
        has_artefacts=wanted.has_artefacts,
        artefact_count=len(artefacts),
        artefact_bytes=sum(file.size_bytes for file in artefacts),
        files=files,
    )


async def _pack(  # noqa: PLR0917 - one step of one story
    source: Source,
    wanted: Wanted,
    contents: Contents,
    files: list[tuple[File, Path | None]],
    path: Path,
    progress: Progress,
) -> None:
    writer = await asyncio.to_thread(ArchiveWriter, path, contents, wanted.passphrase, progress.hear)
    try:
        for file, place in files:
            spool = path.parent / "spool"
            if place is None:
                await _fetch(source.store, file, spool)
            await asyncio.to_thread(writer.add, file.name, place or spool)
            spool.unlink(missing_ok=True)
        await asyncio.to_thread(writer.finish)
    finally:
        writer.discard()


async def _fetch(store: BlobStore, file: File, spool: Path) -> None:
    """Bring a package from the store to a file."""
    try:
        with await asyncio.to_thread(spool.open, "xb") as target:
            async for piece in store.open_read(file.sha256):
                await asyncio.to_thread(target.write, piece)
    except NotFound as error:
        raise Invalid(
            f"a package ({file.sha256}) is on record and its bytes are gone from the store: delete it, upload it again,"
            " or make a backup without packages",
            problems=[f"{file.name}: missing"],
        ) from error
