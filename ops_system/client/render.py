"""How answers look: tables by the width they take on a screen, one object as lines, JSON, YAML. Pure."""

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ops_system.client.shapes import Json, dig
from ops_system.model.quantities import format_duration, format_size

_GAP = "  "
_ELLIPSIS = "…"
_DAY_S = 86400.0
_NEVER = datetime.min.replace(tzinfo=UTC)
_MIN_CELL = 6  # columns a cell keeps when a table is squeezed


class Column(msgspec.Struct, frozen=True):
    """One column: its heading, where its value lies (`a.b`; by `|`: the first that is there), how it is shown."""

    title: str
    path: str
    show: Callable[[Any, datetime], str] | None = None
    is_number: bool = False

    def cell(self, row: Json, now: datetime) -> str:
        """Return the text of this column for `row`; `-` for nothing."""
        found = [value for path in self.path.split("|") if not _is_nothing(value := dig(row, path))]
        if not found:
            return "-"
        return clean((self.show or plain)(found[0], now)) or "-"


def _is_nothing(value: Any) -> bool:
    return value is None or value in ("", [], {})


# --- values ----------------------------------------------------------------------------------------------------------
def plain(value: Any, now: datetime) -> str:
    """A value as one word or a few."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value + 0:g}"  # no -0
        case Mapping():
            return ",".join(f"{key}={plain(one, now)}" for key, one in sorted(value.items()))
        case list() | tuple():
            return ",".join(plain(one, now) for one in value)
    return str(value)


def age(value: Any, now: datetime) -> str:
    """How long ago a stamp was, in one unit; `in 5m` when it is to come."""
    at = _stamp(value)
    if at is None:
        return plain(value, now)
    seconds = (now - at).total_seconds()
    shown = short_duration(abs(seconds))
    return shown if seconds >= 0 else f"in {shown}"


def stamp(value: Any, now: datetime) -> str:
    """A stamp to the second, in UTC."""
    at = _stamp(value)
    return plain(value, now) if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")


def size(value: Any, now: datetime) -> str:
    """Bytes as a person reads them."""
    return format_size(int(value)) if isinstance(value, int | float) else plain(value, now)


def percent(value: Any, now: datetime) -> str:
    """A share of a hundred."""
    return f"{value:.0f}%" if isinstance(value, int | float) and math.isfinite(value) else plain(value, now)


def seconds(value: Any, now: datetime) -> str:
    """A duration."""
    return format_duration(float(value)) if isinstance(value, int | float) else plain(value, now)


def count(value: Any, _now: datetime) -> str:
    """How many a list has."""
    return str(len(value)) if isinstance(value, list | Mapping) else str(value)


def reason(value: Any, now: datetime) -> str:
    """The words of a reason."""
    return str(value.get("message", "")) if isinstance(value, Mapping) else plain(value, now)


def short_duration(seconds_: float) -> str:
    """Return `45s`, `12m`, `3h`, `9d`."""
    for unit, length in (("d", _DAY_S), ("h", 3600.0), ("m", 60.0)):
        if seconds_ >= length:
            return f"{int(seconds_ / length)}{unit}"
    return f"{int(seconds_)}s"


def _stamp(value: Any) -> datetime | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


# --- text on a screen ------------------------------------------------------------------------------------------------
def clean(text: str) -> str:
    """Return the text on one line, without anything that moves a cursor: what nodes say is never a command."""
    return "".join(" " if character in "\r\n\t" else character for character in text if _is_shown(character))


def _is_shown(character: str) -> bool:
    return character in "\r\n\t" or unicodedata.category(character) not in {"Cc", "Cf", "Cs"}


def width_of(text: str) -> int:
    """Return how many columns a text takes: two for wide characters, none for those that combine."""
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def cut(text: str, width: int) -> str:
    """Return the text in at most `width` columns, with `…` where something is left out."""
    if width_of(text) <= width:
        return text
    kept, used = "", 0
    for character in text:
        used += _width(character)
        if used > width - 1:
            break
        kept += character
    return kept + _ELLIPSIS


def pad(text: str, width: int, *, is_number: bool = False) -> str:
    """Return the text filled with blanks to `width` columns."""
    blanks = " " * max(0, width - width_of(text))
    return blanks + text if is_number else text + blanks


def table(rows: Sequence[Json], columns: Sequence[Column], now: datetime, screen_width: int = 0) -> str:
    """Return rows under their headings. With a `screen_width` (columns) the widest texts are cut until a row fits."""
    heads = [column.title for column in columns]
    cells = [[column.cell(row, now) for column in columns] for row in rows]
    widths = [max(map(width_of, [head, *(line[index] for line in cells)])) for index, head in enumerate(heads)]
    if screen_width:
        widths = _squeeze(widths, heads, screen_width)
    return "\n".join(_line(line, widths, columns) for line in [heads, *cells])


def _squeeze(widths: list[int], heads: Sequence[str], screen_width: int) -> list[int]:
    """Take columns from the widest until all fit, but never below what a heading needs."""
    least = [max(_MIN_CELL, width_of(head)) for head in heads]
    room = screen_width - len(_GAP) * (len(widths) - 1)
    widths = list(widths)
    while sum(widths) > room:
        spare, index = max((width - least[place], place) for place, width in enumerate(widths))
        if spare <= 0:
            break
        widths[index] -= min(spare, sum(widths) - room, max(1, spare // 4))
    return widths


def _line(cells: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    shown = [
        pad(cut(cell, width), width, is_number=column.is_number)
        for cell, width, column in zip(cells, widths, columns, strict=True)
    ]
    return _GAP.join(shown).rstrip()


def as_json(value: Any) -> str:
    """Return the value as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def as_yaml(value: Any) -> str:
    """Return the value as YAML, keys in the master's order."""
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000)).rstrip("\n")


def details(value: Json) -> str:
    """Return one object as lines for a person: `name  value`, and what lies deeper as YAML below its name."""
    heads = [key for key, one in value.items() if not _is_deep(one)]
    width = max((width_of(key) for key in heads), default=0)
    lines = []
    for key, one in value.items():
        if _is_deep(one):
            below = one.splitlines() if isinstance(one, str) else as_yaml(one).splitlines()
            lines += [f"{key}:", *(f"  {clean(line)}" for line in below)]
        else:
            shown = "-" if _is_nothing(one) else clean(plain(one, _NEVER))
            lines.append(f"{pad(key, width)}  {shown}")
    return "\n".join(lines)


def _is_deep(value: Any) -> bool:
    if isinstance(value, str):
        return "\n" in value
    if isinstance(value, Mapping):
        return any(isinstance(one, Mapping | list) for one in value.values())
    return isinstance(value, list) and any(isinstance(one, Mapping | list) for one in value)
