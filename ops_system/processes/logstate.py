"""What is known of a rotated log besides its bytes: NAME.state, and how it is made true again. Used by `rotate`."""

import contextlib
import os
from pathlib import Path

import msgspec

from ops_system.processes import holes
from ops_system.processes.packs import BLOCK_BYTES, pread
from ops_system.runtime.files import stat_each, write_atomic


class Archive(msgspec.Struct, frozen=True):
    """An old file, whatever number it has by now, and which bytes of the log it holds."""

    inode: int
    start: int
    end: int


class LogState(msgspec.Struct, frozen=True, omit_defaults=True):
    """`inode` is the live file's; `base` the offset of its first byte, `start` of its first one not archived.

    `collapsing` bytes were about to be taken out; `unmarked_bytes` were dropped and no line tells of them yet.
    """

    inode: int = 0
    base: int = 0
    start: int = 0
    collapsing: int = 0
    unmarked_bytes: int = 0
    archives: tuple[Archive, ...] = ()


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a helper file of a log."""
    return path.with_name(f"{path.name}.{suffix}")


def backup(path: Path, number: int, *, is_packed: bool) -> Path:
    """Return the name of an old file."""
    return beside(path, f"{number}{'.gz' if is_packed else ''}")


def backups(path: Path) -> list[Path]:
    """Return the old files of a log, newest first."""
    found: list[tuple[int, Path]] = []
    for candidate in path.parent.glob(f"{path.name}.*"):
        number = candidate.name[len(path.name) + 1 :].removesuffix(".gz")
        if number.isdigit():
            found.append((int(number), candidate))
    return [candidate for _, candidate in sorted(found)]


def load(path: Path) -> LogState:
    """Read NAME.state and throw away what a crash left of an archive. A lost or damaged state is an empty one."""
    with contextlib.suppress(OSError):
        beside(path, "rotating").unlink(missing_ok=True)
    try:
        state = msgspec.json.decode(beside(path, "state").read_bytes(), type=LogState)
    except (OSError, msgspec.MsgspecError):
        return LogState()
    return without_lost(state, path)


def save(path: Path, state: LogState) -> None:
    """Keep the state. Raises OSError."""
    write_atomic(beside(path, "state"), msgspec.json.encode(state))


def without_lost(state: LogState, path: Path) -> LogState:
    """Forget archives that have no name any more, and count what the newest holds as archived."""
    inodes = {stat.st_ino for _, stat in stat_each(backups(path))}
    archives = tuple(item for item in state.archives if item.inode in inodes)
    if archives and archives[-1].end > state.start:
        state = msgspec.structs.replace(state, start=archives[-1].end, unmarked_bytes=0)
    return msgspec.structs.replace(state, archives=archives)


def settle(fd: int, state: LogState, *, is_loaded: bool) -> LogState:
    """Return the state that fits the opened file: it may be another one, or have been truncated by somebody.

    `is_loaded`: it was read just now, so a crash may have come upon a collapse or a drop.
    """
    replace = msgspec.structs.replace
    found = os.fstat(fd)
    if state.inode != found.st_ino:
        state = replace(state, inode=found.st_ino, base=state.start, collapsing=0)
    elif state.collapsing and is_loaded:
        is_done = holes.first_data(fd) < state.collapsing
        state = replace(state, base=state.base + (state.collapsing if is_done else 0), collapsing=0)
    if found.st_size < state.start - state.base:
        return replace(state, base=state.start)
    if is_loaded:
        return replace(state, start=state.base + _first_byte(fd, state.start - state.base))
    return state


def end_of(fd: int, state: LogState) -> int:
    """Return the offset after the last byte."""
    return state.base + os.fstat(fd).st_size


def _first_byte(fd: int, offset: int) -> int:
    """Return where the file goes on after a hole at `offset` and the zeros of the block it ends in."""
    at = holes.first_data(fd, offset)
    block = pread(fd, BLOCK_BYTES, at)
    return at + len(block) - len(block.lstrip(b"\0"))
