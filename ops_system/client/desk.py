"""One call of `ops`: what was typed, the master it means, where answers go and who may be asked."""

import contextlib
import getpass
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from ops_system.cli import Parsed
from ops_system.client import render, trust
from ops_system.client.connection import Master
from ops_system.client.contexts import Book, Context, book_path, load_book, save_book
from ops_system.client.render import Column
from ops_system.client.shapes import Json, Refused
from ops_system.client.words import Words
from ops_system.model.errors import NotAllowed, UsageError
from ops_system.model.kinds import BOOL, URL, read_value
from ops_system.runtime.config import expand_value

NARROWEST = 40


@dataclass(frozen=True)
class Around:
    """The process `ops` runs in; tests bring their own."""

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    ask_hidden: Callable[[str], str] = getpass.getpass
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Desk:
    """Everything one command needs."""

    def __init__(self, parsed: Parsed, rest: Sequence[str], around: Around, words: Words) -> None:
        self.parsed = parsed
        self.rest = tuple(rest)  # what stood behind `--`
        self.around = around
        self.words = words
        self._master: Master | None = None

    # --- what was typed ----------------------------------------------------------------------------------------------
    @property
    def output(self) -> str:
        """`table`, `json` or `yaml`."""
        return self.parsed.text("o") or self.parsed.text("output") or "table"

    @property
    def is_quiet(self) -> bool:
        """Whether ids alone are wanted."""
        return self.parsed.switch("q") or self.parsed.switch("quiet")

    @property
    def is_sure(self) -> bool:
        """Whether nothing is to be asked."""
        return self.parsed.switch("y") or self.parsed.switch("yes")

    @property
    def waits(self) -> bool:
        """Whether operations are followed."""
        return not self.parsed.switch("no-wait")

    def secret(self, text: str, where: str) -> str:
        """Return a value that may be written `@FILE` or `-`."""
        return expand_value(text, where, self.around.stdin.read).strip()

    # --- the master --------------------------------------------------------------------------------------------------
    @property
    def master(self) -> Master:
        """The master meant. Raises UsageError when none is."""
        if self._master is None:
            self._master = Master(self._find_context(), self._prove)
        return self._master

    def close(self) -> None:
        """End the connection."""
        if self._master is not None:
            self._master.close()

    def book(self) -> Book:
        """Return the contexts on this machine."""
        return load_book(book_path(self.around.environ))

    def save(self, book: Book) -> None:
        """Keep the contexts."""
        save_book(book_path(self.around.environ), book)

    def _find_context(self) -> Context:
        environ = self.around.environ
        url = self.parsed.text("url") or environ.get("OPS_URL", "")
        if url and not self.parsed.has("context"):
            return self._passing_context(url)
        book = self.book()
        name = self.parsed.text("context") or environ.get("OPS_CONTEXT", "") or book.current
        if not name:
            raise UsageError(self.words.say("login.first"))
        found = book.find(name)
        if found is None:
            known = ", ".join(one.name for one in book.contexts) or "-"
            raise UsageError(self.words.say("context.none", name=name, known=known))
        token = self.parsed.text("token")
        return found if not token else _with_token(found, self.secret(token, "-token"))

    def _passing_context(self, text: str) -> Context:
        """A master named on the spot: by flags or by the environment, as scripts do."""
        environ = self.around.environ
        url = str(read_value(URL, text, "-url"))
        trust.refuse_plain(url, is_allowed=read_value(BOOL, self.parsed.text("allow_plain_http", "0"), "-") is True)
        sha256 = self.parsed.text("ca-sha256") or environ.get("OPS_CA_SHA256", "")
        token = self.secret(self.parsed.text("token") or environ.get("OPS_TOKEN", ""), "-token")
        ca_pem = trust.pin_ca(url, sha256) if sha256 and url.startswith("https:") else ""
        return Context(name="", url=url, token=token, ca_pem=ca_pem)

    def _prove(self, master: Master) -> bool:
        """Ask for the password or a one-time code once more. Without a person there: False."""
        if not self.has_person or not master.context.cookie:
            return False
        proof = self.around.ask_hidden(self.words.say("login.proof", name=master.context.username))
        is_code = proof.isdigit() and len(proof) == 6  # noqa: PLR2004 - the length of a one-time code
        master.ask("POST", "/step-up", {"totp": proof} if is_code else {"password": proof})
        return True

    # --- the person --------------------------------------------------------------------------------------------------
    @property
    def has_person(self) -> bool:
        """Whether somebody can be asked."""
        return self.around.stdin.isatty() and self.around.stderr.isatty()

    def confirm(self, what: str, follows: str) -> None:
        """Ask before something that cannot be taken back. Raises UsageError (nobody is there), NotAllowed (a no)."""
        if self.is_sure:
            return
        if not self.has_person:
            raise UsageError(self.words.say("confirm.no_terminal", what=what, follows=follows))
        self._say(self.words.say("confirm", what=what, follows=follows), end="")
        if self.around.stdin.readline().strip().lower() not in {"y", "yes", "是"}:
            raise NotAllowed(self.words.say("confirm.not"))

    def print(self, text: str) -> None:
        """Write an answer to standard output."""
        self.around.stdout.write(f"{text}\n")
        self.around.stdout.flush()

    def note(self, text: str) -> None:
        """Write what is no answer to standard error."""
        self._say(text)

    def _say(self, text: str, end: str = "\n") -> None:
        self.around.stderr.write(text + end)
        self.around.stderr.flush()

    @property
    def screen_width(self) -> int:
        """Columns of the screen; 0 where the answer goes into a file or a pipe: nothing is cut there."""
        if not self.around.stdout.isatty():
            return 0
        return max(NARROWEST, shutil.get_terminal_size().columns)

    # --- answers -----------------------------------------------------------------------------------------------------
    def show(self, value: Json) -> None:
        """Write one object."""
        if self.is_quiet:
            self.print(id_of(value))
        elif self.output == "json":
            self.print(render.as_json(value))
        elif self.output == "yaml":
            self.print(render.as_yaml(value))
        elif value:
            self.print(render.details(value))
        else:
            self.note(self.words.say("done"))

    def show_rows(self, rows: list[Json], columns: Sequence[Column], total: int) -> None:
        """Write a list."""
        if self.is_quiet:
            for row in rows:
                self.print(id_of(row))
        elif self.output != "table":
            whole: dict[str, Any] = {"items": rows, "total": total}
            self.print(render.as_json(whole) if self.output == "json" else render.as_yaml(whole))
        elif not rows:
            self.note(self.words.say("rows.none"))
        else:
            self.print(render.table(rows, columns, self.around.now(), self.screen_width))
            if total > len(rows):
                self.note(self.words.say("rows.more", shown=len(rows), total=total))

    @contextlib.contextmanager
    def saving(self) -> Iterator[Any]:
        """Give the file of `--to` (`-`: standard output), which is there whole or not at all."""
        name = self.parsed.text("to")
        if not name or name == "-":
            yield self.around.stdout.buffer
            return
        beside = Path(f"{name}.part")
        try:
            with beside.open("wb") as file:
                yield file
            beside.replace(name)
        except OSError as error:
            raise UsageError("{name}: {trouble}", name=name, trouble=error.strerror or error) from error
        finally:
            with contextlib.suppress(OSError):
                beside.unlink()


def id_of(value: Json) -> str:
    """Return what names an object in a script: its id, a package's name and version, or what it began."""
    for key in ("operation", "instance"):
        if isinstance(value.get(key), dict):
            return id_of(value[key])
    if "manifest" in value and "version" in value:
        return f"{value['name']} {value['version']}"
    for key in ("token", "id", "operation_id", "name", "seq", "pid"):
        if value.get(key) not in {None, ""}:
            return str(value[key])
    return ""


def explain(refused: Refused, desk: Desk | None, words: Words) -> list[str]:
    """Return a refusal as lines: what, every problem, what to do, the id of the request."""
    url = desk.master.context.url if desk is not None else "URL"
    lines = [render.clean(refused.message)]
    problems = refused.answer_details.get("problems")
    if isinstance(problems, list) and problems != [refused.message]:
        lines += [f"  {render.clean(str(problem))}" for problem in problems]
    retry_after_s = refused.answer_details.get("retry_after_s", "?")
    if hint := words.hint(refused.answer_code, url=url, retry_after_s=retry_after_s):
        lines.append(f"  {hint}")
    if refused.request_id:
        lines.append(f"  {refused.answer_code}, {words.say('request', id=refused.request_id)}")
    return lines


def _with_token(context: Context, token: str) -> Context:
    return Context(name=context.name, url=context.url, ca_pem=context.ca_pem, token=token)
