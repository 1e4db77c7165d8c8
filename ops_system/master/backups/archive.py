"""A backup as a file: written entry by entry, read back and judged. Blocking; the service calls it in threads.

A zip whose first entry, `backup.json`, lists every other one with size and SHA-256. The database is deflated, keys and
packages are stored. Encrypted, the whole zip lies in an `envelope`.
"""

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from ops_system.master.backups.envelope import EncryptingFile, Shown, open_plain, refuse
from ops_system.master.backups.rules import Contents, File, find_content_problems
from ops_system.model.archives import ArchiveLimits
from ops_system.model.errors import Invalid
from ops_system.runtime.archives import ArchiveListing, inspect_file
from ops_system.runtime.inflate import unpack_entry

LIST_NAME = "backup.json"
MAX_LIST_BYTES = 16 << 20
LIMITS = ArchiveLimits(max_total_bytes=4 << 40, max_ratio=1000)
"""Backups grow with what is kept; whether they fit is asked of the disk. An audit log packs better than a package."""

_CHUNK_BYTES = 1 << 20
_SYNC_BYTES = 16 << 20  # so often written bytes go to the disk: a long queue there would slow down every commit
_LEVEL = 1

Heard = Callable[[int], None]
"""Hears of bytes done; what it raises ends the work."""


class ArchiveWriter:
    """Writes one backup to `path`, which must not exist."""

    def __init__(self, path: Path, contents: Contents, passphrase: str, hear: Heard) -> None:
        self._hear = hear
        self._expected = {file.name: file for file in contents.files}
        self._file = _PacedFile(path)
        try:
            self._sealed = self._envelope(contents, passphrase) if passphrase else None
            self._zip = zipfile.ZipFile(cast("BinaryIO", self._sealed or self._file), "w")
            info = zipfile.ZipInfo(LIST_NAME)
            self._zip.writestr(info, msgspec.json.format(msgspec.json.encode(contents), indent=1))
        except BaseException:
            self._file.close()
            raise

    def _envelope(self, contents: Contents, passphrase: str) -> EncryptingFile:
        created_at = contents.created_at.isoformat()
        shown = Shown(contents.id, created_at, contents.version, contents.has_artefacts)
        return EncryptingFile(cast("BinaryIO", self._file), passphrase, shown)

    def add(self, name: str, source: Path) -> None:
        """Add a listed file. Raises Invalid when it is not what was listed, OSError."""
        wanted, hashed, size_bytes = self._expected[name], hashlib.sha256(), 0
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED if name.endswith(".db") else zipfile.ZIP_STORED
        info._compresslevel = _LEVEL  # type: ignore[attr-defined]  # noqa: SLF001 - the only way `ZipFile.open` takes one
        with source.open("rb") as file, self._zip.open(info, "w", force_zip64=True) as entry:
            while chunk := file.read(_CHUNK_BYTES):
                entry.write(chunk)
                hashed.update(chunk)
                size_bytes += len(chunk)
                self._hear(len(chunk))
        if hashed.hexdigest() != wanted.sha256:
            raise Invalid(f"{name} has changed or is damaged where it is kept: {source}", problems=[f"{name}: damaged"])

    def finish(self) -> None:
        """Bring everything to the disk."""
        self._zip.close()
        if self._sealed is not None:
            self._sealed.finish()
        self._file.sync()
        self._file.close()

    def discard(self) -> None:
        """Close what was begun; the file is the caller's to remove. After `finish` nothing is left to do."""
        for part in (self._zip, self._file):
            with contextlib.suppress(OSError, ValueError):
                part.close()


class _PacedFile:
    """A file for writing only, brought to the disk every few megabytes."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._file = os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)
        self._since_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of it."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._since_bytes += len(data)
        if self._since_bytes >= _SYNC_BYTES:
            self.sync()
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def sync(self) -> None:
        """Bring it to the disk."""
        os.fsync(self._file.fileno())
        self._since_bytes = 0

    def close(self) -> None:
        """Close it."""
        self._file.close()


class OpenArchive:
    """A backup that passed every rule which can be checked without reading it through."""

    def __init__(self, file: BinaryIO, listing: ArchiveListing, contents: Contents) -> None:
        self._file = file
        self._listing = listing
        self.contents = contents

    def read(self, listed: File) -> Iterator[bytes]:
        """Yield a listed file's bytes. Raises Invalid when they are not what was listed."""
        entry = self._listing.find(listed.name)
        if entry is None:
            raise refuse("damaged", f"{listed.name} is missing")
        hashed = hashlib.sha256()
        for piece in unpack_entry(self._file, entry, self._listing.offsets[entry.name]):
            hashed.update(piece)
            yield piece
        if hashed.hexdigest() != listed.sha256:
            raise refuse("damaged", f"{listed.name} is not what the backup lists")

    def unpack(self, listed: File, target: Path, hear: Heard) -> None:
        """Write a listed file to `target`, which must not exist, and bring it to the disk. Raises Invalid, OSError."""
        file = _PacedFile(target)
        try:
            for piece in self.read(listed):
                file.write(piece)
                hear(len(piece))
            file.sync()
        finally:
            file.close()

    def check_file(self, listed: File, hear: Heard) -> None:
        """Read a listed file through. Raises Invalid when it is damaged."""
        for piece in self.read(listed):
            hear(len(piece))


@contextlib.contextmanager
def open_archive(path: Path, passphrase: str, schema: frozenset[int]) -> Iterator[OpenArchive]:
    """Open a backup; `schema` holds the steps this program knows.

    Raises Invalid with `reason` (wrong_passphrase, needs_passphrase, damaged, newer, not_a_backup) and what to do.
    """
    with open_plain(path, passphrase) as file:
        try:
            listing = inspect_file(file, LIMITS)
        except Invalid as error:
            raise Invalid(error.message, **{**error.details, "reason": "damaged"}) from error
        contents = _read_contents(file, listing)
        problems = find_content_problems(contents, (entry.name for entry in listing.entries), schema)
        if problems:
            is_newer = "install that version" in problems[0]
            raise refuse("newer" if is_newer else "damaged", "; ".join(problems[:5]))
        yield OpenArchive(file, listing, contents)


def _read_contents(file: BinaryIO, listing: ArchiveListing) -> Contents:
    entry = listing.find(LIST_NAME)
    if entry is None or entry.is_dir or entry.size_bytes > MAX_LIST_BYTES:
        raise refuse("not_a_backup", f"there is no {LIST_NAME} in it: it is no backup of this program")
    text = b"".join(unpack_entry(file, entry, listing.offsets[entry.name]))
    try:
        return msgspec.json.decode(text, type=Contents)
    except msgspec.MsgspecError as error:
        raise refuse("newer", f"its {LIST_NAME} cannot be read; a newer version may have made it ({error})") from error


def is_database(path: Path) -> bool:
    """Return whether a file is an SQLite database: one of the hourly copies."""
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"
