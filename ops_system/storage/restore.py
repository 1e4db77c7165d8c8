"""The last step of a restore: what lies staged beside database and keys takes their place, whole or not at all.

    staged      `.NAME.restored` beside each file; nothing reads them; `discard_staged` removes them
    committed   `DATA/restore.ready` names them: from here on there is only forward
    in place    old file -> `NAME.before-restore-MS`, staged file -> its name; then the marker goes

A process that dies in between leaves the marker: whoever opens the data folder next finishes, before it looks at
anything. Blocking; the caller holds the lock of the one running master and has the database closed.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ops_system.model.errors import SafetyRefusal
from ops_system.runtime.files import remove_durably, sync_dir, write_atomic
from ops_system.storage.folder import DataFolder
from ops_system.storage.lock import hold

_ASIDE = ".before-restore-"
_BESIDE_DATABASE = ("-wal", "-shm")  # they belong to the old file and would corrupt the new one


class _Marker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `restore.ready` says: the stamp of the names the old files get."""

    stamp_ms: int


def places(folder: DataFolder) -> dict[str, Path]:
    """Return what a restore replaces, by its name in a backup."""
    return {
        "ops.db": folder.database,
        "provision.db": folder.provision,
        "master.key": folder.master_key,
        "signing.key": folder.signing_key,
        "ca": folder.ca,
    }


def staged_place(target: Path) -> Path:
    """Return where the successor of `target` is made ready."""
    return target.with_name(f".{target.name}.restored")


def commit_restore(folder: DataFolder, stamp_ms: int) -> None:
    """Put everything staged in its place; the old files stay beside it. Raises OSError."""
    with hold(folder.init_lock):
        write_atomic(folder.restore_marker, msgspec.json.encode(_Marker(stamp_ms)))
        finish_restore(folder)


def finish_restore(folder: DataFolder) -> bool:
    """Finish a restore that was committed; False: there is none. Hold the folder's init lock.

    Raises SafetyRefusal when the marker is damaged, OSError.
    """
    try:
        text = folder.restore_marker.read_bytes()
    except FileNotFoundError:
        return False
    try:
        stamp_ms = msgspec.json.decode(text, type=_Marker).stamp_ms
    except msgspec.MsgspecError as error:
        raise SafetyRefusal(
            "{path} is damaged ({error}): restore the backup again after removing it",
            path=folder.restore_marker,
            error=error,
        ) from error
    for target in places(folder).values():
        _replace(target, stamp_ms)
    folder.mark_initialized()
    remove_durably(folder.restore_marker)
    _remove_older(folder, stamp_ms)
    return True


def discard_staged(folder: DataFolder) -> None:
    """Remove what a broken restore had made ready. Not while a restore is being prepared, nor after its commit."""
    if folder.restore_marker.exists():
        return
    for target in places(folder).values():
        for left in target.parent.glob(f".{target.name}.restored*"):
            _remove(left)


def _replace(target: Path, stamp_ms: int) -> None:
    staged = staged_place(target)
    if not staged.exists():
        return  # done before the process died, or the backup holds none
    for name in (target, *(target.with_name(target.name + end) for end in _BESIDE_DATABASE)):
        if name.exists():
            name.rename(name.with_name(f"{target.name}{_ASIDE}{stamp_ms}{name.name.removeprefix(target.name)}"))
    sync_dir(target.parent)
    staged.rename(target)
    sync_dir(target.parent)


def _remove_older(folder: DataFolder, stamp_ms: int) -> None:
    """Old keys must not pile up: only what the newest restore replaced is kept."""
    newest = f"{_ASIDE}{stamp_ms}"
    for old in _kept_aside(folder):
        if newest not in old.name:
            with contextlib.suppress(OSError):  # they only take room
                _remove(old)


def _kept_aside(folder: DataFolder) -> Iterator[Path]:
    for target in places(folder).values():
        yield from list(target.parent.glob(f"{target.name}{_ASIDE}*"))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
