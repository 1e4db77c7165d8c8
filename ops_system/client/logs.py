"""`ops logs`: the end of a log, and what is written from now on."""

import asyncio
import json

from ops_system.cli import EXIT_FINE, Argument, Flag
from ops_system.client.acts import Special
from ops_system.client.connection import fill
from ops_system.client.desk import Desk
from ops_system.client.render import clean
from ops_system.client.resolve import Names
from ops_system.client.shapes import Json
from ops_system.client.sockets import open_socket
from ops_system.model.errors import OpsError, Unavailable
from ops_system.model.kinds import SWITCH, TEXT, integer

_TAIL = "100"


def show_logs(desk: Desk) -> int:
    """Write the last lines; with -f what follows, until Ctrl-C."""
    path, names = _place(desk)
    teller = _Teller(desk, names)
    if not (desk.parsed.switch("f") or desk.parsed.switch("follow")):
        _tell_end(desk, path, teller)
        return EXIT_FINE
    try:
        asyncio.run(_follow(desk, path, teller))
    except KeyboardInterrupt:
        desk.note("")
    return EXIT_FINE


def _place(desk: Desk) -> tuple[str, dict[str, str]]:
    """Return the path of the log, and the names of instances where several write into it."""
    names, typed = Names(desk.master, desk.words), desk.parsed.arguments
    kind = next((kind for kind in ("MODULE", "SYSTEM", "INSTANCE") if kind in typed), "INSTANCE")
    id_ = names.id_of(kind, typed[kind])
    path = fill(f"/{kind.lower()}s/{{id}}/logs/{{name}}", {"id": id_, "name": typed.get("LOG", "stdout")})
    if kind == "INSTANCE":
        return path, {}
    return path, {id_: name for name, ids in names.instances().items() for id_ in ids}


def _tell_end(desk: Desk, path: str, teller: "_Teller") -> None:
    """Write the last lines, and of which instances none could be read."""
    tail = int(desk.parsed.text("tail", _TAIL))
    answer = desk.master.get(path, {"tail": tail, "q": desk.parsed.text("search")})
    teller.tell(answer)
    for unread in answer.get("unread", []):
        desk.note(f"{teller.name_of(str(unread['instance_id']))}: {clean(str(unread['message']))}")


async def _follow(desk: Desk, path: str, teller: "_Teller") -> None:
    """Listen first and read the end then: what is written in between comes by both ways, and is told once."""
    async with open_socket(desk.master, f"{path}/follow") as socket:
        await asyncio.to_thread(_tell_end, desk, path, teller)
        async for message in socket:
            if isinstance(message.data, str):
                teller.tell(json.loads(message.data))
    if teller.end is not None:
        raise _LogEnded(teller.end)
    raise Unavailable(f"the connection to {desk.master.context.url} broke; follow again")


class _LogEnded(OpsError):
    """The master ended the log."""


class _Teller:
    """Writes lines as they come, each once: a line stands at an offset of its instance's log."""

    def __init__(self, desk: Desk, names: dict[str, str]) -> None:
        self._desk = desk
        self._names = names
        self._last: dict[str, int] = {}
        self.end: str | None = None

    def name_of(self, instance_id: str) -> str:
        return self._names.get(instance_id, instance_id)

    def tell(self, frame: Json) -> None:
        for line in frame.get("lines", []):
            instance_id = str(line.get("instance_id") or frame.get("instance_id") or "") if self._names else ""
            offset = int(line.get("offset", -1))
            if 0 <= offset <= self._last.get(instance_id, -1):
                continue
            self._last[instance_id] = offset
            if self._desk.parsed.text("search") in str(line.get("text", "")):
                self._write(line, instance_id)
        if frame.get("dropped"):
            self._desk.note(self._desk.words.say("logs.dropped", count=frame["dropped"]))
        if isinstance(frame.get("end"), dict):
            self.end = str(frame["end"].get("message", ""))

    def _write(self, line: Json, instance_id: str) -> None:
        if self._desk.output == "json":
            self._desk.print(json.dumps(line, ensure_ascii=False))
            return
        name = self.name_of(instance_id)
        stamp = f"{line['at']} " if self._desk.parsed.switch("times") and line.get("at") else ""
        self._desk.print(f"{f'{name}  ' if name else ''}{stamp}{clean(str(line.get('text', '')))}")


_FLAGS = (
    Flag("f", SWITCH, "go on with what is written from now on"),
    Flag("follow", SWITCH, "the same as -f"),
    Flag("tail", integer(0, 5000), "lines to begin with", _TAIL),
    Flag("search", TEXT, "only lines that hold this text"),
    Flag("times", SWITCH, "show the time of each line"),
)
_HELP = ("the end of a log; -f follows", "查看日志末尾；-f 持续跟随")


def _special(words: tuple[str, ...], noun: str) -> Special:
    base = f"GET /{noun.lower()}s/{{id}}/logs/{{name}}"
    arguments = (Argument(noun), Argument("LOG", is_optional=True))
    return Special(words, _HELP, show_logs, arguments, _FLAGS, (base, f"{base}/follow"))


LOGS = (
    _special(("logs",), "INSTANCE"),
    _special(("instances", "logs"), "INSTANCE"),
    _special(("modules", "logs"), "MODULE"),
    _special(("systems", "logs"), "SYSTEM"),
)
