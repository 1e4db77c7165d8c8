"""What a command may be and what became of it: pure. Called by the service."""

from datetime import datetime

import msgspec

from ops_system.master.web.route import ListQuery
from ops_system.model.errors import Invalid
from ops_system.model.operations import OperationState
from ops_system.model.reasons import Reason
from ops_system.protocol.requests import CommandEnd, RunCommand

ONE_TIMEOUT_S = 60.0
MANY_TIMEOUT_S = 3600.0
ONE_OUTPUT_BYTES = 1024 * 1024
MANY_OUTPUT_BYTES = 256 * 1024
TAIL_BYTES = 16 * 1024
MAX_ARGUMENTS = 1000
MAX_COMMAND_CHARS = 64 * 1024
MAX_NAME_CHARS = 64
MAX_DESCRIPTION_CHARS = 500
MAX_SAVED = 500  # what one list of the console holds


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to run: either `argv`, executed as it is, or `command`, a line for the node's shell.

    `user`: empty for the worker's own. Out of time, the command and all it started are killed.
    """

    argv: list[str] = []
    command: str = ""
    timeout_s: float = ONE_TIMEOUT_S
    user: str = ""


class ManyCommand(Command, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same on many nodes: those named, or all that carry the labels."""

    node_ids: list[str] = []
    labels: dict[str, str] = {}


class CommandAnswer(msgspec.Struct, frozen=True):
    """What one command said and how it ended. Bytes that are no UTF-8 are shown as U+FFFD.

    `truncated`: it said more than a mebibyte; the rest was thrown away.
    """

    exit_code: int | None
    stdout: str
    stderr: str
    truncated: bool
    duration_s: float
    exit_signal: str | None = None


class CommandResult(msgspec.Struct, frozen=True):
    """One node's part of a run. In lists `stdout` and `stderr` are the last 16 KiB (`is_tail`)."""

    node_id: str
    node_name: str
    state: OperationState
    stdout: str = ""
    stderr: str = ""
    is_tail: bool = False
    exit_code: int | None = None
    exit_signal: str | None = None
    truncated: bool = False
    duration_s: float | None = None
    reason: Reason | None = None


class CommandRun(msgspec.Struct, frozen=True):
    """A command on many nodes: `id` is its operation's."""

    id: str
    argv: list[str]
    command: str
    timeout_s: float
    user: str
    state: OperationState
    node_count: int
    failed_count: int
    created_at: datetime
    created_by: str


class CommandRunDetails(CommandRun, frozen=True):
    """With each node's result."""

    results: list[CommandResult] = []


class NewSavedCommand(Command, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A command to keep."""

    name: str
    description: str = ""


class SavedCommand(msgspec.Struct, frozen=True):
    """A command kept for later."""

    id: str
    name: str
    description: str
    argv: list[str]
    command: str
    timeout_s: float
    user: str
    created_at: datetime
    created_by: str


class CommandQuery(ListQuery, frozen=True):
    """The list's own query."""


class Outcome(msgspec.Struct, frozen=True):
    """What is kept of an end beside the output."""

    end: CommandEnd | None = None
    reason: Reason | None = None


class Output:
    """What a command has said so far."""

    def __init__(self) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()


def check_command(order: Command, max_timeout_s: float) -> None:
    """Raise `Invalid` with every fault of an order."""
    problems = []
    if bool(order.argv) == bool(order.command):
        problems.append("$: give either argv (a list of words) or command (a line for the shell)")
    if len(order.argv) > MAX_ARGUMENTS or sum(map(len, order.argv)) + len(order.command) > MAX_COMMAND_CHARS:
        problems.append(f"$.argv: at most {MAX_ARGUMENTS} words and {MAX_COMMAND_CHARS} characters in all")
    if any("\0" in word for word in (*order.argv, order.command, order.user)):
        problems.append("$.argv: no word may hold a NUL character")
    if order.argv and not order.argv[0]:
        problems.append("$.argv[0]: the program's name is empty")
    if not 0 < order.timeout_s <= max_timeout_s:
        problems.append(f"$.timeout_s: above 0, at most {max_timeout_s:.0f}")
    if problems:
        raise Invalid("the command cannot be run: " + "; ".join(problems), problems=problems)


def check_saved(order: NewSavedCommand) -> None:
    """Raise `Invalid` for a name, a description or a command that will not do."""
    check_command(order, MANY_TIMEOUT_S)
    problems = []
    if not order.name.strip() or len(order.name) > MAX_NAME_CHARS or not order.name.isprintable():
        problems.append(f"$.name: 1 to {MAX_NAME_CHARS} printable characters")
    if len(order.description) > MAX_DESCRIPTION_CHARS or not order.description.isprintable():
        problems.append(f"$.description: one line of at most {MAX_DESCRIPTION_CHARS} characters")
    if problems:
        raise Invalid("the command cannot be kept: " + "; ".join(problems), problems=problems)


def to_request(order: Command, asked_by: str, max_output_bytes: int) -> RunCommand:
    """Return what the node is asked."""
    return RunCommand(tuple(order.argv), order.command, order.timeout_s, max_output_bytes, order.user, asked_by)


def title_of(order: Command) -> str:
    """Return a line for people."""
    text = order.command or " ".join(order.argv)
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - a title's room


def read_text(data: bytes | bytearray) -> str:
    """Return output as text."""
    return data.decode("utf-8", "replace")


def tail_of(data: bytes | bytearray) -> str:
    """Return the last `TAIL_BYTES` as text."""
    return read_text(data[-TAIL_BYTES:])


def reason_of(end: CommandEnd, timeout_s: float) -> Reason | None:
    """Return why a command counts as failed; None when it ended with 0."""
    if end.timed_out:
        message = f"killed after {timeout_s:g} s, its time limit"
        return Reason("command_timed_out", message, {"timeout_s": timeout_s})
    if end.exit_signal is not None:
        return Reason("killed_by_signal", f"ended by {end.exit_signal}", {"signal": end.exit_signal})
    if end.exit_code != 0:
        code = end.exit_code or 0
        return Reason("exited", f"exited with code {code}", {"exit_code": code})
    return None
