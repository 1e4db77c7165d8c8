"""From what a handler returns, or raises, to a response in the words of contract section 4."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from ops_system.kv.errors import grpc_code, store_error_body
from ops_system.master.web.reply import Cookie, Reply
from ops_system.model.errors import Detail, OpsError, RateLimited, StorageFull, TimedOut, Unauthenticated

_log = logging.getLogger(__name__)
_ENCODER = msgspec.json.Encoder()
_NO_SPACE = frozenset({28, 122})  # ENOSPC, EDQUOT


class ErrorBody(msgspec.Struct, frozen=True):
    """Every error answer."""

    code: str
    message: str
    details: dict[str, Detail] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished JSON answer, before it becomes a response; what an idempotency key remembers."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: tuple[Cookie, ...] = ()

    def response(self) -> web.Response:
        """Return a fresh response; one cannot be sent twice."""
        made = web.Response(
            status=self.status, body=self.body, headers=dict(self.headers), content_type="application/json"
        )
        for cookie in self.cookies:
            set_cookie(made, cookie)
        return made


def set_cookie(response: web.StreamResponse, cookie: Cookie) -> None:
    """Add one `Set-Cookie`; an empty value removes the cookie."""
    response.set_cookie(
        cookie.name,
        cookie.value,
        max_age=cookie.max_age_s if cookie.value else 0,
        path="/",
        secure=cookie.secure,
        httponly=True,
        samesite="Strict",
    )


def answer_of(result: Any, status: int) -> Answer:
    """Encode what a handler returned. None is an empty object."""
    if isinstance(result, Reply):
        body = b"{}" if result.body is None else _ENCODER.encode(result.body)
        return Answer(result.status or status, body, result.headers, result.cookies)
    return Answer(status, b"{}" if result is None else _ENCODER.encode(result))


def error_answer(error: OpsError, status: int | None = None) -> Answer:
    """Encode an error; `status` overrides the one of its class (405)."""
    body = _ENCODER.encode(ErrorBody(error.code, error.message, error.details))
    return Answer(status or error.http_status, body, _error_headers(error))


def refusal(path: str, error: OpsError, status: int | None = None) -> Answer:
    """Encode an error in the words of the API that `path` belongs to: the product's own, or etcd's below /v3."""
    if not path.startswith("/v3/"):
        return error_answer(error, status)
    body = store_error_body(error.message, grpc_code(error))
    return Answer(status or error.http_status, body, _error_headers(error))


def _error_headers(error: OpsError) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, RateLimited) and isinstance(error.details.get("retry_after_s"), (int, float)):
        return {"Retry-After": str(int(float(str(error.details["retry_after_s"]))) + 1)}
    return {}


def as_ops_error(error: Exception, request_id: str) -> OpsError:
    """Translate what a handler raised. What nobody foresaw is logged, and told without its inside."""
    match error:
        case OpsError():
            return error
        case TimeoutError() | asyncio.TimeoutError():
            return TimedOut("no answer in time; look at the object before you try again", request_id=request_id)
        case OSError() if error.errno in _NO_SPACE:
            return StorageFull("the disk of the master is full; free some space and try again")
        case _:
            _log.error("request %s failed", request_id, exc_info=error)
            return OpsError(f"the master failed inside; its log has request {request_id}", request_id=request_id)


def http_error_answer(error: web.HTTPException) -> Answer:
    """Give aiohttp's own refusals (a bad WebSocket handshake, a range that cannot be served) the product's body."""
    code = "too_large" if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else "invalid"
    headers = {name: error.headers[name] for name in ("Content-Range", "Allow", "Location") if name in error.headers}
    return Answer(error.status, _ENCODER.encode(ErrorBody(code, error.text or error.reason)), headers)
