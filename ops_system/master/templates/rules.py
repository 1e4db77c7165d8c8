"""What a config template may be, how two versions differ, and how variables come into one: pure."""

import difflib
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from ops_system.model.errors import Invalid
from ops_system.model.formats import Format, find_fault
from ops_system.model.packages import NAME
from ops_system.model.placeholders import FIXED, fill, find, is_known, mask

MAX_CONTENT_BYTES = 256 * 1024
MAX_NOTE = 500
MAX_VALUE_BYTES = 8192
MAX_VALUES = 500
VAR, SECRET = "var.", "secret."


class ConfigTemplate(msgspec.Struct, frozen=True):
    """A template. `version`: the newest; `approved_version`: what instances get unless they name one."""

    id: str
    name: str
    format: Format
    description: str
    version: int
    approved_version: int | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    used_by: list[str] = []  # modules, `system/module`; only where one template is asked for


class TemplateVersion(msgspec.Struct, frozen=True):
    """One version; it never changes."""

    version: int
    content: str
    note: str
    created_at: datetime
    created_by: str
    approved_at: datetime | None
    approved_by: str


class NewTemplate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A template to create, with its first version."""

    name: str
    format: Format
    content: str
    description: str = ""
    note: str = ""
    approve: bool = False


class TemplatePatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a template changes beside its versions; name and format stay, because modules rest on them."""

    description: str


class NewVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version to add. `base`: the newest one its author has seen; another one meanwhile is a conflict."""

    content: str
    base: int | None = None
    note: str = ""
    approve: bool = False


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version comes back, as a new and approved one."""

    version: int
    note: str = ""


class TemplateDiff(msgspec.Struct, frozen=True):
    """How two versions differ, as a unified diff; empty when they are the same."""

    from_version: int
    to_version: int
    diff: str


def check_template(body: NewTemplate) -> None:
    """Raise `Invalid` with every fault of a new template."""
    problems = find_problems(body.format, body.content, body.note)
    if not NAME.match(body.name):
        problems.insert(0, "$.name: letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit")
    raise_if_any(problems)


def find_problems(kind: Format, content: str, note: str) -> list[str]:
    """Return every fault of a version before any value is known, the place in the text with it."""
    problems = [f"$.note: at most {MAX_NOTE} characters"] if len(note) > MAX_NOTE else []
    if len(content.encode()) > MAX_CONTENT_BYTES:
        return [*problems, f"$.content: at most {MAX_CONTENT_BYTES} bytes"]
    if "\0" in content:
        return [*problems, "$.content: contains NUL"]
    try:
        names = find(content)
        fault = find_fault(kind, mask(content))
    except Invalid as unclosed:
        return [*problems, f"$.content: {unclosed.message}"]
    known = f"{', '.join(FIXED)}, port.NAME, env.KEY, var.NAME, secret.NAME"
    problems += [f"$.content: unknown placeholder ${{{name}}}; known are {known}" for name in names if not _fits(name)]
    return problems if fault is None else [*problems, f"$.content: {fault}"]


def _fits(name: str) -> bool:
    return is_known(name) or (is_variable(name.partition(".")[2]) and name.startswith((VAR, SECRET)))


def is_variable(name: str) -> bool:
    """Whether a variable may be called so."""
    return NAME.match(name) is not None


def check_values(plain: Mapping[str, str | None], hidden: Mapping[str, str | None]) -> None:
    """Raise `Invalid` with every fault of variables; no message repeats a value."""
    problems = [f"$.values.{name}: stands in secrets as well" for name in plain if name in hidden]
    for field, values in (("values", plain), ("secrets", hidden)):
        for name, value in values.items():
            if not is_variable(name):
                problems.append(f"$.{field}.{name}: letters, digits, '.', '_' and '-', at most 64")
            if value is not None and ("\0" in value or len(value.encode()) > MAX_VALUE_BYTES):
                problems.append(f"$.{field}.{name}: at most {MAX_VALUE_BYTES} bytes and no NUL")
    if len(plain) + len(hidden) > MAX_VALUES:
        problems.append(f"$: at most {MAX_VALUES} at once")
    raise_if_any(problems)


def raise_if_any(problems: list[str]) -> None:
    """Raise `Invalid` with these problems."""
    if problems:
        raise Invalid("; ".join(problems), problems=problems)


def fill_variables(content: str, plain: Mapping[str, str], hidden: Iterable[str], where: str) -> str:
    """Return `content` with plain variables filled in; secrets stay placeholders.

    Raises `Invalid` for a variable without a value, naming `where`, and for a secret that is asked for as a plain one.
    """
    secrets, problems = set(hidden), list[str]()
    for name in find(content):
        family, _, key = name.partition(".")
        if f"{family}." == VAR and key not in plain:
            hint = f"it is secret: write ${{secret.{key}}}" if key in secrets else _nearest(key, plain)
            problems.append(f"{where}: variable {key} has no value here; {hint}")
        if f"{family}." == SECRET and key not in secrets:
            hint = f"it is no secret: write ${{var.{key}}}" if key in plain else _nearest(key, secrets)
            problems.append(f"{where}: secret {key} has no value here; {hint}")
    raise_if_any(problems)
    return fill(content, {f"{VAR}{name}": value for name, value in plain.items()})


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else "set it for the master, the system, the module or the instance"


def secrets_in(content: str) -> set[str]:
    """Return the names of the secrets that a text asks for."""
    return {name.removeprefix(SECRET) for name in find(content) if name.startswith(SECRET)}


def diff_of(before: str, after: str, names: tuple[str, str]) -> str:
    """Return a unified diff."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="")
    return "\n".join(lines)
