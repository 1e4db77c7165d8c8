"""What a template may do with a value: `{{ name | filter }}`. Each is bounded. Pure.

They quote for the text the value stands in: `shell` for a word of a shell script, `json` for JSON and YAML, `line` for
a line of a preseed or kickstart.
"""

import base64
import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import TemplateRuntimeError

MAX_TEXT_CHARS = 64 * 1024
Filter = Callable[..., Any]


class TooMuch(TemplateRuntimeError):
    """A template wants more than it may have."""


def _bounded(text: str) -> str:
    if len(text) > MAX_TEXT_CHARS:
        raise TooMuch(f"a text grew beyond {MAX_TEXT_CHARS} characters")
    return text


def _word(value: Any) -> str:
    """Return a plain value as text. Raises for lists, mappings and what is not there."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return _bounded(str(value))
    if isinstance(value, Undefined):
        return str(value)  # raises, and says which name
    raise TemplateRuntimeError("this filter is for one text or number; loop over lists, or use join")


def _default(value: Any, instead: Any = "", boolean: Any = False) -> Any:
    return instead if isinstance(value, Undefined) or (boolean and not value) else value


def _join(values: Iterable[Any], between: str = "") -> str:
    words = [_word(value) for value in values]
    if sum(map(len, words)) + len(words) * len(between) > MAX_TEXT_CHARS:
        raise TooMuch(f"a text grew beyond {MAX_TEXT_CHARS} characters")
    return between.join(words)


def _replace(value: Any, old: str, new: str) -> str:
    text = _word(value)
    if len(text) + text.count(old) * len(new) > MAX_TEXT_CHARS:
        raise TooMuch(f"a text grew beyond {MAX_TEXT_CHARS} characters")
    return text.replace(old, new)


def _json(value: Any) -> str:
    if isinstance(value, Undefined):
        return str(value)  # raises, and says which name
    return _bounded(json.dumps(value, ensure_ascii=True, default=None))


def _line(value: Any) -> str:
    """Return a text that ends no line. Raises for one that would."""
    text = _word(value)
    if not text.isprintable():
        raise TemplateRuntimeError(f"{text[:40]!r} holds line ends or control characters; they would begin a new line")
    return text


def _shell(value: Any) -> str:
    return shlex.quote(_line(value))


def _glob(value: Any) -> str:
    """Return a text in which no character is a wildcard of fnmatch."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in _line(value))


def _items(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(value.items())


def _sort(values: Iterable[Any]) -> list[Any]:
    return sorted(values)


def _int(value: Any) -> int:
    return int(_word(value)[:18])


FILTERS: dict[str, Filter] = {
    "b64": lambda value: _bounded(base64.b64encode(_word(value).encode()).decode()),
    "default": _default,
    "first": lambda values: next(iter(values), ""),
    "glob": _glob,
    "int": _int,
    "items": _items,
    "join": _join,
    "json": _json,
    "last": lambda values: values[-1] if values else "",
    "length": len,
    "line": _line,
    "lower": lambda value: _word(value).lower(),
    "replace": _replace,
    "shell": _shell,
    "sort": _sort,
    "trim": lambda value: _word(value).strip(),
    "upper": lambda value: _word(value).upper(),
}
