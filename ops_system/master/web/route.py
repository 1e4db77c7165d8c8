"""What a feature says about one route. The same table serves the requests, checks them, and makes the OpenAPI document.

A route without a permission cannot be written: `permission` has no default.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

import msgspec
from aiohttp import web

T = TypeVar("T")


class Role(StrEnum):
    """What a user or an API token may do in general."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    REGIONAL = "regional"


class Permission(StrEnum):
    """One permission a route or a WebSocket message declares (`x-permission` in the OpenAPI document)."""

    OPEN = "open"  # everyone, also before setup
    LOOPBACK = "loopback"  # anyone on this machine, else a token
    SELF = "self"  # any logged-in principal, about itself
    VIEW = "view"
    OPERATE = "operate"
    ADMIN = "admin"
    EXEC = "exec"
    TERMINAL = "terminal"
    TAKEOVER = "takeover"
    WIPE_APPROVE = "wipe.approve"
    SECRETS = "secrets"
    REGIONAL = "regional"
    NODE = "node"  # an enrolled worker with a live link


class Principal(msgspec.Struct, frozen=True):
    """Who acts, as authenticated; never what a message claims.

    `scope` limits to nodes with these labels, `idc` to the keys of a data centre.
    """

    kind: Literal["anonymous", "user", "token", "node", "local"]
    id: str
    name: str
    permissions: frozenset[Permission] = frozenset()
    role: Role | None = None
    session_id: str | None = None
    scope: dict[str, str] = {}
    idc: str | None = None


class Nothing(msgspec.Struct, frozen=True):
    """No body, no query, or an empty answer `{}`."""


class ListQuery(msgspec.Struct, frozen=True):
    """`?limit=&offset=&q=&sort=` of every list. `sort` is a field name, `-field` for descending."""

    limit: int = 100
    offset: int = 0
    q: str = ""
    sort: str = ""


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A list answer."""

    items: list[T]
    total: int


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated, permitted, decoded request. `body` and `query` are of the types the route names."""

    principal: Principal
    params: dict[str, str]
    query: Any
    body: Any
    request: web.Request
    request_id: str


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """One route. `path` is below `/api/v1` unless it starts with `!/`, e.g. `!/health`.

    `body`: a msgspec Struct type; `bytes` means the handler reads the raw stream itself (uploads; then `media` names
    the content type, unless the route `takes_any_media`). `answer`: a Struct type (or `Page[Struct]`);
    `web.StreamResponse` means a download or WebSocket.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    permission: Permission
    handler: Handler
    summary: str
    operation_id: str
    answer: Any = Nothing
    body: Any = Nothing
    query: Any = Nothing
    status: int = 200
    other_answers: tuple[tuple[int, Any], ...] = ()
    media: str = "application/json"
    takes_any_media: bool = False
    is_websocket: bool = False
    needs_step_up: bool = False
    tag: str = ""
    errors: tuple[str, ...] = ()
