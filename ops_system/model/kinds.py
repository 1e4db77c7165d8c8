"""Kinds of values that a person writes, on a command line or in a configuration file: how each is written and read."""

import difflib
import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from ops_system.model.errors import Invalid, Unreadable, UsageError
from ops_system.model.language import Said
from ops_system.model.quantities import parse_duration_s, parse_size_bytes


class Secret:
    """A text that shows itself only on request, so that no repr, log line or error carries it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(***)" if self._text else "Secret()"


Value = str | int | float | bool | tuple[str, ...] | dict[str, str] | Secret


@dataclass(frozen=True)
class Kind:
    """How a value is written and what it becomes. `read` raises Unreadable. `suffix` is the unit in a field's name."""

    metavar: str
    read: Callable[[str], Value]
    natives: tuple[type, ...] = ()  # YAML scalars that may be written without quotes; list: a YAML list of texts
    suffix: str = ""
    is_switch: bool = False  # present or not; takes no value


def _read_bool(text: str) -> bool:
    match text.strip().lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise Unreadable('"{text}" is neither 1 nor 0', text=text)


def _read_port(text: str) -> int:
    digits = text.strip().removeprefix(":")
    if not (digits.isascii() and digits.isdigit() and int(digits[:6]) <= 65535):  # noqa: PLR2004 - the largest port
        raise Unreadable('"{text}" is not a port; write 0 to 65535 (0 takes a free one)', text=text)
    return int(digits)


def _read_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _read_networks(text: str) -> tuple[str, ...]:
    networks = _read_list(text)
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            wanted = '"{network}" is no address and no network; write 10.0.0.7, 10.0.0.0/24 or fd00::/8'
            raise Unreadable(wanted, network=network) from None
    return networks


def _read_labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for part in _read_list(text):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise Unreadable('"{part}" is not a label; write KEY=VALUE,KEY=VALUE', part=part)
        labels[key.strip()] = value.strip()
    return labels


def _read_url(text: str) -> str:
    if not text:
        return text
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise Unreadable("this is no address of a server; write http://HOST:PORT or https://HOST:PORT")
    return text.rstrip("/")


TEXT = Kind("TEXT", str)
URL = Kind("URL", _read_url)
SECRET = Kind("SECRET", Secret)
BOOL = Kind("0|1", _read_bool, (bool, int))
SWITCH = Kind("", _read_bool, is_switch=True)
PORT = Kind("PORT", _read_port, (int,))
LIST = Kind("A,B", _read_list, (list,))
NETWORKS = Kind("NETWORK,…", _read_networks, (list,))
LABELS = Kind("K=V,…", _read_labels)
SIZE = Kind("SIZE", parse_size_bytes, (int,), "_bytes")


def choice(*words: str) -> Kind:
    """A kind that takes one of `words`."""

    def read(text: str) -> str:
        if text in words:
            return text
        raise Unreadable(
            '"{text}" is none of {known}{hint}', text=text, known=", ".join(words), hint=nearest(text, words)
        )

    return Kind("|".join(words), read)


def choices(*words: str) -> Kind:
    """A kind that takes some of `words`, separated by commas."""
    one = choice(*words)

    def read(text: str) -> tuple[str, ...]:
        return tuple(str(one.read(part)) for part in _read_list(text))

    return Kind("A,B", read, (list,))


def integer(minimum: int = 0, maximum: int = 2**31 - 1) -> Kind:
    """A whole number within bounds."""

    def read(text: str) -> int:
        digits = text.strip()
        if not (digits.isascii() and digits.isdigit() and minimum <= int(digits[:12]) <= maximum):
            raise Unreadable(
                '"{text}" is not a whole number from {minimum} to {maximum}',
                text=text,
                minimum=minimum,
                maximum=maximum,
            )
        return int(digits)

    return Kind("N", read, (int,))


def duration(minimum_s: float = 0.0) -> Kind:
    """A duration of at least `minimum_s`; the field it fills ends in `_s`."""

    def read(text: str) -> float:
        seconds = parse_duration_s(text)
        if seconds < minimum_s:
            raise Unreadable('"{text}" is too short; the least is {minimum_s:g}s', text=text, minimum_s=minimum_s)
        return seconds

    return Kind("DURATION", read, suffix="_s")


def nearest(name: str, known: Iterable[str]) -> Said:
    """Return `; did you mean "…"?` for the closest known name, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return Said('; did you mean "{name}"?', name=found[0]) if found else Said("")


def read_value(kind: Kind, text: str, where: str) -> Value:
    """Return the value of `text`; a UsageError says `where` and what is wrong, without the text of a secret."""
    try:
        return kind.read(text)
    except Invalid as error:
        raise UsageError("{where}: {problem}", where=where, problem=error) from error
