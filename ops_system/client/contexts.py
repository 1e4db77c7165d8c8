r"""Which masters this person knows: addresses, trusted authorities, credentials. One file, readable by its owner alone.

$XDG_CONFIG_HOME/ops/contexts.json   (~/.config/ops; Windows: %APPDATA%\\ops), 0600 in a folder 0700
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ops_system.model.errors import SafetyRefusal, UsageError
from ops_system.model.kinds import Secret
from ops_system.runtime.files import write_atomic

FILE = "contexts.json"


class Context(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One master and who one is there. With a `cookie` it is a session, with a `token` an API token."""

    name: str
    url: str
    username: str = ""
    role: str = ""
    ca_pem: str = ""  # the only authority believed; empty: the system's
    token: str = ""
    cookie: str = ""  # NAME=VALUE
    csrf_token: str = ""

    def __repr__(self) -> str:
        return f"Context({self.name!r}, {self.url!r}, {self.username!r})"

    @property
    def secret(self) -> Secret:
        """What proves who one is."""
        return Secret(self.token or self.cookie)


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """All contexts and which one is meant when none is named."""

    current: str = ""
    contexts: tuple[Context, ...] = ()

    def find(self, name: str) -> Context | None:
        """Return the context of that name."""
        return next((context for context in self.contexts if context.name == name), None)

    def with_context(self, context: Context) -> "Book":
        """Return the book with this context added or replaced, and chosen."""
        others = tuple(one for one in self.contexts if one.name != context.name)
        return Book(current=context.name, contexts=(*others, context))

    def without(self, name: str) -> "Book":
        """Return the book without that context; when it was chosen, the last one of the others is."""
        others = tuple(one for one in self.contexts if one.name != name)
        last = others[-1].name if others else ""
        return Book(current=last if self.current == name else self.current, contexts=others)


def book_path(environ: Mapping[str, str]) -> Path:
    """Return where the book lies."""
    if environ.get("XDG_CONFIG_HOME"):
        return Path(environ["XDG_CONFIG_HOME"]) / "ops" / FILE
    if sys.platform == "win32" and environ.get("APPDATA"):
        return Path(environ["APPDATA"]) / "ops" / FILE
    home = environ.get("HOME")
    return (Path(home) if home else Path.home()) / ".config" / "ops" / FILE


def load_book(path: Path) -> Book:
    """Return the book; an empty one where there is none. Raises SafetyRefusal when others may read it, UsageError."""
    try:
        data, mode = path.read_bytes(), path.stat().st_mode
    except FileNotFoundError:
        return Book()
    except OSError as error:
        raise UsageError("{path}: {trouble}", path=path, trouble=error.strerror or error) from error
    if sys.platform != "win32" and mode & 0o077:
        raise SafetyRefusal("{path} holds credentials and others may read it: chmod 600 {path}", path=path)
    try:
        return msgspec.json.decode(data, type=Book)
    except msgspec.MsgspecError as error:
        raise UsageError(
            "{path} is damaged ({error}); remove it and log in again: ops login URL", path=path, error=error
        ) from error


def save_book(path: Path, book: Book) -> None:
    """Write the book, for its owner alone. Raises UsageError when it cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, msgspec.json.format(msgspec.json.encode(book), indent=2) + b"\n")
    except OSError as error:
        raise UsageError("{path} cannot be written: {trouble}", path=path, trouble=error.strerror or error) from error
