"""`ops` inside the test's own process: what was typed, what came out.

ops = Ops(tmp_path)
done = await ops("nodes", "list", "-o", "json")
assert done.code == 0
"""

import asyncio
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops_system.cli import run_role
from ops_system.client.desk import Around
from ops_system.client.main import run


class Stream(io.TextIOWrapper):
    """Text that is kept; a screen when it is told so."""

    def __init__(self, text: str = "", *, is_tty: bool = False) -> None:
        super().__init__(io.BytesIO(text.encode()), "utf-8", write_through=True)
        self.is_tty = is_tty

    def isatty(self) -> bool:
        return self.is_tty

    def said(self) -> str:
        """Return everything written so far."""
        return self.buffer.getvalue().decode()


@dataclass
class Done:
    """How one call ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def lines(self) -> list[str]:
        return self.out.splitlines()


class Ops:
    """One person's `ops`: a folder of its own, an environment of its own."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.environ = {"XDG_CONFIG_HOME": str(folder / "config"), "LANG": "C.UTF-8", **environ}

    def call(self, *argv: object, stdin: str = "", hidden: Iterable[str] | None = None) -> Done:
        """Run one command. `hidden`: what is typed where nothing is shown; without it nobody is there to ask."""
        typed = iter(hidden or ())
        has_person = hidden is not None
        given, out, err = Stream(stdin, is_tty=has_person), Stream(), Stream(is_tty=has_person)
        around = Around(self.environ, given, out, err, lambda _prompt: next(typed))
        told = io.StringIO()
        code = _as_role([str(word) for word in argv], around, told)
        return Done(code, out.said(), err.said() + told.getvalue())

    async def __call__(self, *argv: object, stdin: str = "", hidden: Iterable[str] | None = None) -> Done:
        """Run one command in a thread, so that a master in this process can answer."""
        return await asyncio.to_thread(self.call, *argv, stdin=stdin, hidden=hidden)


def _as_role(argv: list[str], around: Around, told: io.StringIO) -> int:
    return run_role("ops", lambda words: run(words, around), argv, told)
