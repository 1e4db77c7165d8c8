"""What of a folder goes into a package: files by name, with links resolved and every fault listed."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ops_system.model.archives import find_name_problem, find_twins, shown_name
from ops_system.model.errors import Invalid
from ops_system.model.manifest import Manifest
from ops_system.model.manifest_rules import FILE_NAME, parse_manifest
from ops_system.packtool.ignore import FILE_NAME as IGNORE_FILE
from ops_system.packtool.ignore import IgnoreRules

_IS_WINDOWS = os.name == "nt"
_EXECUTABLE_ENDINGS = (".exe", ".bat", ".cmd", ".ps1", ".sh")


@dataclass(frozen=True)
class Source:
    """One entry to be: `name` inside the package, `path` where its bytes are. A folder is listed when it is empty."""

    name: str
    path: Path
    size_bytes: int
    is_executable: bool
    is_dir: bool = False


@dataclass(frozen=True)
class SourceFolder:
    """A folder that is fit to be a package."""

    manifest: Manifest
    sources: tuple[Source, ...]

    @property
    def total_bytes(self) -> int:
        """The sum of all files."""
        return sum(source.size_bytes for source in self.sources)


def read_folder(folder: Path, leave_out: frozenset[Path] = frozenset()) -> SourceFolder:
    """Return what `folder` would pack, sorted by name; `leave_out` (the zip being written) stays outside.

    Raises Invalid with every fault of service.json and of the files at once.
    """
    if not folder.is_dir():
        raise Invalid(f"{folder} is no folder", problems=[f"{folder}: no folder"])
    manifest, problems = _read_manifest(folder)
    walk = _Walk(folder, leave_out, manifest)
    sources = sorted(walk.run(), key=lambda source: source.name)
    problems += walk.problems
    problems += find_twins((source.name, source.is_dir) for source in sources)
    if manifest is not None:
        problems += _missing(manifest, {source.name for source in sources if not source.is_dir})
    if problems or manifest is None:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise Invalid(f"{folder} has {count}: {'; '.join(problems)}", problems=problems)
    return SourceFolder(manifest, tuple(sources))


def _read_manifest(folder: Path) -> tuple[Manifest | None, list[str]]:
    try:
        return parse_manifest((folder / FILE_NAME).read_bytes()), []
    except FileNotFoundError:
        return None, [f"$: there is no {FILE_NAME} in {folder}; pack-tool init {folder} writes one"]
    except OSError as error:
        return None, [f"$: cannot read {folder / FILE_NAME}: {error.strerror}"]
    except Invalid as error:
        problems = error.details["problems"]
        return None, problems if isinstance(problems, list) else [error.message]


def _missing(manifest: Manifest, names: set[str]) -> Iterator[str]:
    for field, text in (("entrypoint", manifest.entrypoint), ("stop_entrypoint", manifest.stop_entrypoint)):
        is_ours = text and not (manifest.is_external or text.removeprefix("./") in names)
        if is_ours:
            yield f'$.{field}: "{text}" is not among the packed files; add it, or look at {IGNORE_FILE}'


class _Walk:
    """One pass over a folder. Links are followed as long as they stay inside it."""

    def __init__(self, folder: Path, leave_out: frozenset[Path], manifest: Manifest | None) -> None:
        self.problems: list[str] = []
        self._root = folder.resolve()
        self._leave_out = leave_out
        self._rules = IgnoreRules(_ignore_lines(folder))
        self._starts = _entrypoints(manifest) if manifest else frozenset()
        self._is_for_windows = manifest is not None and manifest.os == "windows"

    def run(self) -> Iterator[Source]:
        return self._folder(self._root, "", (self._root,))

    def _folder(self, path: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[Source]:
        try:
            names = sorted(os.listdir(path))  # noqa: PTH208 - names as they are, also undecodable ones
        except OSError as error:
            self.problems.append(f'"{shown_name(prefix)}": cannot be read: {error.strerror}')
            return
        is_empty = True
        for name in names:
            for source in self._entry(path / name, f"{prefix}{name}", above):
                is_empty = False
                yield source
        if is_empty and prefix:
            yield Source(prefix.rstrip("/"), path, 0, is_executable=True, is_dir=True)

    def _entry(self, path: Path, name: str, above: tuple[Path, ...]) -> Iterator[Source]:
        if path in self._leave_out:
            return
        try:
            real = path.resolve(strict=True) if path.is_symlink() else path
            status = real.stat()
        except (OSError, RuntimeError) as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else "it leads in a circle"
            self._refuse_unless_ignored(name, f"cannot be read, or is a link to nothing: {words}")
            return
        is_dir = stat.S_ISDIR(status.st_mode)
        if name != FILE_NAME and self._rules.is_ignored(name, is_dir=is_dir):
            return
        problem = find_name_problem(name, is_windows=self._is_for_windows) or self._find_place_problem(
            real, status.st_mode
        )
        if problem:
            self.problems.append(f'"{shown_name(name)}": {problem}')
        elif not is_dir:
            yield Source(name, real, status.st_size, self._is_executable(real, name, status.st_mode))
        elif real in above:
            self.problems.append(f'"{shown_name(name)}": is a link to a folder around it')
        else:
            yield from self._folder(real, f"{name}/", (*above, real))

    def _refuse_unless_ignored(self, name: str, problem: str) -> None:
        if not self._rules.is_ignored(name, is_dir=False):
            self.problems.append(f'"{shown_name(name)}": {problem}')

    def _find_place_problem(self, real: Path, mode: int) -> str:
        if not real.is_relative_to(self._root):
            return f"is a link that leaves the folder, to {shown_name(str(real))}; copy the file in its place"
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return "is a device, pipe or socket"
        return ""

    def _is_executable(self, path: Path, name: str, mode: int) -> bool:
        """The execute bit; on Windows, which has none, the name's ending or a first line that names an interpreter."""
        if name in self._starts:
            return True
        if _IS_WINDOWS:
            return name.lower().endswith(_EXECUTABLE_ENDINGS) or _has_shebang(path)
        return bool(mode & 0o111)


def _ignore_lines(folder: Path) -> list[str]:
    try:
        return (folder / IGNORE_FILE).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read {folder / IGNORE_FILE}: {error}", problems=[f"{IGNORE_FILE}: {error}"]) from error


def _entrypoints(manifest: Manifest) -> frozenset[str]:
    return frozenset(text.removeprefix("./") for text in (manifest.entrypoint, manifest.stop_entrypoint) if text)


def _has_shebang(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!"
