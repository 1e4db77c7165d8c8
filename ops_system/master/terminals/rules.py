"""What may be asked of terminals, and the list's shape: pure. Called by the service."""

from datetime import datetime

import msgspec

from ops_system.model.errors import Invalid

MAX_PER_PERSON = 8
MAX_CELLS = 1000
MAX_NAME_CHARS = 64


class TerminalQuery(msgspec.Struct, frozen=True):
    """`cols`, `rows`: the viewer's window. `session`: one that runs; without it a new one begins.

    `user`: whose shell, empty for the worker's own; `read_only=1`: look, do not type.
    """

    cols: int = 80
    rows: int = 24
    session: str = ""
    user: str = ""
    name: str = ""
    read_only: bool = False


class TerminalName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A session's new name."""

    name: str


class TerminalSession(msgspec.Struct, frozen=True):
    """A session as lists show it."""

    id: str
    node_id: str
    name: str
    user: str
    started_by: str
    started_at: datetime
    last_active_at: datetime
    cols: int
    rows: int
    viewers: int
    pid: int


class TerminalList(msgspec.Struct, frozen=True):
    """All sessions of a node, the oldest first."""

    items: list[TerminalSession]


def check_query(query: TerminalQuery) -> None:
    """Raise `Invalid` for a size no terminal has."""
    problems = [
        f"{name}: 1 to {MAX_CELLS}, not {value}"
        for name, value in (("cols", query.cols), ("rows", query.rows))
        if not 1 <= value <= MAX_CELLS
    ]
    if len(query.name) > MAX_NAME_CHARS:
        problems.append(f"name: at most {MAX_NAME_CHARS} characters")
    if problems:
        raise Invalid("the terminal cannot be opened: " + "; ".join(problems), problems=problems)


def check_name(name: str) -> None:
    """Raise `Invalid` for a name that will not do."""
    if not 0 < len(name.strip()) <= MAX_NAME_CHARS or not name.isprintable():
        problem = f"$.name: 1 to {MAX_NAME_CHARS} printable characters"
        raise Invalid(problem, problems=[problem])
