"""`ops-master storage migrate`: copies every package from one store to the other, the master running or not."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from ops_system.master.artefacts.stores import open_minio
from ops_system.master.config import MasterConfig
from ops_system.model.errors import NotAllowed
from ops_system.storage.blobs.base import BlobStore
from ops_system.storage.blobs.local import LocalBlobs
from ops_system.storage.blobs.move import Moved, copy_all, remove_copied

_MB = 1_000_000


def migrate(config: MasterConfig, to: str, *, may_remove: bool, say: Callable[[str], None]) -> None:
    """Copy what `to` (local or minio) has not got yet; with `may_remove` then remove the verified copies' originals.

    Raises `NotAllowed` for a removal from the store that the master still writes to, `Invalid`, `Unavailable`.
    """
    if may_remove and config.storage.type != to:
        raise NotAllowed(
            f"storage.type is {config.storage.type}: nothing is removed from the store in use. "
            f"Set storage.type: {to}, start the master again, and repeat"
        )
    asyncio.run(_migrate(config, to, may_remove=may_remove, say=say))


async def _migrate(config: MasterConfig, to: str, *, may_remove: bool, say: Callable[[str], None]) -> None:
    with _stores(config, to) as (source, target):
        await target.check()
        moved = await copy_all(source, target, lambda done: say(_spell(done)))
        say(f"{to} has all {moved.blobs} packages; {moved.copied} were copied now ({moved.copied_bytes} bytes)")
        if may_remove:
            removed = await remove_copied(source, target, lambda count, of: say(f"verified {count} of {of}"))
            say(f"{removed} packages were removed from the other store")
        elif config.storage.type != to:
            say(f"now set storage.type: {to} and start the master again")


@contextlib.contextmanager
def _stores(config: MasterConfig, to: str) -> Iterator[tuple[BlobStore, BlobStore]]:
    with open_minio(config) as minio:
        local = LocalBlobs(config.upload_dir().absolute())
        yield (local, minio) if to == "minio" else (minio, local)


def _spell(moved: Moved) -> str:
    return f"{moved.done} of {moved.blobs} packages, {moved.done_bytes // _MB} of {moved.size_bytes // _MB} MB"
