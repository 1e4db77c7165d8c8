"""Keeping a service's output files small: copy, truncate, number, compress. Called by the worker every few seconds.

    stdout.log  stdout.log.1.gz  stdout.log.2.gz ...        1 is the newest

The service keeps its O_APPEND descriptor and goes on in the truncated file. What it writes between the last read of
the copy and the truncation (some microseconds) is lost: the price of needing nothing from the service and of no pipe.
The cut is made where a line ends; a service that never pauses between lines may be cut within one after
`_CUT_TRIES` looks. Blocking: call it in a thread.
"""

import contextlib
import gzip
import os
import shutil
import time
from pathlib import Path

import msgspec

_CUT_TRIES = 50
_BLOCK_BYTES = 1024 * 1024


class RotateRules(msgspec.Struct, frozen=True):
    """When and how much is kept. `max_age_s` 0: old files never go by age."""

    max_size_bytes: int = 50_000_000
    max_backups: int = 5
    max_age_s: float = 30 * 86400.0
    compress: bool = True


def rotate_if_large(path: Path, rules: RotateRules, now_s: float | None = None) -> bool:
    """Rotate `path` when it has reached its size; True when it was. `now_s`: Unix seconds for the age of old files.

    Raises OSError (disk full): the log is then whole and goes on growing.
    """
    try:
        if path.stat().st_size < rules.max_size_bytes:
            return False
    except FileNotFoundError:
        return False
    fresh = path.with_name(f"{path.name}.rotating")
    if rules.max_backups > 0:
        try:
            _copy_and_truncate(path, fresh)
            if rules.compress:
                fresh = _compress(fresh)
        except BaseException:
            _rescue(path, path.with_name(f"{path.name}.rotating"))
            raise
        _shift(path, rules.max_backups)
        fresh.replace(_backup(path, 1, is_packed=rules.compress))
    else:
        os.truncate(path, 0)
    _drop_old(path, rules, time.time() if now_s is None else now_s)
    return True


def backups(path: Path) -> list[Path]:
    """Return the old files of a log, newest first."""
    found: list[tuple[int, Path]] = []
    for candidate in path.parent.glob(f"{path.name}.*"):
        number = candidate.name[len(path.name) + 1 :].removesuffix(".gz")
        if number.isdigit():
            found.append((int(number), candidate))
    return [candidate for _, candidate in sorted(found)]


def _copy_and_truncate(path: Path, copy: Path) -> None:
    """Copy everything written so far, wait for the end of a line, and empty the file. On failure nothing is emptied."""
    try:
        with path.open("r+b") as source, copy.open("wb") as target:
            last = _copy_rest(source.fileno(), target.fileno(), b"\n")
            for _ in range(_CUT_TRIES):
                if last == b"\n":
                    break
                time.sleep(0.001)
                last = _copy_rest(source.fileno(), target.fileno(), last)
            source.truncate(0)
    except OSError:
        with contextlib.suppress(OSError):
            copy.unlink()
        raise


def _copy_rest(source: int, target: int, last: bytes) -> bytes:
    """Copy until there is nothing more; return the last byte seen."""
    while data := os.read(source, _BLOCK_BYTES):
        left = memoryview(data)
        while left:
            left = left[os.write(target, left) :]
        last = data[-1:]
    return last


def _compress(path: Path) -> Path:
    packed = path.with_name(f"{path.name}.gz")
    with path.open("rb") as source, gzip.open(packed, "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target, _BLOCK_BYTES)
    path.unlink()
    return packed


def _rescue(path: Path, fresh: Path) -> None:
    """Packing failed after the log was emptied: the plain copy is the only one, so it becomes a backup as it is."""
    with contextlib.suppress(OSError):
        fresh.with_name(f"{fresh.name}.gz").unlink(missing_ok=True)
        if fresh.exists():
            _shift(path, len(backups(path)) + 1)
            fresh.replace(_backup(path, 1, is_packed=False))


def _backup(path: Path, number: int, *, is_packed: bool) -> Path:
    return path.with_name(f"{path.name}.{number}{'.gz' if is_packed else ''}")


def _shift(path: Path, max_backups: int) -> None:
    """Make room for number 1."""
    for number, old in reversed(list(enumerate(backups(path), start=1))):
        if number >= max_backups:
            old.unlink()
        else:
            old.replace(_backup(path, number + 1, is_packed=old.suffix == ".gz"))


def _drop_old(path: Path, rules: RotateRules, now_s: float) -> None:
    for number, old in enumerate(backups(path), start=1):
        is_old = rules.max_age_s > 0 and now_s - old.stat().st_mtime > rules.max_age_s
        if is_old or number > rules.max_backups:
            old.unlink()
