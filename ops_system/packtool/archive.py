"""Writes a package: sorted names, one time stamp, modes 0755 and 0644, so that the same content gives the same bytes.

(The same bytes need the same zlib, too: another version may compress differently.)
"""

import contextlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ops_system.model.errors import Invalid
from ops_system.model.manifest import Manifest
from ops_system.packtool.sources import Source, SourceFolder
from ops_system.runtime.archives import hash_file, inspect_zip, read_manifest

PIECE_BYTES = 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX, _REGULAR, _FOLDER, _DOS_FOLDER = 3, 0o100000, 0o040755, 0x10


@dataclass(frozen=True)
class Built:
    """A package on disk."""

    path: Path
    manifest: Manifest
    size_bytes: int
    files: int

    @cached_property
    def sha256(self) -> str:
        """In hex; the file is read for it once. Raises OSError."""
        return hash_file(self.path)


def write_package(folder: SourceFolder, target: Path, progress: Callable[[int], None]) -> Built:
    """Write `target` in one step and check it by the extractor's own rules.

    Raises Invalid when a worker would refuse it, OSError when it cannot be written; then there is no `target` from us.
    """
    beside = target.with_name(f".{target.name}.tmp")
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
            done_bytes = 0
            for source in folder.sources:
                done_bytes = _add(archive, source, done_bytes, progress)
        listing = inspect_zip(beside)
        manifest = read_manifest(beside, listing)
        beside.replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
    files = sum(not source.is_dir for source in folder.sources)
    return Built(target, manifest, target.stat().st_size, files)


def _add(archive: zipfile.ZipFile, source: Source, done_bytes: int, progress: Callable[[int], None]) -> int:
    info = zipfile.ZipInfo(f"{source.name}/" if source.is_dir else source.name, _EPOCH)
    info.create_system = _UNIX
    if source.is_dir:
        info.external_attr = (_FOLDER << 16) | _DOS_FOLDER
        archive.writestr(info, b"")
        return done_bytes
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (_REGULAR | (0o755 if source.is_executable else 0o644)) << 16
    info.file_size = source.size_bytes
    try:
        with source.path.open("rb") as file, archive.open(info, "w") as entry:
            while piece := file.read(PIECE_BYTES):
                entry.write(piece)
                done_bytes += len(piece)
                progress(done_bytes)
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.filename is None:
            raise  # of the zip, not of the source
        problem = f'"{source.name}": cannot be read, or grew while it was packed: {error}'
        raise Invalid(problem, problems=[problem]) from error
    return done_bytes
