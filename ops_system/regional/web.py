"""The small floor below `api` and `pages`: one middleware, JSON in and out, errors in the product's words."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from ops_system.kv.errors import StoreError
from ops_system.model.errors import (
    Invalid,
    OpsError,
    RateLimited,
    TimedOut,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)
from ops_system.protocol.agent import MAX_REPORT_BYTES

_log = logging.getLogger(__name__)
T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_HEADER_BYTES = 16 * 1024
BODY_WITHIN_S = 30.0
JSON_MEDIA = "application/json"
RETRY_AFTER_S = 2


class ErrorBody(msgspec.Struct, frozen=True):
    """Every error answer (contract, section 4)."""

    code: str
    message: str
    details: dict[str, object] = {}


def answer(body: object, status: int = 200) -> web.Response:
    """Return a struct as JSON."""
    return web.Response(status=status, body=msgspec.json.encode(body), content_type=JSON_MEDIA)


def text(words: str, media: str = "text/plain") -> web.Response:
    """Return text for a boot loader or an installer; nothing may keep it."""
    return web.Response(text=words, content_type=media, headers={"Cache-Control": "no-store"})


async def read_body(request: web.Request, wanted: type[T]) -> T:
    """Return the JSON body as `wanted`. Raises UnsupportedMedia, TooLarge, Invalid, TimedOut."""
    if request.can_read_body and request.content_type != JSON_MEDIA:
        raise UnsupportedMedia(f"this route takes {JSON_MEDIA}; the request says {request.content_type}")
    try:
        async with asyncio.timeout(None if request.content.is_eof() else BODY_WITHIN_S):
            raw = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge(f"the body is larger than {MAX_REPORT_BYTES} bytes", limit_bytes=MAX_REPORT_BYTES) from error
    except TimeoutError as error:
        raise TimedOut(f"the body did not come within {BODY_WITHIN_S:.0f} s") from error
    try:
        return msgspec.json.decode(raw or b"{}", type=wanted)
    except msgspec.MsgspecError as error:
        raise Invalid(f"the body does not fit: {error}", problems=[str(error)]) from error
    except RecursionError as error:
        raise Invalid("the body is nested too deep", problems=["$: nested too deep"]) from error


def bearer(request: web.Request) -> str:
    """Return the session token of a request. Raises Unauthenticated."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send the session of this boot: Authorization: Bearer TOKEN", reason="no_session")
    return token.strip()


def make_middleware(counts: dict[int, int]) -> Middleware:
    """Return what turns every failure into an answer; `counts` by HTTP status, for /metrics."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _check_headers(request)
            response = await handler(request)
        except OpsError as error:
            response = refusal(error)
        except web.HTTPException as error:
            response = _http_refusal(error)
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001 - one bad request must not stop a data centre; it is logged whole
            _log.exception("%s %s failed", request.method, request.path)
            response = refusal(OpsError("an error in the program; its log has it"))
        counts[response.status] = counts.get(response.status, 0) + 1
        return response

    return middleware


def _check_headers(request: web.Request) -> None:
    if sum(len(name) + len(value) for name, value in request.raw_headers) > MAX_HEADER_BYTES:
        raise TooLarge(f"the headers are larger than {MAX_HEADER_BYTES} bytes", limit_bytes=MAX_HEADER_BYTES)


def refusal(error: OpsError) -> web.Response:
    """Return an error as an answer. What the store refuses is this client's trouble, not the agent's."""
    if isinstance(error, StoreError):
        error = Unavailable(f"the store refuses this client: {error.message}", reason="store_refused")
    body = ErrorBody(error.code, error.message, dict(error.details))
    made = answer(body, error.http_status)
    if isinstance(error, (Unavailable, RateLimited)):
        made.headers["Retry-After"] = str(error.details.get("retry_after_s", RETRY_AFTER_S))
    if isinstance(error, Unauthenticated):
        made.headers["WWW-Authenticate"] = "Bearer"
    return made


def _http_refusal(error: web.HTTPException) -> web.Response:
    code = {404: "not_found", 405: "not_found", 413: "too_large"}.get(error.status, "invalid")
    made = answer(ErrorBody(code, error.reason or ""), error.status)
    if "Allow" in error.headers:
        made.headers["Allow"] = error.headers["Allow"]
    return made
