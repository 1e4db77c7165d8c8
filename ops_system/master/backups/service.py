"""The story of backups: made, listed, looked through, brought in and out, restored. Built in `features`."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from ops_system.master.audit.rules import AuditQuery
from ops_system.master.audit.service import Audit
from ops_system.master.backups import making, restoring, store
from ops_system.master.backups.desk import Desk
from ops_system.master.backups.envelope import MIN_PASSPHRASE_CHARS
from ops_system.master.backups.making import Made, Source, Wanted, examine, make_backup, work_folder
from ops_system.master.backups.progress import Progress
from ops_system.master.backups.restoring import Order, Target, stage
from ops_system.master.backups.rules import (
    Backup,
    BackupPage,
    BackupPassphrase,
    BackupQuery,
    BackupSettings,
    BackupSettingsChange,
    Contents,
    NewBackup,
    Place,
    Restored,
    RestoreOrder,
    Stranger,
    check_note,
    check_passphrase,
    check_settings,
    expired,
    is_backup_name,
    sort_backups,
)
from ops_system.master.backups.shelf import Shelf, look_at, of_contents
from ops_system.master.backups.turnover import Turnover
from ops_system.master.web.route import Principal
from ops_system.model.errors import Forbidden, Invalid, NotFound, OpsError, TooLarge, Unavailable
from ops_system.model.operations import Operation
from ops_system.storage.blobs.incoming import os_errors
from ops_system.storage.migrations import Migration
from ops_system.storage.restore import commit_restore, discard_staged

MAX_UPLOAD_BYTES = 2 << 30
UNKNOWN = "not on record for this node"  # what the audit log says of an instance that the data does not know
_MAX_STRANGERS = 500


class Sealer(Protocol):
    """Hides secrets at rest."""

    def seal(self, plain: bytes) -> bytes:
        """Return bytes that only `unseal` can read."""
        ...

    def unseal(self, sealed: bytes) -> bytes:
        """Return what was sealed. Raises `Unavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A backup to send: a file of this machine, or bytes from elsewhere."""

    name: str
    size_bytes: int
    path: Path | None
    pieces: AsyncIterator[bytes]


class Backups:
    """The one book of backups."""

    def __init__(
        self,
        *,
        source: Source,
        audit: Audit,
        desk: Desk,
        sealer: Sealer,
        shelves: dict[Place, Shelf],
        local_folder: Path,
        migrations: tuple[Migration, ...],
        turnover: Turnover,
    ) -> None:
        self._source = source
        self._database = source.database
        self._clock = source.clock
        self._audit = audit
        self._desk = desk
        self._sealer = sealer
        self._shelves = shelves
        self._local_folder = local_folder
        self._schema = frozenset(migration.number for migration in migrations)
        self._migrations = migrations
        self._turnover = turnover

    async def run(self) -> None:
        """Carry out what is asked for until cancelled."""
        await asyncio.to_thread(discard_staged, self._source.folder)
        await self._desk.run()

    # --- lists ----------------------------------------------------------------------------------------------------
    async def list_page(self, query: BackupQuery) -> BackupPage:
        """Return one page of what lies on every shelf that answers, the newest first."""
        found, away = await self._gather()
        items = sort_backups(found, query)
        return BackupPage(items[query.offset : query.offset + query.limit], len(items), away)

    async def get(self, name: str) -> Backup:
        """Return one backup. Raises NotFound."""
        found, _ = await self._gather()
        for backup in found:
            if backup.name == name:
                return backup
        raise NotFound(f"there is no backup {name}", id=name)

    async def _gather(self) -> tuple[list[Backup], str]:
        found: list[Backup] = []
        away = ""
        for shelf in self._shelves.values():
            try:
                found += await shelf.list()
            except Unavailable as problem:
                away = problem.message
        looks = await store.list_looks(self._database)
        return [self._with_look(backup, looks.get(backup.name)) for backup in found], away

    def _with_look(self, backup: Backup, look: store.Look | None) -> Backup:
        if look is None or look.size_bytes != backup.size_bytes:
            return backup
        if look.contents is not None and backup.is_encrypted:
            seen = of_contents(look.contents, backup.size_bytes, backup.place, self._source.master, is_encrypted=True)
            backup = msgspec.structs.replace(seen, name=backup.name)
        return msgspec.structs.replace(backup, verified_at=look.at, problem=look.problem or backup.problem)

    # --- settings -------------------------------------------------------------------------------------------------
    async def get_settings(self) -> BackupSettings:
        """Return the settings."""
        kept = await store.read_settings(self._database)
        return BackupSettings(
            place=kept.place,
            artefacts=kept.artefacts,
            keep_count=kept.keep_count,
            keep_days=kept.keep_days,
            is_encrypted=kept.passphrase is not None,
            has_s3="s3" in self._shelves,
            folder=str(self._local_folder),
        )

    async def change_settings(self, change: BackupSettingsChange, actor: Principal) -> BackupSettings:
        """Write new settings. Raises Invalid, Forbidden."""
        check_unlimited(actor)
        check_settings(change, has_s3="s3" in self._shelves)
        if change.passphrase:
            check_passphrase(change.passphrase, MIN_PASSPHRASE_CHARS)
        async with self._database.transaction() as tx:
            sealed = (await store.read_settings(tx)).passphrase
            if change.passphrase is not None:
                sealed = self._sealer.seal(change.passphrase.encode()) if change.passphrase else None
            if change.place == "s3" and sealed is None:
                _refuse_clear_on_s3()
            kept = store.Kept(change.place, change.artefacts, change.keep_count, change.keep_days, sealed)
            await store.save_settings(tx, kept)
            details = msgspec.structs.asdict(msgspec.structs.replace(change, passphrase=None))
            await self._audit.record(tx, actor, "backup.settings", "backup:settings", "done", details)
        return await self.get_settings()

    async def _passphrase(self, given: str) -> str:
        if given:
            return given
        sealed = (await store.read_settings(self._database)).passphrase
        return "" if sealed is None else self._sealer.unseal(sealed).decode()

    # --- make -----------------------------------------------------------------------------------------------------
    async def check_order(self, order: NewBackup, actor: Principal) -> tuple[Place, Wanted]:
        """Return what an order means with the settings of now. Raises Invalid, Forbidden."""
        check_unlimited(actor)
        check_note(order.note)
        kept = await store.read_settings(self._database)
        place = order.place or kept.place
        if place not in self._shelves:
            raise Invalid("no S3 server is set up; set storage.minio.endpoint, ak and sk", problems=["$.place: no S3"])
        if order.passphrase:
            check_passphrase(order.passphrase, MIN_PASSPHRASE_CHARS)
        passphrase = await self._passphrase(order.passphrase)
        if place == "s3" and not passphrase:
            _refuse_clear_on_s3()
        has_artefacts = kept.artefacts if order.artefacts is None else order.artefacts
        return place, Wanted(has_artefacts=has_artefacts, passphrase=passphrase, note=order.note)

    async def create(self, order: NewBackup, actor: Principal) -> Operation:
        """Begin a backup. Raises Invalid, Conflict while another is under way, Forbidden."""
        place, wanted = await self.check_order(order, actor)

        async def work(folder: Path, progress: Progress) -> None:
            made = await make_backup(self._source, wanted, folder, progress)
            progress.begin("store")
            size_bytes = made.path.stat().st_size
            await self._shelves[place].put(made.path, made.name)
            await self._note_look(made.name, size_bytes, "", made.contents)
            await self._keep_to_settings(made)

        return await self._desk.begin("create", f"Back up to {place}", place, making.STEPS, actor, work)

    async def _keep_to_settings(self, made: Made) -> None:
        """Remove what the settings do not keep; what cannot be removed now goes the next time."""
        settings = await self.get_settings()
        found, _ = await self._gather()
        for place, shelf in self._shelves.items():
            here = [backup for backup in found if backup.place == place and backup.name != made.name]
            for old in expired([*here, *(one for one in found if one.name == made.name)], settings, self._clock.now()):
                with contextlib.suppress(Unavailable, NotFound):
                    await shelf.delete(old.name)
                    async with self._database.transaction() as tx:
                        await store.delete_look(tx, old.name)

    async def _note_look(self, name: str, size_bytes: int, problem: str, contents: Contents | None) -> None:
        async with self._database.transaction() as tx:
            await store.save_look(tx, name, store.Look(size_bytes, self._clock.now(), problem, contents))

    # --- look through, remove, bring in and out -------------------------------------------------------------------
    async def verify(self, name: str, body: BackupPassphrase, actor: Principal) -> Operation:
        """Begin to read a backup through. Raises NotFound, Conflict, Forbidden."""
        check_unlimited(actor)
        backup = await self.get(name)

        async def work(folder: Path, progress: Progress) -> None:
            path = await self._fetch(backup, folder, progress)
            progress.begin("verify", backup.size_bytes)
            passphrase = await self._passphrase(body.passphrase)
            try:
                look = folder / "look.db"
                contents = await asyncio.to_thread(examine, path, passphrase, self._schema, look, progress)
            except Invalid as problem:
                if problem.details.get("reason") not in {"wrong_passphrase", "needs_passphrase"}:
                    await self._note_look(name, backup.size_bytes, problem.message, None)
                raise
            await self._note_look(name, backup.size_bytes, "", contents)

        return await self._desk.begin("verify", f"Verify {name}", name, ("fetch", "verify"), actor, work)

    async def delete(self, name: str, actor: Principal) -> None:
        """Remove a backup. Raises NotFound, Unavailable, Forbidden."""
        check_unlimited(actor)
        backup = await self.get(name)
        async with self._database.transaction() as tx:
            await store.delete_look(tx, name)
            await self._audit.record(tx, actor, "backup.delete", f"backup:{name}", "done", {"place": backup.place})
        await self._shelves[backup.place].delete(name)

    async def open(self, name: str, actor: Principal) -> Stored:
        """Return a backup to send. It holds every key of the master: that it left is on record."""
        check_unlimited(actor)
        backup = await self.get(name)
        await self._audit.record_alone(actor, "backup.download", f"backup:{name}", "done", {})
        shelf = self._shelves[backup.place]
        path = shelf.local_path(name)
        if path is not None and not await asyncio.to_thread(path.is_file):
            raise NotFound(f"the backup {name} has just been removed", name=name)
        return Stored(name, backup.size_bytes, path, shelf.read(name))

    async def upload(self, pieces: AsyncIterator[bytes], size_bytes: int | None, actor: Principal) -> Backup:
        """Take a backup in. Raises Invalid when it is none, TooLarge, StorageFull, Conflict, Forbidden."""
        check_unlimited(actor)
        archives = self._source.folder.archives
        async with work_folder(archives) as folder:
            path = folder / f"upload-{secrets.token_hex(3)}"
            with os_errors(archives):
                if size_bytes is not None:
                    _check_size(size_bytes)
                    making.check_room(folder, size_bytes)
                await _receive(pieces, path)
                looked = await asyncio.to_thread(look_at, path, "local", self._source.master)
            if looked.problem or not is_backup_name(looked.name):
                raise Invalid(looked.problem or "it is no backup", reason="not_a_backup", problems=[looked.problem])
            await self._shelves["local"].put(path, looked.name)
        details = {"size_bytes": looked.size_bytes}
        await self._audit.record_alone(actor, "backup.upload", f"backup:{looked.name}", "done", details)
        return looked

    async def _fetch(self, backup: Backup, folder: Path, progress: Progress) -> Path:
        """Return a file of this machine with the backup's bytes."""
        shelf = self._shelves[backup.place]
        if (path := shelf.local_path(backup.name)) is not None:
            return path
        progress.begin("fetch", backup.size_bytes)
        path = folder / "fetched"
        await asyncio.to_thread(making.check_room, folder, backup.size_bytes)
        with await asyncio.to_thread(path.open, "xb") as file:
            async for piece in shelf.read(backup.name):
                await asyncio.to_thread(file.write, piece)
                progress.hear(len(piece))
        return path

    # --- restore --------------------------------------------------------------------------------------------------
    async def restore(self, name: str, order: RestoreOrder, actor: Principal) -> Operation:
        """Begin a restore; at its end the master starts again with the data of the backup, and all sessions end.

        Raises Invalid (the name was not typed right), NotFound, Conflict, Forbidden.
        """
        check_unlimited(actor)
        if order.confirm != name:
            raise Invalid("type the name of the backup to restore it", problems=["$.confirm: not the name"])
        backup = await self.get(name)
        epoch, _ = await store.read_restored(self._database)
        folder = self._source.folder
        target = Target(folder, self._source.store, self._migrations, self._clock, epoch)
        begun: list[Operation] = []

        async def work(scratch: Path, progress: Progress) -> None:
            path = await self._fetch(backup, scratch, progress)
            passphrase = await self._passphrase(order.passphrase)
            await stage(target, Order(path, name, passphrase, order.artefacts, actor), scratch, progress)
            progress.begin("switch")
            self._desk.settle(begun[0].id)
            stamp_ms = int(self._clock.now().timestamp() * 1000)
            self._turnover.ask(lambda: commit_restore(folder, stamp_ms), f"the backup {name} is put in place")
            await asyncio.Event().wait()  # the stop ends this

        steps = ("fetch", *restoring.STEPS)
        begun.append(await self._desk.begin("restore", f"Restore {name}", name, steps, actor, work))
        return begun[0]

    async def get_restored(self) -> Restored:
        """Return the last restore with what has spoken since and is not known."""
        epoch, note = await store.read_restored(self._database)
        if note is None:
            return Restored(epoch=epoch)
        query = AuditQuery(action="instance.report", outcome="denied", from_at=note.restored_at, limit=_MAX_STRANGERS)
        rows = (await self._audit.list_page(query)).items
        strangers = {
            (row.actor_id, row.target): Stranger(row.actor_id, row.target.removeprefix("instance:"), row.at)
            for row in rows
            if row.details.get("reason") == UNKNOWN
        }
        return Restored(
            epoch=epoch,
            name=note.name,
            restored_at=note.restored_at,
            backup_created_at=note.backup_created_at,
            strangers=tuple(strangers.values()),
            missing_packages=await self._count_missing(),
        )

    async def _count_missing(self) -> int:
        wanted = await store.list_package_hashes(self._database)
        try:
            here = {blob.sha256 for blob in await self._source.store.list()}
        except OpsError:
            return 0  # the store is away, which is told elsewhere
        return len(set(wanted) - here)


def check_unlimited(actor: Principal) -> None:
    """Raise Forbidden for a principal who sees a part of the fleet alone: a backup holds all of it."""
    if actor.scope:
        raise Forbidden("backups hold the whole fleet; your account is limited to a part of it", reason="scope")


def _refuse_clear_on_s3() -> None:
    raise Invalid(
        "a backup holds every key of this master: on a server of others it must be encrypted; give a passphrase",
        reason="needs_passphrase",
        problems=["$.passphrase: needed for backups on S3"],
    )


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_UPLOAD_BYTES:
        raise TooLarge(
            f"at most {MAX_UPLOAD_BYTES} bytes come in this way; put a larger file into the folder of backups",
            limit_bytes=MAX_UPLOAD_BYTES,
        )


async def _receive(pieces: AsyncIterator[bytes], path: Path) -> None:
    received_bytes = 0
    with await asyncio.to_thread(path.open, "xb") as file:
        path.chmod(0o600)
        async for piece in pieces:
            received_bytes += len(piece)
            _check_size(received_bytes)
            await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(file.flush)
