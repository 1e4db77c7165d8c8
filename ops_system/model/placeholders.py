"""Placeholders in args, env, health targets and config templates, such as `${port.http}` or `${instance.dir}`.

Grammar: `$$` is a dollar; `${NAME}` is a placeholder; a dollar before anything else stands for itself, so that `$host`
in an nginx template passes. The worker expands; master and pack tool check the names.
"""

import difflib
import re
from collections.abc import Mapping

from ops_system.model.errors import Invalid

FIXED = ("instance.id", "instance.dir", "node.id", "node.name", "node.ip")
FAMILIES = ("port", "env")  # port.NAME, env.KEY

_TOKEN = re.compile(r"\$\$|\$\{([^{}]*)\}|\$\{")
_MEMBER = re.compile(r"(?:port|env)\.[A-Za-z0-9_][A-Za-z0-9_-]*\Z")


def expand(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with every placeholder replaced. Raises Invalid for an unknown or unclosed one, naming it."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name = _name_in(match, text)
        if name not in values:
            raise Invalid(f"unknown placeholder ${{{name}}}{_nearest(name, values)}", placeholder=name)
        return values[name]

    return _TOKEN.sub(replace, text)


def find(text: str) -> tuple[str, ...]:
    """Return the names in order of appearance, each once. Raises Invalid for an unclosed `${`."""
    matches = (match for match in _TOKEN.finditer(text) if match[0] != "$$")
    return tuple(dict.fromkeys(_name_in(match, text) for match in matches))


def find_problems(text: str) -> list[str]:
    """Return what is wrong with the placeholders before any value is known: unclosed ones and unknown families."""
    try:
        names = find(text)
    except Invalid as error:
        return [error.message]
    return [f"unknown placeholder ${{{name}}}{_nearest(name, FIXED)}" for name in names if not is_known(name)]


def is_known(name: str) -> bool:
    """Return whether a placeholder of this name can ever have a value."""
    return name in FIXED or _MEMBER.match(name) is not None


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with the placeholders among `values` replaced, such that `expand` leaves the values as they are.

    All others stay for `expand`. Raises Invalid for an unclosed one.
    """

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$$"
        name = _name_in(match, text)
        return escape(values[name]) if name in values else match[0]

    return _TOKEN.sub(replace, text)


def mask(text: str) -> str:
    """Return `text` with a number of the same length in place of each placeholder, for a look at what is around them.

    Raises Invalid for an unclosed one.
    """

    def replace(match: re.Match[str]) -> str:
        if match[0] != "$$":
            _name_in(match, text)
        return "1" * len(match[0])

    return _TOKEN.sub(replace, text)


def escape(text: str) -> str:
    """Return a text that `expand` turns back into `text`."""
    return text.replace("$", "$$")


def _name_in(match: re.Match[str], text: str) -> str:
    name: str | None = match[1]
    if name is None:
        raise Invalid(f'unclosed placeholder in "{text[match.start() : match.start() + 20]}"; write $$ for a dollar')
    return name


def _nearest(name: str, known: Mapping[str, str] | tuple[str, ...]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    if found:
        return f"; did you mean ${{{found[0]}}}?"
    return "; known are ${port.NAME}, ${env.KEY}, " + ", ".join(f"${{{fixed}}}" for fixed in FIXED)
