"""The folder of one instance: the package's files in it, the rendered config files, and a record of which are ours.

    instances/<id>/            working directory of the service; what it writes there stays through an upgrade
    logs/<id>/                 its stdout and stderr
    state/placed/<id>.json     `Placed`: what we put there

A change writes the record first (with no package named), then the files, then the record again: a crash in between is
seen at the next preparation, which puts the files anew. All functions block; `deploy` calls them in a thread.
"""

import contextlib
import os
import shutil
import stat
import sys
from pathlib import Path, PurePosixPath

import msgspec

from ops_system.model.ids import InstanceId
from ops_system.model.instances import ConfigFile
from ops_system.model.reasons import Reason
from ops_system.processes.spec import PrepareFailed
from ops_system.runtime.archives import hash_file
from ops_system.runtime.files import remove_durably, sync_dir, write_atomic

_FICLONE = 0x40049409  # ioctl_ficlone(2)
_FSYNC_UP_TO = 64
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


class Placed(msgspec.Struct, frozen=True):
    """What we put into an instance's folder. An empty `sha256`: a change was under way."""

    sha256: str
    files: tuple[str, ...] = ()
    config_files: tuple[str, ...] = ()
    entry_sha256: str = ""


class Placement:
    """The folders of one instance. `owner`: the user its service runs as, empty for the worker's own."""

    def __init__(self, work_dir: Path, instance_id: InstanceId, owner: str = "") -> None:
        self.dir = work_dir / "instances" / instance_id
        self.log_dir = work_dir / "logs" / instance_id
        self._record = work_dir / "state" / "placed" / f"{instance_id}.json"
        self._owner = owner

    # --- the record -----------------------------------------------------------------------------------------------
    def placed(self) -> Placed:
        """Return what is there by the record; nothing when there is no readable one."""
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Placed)
        except (OSError, msgspec.MsgspecError):
            return Placed(sha256="")

    def _note(self, placed: Placed) -> None:
        self._record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self._record, msgspec.json.encode(placed))

    # --- the package's files --------------------------------------------------------------------------------------
    def is_current(self, sha256: str, entrypoint: str, config_paths: frozenset[str]) -> bool:
        """Return whether the package is in place, its entrypoint is unchanged, and no dropped config file is left."""
        placed = self.placed()
        if placed.sha256 != sha256 or not set(placed.config_files) <= config_paths:
            return False
        entry = self.dir / inner_path(entrypoint)
        return entry.is_file() and not entry.is_symlink() and hash_file(entry) == placed.entry_sha256

    def activate(self, package: Path, sha256: str, entrypoint: str) -> None:
        """Replace the package's files by those of `package`; what the service wrote stays. Raises PrepareFailed."""
        before = self.placed()
        files = _files_below(package)
        entry = inner_path(entrypoint)
        if entry not in files:
            raise PrepareFailed(
                Reason("entrypoint_missing", f'the package has no file "{entrypoint}"', {"entrypoint": entrypoint})
            )
        ours = tuple(sorted({*before.files, *before.config_files, *files}))
        self._note(Placed(sha256="", files=ours))
        self.make_folders()
        for name in (*before.files, *before.config_files):
            if name not in files:
                self._remove(name)
        for name in sorted(files):
            self._copy(package / name, name, is_executable=name == entry)
        _make_durable(self.dir, files)
        self._note(Placed(sha256=sha256, files=tuple(sorted(files)), entry_sha256=hash_file(self.dir / entry)))

    def make_folders(self) -> None:
        """Make the instance's folder, and the one for its output, which stays ours: the worker opens those files."""
        for folder in (self.dir, self.log_dir):
            folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
            folder.mkdir(mode=0o750, exist_ok=True)
        self._give(self.dir)

    def make_executable(self, name: str) -> None:
        """Set the executable bits of one of the package's files (zips made on Windows have none)."""
        path = self.dir / name
        mode = path.stat().st_mode
        if mode & _EXECUTABLE != _EXECUTABLE:
            path.chmod(stat.S_IMODE(mode) | _EXECUTABLE)

    # --- config files ---------------------------------------------------------------------------------------------
    def write_config(self, files: tuple[ConfigFile, ...]) -> None:
        """Write rendered config files and note them as ours. Raises PrepareFailed for a path that leaves the folder."""
        placed = self.placed()
        names = tuple(sorted(file.path for file in files))
        if names != placed.config_files:
            self._note(msgspec.structs.replace(placed, config_files=names))
        for file in files:
            target = self._target(file.path)
            beside = _fresh_beside(target)
            with beside.open("xb") as new:
                new.write(file.content.encode())
                new.flush()
                os.fsync(new.fileno())
            self._finish(beside, target, file.mode)

    # --- the end --------------------------------------------------------------------------------------------------
    def remove(self) -> None:
        """Remove everything of the instance, the record last. Raises OSError when something resists."""
        for folder in (self.dir, self.log_dir):
            if folder.exists():
                shutil.rmtree(folder)
        if self._record.exists():
            remove_durably(self._record)

    # --- parts ----------------------------------------------------------------------------------------------------
    def _target(self, name: str) -> Path:
        """Return where a file of ours goes, its folders made. A link the service put on the way is not followed."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name:
            raise _unpack_failed(f'"{name}" does not lie inside the instance')
        folder = self.dir
        for part in path.parts[:-1]:
            folder /= part
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                raise _unpack_failed(f"{folder} is in the way of {name}: it is no folder")
            if not folder.exists():
                folder.mkdir(mode=0o750)
                self._give(folder)
        target = folder / path.name
        if target.is_dir() and not target.is_symlink():
            raise _unpack_failed(f"the folder {target} is in the way of a file of that name")
        return target

    def _copy(self, source: Path, name: str, *, is_executable: bool) -> None:
        """Copy beside the target, then rename: a running binary keeps its own file."""
        target = self._target(name)
        beside = _fresh_beside(target)
        copy_file(source, beside)
        can_run = is_executable or source.stat().st_mode & stat.S_IXUSR
        self._finish(beside, target, 0o755 if can_run else 0o644)

    def _finish(self, beside: Path, target: Path, mode: int) -> None:
        beside.chmod(mode)
        self._give(beside)
        beside.replace(target)

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError, PrepareFailed):  # the service has moved or replaced it: then it is not ours
            target = self._target(name)
            target.unlink()
            for folder in target.parents:
                if folder == self.dir:
                    return
                folder.rmdir()

    def _give(self, path: Path) -> None:
        """Let the service's user own what is put there."""
        if self._owner and sys.platform != "win32" and os.geteuid() == 0:
            shutil.chown(path, self._owner)


def inner_path(text: str) -> str:
    """Return a path of service.json as the package lists it: `./bin/app` is `bin/app`."""
    return str(PurePosixPath(text))


def copy_file(source: Path, target: Path) -> None:
    """Copy content, sharing the blocks where the file system can (btrfs, xfs)."""
    with source.open("rb") as old, target.open("xb") as new:
        if not _clone(old.fileno(), new.fileno()):
            shutil.copyfileobj(old, new, 1024 * 1024)


def _clone(source: int, target: int) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _fresh_beside(target: Path) -> Path:
    """Return a name beside the target that is free: a link the service may have left there is not written through."""
    beside = target.with_name(f".{target.name}.placing")
    beside.unlink(missing_ok=True)
    return beside


def _make_durable(folder: Path, files: frozenset[str]) -> None:
    """Have the files on the disk before the record says so; many at once are cheaper by one sync of everything."""
    if len(files) > _FSYNC_UP_TO and sys.platform != "win32":
        os.sync()
        return
    for name in files:
        descriptor = os.open(folder / name, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    for parent in {(folder / name).parent for name in files}:
        sync_dir(parent)


def _files_below(package: Path) -> frozenset[str]:
    return frozenset(path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file())


def _unpack_failed(message: str) -> PrepareFailed:
    return PrepareFailed(Reason("unpack_failed", message))
