"""`-autostart 1|0`: from the command line a person gave to the unit that repeats it at every boot. Called by `main`.

Kept are all flags but `-autostart` and what is used only once, the settings of the environment, and the folder the
configuration's relative paths are read from. No secret gets into a unit: it stands in `@FILE`, or nothing is installed.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ops_system.cli import Parsed, canonical
from ops_system.model.errors import UsageError
from ops_system.model.kinds import SECRET
from ops_system.runtime.config import Option, Schema, environment_name
from ops_system.service.base import Unit
from ops_system.service.surroundings import program

_PERSONAL = ("HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "OPS_RUNTIME_DIR")


def make_unit(
    role: str,
    schema: Schema[Any],
    parsed: Parsed,
    environ: Mapping[str, str],
    *,
    folders: Mapping[str, Path],
    path_flags: Iterable[str] = (),
    used_once: Iterable[str] = (),
    log_file: str = "",
) -> Unit:
    """Return the unit that starts the role as this command line would, from here.

    `folders` are flags that are always written, absolute; `path_flags` name flags that hold a path; `used_once` are
    left out. Raises UsageError for a secret that stands in clear.
    """
    dropped = {"autostart", *(canonical(name) for name in used_once), *(canonical(name) for name in folders)}
    kept = {name: text for name, text in parsed.texts.items() if name not in dropped}
    if "config" not in kept and Path(schema.default_file).is_file():
        kept["config"] = schema.default_file
    options = {canonical(option.flag): option for option in schema.options if option.flag}
    paths = {"config", *(canonical(name) for name in path_flags)}
    words = [f"-{name}={path.absolute()}" for name, path in folders.items()]
    for name, text in sorted(kept.items()):
        option = options.get(name)
        place = f"-{option.flag if option else name}"
        words.append(f"{place}={_portable(text, place, option, is_path=name in paths)}")
    return Unit(
        role=role,
        description=f"ops-system {role}",
        argv=(*program(role), *words),
        working_dir=str(Path.cwd()),
        environment=_kept_environment(schema, environ, dropped),
        log_file=log_file,
    )


def _kept_environment(schema: Schema[Any], environ: Mapping[str, str], dropped: set[str]) -> dict[str, str]:
    kept = {name: environ[name] for name in _PERSONAL if environ.get(name)}
    for option in schema.options:
        name = environment_name(schema, option.key)
        if environ.get(name) and canonical(option.flag) not in dropped:
            kept[name] = _portable(environ[name], name, option, is_path=False)
    return kept


def _portable(text: str, where: str, option: Option | None, *, is_path: bool) -> str:
    """Return a value that means the same from any folder."""
    if text.startswith("@") and not text.startswith("@@"):
        return f"@{Path(text[1:]).absolute()}"
    if option is not None and option.kind is SECRET and text:
        raise UsageError(
            "{where}: a secret does not go into a boot service; put it into a file and write {where}=@FILE", where=where
        )
    return str(Path(text).absolute()) if is_path and text else text
