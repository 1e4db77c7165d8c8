"""Carries out one command of the tables: names to ids, flags to query and body, the call, the answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ops_system.cli import EXIT_FAILED, EXIT_FINE
from ops_system.client.acts import Act, Word
from ops_system.client.connection import fill
from ops_system.client.desk import Desk
from ops_system.client.follow import follow
from ops_system.client.resolve import Names
from ops_system.client.shapes import Json, merge, rows_of
from ops_system.model.errors import UsageError
from ops_system.model.kinds import LABELS, Secret, read_value
from ops_system.model.quantities import format_size

_ASKED = {"users create": "password"}


def perform(act: Act, desk: Desk) -> int:
    """Carry out one act, on each object named. Return the exit code."""
    names = Names(desk.master, desk.words)
    query, body = query_of(act, desk), body_of(act, desk)
    calls = list(_calls(act, desk, names))
    if act.confirm is not None:
        shown = " ".join(("ops", *act.words, *_typed(act, desk)))
        desk.confirm(shown, act.confirm[desk.words.language])
    codes = [_one(act, desk, names, Order(path, query, body, filled)) for path, filled in calls]
    return max(codes, default=EXIT_FINE)


class Order(msgspec.Struct, frozen=True):
    """One call: where, and what flags and `filled` words say."""

    path: str
    query: dict[str, Any]
    body: Json
    filled: Json


def _one(act: Act, desk: Desk, names: Names, order: Order) -> int:
    query = {**order.query, **order.filled} if act.method == "GET" else order.query
    if act.saves:
        return _save(desk, order.path, query)
    if act.is_list:
        return _list(act, desk, names, (order.path, query))
    return _call(act, desk, (order.path, query), {**order.body, **order.filled})


def _calls(act: Act, desk: Desk, names: Names) -> Iterator[tuple[str, Json]]:
    """Yield path and further fields of each call: one, or one for each word of an argument that takes many."""
    typed = desk.parsed.arguments
    single = [word for word in act.arguments if word.noun in typed and not word.is_many]
    known = [(word, names.id_of(word.noun, typed[word.noun])) for word in single]
    many = [word for word in act.arguments if word.is_many]
    if not many:
        yield _place(act, known)
    for text in desk.parsed.many:
        yield _place(act, [*known, (many[0], names.id_of(many[0].noun, text))])


def _place(act: Act, known: list[tuple[Word, str]]) -> tuple[str, Json]:
    in_path = {word.fills: text for word, text in known if f"{{{word.fills}}}" in act.path}
    filled: Json = {}
    for word, text in known:
        if word.fills not in in_path:
            merge(filled, word.fills, text)
    return fill(act.path, in_path), filled


def _typed(act: Act, desk: Desk) -> list[str]:
    words = [desk.parsed.arguments[word.noun] for word in act.arguments if word.noun in desk.parsed.arguments]
    return [*words[:-1], *desk.parsed.many] if desk.parsed.many else words


# --- query and body --------------------------------------------------------------------------------------------------
def query_of(act: Act, desk: Desk) -> dict[str, Any]:
    """Return the query that flags fill."""
    query: dict[str, Any] = dict(act.query)
    for field in act.fields:
        if field.is_query and desk.parsed.has(field.flag.name):
            value = desk.parsed.read(field.flag.name, field.flag.kind, "")
            query[field.name] = ",".join(value) if isinstance(value, tuple) else value
    if act.is_list and not act.is_whole:
        query |= {"q": desk.parsed.text("search"), "sort": desk.parsed.text("sort")}
    return query


def body_of(act: Act, desk: Desk) -> Json:
    """Return the body that the act itself, --file, --set and flags fill, in this order."""
    body: Json = dict(act.body)
    if act.takes_file:
        body |= _read_file(desk) if desk.parsed.has("file") else {}
        for path, text in _pairs(desk):
            merge(body, path, _scalar(text))
    for field in act.fields:
        if not field.is_query and desk.parsed.has(field.flag.name):
            merge(
                body, field.name, _value(desk, field.flag.name, desk.parsed.read(field.flag.name, field.flag.kind, ""))
            )
    asked = _ASKED.get(" ".join(act.words))
    if asked and asked not in body:
        body[asked] = _ask_password(desk)
    return body


def _value(desk: Desk, flag: str, value: Any) -> Any:
    match value:
        case Secret():
            return value.reveal()
        case tuple():
            return list(value)
        case str() if value.startswith("@") or (value == "-" and flag in {"password", "passphrase", "key", "content"}):
            return desk.secret(value, f"-{flag}")
    return value


def _ask_password(desk: Desk) -> str:
    if not desk.has_person:
        raise UsageError("a new user needs a password: give --password @FILE, or - and write it to standard input")
    return desk.around.ask_hidden(desk.words.say("login.password", name=desk.parsed.arguments.get("NAME", "")))


def _pairs(desk: Desk) -> Iterator[tuple[str, str]]:
    if desk.parsed.has("set"):
        pairs = read_value(LABELS, desk.parsed.text("set"), "-set")
        assert isinstance(pairs, dict)
        yield from pairs.items()


def _scalar(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _read_file(desk: Desk) -> Json:
    return read_document(desk, desk.parsed.text("file"))


def read_text(desk: Desk, name: str) -> str:
    """Return a file's text; `-` is standard input. Raises UsageError."""
    try:
        return desk.around.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("--file {name}: {error}", name=name, error=error) from error


def read_document(desk: Desk, name: str) -> Json:
    """Return the object in a file of YAML or JSON. Raises UsageError with the line and column of a fault."""
    import yaml

    try:
        found = yaml.safe_load(read_text(desk, name))
    except yaml.YAMLError as error:
        raise UsageError("--file {name}: {problem}", name=name, problem=" ".join(str(error).split())) from error
    if not isinstance(found, dict):
        raise UsageError("--file {name}: an object is wanted, such as: name: value", name=name)
    return found


# --- call and answer -------------------------------------------------------------------------------------------------
def _call(act: Act, desk: Desk, place: tuple[str, dict[str, Any]], body: Json) -> int:
    path, query = place
    sent = body if act.method in {"POST", "PUT", "PATCH"} and (body or act.fields or act.takes_file) else None
    answer = desk.master.ask(act.method, path, sent, query).json()
    operation = answer.get("operation", answer)
    if act.follows and isinstance(operation, dict) and "steps" in operation:
        return _follow(desk, operation, answer)
    desk.show(answer)
    return EXIT_FINE if _is_good(act, answer) else EXIT_FAILED


def _is_good(act: Act, answer: Json) -> bool:
    name, _, wanted = act.verdict.partition("=")
    return not name or (str(answer.get(name)) == wanted if wanted else bool(answer.get(name)))


def _follow(desk: Desk, operation: Json, answer: Json) -> int:
    if not desk.waits:
        if desk.output == "table" and not desk.is_quiet:
            desk.print(desk.words.say("op.began", id=operation["id"], title=operation["title"]))
        else:
            desk.show(answer)
        return EXIT_FINE
    return follow(desk, operation)


def _list(act: Act, desk: Desk, names: Names, place: tuple[str, dict[str, Any]]) -> int:
    path, query = place
    if act.is_whole:
        rows = rows_of(desk.master.get(path, query))
        total = len(rows)
    else:
        rows, total = desk.master.pages(path, query, int(desk.parsed.text("limit") or act.default_limit))
    if desk.output == "table" and not desk.is_quiet:
        rows = [joined(row, act.joins, names) for row in rows]
    desk.show_rows(rows, act.columns, total)
    return EXIT_FINE


def joined(row: Json, joins: tuple[str, ...], names: Names) -> Json:
    """Return the row with names laid beside ids, and a node's duty in a word."""
    own: Json = {}
    for noun in joins:
        own[f"{noun}_name"] = names.by_id(noun.upper()).get(str(row.get(f"{noun}_id")))
    if "draining" in row:
        own["duty"] = next((word for word in ("revoked", "draining", "paused") if row.get(word)), None)
    return {**row, **own}


def _save(desk: Desk, path: str, query: dict[str, Any]) -> int:
    with desk.saving() as file:
        size_bytes = desk.master.download(path, file, query)
    if desk.parsed.text("to") not in {"", "-"}:
        desk.note(desk.words.say("saved", path=desk.parsed.text("to"), size=format_size(size_bytes)))
    return EXIT_FINE
