"""An answer that carries more than a body: another status, headers, cookies. Returned in place of a struct."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Cookie:
    """One `Set-Cookie`: always HttpOnly, SameSite=Strict, Path=/. An empty `value` or `max_age_s` 0 removes it."""

    name: str
    value: str
    max_age_s: int
    secure: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """`body` is what the route's `answer` (or one of `other_answers`) says; `status` None means the route's own."""

    body: Any
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: tuple[Cookie, ...] = ()
