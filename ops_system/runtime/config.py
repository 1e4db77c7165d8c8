"""Configuration of a role: one table of options, four places to set them, one frozen struct as the result.

Precedence: flag > environment > YAML file > default. An option's key is `part.name`; it fills the field `name` of the
struct in the field `part` (durations end in `_s`, sizes in `_bytes`). The tables stand in each role's `config.py`.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from ops_system.cli import Flag, Parsed, canonical
from ops_system.model.errors import UsageError
from ops_system.model.kinds import LABELS, SECRET, TEXT, Kind, Value, nearest, read_value

MAX_VALUE_FILE_BYTES = 64 * 1024

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """One setting. `default` is written as a person would write it. No `flag`: only file and environment set it."""

    key: str
    kind: Kind
    default: str
    help: str
    flag: str = ""
    is_stdin_allowed: bool = False  # the value `-` is read from standard input


@dataclass(frozen=True)
class Schema(Generic[T]):
    """All settings of a role. `implies`: (A, B, text) sets B to the text where A is set and B is not."""

    struct: type[T]
    env_prefix: str
    default_file: str
    options: tuple[Option, ...]
    implies: tuple[tuple[str, str, str], ...] = ()

    def flags(self, *keys: str) -> tuple[Flag, ...]:
        """Return `-config` and the flags of these keys, or of all keys, for a `cli.Command`."""
        wanted = [option for option in self.options if option.flag and (not keys or option.key in keys)]
        own = Flag("config", TEXT, "the YAML file to read", self.default_file)
        return (own, *(Flag(option.flag, option.kind, option.help, option.default) for option in wanted))


@dataclass(frozen=True)
class _Setting:
    """A value as written, and where it was written."""

    text: str
    where: str


def load(
    schema: Schema[T],
    parsed: Parsed,
    environ: Mapping[str, str] | None = None,
    read_stdin: Callable[[], str] | None = None,
) -> T:
    """Return the role's configuration. Raises UsageError naming the place of the first unknown or wrong entry."""
    surroundings = os.environ if environ is None else environ
    file = parsed.text("config")
    settings = _from_file(schema, Path(file or schema.default_file), must_exist=bool(file))
    settings |= _from_environment(schema, surroundings)
    settings |= _from_flags(schema, parsed)
    _imply(schema, settings)
    return _assemble(schema, settings, read_stdin or sys.stdin.read)


def build(schema: Schema[T], texts: Mapping[str, str] | None = None) -> T:
    """Return the defaults with some keys set; for tests and for programs that start a role inside themselves."""
    settings = {key: _Setting(text, key) for key, text in (texts or {}).items()}
    _refuse_unknown(settings, schema)
    return _assemble(schema, settings, str)


def expand_value(text: str, where: str, read_stdin: Callable[[], str] | None = None) -> str:
    """Return the content of `FILE` for `@FILE` (last line end cut), stdin for `-` when allowed, `@x` for `@@x`."""
    if text == "-" and read_stdin is not None:
        return read_stdin().strip()
    if text.startswith("@@"):
        return text[1:]
    if not text.startswith("@"):
        return text
    try:
        with Path(text[1:]).open("rb") as file:
            content = file.read(MAX_VALUE_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(
            "{where}: cannot read the file {file}: {trouble}", where=where, file=text[1:], trouble=error.strerror
        ) from error
    if len(content) > MAX_VALUE_FILE_BYTES:
        raise UsageError(
            "{where}: the file {file} is larger than {most} bytes",
            where=where,
            file=text[1:],
            most=MAX_VALUE_FILE_BYTES,
        )
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UsageError("{where}: the file {file} is not UTF-8 text", where=where, file=text[1:]) from error


def environment_name(schema: Schema[Any], key: str) -> str:
    """Return the environment variable of a key: `OPS_MASTER_STORAGE_MINIO_SK`."""
    return schema.env_prefix + key.upper().replace(".", "_")


def _from_flags(schema: Schema[Any], parsed: Parsed) -> dict[str, _Setting]:
    return {
        option.key: _Setting(parsed.texts[canonical(option.flag)], f"-{option.flag}")
        for option in schema.options
        if option.flag and parsed.has(option.flag)
    }


def _from_environment(schema: Schema[Any], environ: Mapping[str, str]) -> dict[str, _Setting]:
    """Empty variables count as not set."""
    keys = {environment_name(schema, option.key): option.key for option in schema.options}
    settings: dict[str, _Setting] = {}
    for name, text in environ.items():
        if not name.startswith(schema.env_prefix) or not text:
            continue
        if name not in keys:
            raise UsageError("unknown environment variable {name}{hint}", name=name, hint=nearest(name, keys))
        settings[keys[name]] = _Setting(text, f"environment {name}")
    return settings


def _from_file(schema: Schema[Any], path: Path, *, must_exist: bool) -> dict[str, _Setting]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not must_exist:
            return {}
        raise UsageError("-config: there is no file {path}", path=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("-config: cannot read {path}: {error}", path=path, error=error) from error
    kinds = {option.key: option.kind for option in schema.options}
    settings = dict(_walk_yaml(path, text, kinds))
    _refuse_unknown(settings, schema)
    return settings


def _refuse_unknown(settings: Mapping[str, _Setting], schema: Schema[Any]) -> None:
    known = [option.key for option in schema.options]
    for key, setting in settings.items():
        if key not in known:
            raise UsageError("{where}: unknown key{hint}", where=setting.where, hint=nearest(key, known))


def _walk_yaml(path: Path, text: str, kinds: Mapping[str, Kind]) -> Iterable[tuple[str, _Setting]]:
    """Yield every leaf of the file with its line. Keys written twice are refused: YAML would drop the first."""
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UsageError(
            "{path} is no valid YAML: {problem}", path=path, problem=" ".join(str(error).split())
        ) from error
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise UsageError("{path}: the file must be a mapping such as `server:` with keys below it", path=path)
    yield from _Walker(path, kinds).walk(root, "")


class _Walker:
    """One pass over a composed YAML document."""

    def __init__(self, path: Path, kinds: Mapping[str, Kind]) -> None:
        self._path = path
        self._kinds = kinds
        self._seen: set[str] = set()

    def walk(self, mapping: Any, prefix: str) -> Iterable[tuple[str, _Setting]]:
        import yaml

        for key_node, node in mapping.value:
            key = f"{prefix}{key_node.value}"
            where = f"{self._path}:{key_node.start_mark.line + 1}"
            if key in self._seen:
                raise UsageError('{where}: the key "{key}" stands twice; keep one', where=where, key=key)
            self._seen.add(key)
            if isinstance(node, yaml.MappingNode) and self._kinds.get(key) is not LABELS:
                yield from self.walk(node, f"{key}.")
                continue
            text = self._leaf_text(key, node, where)
            if text is not None:
                yield key, _Setting(text, f"{where}: {key}")

    def _leaf_text(self, key: str, node: Any, where: str) -> str | None:
        """The leaf as a flag would write it; None for `key:` with nothing behind it."""
        import yaml

        loader = yaml.SafeLoader("")
        try:
            value = loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            raise UsageError(
                "{where}: {key}: {problem}", where=where, key=key, problem=" ".join(str(error).split())
            ) from error
        finally:
            loader.dispose()
        kind = self._kinds.get(key)
        if value is None and kind is not None:
            return None
        if isinstance(value, str) or kind is None:
            return str(value)
        return self._native_text(value, kind, f"{where}: {key}")

    def _native_text(self, value: object, kind: Kind, where: str) -> str:
        match value:
            case bool() | int() if type(value) in kind.natives:
                return str(value)
            case list() if list in kind.natives and all(isinstance(item, str) for item in value):
                return ",".join(value)
            case dict() if kind is LABELS:
                return ",".join(f"{key}={item}" for key, item in value.items())
        raise UsageError(
            "{where}: {metavar} is wanted here, not a bare {found}; put it in quotes",
            where=where,
            metavar=kind.metavar,
            found=type(value).__name__,
        )


def _imply(schema: Schema[Any], settings: dict[str, _Setting]) -> None:
    for source, target, text in schema.implies:
        if source in settings and settings[source].text and target not in settings:
            settings[target] = _Setting(text, settings[source].where)


def _assemble(schema: Schema[T], settings: Mapping[str, _Setting], read_stdin: Callable[[], str]) -> T:
    tree: dict[str, Any] = {}
    for option in schema.options:
        setting = settings.get(option.key, _Setting(option.default, f"default of {option.key}"))
        text = expand_value(setting.text, setting.where, read_stdin if option.is_stdin_allowed else None)
        _plant(tree, option, _read(option, text, setting.where))
    return msgspec.convert(tree, schema.struct, dec_hook=lambda _type, value: value)


def _read(option: Option, text: str, where: str) -> Value:
    if option.kind is SECRET and "\n" in text:
        raise UsageError("{where}: the secret must be one line", where=where)
    return read_value(option.kind, text, where)


def _plant(tree: dict[str, Any], option: Option, value: Value) -> None:
    *path, name = option.key.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
    tree[name + option.kind.suffix] = value
