"""Serves the route table: the one place where a request is identified, checked, decoded, answered.

The order of checks is contract section 4: Host, identity, Origin, permission, CSRF, step-up; only then does the caller
learn anything about content type, body or existence.
"""

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import HttpVersion11, web

from ops_system.master.web import checks, decode
from ops_system.master.web.answer import Answer, answer_of, as_ops_error, http_error_answer, refusal
from ops_system.master.web.clients import CLIENT, Network, client_of, find_client
from ops_system.master.web.guard import Authenticator, Credentials
from ops_system.master.web.idempotency import Idempotency, check_key
from ops_system.master.web.route import Call, Nothing, Permission, Principal, Route
from ops_system.master.web.static import Console
from ops_system.master.web.table import Found, Table, WrongMethod
from ops_system.model.errors import (
    Forbidden,
    Invalid,
    NotFound,
    OpsError,
    StepUpRequired,
    StorageFull,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from ops_system.runtime.connection import MAX_HEADER_BYTES

COOKIE = "ops_session"
TLS_COOKIE = "__Host-ops_session"
REVOKED_GRACE_S = 1.0
CSRF_HEADER = "X-CSRF-Token"
REQUEST_ID = web.RequestKey("request_id", str)
_READ_METHODS = frozenset({"GET", "HEAD"})
_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "ops-system",
}

_log = logging.getLogger(__name__)

DeniedHook = Callable[[Principal, str, str, OpsError], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the web floor is given by the composition root."""

    table: Table
    authenticator: Authenticator
    console: Console
    idempotency: Idempotency
    own_names: Callable[[], Collection[str]]  # host names and addresses of this server
    public_url: str  # empty, or the address people use
    proxies: Sequence[Network]  # whose X-Forwarded-For and -Proto count
    on_denied: DeniedHook  # principal, operation id, path, error


class Front:
    """Answers every request. Call `application()` once, `close_sockets()` before the end."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._sockets: dict[asyncio.Task[Any], Principal] = {}
        self.answers: dict[int, int] = {}  # by HTTP status, for /metrics

    def application(self) -> web.Application:
        """Return the aiohttp application: one handler, our own table behind it."""
        app = web.Application(client_max_size=decode.MAX_BODY_BYTES)
        every = r"/{path:[\s\S]*}"  # a dot would leave paths with a line break to aiohttp's own answer
        app.router.add_route("*", every, self.handle, expect_handler=_expect_nothing)
        app.on_response_prepare.append(self._on_prepare)
        return app

    def close_sockets(self) -> None:
        """End the handlers of all WebSockets, so that stopping does not wait for browsers."""
        for task in tuple(self._sockets):
            task.cancel()

    def revoke(self, credential_ids: Collection[str]) -> None:
        """End the WebSockets that sessions and tokens opened which are void now (trust S7), whatever route they serve.

        A handler has `REVOKED_GRACE_S` to say goodbye in its own words.
        """
        for task, principal in self._sockets.items():
            if principal.session_id in credential_ids or principal.id in credential_ids:
                asyncio.get_running_loop().call_later(REVOKED_GRACE_S, self._end_socket, task)

    def _end_socket(self, task: asyncio.Task[Any]) -> None:
        if task in self._sockets:
            task.cancel()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one request; whatever goes wrong becomes an answer in the product's words."""
        request_id, began_s = secrets.token_hex(8), time.perf_counter()
        request[REQUEST_ID] = request_id
        request[CLIENT] = find_client(
            request.remote or "", is_tls=request.secure, headers=request.headers, proxies=self._parts.proxies
        )
        try:
            response = await self._serve(request, request_id)
        except web.HTTPException as error:
            response = http_error_answer(error).response()
        except ConnectionError:
            raise
        except Exception as error:
            failure = as_ops_error(error, request_id)
            if request.writer.output_size > 0:  # the answer (or a WebSocket) had begun: only closing is left
                raise ConnectionResetError(failure.message) from error
            response = refusal(request.path, failure).response()
        self.answers[response.status] = self.answers.get(response.status, 0) + 1
        took_ms = 1000 * (time.perf_counter() - began_s)
        _log.debug("%s %s %d %.1f ms, request %s", request.method, request.path, response.status, took_ms, request_id)
        return response

    async def _serve(self, request: web.Request, request_id: str) -> web.StreamResponse:
        if sum(len(name) + len(value) for name, value in request.raw_headers) > MAX_HEADER_BYTES:
            raise TooLarge(f"the headers are larger than {MAX_HEADER_BYTES} bytes", limit_bytes=MAX_HEADER_BYTES)
        self._check_host(request)
        raw_path = request.rel_url.raw_path
        found = self._parts.table.match(request.method, raw_path)
        if isinstance(found, Found):
            return await self._serve_route(request, request_id, found)
        if found is None and not raw_path.startswith(("/api/", "/v3/")) and request.method in _READ_METHODS:
            return await self._parts.console.serve(request)
        return await self._serve_nothing(request, found)

    async def _serve_nothing(self, request: web.Request, found: WrongMethod | None) -> web.StreamResponse:
        """Tell an identified caller that there is nothing here; tell a stranger nothing."""
        principal = await self._identify(request)
        if principal.kind == "anonymous":
            raise Unauthenticated("log in, or send a valid token")
        if found is None:
            raise NotFound(f"no such path: {request.path}", path=request.path)
        words = f"{request.path} takes {', '.join(found.allowed)}, not {request.method}"
        error = NotFound(words, allowed=list(found.allowed))
        answer = refusal(request.path, error, HTTPStatus.METHOD_NOT_ALLOWED)
        response = answer.response()
        response.headers["Allow"] = ", ".join(found.allowed)
        return response

    async def _serve_route(self, request: web.Request, request_id: str, found: Found) -> web.StreamResponse:
        route = found.route
        principal = await self._identify(request)
        try:
            self._check_caller(request, route, principal)
        except (Forbidden, StepUpRequired) as error:
            if principal.kind != "anonymous":
                await self._tell_denied(principal, route, request.path, error)
            raise
        query = self._query(request, route)
        await _let_body_come(request)
        if route.is_websocket:
            return await self._serve_socket(request, request_id, found, principal, query)
        if route.body is bytes:
            encoding = request.headers.get("Content-Encoding", "")
            media = route.media if route.takes_any_media else request.headers.get("Content-Type", "")
            decode.check_media(media, encoding, route.media)
            call = Call(principal, found.params, query, None, request, request_id)
            return _finish(await route.handler(call), route)
        raw = b"" if request.method in _READ_METHODS else await _read_json(request)

        async def perform() -> Answer | web.StreamResponse:
            body = decode.decode_body(raw, route.body) if route.body is not Nothing or raw else Nothing()
            result = await route.handler(Call(principal, found.params, query, body, request, request_id))
            return result if isinstance(result, web.StreamResponse) else answer_of(result, route.status)

        key = request.headers.get("Idempotency-Key") if route.method == "POST" else None
        if key is None or principal.kind == "anonymous":
            made = await perform()
        else:
            check_key(key)
            digest = hashlib.sha256(request.raw_path.encode() + b"\n" + raw).digest()
            made = await self._parts.idempotency.run(principal.id, key, route.operation_id, digest, perform)
        return made.response() if isinstance(made, Answer) else made

    async def _tell_denied(self, principal: Principal, route: Route, path: str, error: OpsError) -> None:
        try:
            await self._parts.on_denied(principal, route.operation_id, path, error)
        except (StorageFull, Unavailable) as trouble:  # the answer stays "no", whatever the disk says
            _log.warning("%s by %s was denied and could not be audited: %s", path, principal.name, trouble.message)

    async def _serve_socket(
        self, request: web.Request, request_id: str, found: Found, principal: Principal, query: Any
    ) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise Invalid("open this path as a WebSocket", problems=["Upgrade: websocket is needed"])
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is served by a task")
        self._sockets[task] = principal
        try:
            if principal.kind != "anonymous":  # from here on a revocation ends it; one a moment ago is seen now
                await self._check_still_known(request)
            call = Call(principal, found.params, query, None, request, request_id)
            return _finish(await found.route.handler(call), found.route)
        finally:
            del self._sockets[task]

    async def _check_still_known(self, request: web.Request) -> None:
        if (await self._identify(request)).kind == "anonymous":
            raise Unauthenticated("the session is over; log in again")

    async def _identify(self, request: web.Request) -> Principal:
        client, authorization = client_of(request), request.headers.get("Authorization")
        bearer = None
        if authorization is not None:
            scheme, _, value = authorization.partition(" ")
            bearer = value.strip() if scheme.lower() == "bearer" else ""
        cookie = request.cookies.get(TLS_COOKIE if client.is_secure else COOKIE)
        session = cookie if authorization is None else None
        return await self._parts.authenticator.identify(Credentials(bearer, session, client.address))

    def _check_host(self, request: web.Request) -> None:
        own = set(self._parts.own_names())
        own.add(_local_ip(request))
        if self._parts.public_url:
            own.add(checks.host_name(self._parts.public_url.partition("://")[2].partition("/")[0]))
        checks.check_host(request.headers.get("Host", ""), own)

    def _check_caller(self, request: web.Request, route: Route, principal: Principal) -> None:
        is_open = route.permission is Permission.OPEN
        if principal.kind == "anonymous":
            self._check_stranger(request, route, principal)
        has_session = principal.session_id is not None and not is_open
        is_act = request.method not in _READ_METHODS
        if is_act or route.is_websocket:
            origin = request.headers.get("Origin")
            checks.check_origin(origin, lambda: self._origins(request), is_required=has_session)
        checks.check_permission(route.permission, principal, is_local=client_of(request).is_local)
        if is_act and has_session:
            token = request.headers.get(CSRF_HEADER, "")
            if not self._parts.authenticator.verify_csrf(principal, token):
                raise Forbidden(f"the header {CSRF_HEADER} is missing or old; reload the page", reason="csrf")
        if route.needs_step_up and has_session and not self._parts.authenticator.has_step_up(principal):
            raise StepUpRequired("prove your password or TOTP again", operation=route.operation_id)

    def _check_stranger(self, request: web.Request, route: Route, principal: Principal) -> None:
        try:
            checks.check_permission(route.permission, principal, is_local=client_of(request).is_local)
        except Unauthenticated:
            if self._parts.authenticator.setup_required():
                words = "this server has no administrator yet: open /setup on it first"
                raise Unauthenticated(words, setup_required=True) from None
            raise

    def _origins(self, request: web.Request) -> set[str]:
        own = {checks.origin_of("https" if client_of(request).is_secure else "http", request.headers.get("Host", ""))}
        scheme, _, rest = self._parts.public_url.partition("://")
        if rest:
            own.add(checks.origin_of(scheme, rest.partition("/")[0]))
        return own - {""}

    def _query(self, request: web.Request, route: Route) -> Any:
        if route.query is Nothing and not request.rel_url.raw_query_string:
            return Nothing()
        given = request.rel_url.query
        return decode.decode_query({name: given.getall(name) for name in given}, route.query)

    async def _on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_SECURITY_HEADERS)
        response.headers["X-Request-Id"] = request.get(REQUEST_ID, "")
        response.headers.setdefault("Cache-Control", "no-store")


def _finish(result: Any, route: Route) -> web.StreamResponse:
    if isinstance(result, web.StreamResponse):
        return result
    return answer_of(result, route.status).response()


async def _expect_nothing(_request: web.Request) -> None:
    """Aiohttp would ask for the body before anybody was identified; `_let_body_come` asks later."""


async def _let_body_come(request: web.Request) -> None:
    """Answer `Expect: 100-continue` (RFC 9110, 10.1.1) once the caller may send the body."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # nothing of the answer itself was sent


async def _read_json(request: web.Request) -> bytes:
    """Read the whole body. The content type is looked at first where a body is announced."""
    media, encoding = request.headers.get("Content-Type", ""), request.headers.get("Content-Encoding", "")
    if request.content_length:
        decode.check_media(media, encoding, decode.JSON_MEDIA)
        decode.check_size(request.content_length)
    raw = bytearray()
    try:
        async for chunk in request.content.iter_any():
            raw += chunk
            decode.check_size(len(raw))
    except web.RequestPayloadError as error:
        raise Invalid(f"the body was cut: {error}", problems=["$: cut"]) from error
    if raw:
        decode.check_media(media, encoding, decode.JSON_MEDIA)
    return bytes(raw)


def _local_ip(request: web.Request) -> str:
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return str(name[0]).partition("%")[0] if isinstance(name, tuple) else ""
