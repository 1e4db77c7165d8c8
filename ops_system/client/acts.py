"""What one command of `ops` is: its words, the route it calls, what fills path, query and body, how the answer looks.

The tables (`fleet`, `services`, `watching`, `access`) are made of these; `perform` carries them out. A test holds the
tables against the OpenAPI document: every route has a command, every field named here is one of the route's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops_system.cli import Argument, Command, Flag
from ops_system.client.render import Column
from ops_system.client.shapes import Json
from ops_system.model.kinds import BOOL, LABELS, LIST, SWITCH, TEXT, Kind, choice, integer

if TYPE_CHECKING:
    from ops_system.client.desk import Desk

Run = Callable[["Desk"], int]
Help = tuple[str, str]  # English, Chinese


@dataclass(frozen=True)
class Field:
    """A flag that fills a field of the body (`a.b` is nested), or of the query."""

    flag: Flag
    name: str
    is_query: bool = False


@dataclass(frozen=True)
class Word:
    """An argument. `noun` says what it names (and is shown); `fills` a `{name}` of the path, else of query or body."""

    noun: str
    fills: str
    is_many: bool = False
    is_optional: bool = False


@dataclass(frozen=True)
class Act:
    """One command that is one call."""

    words: tuple[str, ...]
    method: str
    path: str
    help: Help
    arguments: tuple[Word, ...] = ()
    fields: tuple[Field, ...] = ()
    columns: tuple[Column, ...] = ()
    body: Json = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    takes_file: bool = False  # the body may come by --file and --set
    confirm: Help | None = None  # what follows, where it cannot be taken back
    saves: bool = False  # the answer is a file
    follows: bool = False  # the answer carries an operation
    joins: tuple[str, ...] = ()  # `node`, `system`: whose names are laid beside their ids
    default_limit: int = 0  # rows of a list where no limit was given; 0: all
    verdict: str = ""  # a field of the answer: exit 1 when it is false; `NAME=TEXT`: when it is something else
    is_whole: bool = False  # a list that comes in one piece, without limit, offset and sort

    @property
    def is_list(self) -> bool:
        """Whether the answer is shown as a table."""
        return bool(self.columns)


@dataclass(frozen=True)
class Special:
    """One command that is a story of its own. `uses`: the routes it calls, as `METHOD /path`."""

    words: tuple[str, ...]
    help: Help
    run: Run
    arguments: tuple[Argument, ...] = ()
    flags: tuple[Flag, ...] = ()
    uses: tuple[str, ...] = ()
    needs_master: bool = True


Entry = Act | Special

OUTPUT = choice("table", "json", "yaml")
GLOBAL_FLAGS = (
    Flag("context", TEXT, "the master to speak to; ops context list names them"),
    Flag("url", TEXT, "address of a master without a context; or OPS_URL"),
    Flag("token", TEXT, "API token without a context: @FILE, - or text; or OPS_TOKEN"),
    Flag("ca-sha256", TEXT, "with -url: the SHA-256 of its authority's key; or OPS_CA_SHA256"),
    Flag("allow_plain_http", BOOL, "allow http:// to another host", "0"),
    Flag("o", OUTPUT, "how answers are written", "table"),
    Flag("output", OUTPUT, "the same as -o"),
    Flag("q", SWITCH, "ids alone, one a line"),
    Flag("quiet", SWITCH, "the same as -q"),
    Flag("y", SWITCH, "ask nothing"),
    Flag("yes", SWITCH, "the same as -y"),
)
LIST_FLAGS = (
    Flag("limit", integer(1, 1_000_000), "rows at most"),
    Flag("search", TEXT, "rows that hold this text"),
    Flag("sort", TEXT, "a field to sort by; -FIELD backwards"),
)
FILE_FLAGS = (
    Flag("file", TEXT, "the body as YAML or JSON; - reads standard input"),
    Flag("set", LABELS, "fields of the body: name=value,a.b=value; values as in YAML"),
)
WAIT_FLAGS = (Flag("no-wait", SWITCH, "do not follow the operation"),)
SAVE_FLAGS = (Flag("to", TEXT, "file to write; - writes to standard output"),)


def act(words: str, route: str, help_: Help, *arguments: str, fields: Sequence[Field] = (), **more: object) -> Act:
    """Return an Act. `route` is `METHOD /path`; an argument is `NOUN:fills`, with `*` for many and `?` for optional."""
    method, _, path = route.partition(" ")
    named = tuple(_word(text) for text in arguments)
    return Act(tuple(words.split()), method, path, help_, named, tuple(fields), **more)  # type: ignore[arg-type]


def _word(text: str) -> Word:
    noun, _, fills = text.rstrip("*?").partition(":")
    return Word(noun, fills or "id", is_many=text.endswith("*"), is_optional=text.endswith("?"))


def by_query(name: str, help_: str = "", kind: Kind = TEXT, flag: str = "") -> Field:
    """A flag that fills a field of the query."""
    return Field(Flag(flag or name.replace("_", "-"), kind, help_), name, is_query=True)


def in_body(name: str, help_: str = "", kind: Kind = TEXT, flag: str = "") -> Field:
    """A flag that fills a field of the body."""
    return Field(Flag(flag or name.rpartition(".")[2].replace("_", "-"), kind, help_), name)


def labels(help_: str = "labels: key=value,…") -> Field:
    """The body's labels."""
    return in_body("labels", help_, LABELS)


def names(name: str, help_: str = "", flag: str = "") -> Field:
    """A list of the body."""
    return in_body(name, help_, LIST, flag)


def flags_of(entry: Entry) -> tuple[Flag, ...]:
    """Return every flag of one command."""
    if isinstance(entry, Special):
        return (*entry.flags, *GLOBAL_FLAGS)
    own = tuple(one.flag for one in entry.fields)
    parts = [
        own,
        LIST_FLAGS if entry.is_list and not entry.is_whole else (),
        FILE_FLAGS if entry.takes_file else (),
        WAIT_FLAGS if entry.follows else (),
        SAVE_FLAGS if entry.saves else (),
        GLOBAL_FLAGS,
    ]
    return tuple(flag for part in parts for flag in part)


def arguments_of(entry: Entry) -> tuple[Argument, ...]:
    """Return the arguments as the parser wants them."""
    if isinstance(entry, Special):
        return entry.arguments
    return tuple(Argument(word.noun, is_optional=word.is_optional, is_many=word.is_many) for word in entry.arguments)


def command_of(entry: Entry, language: int) -> Command:
    """Return one command of the program in a language (0 English, 1 Chinese)."""
    return Command(entry.words, entry.help[language], arguments_of(entry), flags_of(entry))
