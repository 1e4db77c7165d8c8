"""The messages of `/live`, and the shape of each topic's data. Pure.

browser: {"subscribe": ["nodes", …the complete set…], "resume": {"nodes": {"epoch": "…", "seq": 12}}}   {"ping": 1}
master:  {"topic", "seq", "epoch", "type": "snapshot"|"change", "part", "last", "data"}                 {"pong": 1}
         {"topic", "type": "error", "data": {"code", "message"}}
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ops_system.master.web.route import Permission, Principal
from ops_system.model.errors import Forbidden, Invalid, NotFound, OpsError

MAX_PART_BYTES = 64 * 1024  # a quarter of what the contract allows: about 2 ms to make
MAX_TOPICS = 200
MAX_TOPIC_NAME = 200
ENVELOPE_BYTES = 1024

Item = tuple[str, msgspec.Raw]
"""A key and its object, encoded once for all viewers."""

_encoder = msgspec.json.Encoder()


class ResumePoint(msgspec.Struct, frozen=True):
    """The last message a browser has of a topic."""

    epoch: str
    seq: int


class ClientMessage(msgspec.Struct, frozen=True):
    """What a browser says."""

    subscribe: list[str] | None = None
    resume: dict[str, ResumePoint] = {}
    ping: int | None = None


class Message(msgspec.Struct, frozen=True):
    """What the master says about a topic."""

    topic: str
    seq: int
    epoch: str
    type: str
    part: int
    last: bool
    data: Any


class Refusal(msgspec.Struct, frozen=True):
    """Why a topic, or a message, is refused."""

    topic: str
    data: dict[str, str]
    type: str = "error"


class Pong(msgspec.Struct, frozen=True):
    """The answer to a ping."""

    pong: int


Shape = Callable[[str, Sequence[Item], Sequence[str], float], Any]
"""(`snapshot` or `change`, items, removed keys, Unix seconds now) -> the `data` of a message."""


def shape_collection(_type: str, items: Sequence[Item], removed: Sequence[str], _now_s: float) -> Any:
    """Return `{"items": […], "removed": […]}`."""
    return {"items": [raw for _, raw in items], "removed": list(removed)}


def shape_fleet(_type: str, items: Sequence[Item], _removed: Sequence[str], now_s: float) -> Any:
    """Return `{"at_s", "nodes": {id: […]}, "instances": {id: […]}}` from keys `node:ID` and `instance:ID`."""
    nodes = {key.removeprefix("node:"): raw for key, raw in items if key.startswith("node:")}
    instances = {key.removeprefix("instance:"): raw for key, raw in items if key.startswith("instance:")}
    return {"at_s": int(now_s), "nodes": nodes, "instances": instances}


def shape_series(type_: str, items: Sequence[Item], _removed: Sequence[str], _now_s: float) -> Any:
    """Return `{"series": {name: points}}` for a snapshot, the newest second for a change."""
    if type_ == "snapshot":
        return {"series": dict(items)}
    return items[-1][1] if items else {}


class Topic(msgspec.Struct, frozen=True):
    """A family of topics: `name` itself, or, when it ends in `:`, every name that begins with it.

    `snapshot` returns the keyed objects of one topic for one principal and may raise `NotFound`. `is_visible` is asked
    for each key when the principal is limited to a scope; without it such a principal is refused.
    """

    name: str
    permission: Permission
    snapshot: Callable[[str, Principal], Awaitable[Iterable[tuple[str, Any]]]]
    shape: Shape = shape_collection
    interval_s: float = 0.03
    is_visible: Callable[[Principal, str, str], bool] | None = None

    def covers(self, name: str) -> bool:
        """Return whether `name` is of this family."""
        if self.name.endswith(":"):
            return name.startswith(self.name) and len(name) > len(self.name)
        return name == self.name


def read_client(text: str | bytes) -> ClientMessage:
    """Return a browser's message. Raises `Invalid`."""
    try:
        message = msgspec.json.decode(text, type=ClientMessage)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise Invalid(f"not a message of /live: {problem}") from problem
    names = message.subscribe or []
    if len(names) > MAX_TOPICS or any(len(name) > MAX_TOPIC_NAME for name in names):
        raise Invalid(f"at most {MAX_TOPICS} topics, with names of at most {MAX_TOPIC_NAME} characters")
    return message


def find_topic(topics: Iterable[Topic], name: str, principal: Principal) -> Topic:
    """Return the family of a topic. Raises `NotFound`, or `Forbidden` when the principal may not watch it."""
    for topic in topics:
        if topic.covers(name):
            check_permission(topic, name, principal)
            return topic
    raise NotFound(f"there is no topic {name!r}")


def check_permission(topic: Topic, name: str, principal: Principal) -> None:
    """Raise `Forbidden` when the principal may not watch the topic."""
    if topic.permission not in principal.permissions:
        raise Forbidden(f"{principal.name} has no permission {topic.permission.value}, which {name} needs")
    if principal.scope and topic.is_visible is None:
        raise Forbidden(f"{name} shows more than the labels {principal.name} is limited to")


def encode(message: Message | Refusal | Pong) -> bytes:
    """Return JSON."""
    return _encoder.encode(message)


def encode_item(value: Any) -> msgspec.Raw:
    """Return a fragment that goes into any number of messages."""
    return value if type(value) is msgspec.Raw else msgspec.Raw(_encoder.encode(value))


def encode_refusal(topic: str, error: OpsError) -> bytes:
    """Return the message that refuses a topic."""
    return encode(Refusal(topic, {"code": error.code, "message": error.message}))


def cut_parts(items: Iterable[tuple[str, Any]]) -> Iterator[tuple[list[Item], bool]]:
    """Encode a snapshot lazily into parts of at most `MAX_PART_BYTES`, or one object; the flag marks the last."""
    part: list[Item] = []
    size_bytes = ENVELOPE_BYTES
    for key, value in items:
        raw = encode_item(value)
        item_bytes = len(bytes(raw)) + len(key) + 4
        if part and size_bytes + item_bytes > MAX_PART_BYTES:
            yield part, False
            part, size_bytes = [], ENVELOPE_BYTES
        part.append((key, raw))
        size_bytes += item_bytes
    yield part, True
