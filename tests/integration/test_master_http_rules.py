"""The rules every request meets, over real sockets: who, from where, with what body, in which order."""

import asyncio
import io
import json
import logging

import aiohttp
import msgspec
import pytest
from aiohttp import web

from ops_system.master.web.decode import MAX_BODY_BYTES
from ops_system.master.web.guard import ANONYMOUS
from ops_system.master.web.health import SelfReport
from ops_system.master.web.reply import Cookie, Reply
from ops_system.master.web.route import Call, ListQuery, Nothing, Page, Permission, Route
from ops_system.model.errors import NotFound, RateLimited
from ops_system.model.nodes import Disk
from tests.fakes.web import rows, serve_table

VIEWER = {"Authorization": "Bearer viewer"}
ADMIN = {"Authorization": "Bearer admin"}
COOKIE = {"Cookie": "ops_session=cookie"}


class Wish(msgspec.Struct, frozen=True):
    name: str
    count: int = 1


class Handlers:
    def __init__(self) -> None:
        self.made: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.socket_ended = asyncio.Event()

    async def listing(self, call: Call) -> Page[Disk]:
        return Page([Disk(call.principal.name)], 1)

    async def make(self, call: Call) -> Reply | Wish:
        self.made.append(call.body.name)
        self.entered.set()
        await self.gate.wait()
        match call.body.name:
            case "missing":
                raise NotFound("no such thing: missing", name="missing")
            case "slow":
                raise TimeoutError
            case "limited":
                raise RateLimited("too many tries", retry_after_s=1.5)
            case "bug":
                raise ValueError("the inside must stay inside")
            case "full":
                raise OSError(28, "No space left on device")
            case "cookie":
                return Reply(call.body, 202, {"X-Extra": "1"}, (Cookie("ops_session", "v", 60, secure=False),))
        return call.body

    async def touch(self, call: Call) -> Nothing:
        self.made.append(call.params["id"])
        return Nothing()

    async def upload(self, call: Call) -> Wish:
        size = 0
        async for chunk in call.request.content.iter_any():
            size += len(chunk)
        return Wish("zip", size)

    async def socket(self, call: Call) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(call.request)
        try:
            async for message in ws:
                if message.data == "bug":
                    raise ValueError("broken socket")
                await ws.send_str(f"{call.principal.name}:{message.data}")
        finally:
            self.socket_ended.set()
        return ws

    def routes(self) -> list[Route]:
        def route(method, path, permission, handler, **more) -> Route:
            return Route(method, path, permission, handler, "Tests", f"{handler.__name__}{path}{permission}", **more)

        return [
            route("GET", "/things", Permission.VIEW, self.listing, query=ListQuery, answer=Page[Disk]),
            route("POST", "/things", Permission.OPERATE, self.make, body=Wish, answer=Wish, status=201),
            route("POST", "/open", Permission.OPEN, self.make, body=Wish, answer=Wish),
            route("DELETE", "/things/{id}", Permission.OPERATE, self.touch),
            route("POST", "/secrets", Permission.SECRETS, self.make, body=Wish, answer=Wish, needs_step_up=True),
            route("POST", "/zip", Permission.OPERATE, self.upload, body=bytes, answer=Wish, media="application/zip"),
            route("GET", "/socket", Permission.VIEW, self.socket, answer=web.StreamResponse, is_websocket=True),
        ]


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
async def site(handlers, tmp_path):
    async with serve_table(handlers.routes(), tmp_path / "data", public_url="https://ops.example.com") as site:
        yield site


async def ask(site, method, path, *, expect, code=None, body=None, data=None, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        data, names = io.BytesIO(json.dumps(body).encode()), {"Content-Type": "application/json", **names}
    async with site.client.request(
        method, site.url + path, data=data, headers=names, skip_auto_headers=["Content-Type"]
    ) as answer:
        told = await answer.json()
        assert answer.status == expect, told
        if code is not None:
            assert told["code"] == code
            assert told["message"]
            assert isinstance(told["details"], dict)
        return answer, told


async def test_an_answer_is_json_with_its_headers(site):
    answer, told = await ask(site, "GET", "/api/v1/things", expect=200, **VIEWER)
    assert told["total"] == 1
    assert told["items"][0]["name"] == "vera"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(answer.headers["X-Request-Id"]) == 16
    assert "Strict-Transport-Security" not in answer.headers


async def test_a_stranger_learns_nothing(site, handlers):
    for method, path in (
        ("GET", "/api/v1/things"),
        ("GET", "/api/v1/no/such/path"),
        ("PUT", "/api/v1/things"),
        ("DELETE", "/api/v1/things/x"),
        ("POST", "/no/page"),
    ):
        answer, _ = await ask(site, method, path, expect=401, code="unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    await ask(
        site,
        "POST",
        "/api/v1/things",
        expect=401,
        data=io.BytesIO(b"x" * (MAX_BODY_BYTES + 1)),
        Content_Type="text/plain",
    )
    await ask(site, "GET", "/api/v1/things", expect=401, Authorization="Bearer wrong", **COOKIE)
    await ask(site, "GET", "/api/v1/things", expect=401, Authorization="Basic YTpi", **COOKIE)
    assert handlers.made == []


async def test_an_identified_caller_learns_what_is_missing(site):
    await ask(site, "GET", "/api/v1/no/such/path", expect=404, code="not_found", **VIEWER)
    answer, _ = await ask(site, "PUT", "/api/v1/things", expect=405, code="not_found", **VIEWER)
    assert answer.headers["Allow"] == "GET, POST"


async def test_permission_comes_before_the_body_and_a_denial_is_told_to_the_audit(site):
    await ask(site, "POST", "/api/v1/things", expect=403, code="forbidden", data=b"{", **VIEWER)
    assert site.denied == [("vera", "make/thingsoperate", "/api/v1/things", "forbidden")]


async def test_before_setup_a_stranger_is_told_to_set_up(site):
    site.authenticator.is_set_up = False
    _, told = await ask(site, "GET", "/api/v1/things", expect=401, code="unauthenticated")
    assert told["details"] == {"setup_required": True}
    await ask(site, "POST", "/api/v1/open", expect=200, body={"name": "x"})
    await ask(site, "GET", "/api/v1/things", expect=200, **VIEWER)  # made on the data folder: its owner already acts


async def test_another_host_is_misdirected(site):
    await ask(site, "GET", "/api/v1/things", expect=421, code="misdirected", Host="evil.example", **VIEWER)
    await ask(site, "POST", "/api/v1/open", expect=421, code="misdirected", body={"name": "x"}, Host="evil.example")
    await ask(site, "GET", "/api/v1/things", expect=200, Host="ops.example.com", **VIEWER)
    await ask(site, "GET", "/api/v1/things", expect=200, Host=f"localhost:{site.port}", **VIEWER)


async def test_a_browser_session_needs_origin_and_csrf(site, handlers):
    wish, csrf = {"name": "x"}, {"X_CSRF_Token": "csrf"}
    await ask(site, "GET", "/api/v1/things", expect=200, **COOKIE)
    await ask(site, "POST", "/api/v1/things", expect=403, code="forbidden", body=wish, **COOKIE, **csrf)
    await ask(site, "POST", "/api/v1/things", expect=403, code="forbidden", body=wish, Origin=site.url, **COOKIE)
    for origin in ("null", "https://evil.example", f"http://localhost:{site.port}", f"https://127.0.0.1:{site.port}"):
        await ask(site, "POST", "/api/v1/things", expect=403, body=wish, Origin=origin, **COOKIE, **csrf)
    assert handlers.made == []
    await ask(site, "POST", "/api/v1/things", expect=201, body=wish, Origin=site.url, **COOKIE, **csrf)
    await ask(site, "POST", "/api/v1/things", expect=201, body=wish, Origin="https://ops.example.com", **COOKIE, **csrf)


async def test_a_token_needs_no_origin_but_a_wrong_one_is_refused(site):
    await ask(site, "POST", "/api/v1/things", expect=201, body={"name": "x"}, **ADMIN)
    await ask(site, "POST", "/api/v1/things", expect=403, body={"name": "x"}, Origin="https://evil.example", **ADMIN)
    await ask(site, "POST", "/api/v1/open", expect=403, body={"name": "x"}, Origin="https://evil.example")
    await ask(site, "POST", "/api/v1/open", expect=200, body={"name": "x"}, **COOKIE)


async def test_step_up_concerns_sessions_only(site):
    headers = {"Origin": site.url, "X_CSRF_Token": "csrf", **COOKIE}
    await ask(site, "POST", "/api/v1/secrets", expect=403, code="step_up_required", body={"name": "x"}, **headers)
    await ask(site, "POST", "/api/v1/secrets", expect=200, body={"name": "x"}, **ADMIN)
    site.authenticator.stepped_up.add("usr_b")
    await ask(site, "POST", "/api/v1/secrets", expect=200, body={"name": "x"}, **headers)


async def test_bodies(site):
    path = "/api/v1/things"
    await ask(site, "POST", path, expect=415, code="unsupported_media", data=b'{"name": "x"}', **ADMIN)
    await ask(site, "POST", path, expect=415, data=b'{"name": "x"}', Content_Type="text/plain", **ADMIN)
    await ask(site, "POST", path, expect=413, code="too_large", body={"name": "x" * MAX_BODY_BYTES}, **ADMIN)
    await ask(site, "POST", path, expect=422, code="invalid", body={"name": [[[]]] * 2}, **ADMIN)
    _, told = await ask(site, "POST", path, expect=422, code="invalid", body={"name": "x", "count": "1"}, **ADMIN)
    assert told["details"]["problems"] == ["$.count: Expected `int`, got `str`"]
    deep: list[object] = []
    for _ in range(70):
        deep = [deep]
    _, told = await ask(site, "POST", path, expect=422, body={"name": deep}, **ADMIN)
    assert "deeper than 64" in told["message"]
    await ask(site, "DELETE", "/api/v1/things/n%20%2F1", expect=200, **ADMIN)
    await ask(site, "POST", "/api/v1/zip", expect=415, code="unsupported_media", body={"name": "x"}, **ADMIN)
    _, told = await ask(site, "POST", "/api/v1/zip", expect=200, data=b"PK", Content_Type="application/zip", **ADMIN)
    assert told["count"] == 2


async def test_a_chunked_body_over_the_limit_is_cut(site):
    async def endless():
        for _ in range(40):
            yield b" " * 65536

    await ask(site, "POST", "/api/v1/things", expect=413, data=endless(), Content_Type="application/json", **ADMIN)


async def test_queries(site):
    await ask(site, "GET", "/api/v1/things?limit=5&q=x", expect=200, **VIEWER)
    await ask(site, "GET", "/api/v1/things?limit=501", expect=422, code="invalid", **VIEWER)
    await ask(site, "GET", "/api/v1/things?lmit=5", expect=422, code="invalid", **VIEWER)


async def test_errors_of_handlers(site, caplog):
    await ask(site, "POST", "/api/v1/things", expect=404, code="not_found", body={"name": "missing"}, **ADMIN)
    await ask(site, "POST", "/api/v1/things", expect=504, code="timeout", body={"name": "slow"}, **ADMIN)
    await ask(site, "POST", "/api/v1/things", expect=507, code="storage_full", body={"name": "full"}, **ADMIN)
    answer, _ = await ask(site, "POST", "/api/v1/things", expect=429, body={"name": "limited"}, **ADMIN)
    assert answer.headers["Retry-After"] == "2"
    with caplog.at_level(logging.ERROR):
        answer, told = await ask(
            site, "POST", "/api/v1/things", expect=500, code="internal", body={"name": "bug"}, **ADMIN
        )
    assert "inside must stay" not in json.dumps(told)
    assert told["details"]["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["X-Request-Id"] in caplog.text
    assert "the inside must stay inside" in caplog.text


async def test_a_reply_carries_status_headers_and_cookies(site):
    answer, _ = await ask(site, "POST", "/api/v1/things", expect=202, body={"name": "cookie"}, **ADMIN)
    assert answer.headers["X-Extra"] == "1"
    cookie = answer.headers["Set-Cookie"]
    for part in ("ops_session=v", "HttpOnly", "Max-Age=60", "Path=/", "SameSite=Strict"):
        assert part in cookie
    assert "Secure" not in cookie


async def test_sockets(site, handlers):
    url = site.url + "/api/v1/socket"
    await ask(site, "GET", "/api/v1/socket", expect=422, code="invalid", **VIEWER)
    for headers, status in (
        ({}, 401),
        (COOKIE, 403),
        ({**COOKIE, "Origin": "https://evil.example"}, 403),
        ({**VIEWER, "Origin": "https://evil.example"}, 403),
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await site.client.ws_connect(url, headers=headers)
        assert caught.value.status == status
    for headers, name in ((VIEWER, "vera"), ({**COOKIE, "Origin": site.url}, "bea")):
        async with site.client.ws_connect(url, headers=headers) as ws:
            await ws.send_str("hi")
            assert await ws.receive_str() == f"{name}:hi"


async def test_a_bug_in_a_socket_closes_it_and_the_rest_goes_on(site, handlers, caplog):
    async with site.client.ws_connect(site.url + "/api/v1/socket", headers=VIEWER) as ws:
        await ws.send_str("bug")
        assert (await ws.receive()).type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}
    assert "broken socket" in caplog.text
    await ask(site, "GET", "/api/v1/things", expect=200, **VIEWER)


async def test_a_revoked_credential_ends_every_socket_it_opened(site, handlers):
    revoked = {"Authorization": "Bearer viewer"}
    async with (
        site.client.ws_connect(f"{site.url}/api/v1/socket", headers=revoked) as doomed,
        site.client.ws_connect(f"{site.url}/api/v1/socket", headers=ADMIN) as other,
    ):
        site.front.revoke({"tok_v"})
        async with asyncio.timeout(20):
            await doomed.receive()
        assert doomed.closed
        await other.send_str("still here")
        assert await other.receive_str(timeout=30) == "ada:still here"


async def test_a_credential_revoked_while_a_socket_opens_opens_none(site, handlers):
    real, asked = site.authenticator.identify, []

    async def identify(credentials):
        asked.append(credentials)
        return await real(credentials) if len(asked) == 1 else ANONYMOUS

    site.authenticator.identify = identify
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await site.client.ws_connect(f"{site.url}/api/v1/socket", headers=VIEWER)
    assert refusal.value.status == 401


async def test_sockets_are_closed_at_the_end(site, handlers):
    async with site.client.ws_connect(site.url + "/api/v1/socket", headers=VIEWER) as ws:
        await ws.send_str("hi")
        await ws.receive_str()
        site.front.close_sockets()
        async with asyncio.timeout(30):
            await handlers.socket_ended.wait()


async def test_an_idempotency_key_makes_one_effect(site, handlers):
    headers = {"Idempotency_Key": "k1", **ADMIN}
    first, told = await ask(site, "POST", "/api/v1/things", expect=201, body={"name": "x"}, **headers)
    again, same = await ask(site, "POST", "/api/v1/things", expect=201, body={"name": "x"}, **headers)
    assert same == told
    assert handlers.made == ["x"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    await ask(site, "POST", "/api/v1/things", expect=409, code="conflict", body={"name": "y"}, **headers)
    await ask(site, "POST", "/api/v1/secrets", expect=409, code="conflict", body={"name": "x"}, **headers)
    await ask(site, "POST", "/api/v1/things", expect=422, body={"name": "x"}, Idempotency_Key="a b", **ADMIN)
    (stored,) = rows(site.database.path, "SELECT body FROM idempotency")
    assert stored == (b'{"name":"x","count":1}'[::-1],)


async def test_a_refusal_frees_its_key_and_an_unknown_outcome_keeps_it(site, handlers):
    for name, status, then in (("missing", 404, 404), ("slow", 504, 409), ("bug", 500, 409)):
        headers = {"Idempotency_Key": f"k-{name}", **ADMIN}
        await ask(site, "POST", "/api/v1/things", expect=status, body={"name": name}, **headers)
        await ask(site, "POST", "/api/v1/things", expect=then, body={"name": name}, **headers)
    assert handlers.made == ["missing", "missing", "slow", "bug"]


async def test_the_same_key_twice_at_once_is_a_conflict(site, handlers):
    handlers.gate.clear()
    headers = {"Idempotency_Key": "k2", **ADMIN}
    async with asyncio.TaskGroup() as group:
        first = group.create_task(ask(site, "POST", "/api/v1/things", expect=201, body={"name": "x"}, **headers))
        async with asyncio.timeout(30):
            await handlers.entered.wait()
        await ask(site, "POST", "/api/v1/things", expect=409, code="conflict", body={"name": "x"}, **headers)
        handlers.gate.set()
    assert first.done()
    await site.idempotency.sweep()


async def test_health_metrics_and_version(tmp_path):
    from datetime import UTC, datetime

    async def broken() -> None:
        raise OSError("disk gone")

    async def well() -> None:
        return None

    report = SelfReport(datetime.now(UTC), 1, {"database": well}, [lambda: {"ops_nodes": 3.0}])
    async with serve_table(report.routes(), tmp_path / "data") as site:
        _, told = await ask(site, "GET", "/health", expect=200)
        assert told == {"status": "ok", "parts": {"database": "ok"}}
        report.checks["blobs"] = broken
        _, told = await ask(site, "GET", "/health", expect=503)
        assert told == {"status": "degraded", "parts": {"database": "ok", "blobs": "OSError: disk gone"}}
        _, told = await ask(site, "GET", "/api/v1/version", expect=200)
        assert told["api"] == "v1"
        async with site.client.get(site.url + "/metrics") as answer:
            text = await answer.text()
        assert "# TYPE ops_nodes gauge\nops_nodes 3\n" in text
        assert "# TYPE process_cpu_seconds_total counter\n" in text
        assert "process_cpu_seconds_total " in text
