"""The place of notes that no boot outlives: in memory where the system has room, so that no start waits for a disk.

    STATE/run      a link to PLACE for root on Linux; a plain folder for others, and where there is no such place
    PLACE          /run/ops-DEVICE-INODE or /dev/shm/ops-DEVICE-INODE, named after the state folder's own inode
    PLACE/owner    the state folder and the mount namespace that knows it by this path

Only root has one: of others logind removes what they keep there when they log out (RemoveIPC= in logind.conf(5)). A
copied state folder has another inode, so two never share a place; without the link, which is lost with the state
folder, a place counts for nothing and is emptied. Used by `supervisor`; `worker leave` removes it.
"""

import contextlib
import logging
import os
import shutil
import stat
import sys
from pathlib import Path

_log = logging.getLogger(__name__)

RUN = "run"
MIN_FREE_BYTES = 32 * 1024 * 1024
_PARENTS = ("/run", "/dev/shm")  # noqa: S108 - taken only where it is ours alone
_PREFIX = "ops-"
_OWNER = "owner"


def memory_parents() -> tuple[Path, ...]:
    """Return where this process may keep notes in memory; none for most."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return ()
    mounts = {tuple(line.split(" ")[1:3]) for line in Path("/proc/self/mounts").read_text().splitlines()}
    return tuple(Path(parent) for parent in _PARENTS if (parent, "tmpfs") in mounts)


def open_run_dir(state_dir: Path, parents: tuple[Path, ...], *, is_in_use: bool) -> bool:
    """Make STATE/run, in memory where that can be had. True: it is in memory.

    `is_in_use`: its notes are of this boot; a plain folder then stays what it is until the next one. Raises OSError.
    """
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    run, name = state_dir / RUN, place_name(state_dir)
    places = [parent / name for parent in parents]
    sweep(parents)
    if run.is_symlink():
        place = run.readlink()
        if place in places and _is_own(place):
            return True
        run.unlink()
    elif run.is_dir() and is_in_use:
        return False
    shutil.rmtree(run, ignore_errors=True)
    if any(_take(place, state_dir) for place in places):
        return True
    run.mkdir(exist_ok=True, mode=0o700)
    return False


def place_name(state_dir: Path) -> str:
    """Return what a state folder's place is called."""
    found = state_dir.stat()
    return f"{_PREFIX}{found.st_dev:x}-{found.st_ino:x}"


def discard(state_dir: Path) -> None:
    """Remove the place of a state folder that is given up."""
    with contextlib.suppress(OSError):
        place = (state_dir / RUN).readlink()
        if place.name == place_name(state_dir):
            shutil.rmtree(place, ignore_errors=True)


def sweep(parents: tuple[Path, ...]) -> None:
    """Remove places whose state folder is gone."""
    for parent in parents:
        for place in parent.glob(f"{_PREFIX}*-*"):
            with contextlib.suppress(OSError, ValueError):
                owner, namespace = (place / _OWNER).read_text().splitlines()
                if namespace == _namespace() and _is_own(place) and not _is_owner(Path(owner), place.name):
                    shutil.rmtree(place, ignore_errors=True)


def _is_owner(state_dir: Path, name: str) -> bool:
    return state_dir.is_dir() and place_name(state_dir) == name


def _take(place: Path, state_dir: Path) -> bool:
    """Make the place anew and link to it; False when somebody else has it, or there is no room."""
    try:
        room = os.statvfs(place.parent)
        if room.f_bavail * room.f_frsize < MIN_FREE_BYTES:
            return False
        if place.is_dir() and _is_own(place):
            shutil.rmtree(place)
        place.mkdir(mode=0o700)
        (place / _OWNER).write_text(f"{state_dir.absolute()}\n{_namespace()}\n")
        (state_dir / RUN).symlink_to(place)
    except OSError as error:
        _log.warning("%s cannot hold the notes of this boot (%s); they stay on the disk", place, error)
        return False
    return True


def _is_own(folder: Path) -> bool:
    """True for a folder that nobody else could have put there or can write to."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    is_private = stat.S_IMODE(found.st_mode) & 0o077 == 0
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and is_private


def _namespace() -> str:
    return str(Path("/proc/self/ns/mnt").readlink())
