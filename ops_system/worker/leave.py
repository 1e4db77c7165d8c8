"""`worker leave`: everything that joining, deploying and `-autostart 1` made here is undone. Called by `main`.

The order keeps what cannot be repeated for last: the boot service (which ends the worker), the services, the word to
the master, and only then the identity. Broken off anywhere, the same command goes on from there.
"""

import shutil
from pathlib import Path

import msgspec

from ops_system.model.errors import SafetyRefusal, UsageError
from ops_system.processes.boot_notes import discard
from ops_system.runtime.tasks import run_role as run_loop
from ops_system.service.base import Change
from ops_system.service.local import local_services
from ops_system.worker.config import WorkerConfig
from ops_system.worker.identity import Identity, forget_identity, load_identity
from ops_system.worker.picture import JOURNAL, Picture, take_lock

STOP_WITHIN_S = 120.0
_OWN_FOLDERS = ("state", "downloads", "versions", "program")


class Left(msgspec.Struct, frozen=True):
    """What leaving did. `untold` says why the master does not know, empty when it does."""

    untold: str
    boot_service: Change | None = None


def leave(config: WorkerConfig, picture: Picture, *, may_stop: bool) -> Left:
    """Leave the master; stop and remove the services first when it may, else they go on without care.

    Raises SafetyRefusal while a worker runs that is not the boot service's, TimedOut when a service does not end.
    """
    work_dir = config.work_dir().absolute()
    is_ours = local_services().has_word("worker", f"-work_dir={work_dir}")
    if picture.running and not (is_ours and picture.boot_service.state == "active"):
        raise SafetyRefusal("the worker runs on {work_dir}; stop it first, then leave", work_dir=work_dir)
    removed = local_services().remove("worker") if is_ours else None
    lock = take_lock(work_dir)
    try:
        identity = load_identity(work_dir)
        untold = "" if identity is None else run_loop(_part(config, identity, may_stop=may_stop))
        forget(work_dir)
    finally:
        lock.release()
    return Left(untold, removed)


async def _part(config: WorkerConfig, identity: Identity, *, may_stop: bool) -> str:
    """Remove the services where wanted, and tell the master; return why it could not be told."""
    from ops_system.worker.app import WorkerApp, follow_master

    try:
        app = WorkerApp(config, follow_master(config, identity))
    except (SafetyRefusal, UsageError) as problem:  # the key is gone, or the address is no good: leave all the same
        if may_stop:
            raise
        return problem.message
    if may_stop:
        await app.remove_instances(STOP_WITHIN_S)
    return await app.uplink.leave()


def forget(work_dir: Path) -> None:
    """Remove identity, keys, wishes, records and packages; the services' own folders stay."""
    forget_identity(work_dir)
    discard(work_dir / JOURNAL)
    for folder in _OWN_FOLDERS:
        shutil.rmtree(work_dir / folder, ignore_errors=True)
