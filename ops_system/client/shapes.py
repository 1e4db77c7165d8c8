"""What travels through `ops` without being looked into: JSON as the master sent it, and what is known of an answer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ops_system.model.errors import OpsError

Json = dict[str, Any]
"""A JSON object of the master. `ops` is a codec: it shows fields by name and keeps those it does not know."""


class Refused(OpsError):
    """The master's own answer: its code, its words, its details, and the id of the request."""

    def __init__(self, status: int, code: str, message: str, details: Json, request_id: str) -> None:
        super().__init__(message)
        self.status = status
        self.answer_code = code
        self.answer_details = details
        self.request_id = request_id


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}

    def json(self) -> Json:
        """Return the object in the body; an empty body is an empty object."""
        found = msgspec.json.decode(self.body) if self.body.strip() else {}
        return found if isinstance(found, dict) else {"items": found}


def dig(value: Any, path: str) -> Any:
    """Return what lies at `a.b.c` in nested objects; None where the way ends."""
    for part in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def merge(into: Json, path: str, value: Any) -> None:
    """Set what lies at `a.b.c`, making objects on the way."""
    *way, last = path.split(".")
    for part in way:
        found = into.get(part)
        if not isinstance(found, dict):
            found = into[part] = {}
        into = found
    into[last] = value


def rows_of(answer: Json) -> list[Json]:
    """Return the items of a list's answer: `items`, the hits of a search, the users of a package."""
    items: Any = next((answer[key] for key in ("items", "hits", "users") if key in answer), [])
    return [item for item in items if isinstance(item, dict)] if isinstance(items, Sequence) else []


def targets_of(operation: Json) -> Iterator[Json]:
    """Yield the targets of an operation."""
    yield from (target for target in operation.get("targets", []) if isinstance(target, dict))
