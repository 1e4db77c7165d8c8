"""The one extractor for everything that arrives as a zip (trust S13): packages, updates, backups.

The directory is read and judged first; then each entry is streamed with counters into a fresh 0700 folder. Header
values are claims: what is written never exceeds them, and a difference in size or checksum ends the extraction. All
functions block; callers on an event loop use a thread.
"""

import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import msgspec

from ops_system.model.archives import (
    END_BYTES,
    LOCAL_BYTES,
    ArchiveLimits,
    BadArchive,
    Entry,
    data_offset,
    find_directory,
    find_entry_problem,
    find_overlaps,
    find_sum_problems,
    find_twins,
    read_directory,
    refuse,
    shown_name,
)
from ops_system.model.errors import Invalid
from ops_system.model.manifest import Manifest
from ops_system.model.manifest_rules import FILE_NAME, parse_manifest
from ops_system.model.shapes import MAX_DOCUMENT_BYTES
from ops_system.runtime.durable import sync_tree
from ops_system.runtime.files import sync_dir
from ops_system.runtime.inflate import PIECE_BYTES, unpack_entry

DEFAULT_LIMITS = ArchiveLimits()
_IS_WINDOWS = sys.platform == "win32"
_THREADS = 2

Progress = Callable[[int, int], None]
"""Bytes written so far, bytes in all. An exception from it ends the extraction and leaves nothing behind."""


class ArchiveListing(msgspec.Struct, frozen=True):
    """A zip that passed every rule which can be checked without unpacking. `total_bytes` is the unpacked sum."""

    entries: tuple[Entry, ...]
    offsets: dict[str, int]  # where each file's data begins
    total_bytes: int
    file_bytes: int

    def find(self, name: str) -> Entry | None:
        """Return the entry of this path."""
        return next((entry for entry in self.entries if entry.name == name), None)


# --- look ------------------------------------------------------------------------------------------------------------
def inspect_zip(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> ArchiveListing:
    """Return what the zip holds. Raises Invalid with every fault in `details["problems"]`; OSError when unreadable."""
    with path.open("rb") as file:
        return inspect_file(file, limits)


def inspect_file(file: BinaryIO, limits: ArchiveLimits = DEFAULT_LIMITS) -> ArchiveListing:
    """The same of an open file. Its entries are then read by `inflate.unpack_entry`."""
    try:
        return _inspect(file, limits)
    except BadArchive as error:
        raise refuse([f"$: {error}"]) from error


def read_manifest_from_zip(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> Manifest:
    """Return the manifest of a package whose zip passes every rule. Raises Invalid: what is wrong, what to do."""
    return read_manifest(path, inspect_zip(path, limits))


def read_manifest(path: Path, listing: ArchiveListing) -> Manifest:
    """Return the manifest of an inspected package; its entrypoints must be files in the zip. Raises Invalid."""
    entry = listing.find(FILE_NAME)
    if entry is None or entry.is_dir:
        raise refuse([f"$: there is no {FILE_NAME} in the root of the zip{_misplaced(listing)}"])
    if entry.size_bytes > MAX_DOCUMENT_BYTES:
        raise refuse([f"$: {FILE_NAME} is larger than {MAX_DOCUMENT_BYTES} bytes"])
    with path.open("rb") as file:
        data = b"".join(unpack_entry(file, entry, listing.offsets[entry.name]))
    manifest = parse_manifest(data)
    problems = list(_entrypoint_problems(manifest, listing))
    if problems:
        raise Invalid(f"the package does not hold what {FILE_NAME} names: {'; '.join(problems)}", problems=problems)
    return manifest


def _inspect(file: BinaryIO, limits: ArchiveLimits) -> ArchiveListing:
    file_bytes = file.seek(0, os.SEEK_END)
    file.seek(max(0, file_bytes - END_BYTES))
    directory = find_directory(file.read(END_BYTES), file_bytes)
    if directory.count > limits.max_entries:
        raise BadArchive(f"more than {limits.max_entries} entries")
    if directory.size_bytes > limits.max_directory_bytes:
        raise BadArchive(f"a directory of more than {limits.max_directory_bytes} bytes")
    file.seek(directory.offset)
    entries = read_directory(file.read(directory.size_bytes), directory, limits)
    problems = [*find_sum_problems(entries, file_bytes, limits), *_entry_problems(entries)]
    if problems:
        raise refuse(problems)
    offsets = {entry.name: _locate(file, entry, directory.offset) for entry in entries}
    spans = ((entry.header_offset, offsets[entry.name] + entry.packed_bytes, entry.name) for entry in entries)
    overlaps = find_overlaps(spans, directory.offset)
    if overlaps:
        raise refuse(overlaps)
    return ArchiveListing(entries, offsets, sum(entry.size_bytes for entry in entries), file_bytes)


def _entry_problems(entries: tuple[Entry, ...]) -> Iterator[str]:
    for entry in entries:
        problem = find_entry_problem(entry, is_windows=_IS_WINDOWS)
        if problem:
            yield f'"{shown_name(entry.name)}": {problem}'
    yield from find_twins((entry.name, entry.is_dir) for entry in entries)


def _locate(file: BinaryIO, entry: Entry, directory_offset: int) -> int:
    if not 0 <= entry.header_offset < directory_offset:
        raise BadArchive(f'"{shown_name(entry.name)}": its header lies outside the archive')
    file.seek(entry.header_offset)
    return data_offset(file.read(LOCAL_BYTES + len(entry.raw_name)), entry)


def _misplaced(listing: ArchiveListing) -> str:
    """What probably happened: the folder was zipped instead of its content."""
    inside = [entry.name for entry in listing.entries if entry.name.endswith(f"/{FILE_NAME}")]
    if not inside:
        return "; pack-tool init writes one"
    return f'; it stands at "{inside[0]}": zip the content of that folder, or use pack-tool build'


def _entrypoint_problems(manifest: Manifest, listing: ArchiveListing) -> Iterator[str]:
    for field, text in (("entrypoint", manifest.entrypoint), ("stop_entrypoint", manifest.stop_entrypoint)):
        if not text or Path(text).is_absolute():
            continue
        name = text.removeprefix("./")
        entry = listing.find(name)
        is_folder = entry.is_dir if entry else any(other.name.startswith(f"{name}/") for other in listing.entries)
        if is_folder:
            yield f'$.{field}: "{text}" is a folder; name the file to start'
        elif entry is None and not manifest.is_external:
            yield f'$.{field}: "{text}" is not in the package; add the file or correct the path'


# --- unpack ----------------------------------------------------------------------------------------------------------
def extract_zip(
    path: Path,
    target_dir: Path,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    executables: Collection[str] = (),
) -> ArchiveListing:
    """Unpack into `target_dir`, which must not exist; everything is on disk when this returns.

    Files become 0755 or 0644 by their execute bits; those in `executables` 0755. Raises Invalid for a zip that breaks
    a rule, OSError (disk full); then `target_dir` is gone.
    """
    listing = inspect_zip(path, limits)
    target_dir.mkdir(mode=0o700)
    try:
        _Extraction(path, target_dir, listing, progress, executables).run()
    except BaseException:
        shutil.rmtree(target_dir, ignore_errors=True)
        raise
    return listing


def install_archive(
    zip_path: Path,
    sha256: str,
    target: Path,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    *,
    is_hashed: bool = False,
) -> Path:
    """Verify the zip and make its content visible at `target` in one step: whole, or not at all. Returns `target`.

    A `target` that is there already is left as it is: folders are named by their sha256. The entrypoints that the
    zip's service.json names are made executable, whatever packed them. `is_hashed`: the caller has just found this
    checksum, in the file as it lies there. Raises Invalid for a wrong checksum or a zip
    that breaks a rule, OSError (disk full); then nothing is left behind.
    """
    if target.is_dir():
        return target
    actual = sha256.lower() if is_hashed else hash_file(zip_path)
    if actual != sha256.lower():
        problem = f"sha256: {sha256} is expected, the file has {actual}"
        raise Invalid(f"the archive was damaged or changed ({problem}); fetch it again", problems=[problem])
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    extract_zip(zip_path, fresh, limits, progress, _entrypoints(zip_path, limits))
    try:
        fresh.rename(target)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        if not target.is_dir():  # else another thread was first with the same content
            raise
    sync_dir(target.parent)
    return target


def sweep(parent: Path) -> None:
    """Remove what interrupted installations left in `parent`. Call it at start, before any `install_archive`."""
    for left in parent.glob(".*.tmp") if parent.is_dir() else ():
        shutil.rmtree(left, ignore_errors=True)


def hash_file(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entrypoints(path: Path, limits: ArchiveLimits) -> tuple[str, ...]:
    """The files that the archive's manifest starts; none when the archive is no package."""
    listing = inspect_zip(path, limits)
    if listing.find(FILE_NAME) is None:
        return ()
    manifest = read_manifest(path, listing)
    return tuple(text.removeprefix("./") for text in (manifest.entrypoint, manifest.stop_entrypoint) if text)


class _Extraction:
    """One archive on its way to disk. Two threads unpack: zlib and writing release the interpreter."""

    def __init__(
        self,
        path: Path,
        target: Path,
        listing: ArchiveListing,
        progress: Progress | None,
        executables: Collection[str],
    ) -> None:
        self._path = path
        self._target = target
        self._listing = listing
        self._progress = progress
        self._executables = frozenset(executables)
        self._lock = Lock()
        self._done_bytes = 0

    def run(self) -> None:
        folders = self._make_folders()
        files = [entry for entry in self._listing.entries if not entry.is_dir]
        if self._listing.total_bytes < PIECE_BYTES:
            self._write_all(files)
        else:
            self._write_in_threads(files)
        sync_tree(self._target, [self._target / entry.name for entry in files], folders)

    def _make_folders(self) -> list[Path]:
        """Make every folder, parents first, and return them."""
        names: dict[str, None] = {}
        for entry in self._listing.entries:
            parts = entry.name.split("/")
            depth = len(parts) if entry.is_dir else len(parts) - 1
            names.update(dict.fromkeys("/".join(parts[:count]) for count in range(1, depth + 1)))
        folders = [self._target, *(self._target / name for name in sorted(names))]
        for folder in folders[1:]:
            folder.mkdir(mode=0o755)
            folder.chmod(0o755)
        return folders

    def _write_in_threads(self, files: list[Entry]) -> None:
        shares: list[list[Entry]] = [[] for _ in range(_THREADS)]
        sizes = [0] * _THREADS
        for entry in sorted(files, key=lambda entry: entry.size_bytes, reverse=True):
            smallest = sizes.index(min(sizes))
            shares[smallest].append(entry)
            sizes[smallest] += entry.size_bytes + 16 * 1024  # a file costs something even when it is empty
        with ThreadPoolExecutor(_THREADS, "extract") as pool:
            for _ in pool.map(self._write_all, shares):
                pass

    def _write_all(self, files: list[Entry]) -> None:
        with self._path.open("rb", buffering=0) as source:
            for entry in files:
                self._write_file(source, entry)

    def _write_file(self, source: BinaryIO, entry: Entry) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(self._target / entry.name, flags, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for piece in unpack_entry(source, entry, self._listing.offsets[entry.name]):
                _write_whole(file, piece)
                self._advance(len(piece))
            if not _IS_WINDOWS:
                is_executable = entry.is_executable or entry.name in self._executables
                os.fchmod(descriptor, 0o755 if is_executable else 0o644)

    def _advance(self, count: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._done_bytes += count
                self._progress(self._done_bytes, self._listing.total_bytes)


def _write_whole(file: BinaryIO, piece: bytes) -> None:
    """A raw write may take less than it is given."""
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]
