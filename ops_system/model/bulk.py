"""Tables of machines to install, as people paste them from a spreadsheet: every fault of every row at once. Pure."""

import csv
import io
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from ops_system.model.catalogue import find_release
from ops_system.model.errors import Invalid, OpsError, TooLarge
from ops_system.model.machines import check_idc, check_sn, normal_mac
from ops_system.model.reasons import Params, Reason

COLUMNS = ("idc", "sn", "mac", "os_type", "os_version", "profile", "hostname", "tags")
NEEDED = ("sn", "mac", "os_type")
MAX_ROWS, MAX_BYTES = 5_000, 1024 * 1024
_MAX_PROBLEMS = 500
_WRONG = {
    "idc": "wrong_idc",
    "sn": "wrong_sn",
    "mac": "wrong_mac",
    "os_type": "wrong_os_type",
    "hostname": "wrong_hostname",
    "tags": "wrong_tags",
}


class BulkRow(msgspec.Struct, frozen=True):
    """One machine of a table; `number` is its line in the file, the heading being line 1."""

    number: int
    idc: str
    sn: str
    mac: str
    os_type: str
    os_version: str = ""
    profile: str = ""
    hostname: str = ""
    tags: dict[str, str] = {}


class BulkProblem(msgspec.Struct, frozen=True):
    """What is wrong in a line. `column` is empty where the line as a whole is meant.

    Codes: those of `_WRONG` (params may hold `nearest`), `beyond_columns` (`value`), `twin` (`value`, `line`).
    """

    number: int
    column: str
    reason: Reason


class BulkTable(msgspec.Struct, frozen=True):
    """The rows that can be taken, and everything that is wrong. Nothing should be made while there is a problem."""

    rows: tuple[BulkRow, ...]
    problems: tuple[BulkProblem, ...]


class _Line(NamedTuple):
    number: int
    cells: dict[str, str]


def parse_table(text: str, idc: str = "") -> BulkTable:
    """Read a table with a heading line. `idc` is for tables without that column.

    Commas, semicolons or tabs part the cells; a byte order mark, empty lines and lines that begin with # are passed
    over. Raises TooLarge, and Invalid for a heading that cannot be used.
    """
    if len(text) > MAX_BYTES:
        raise TooLarge(f"the table has more than {MAX_BYTES} characters; send it in pieces", limit_bytes=MAX_BYTES)
    lines = _lines(text.removeprefix("\ufeff"), has_idc=bool(idc))
    problems: list[BulkProblem] = []
    rows = [row for line in lines if (row := _row(line, idc, problems)) is not None]
    problems += _twins(lines, idc)
    return BulkTable(tuple(rows), tuple(sorted(problems, key=lambda one: one.number)[:_MAX_PROBLEMS]))


def _lines(text: str, *, has_idc: bool) -> list[_Line]:
    heading = next((line for line in text.splitlines() if _is_told([line])), "")
    delimiter = max("\t;,", key=heading.count)
    try:
        reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
        told = [(reader.line_num, cells) for cells in reader if _is_told(cells)]
    except csv.Error as error:
        raise Invalid(f"the table cannot be read: {error}", problems=[f"$: {error}"]) from error
    if not told:
        raise Invalid(f"the table is empty; its first line names columns: {', '.join(COLUMNS)}", problems=["$: empty"])
    if len(told) > MAX_ROWS + 1:
        raise TooLarge(f"the table has more than {MAX_ROWS} machines; send it in pieces", limit_rows=MAX_ROWS)
    names = _heading(told[0][1], has_idc=has_idc)
    return [_Line(number, _cells(names, cells)) for number, cells in told[1:]]


def _is_told(cells: list[str]) -> bool:
    return any(cell.strip() for cell in cells) and not cells[0].lstrip().startswith("#")


def _heading(cells: list[str], *, has_idc: bool) -> list[str]:
    names = [cell.strip().lower().replace(" ", "_") for cell in cells]
    needed = NEEDED if has_idc else ("idc", *NEEDED)
    problems = [f"$.heading: unknown column {name!r}" for name in names if name not in COLUMNS]
    problems += [f"$.heading: column {name} stands twice" for name in COLUMNS if names.count(name) > 1]
    problems += [f"$.heading: column {name} is missing" for name in needed if name not in names]
    if problems:
        raise Invalid(f"{'; '.join(problems)}. The columns are {', '.join(COLUMNS)}", problems=problems)
    return names


def _cells(names: list[str], cells: list[str]) -> dict[str, str]:
    """Return the cells by column; what stands beyond the heading lies under the empty name."""
    found = {name: cell.strip() for name, cell in zip(names, cells, strict=False)}
    beyond = [cell for cell in cells[len(names) :] if cell.strip()]
    return found | ({"": beyond[0]} if beyond else {})


def _row(line: _Line, idc: str, problems: list[BulkProblem]) -> BulkRow | None:
    """Return the machine of a line; None, and what is wrong in `problems`."""
    cells, before = line.cells, len(problems)

    def judged(column: str, judge: Callable[[str], object], value: str) -> None:
        try:
            judge(value)
        except OpsError as error:
            params: Params = {"nearest": str(error.details["nearest"])} if "nearest" in error.details else {}
            words = error.message.removeprefix(f"{column}: ")
            problems.append(BulkProblem(line.number, column, Reason(_WRONG[column], words, params)))

    if "" in cells:
        words = f"{cells['']!r} stands beyond the last column"
        problems.append(BulkProblem(line.number, "", Reason("beyond_columns", words, {"value": cells[""]})))
    where = cells.get("idc", "") or idc
    judged("idc", check_idc, where)
    judged("sn", check_sn, cells.get("sn", ""))
    judged("mac", normal_mac, cells.get("mac", ""))
    judged("os_type", lambda text: find_release(text, cells.get("os_version", "")), cells.get("os_type", ""))
    judged("hostname", check_hostname, cells.get("hostname", ""))
    judged("tags", read_tags, cells.get("tags", ""))
    return None if len(problems) > before else _made(line, where)


def _made(line: _Line, idc: str) -> BulkRow:
    told = {name: line.cells.get(name, "") for name in ("sn", "os_type", "os_version", "profile", "hostname")}
    tags = read_tags(line.cells.get("tags", ""))
    return BulkRow(number=line.number, idc=idc, mac=normal_mac(line.cells["mac"]), tags=tags, **told)


def _twins(lines: Iterable[_Line], idc: str) -> list[BulkProblem]:
    """Return a problem for each serial of one data centre, and each MAC, that a line before has already."""
    seen: dict[tuple[str, ...], int] = {}
    problems = []
    for number, cells in lines:
        where, mac = cells.get("idc", "") or idc, "".join(c for c in cells.get("mac", "").lower() if c.isalnum())
        for column, key in (("sn", ("sn", where, cells.get("sn", ""))), ("mac", ("mac", mac))):
            first = seen.setdefault(key, number)
            if first != number and key[-1]:
                params: Params = {"value": cells[column], "line": first}
                reason = Reason("twin", f"{cells[column]} stands in line {first} already", params)
                problems.append(BulkProblem(number, column, reason))
    return problems


def read_tags(text: str) -> dict[str, str]:
    """Return `rack=a1 team=web` as a dictionary; spaces, commas or semicolons part them. Raises Invalid."""
    found: dict[str, str] = {}
    for part in text.replace(",", " ").replace(";", " ").split():
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise Invalid(f"tags: {part!r}: write name=value", problems=["$.tags: malformed"], field="tags")
        if name in found:
            raise Invalid(f"tags: {name} is given twice", problems=["$.tags: twice"], field="tags")
        found[name] = value
    return found


def check_hostname(text: str) -> str:
    """Return a host name (RFC 1123), or the empty one. Raises Invalid."""
    labels = text.split(".") if text else []
    is_fine = len(text) <= _MAX_HOSTNAME and all(_is_label(label) for label in labels)
    if not is_fine:
        raise Invalid(
            f"hostname: {text[:80]!r}: letters, digits and '-', parts divided by dots, at most 63 each and 253 in all",
            problems=["$.hostname: malformed"],
            field="hostname",
        )
    return text


_MAX_HOSTNAME, _MAX_LABEL = 253, 63


def _is_label(text: str) -> bool:
    letters = text.replace("-", "a")
    is_ascii_word = letters.isascii() and letters.isalnum()
    return is_ascii_word and len(text) <= _MAX_LABEL and not text.startswith("-") and not text.endswith("-")
