"""HTTP as an attacker speaks it, against a whole master on a real socket. Time limits of seconds are in
`test_master_http_limits.py` with shorter ones, and here once as they are (`long`)."""

import asyncio
import gzip
import json
import zlib

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from ops_system.master.web.decode import MAX_BODY_BYTES
from tests.fakes.evil_archives import good_zip
from tests.fakes.master import PASSWORD, run_master

TOO_LONG_S = 60.0  # a test that waits this long has failed


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def master(tmp_path_factory):
    """One master for all: whatever they do to it, it must go on."""
    async with run_master(tmp_path_factory.mktemp("master")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token(master):
    return await master.create_token("attacker")


@pytest_asyncio.fixture(loop_scope="module")
async def systems(master, token):
    """How many systems there were before."""
    return await assert_well(master, token)


@pytest_asyncio.fixture(loop_scope="module")
async def session():
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as opened:
        yield opened


async def talk(port: int, *parts: bytes) -> bytes:
    """Send bytes and return everything that comes back until the master closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(TOO_LONG_S):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def post_raw(master, token, body: bytes, **headers: str):
    """POST bytes to /systems with any headers; return status and body."""
    lines = {
        "Host": "127.0.0.1",
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    told = await talk(master.master.doors.port, f"POST /api/v1/systems HTTP/1.1\r\n{head}\r\n".encode() + body)
    return int(told.split(b" ", 2)[1]) if told else 0, told.partition(b"\r\n\r\n")[2]


async def assert_well(master, token):
    """The master still answers."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as asking,
        asking.get(f"{master.url}/api/v1/systems") as answer,
    ):
        assert answer.status == 200
        return (await answer.json())["total"]


# --- bodies --------------------------------------------------------------------------------------------------------
DEPTH = 100_000


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEPTH + b"]" * DEPTH,
        b'{"a":' * DEPTH + b"1" + b"}" * DEPTH,
        b"[" * DEPTH,
        b'{"name":"x","description":' + b"[" * DEPTH + b"]" * DEPTH + b"}",
    ],
    ids=["lists", "objects", "open", "inside"],
)
async def test_json_without_end_in_depth_is_refused(master, token, systems, body):
    status, told = await post_raw(master, token, body)
    assert (status, json.loads(told)["code"]) == (422, "invalid")
    assert b"nested deeper" in told
    assert await assert_well(master, token) == systems


async def test_a_body_of_one_byte_too_many_is_413(master, token):
    fits = json.dumps({"name": "x"}).encode().ljust(MAX_BODY_BYTES)
    assert (await post_raw(master, token, fits + b" "))[0] == 413
    assert (await post_raw(master, token, fits))[0] == 201


async def test_a_chunked_body_without_end_is_cut_off(master, token, systems):
    head = (
        f"POST /api/v1/systems HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    told = await talk(master.master.doors.port, head.encode(), *[chunk] * 24, b"0\r\n\r\n")
    assert told == b"" or told.startswith(b"HTTP/1.1 413 ")
    assert await assert_well(master, token) == systems


BOMB = b'{"name":"' + b"x" * 50_000_000 + b'"}'


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", bytes), ("gzip, gzip", bytes)]
)
async def test_a_packed_body_is_refused_unread(master, token, systems, encoding, pack):
    body = pack(BOMB if pack is not bytes else b'{"name":"x"}')
    status, told = await post_raw(master, token, body, Content_Encoding=encoding)
    assert (status, json.loads(told)["code"]) == (415, "unsupported_media")
    assert await assert_well(master, token) == systems


async def test_a_packed_upload_is_refused(master, token, session):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/zip", "Content-Encoding": "gzip"}
    async with session.post(f"{master.url}/api/v1/packages", data=gzip.compress(good_zip()), headers=headers) as answer:
        assert (answer.status, (await answer.json())["code"]) == (415, "unsupported_media")


@pytest.mark.parametrize(
    "media", ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json"]
)
async def test_json_by_another_name_is_415(master, token, systems, media):
    status, told = await post_raw(master, token, b'{"name":"x"}', Content_Type=media)
    assert (status, json.loads(told)["code"]) == (415, "unsupported_media")
    assert await assert_well(master, token) == systems


@pytest.mark.parametrize(
    "headers",
    [
        {"Transfer_Encoding": "chunked"},
        {"Content_Length": "-5"},
        {"Content_Length": "+5"},
        {"Content_Length": "5, 6"},
        {"Content_Length": "1e3"},
        {"Transfer_Encoding": "xchunked", "Content_Length": ""},
        {"Transfer_Encoding": "chunked, identity", "Content_Length": ""},
    ],
    ids=["both", "negative", "plus", "two", "exponent", "unknown", "order"],
)
async def test_lengths_that_two_servers_would_read_differently_are_refused(master, token, systems, headers):
    smuggled = b"0\r\n\r\nGET /api/v1/me HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    status, _ = await post_raw(master, token, smuggled, **headers)
    assert status in {0, 400, 415, 422}
    assert await assert_well(master, token) == systems


# --- heads ---------------------------------------------------------------------------------------------------------
async def test_headers_above_16_kib_are_refused(master):
    head = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    for more in (b"X-A: " + b"y" * 20_000 + b"\r\n", b"".join(b"X-%d: %s\r\n" % (n, b"y" * 100) for n in range(200))):
        told = await talk(master.master.doors.port, head + more + b"\r\n")
        assert told == b"" or told.split(b" ", 2)[1] in {b"400", b"413", b"431"}
    line = b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert (await talk(master.master.doors.port, line)).split(b" ", 2)[1] in {b"400", b"414"}


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\0b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\nHost: 127.0.0.1\n X: folded\n\n",
        b"G\xc3\x8bT /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
        b"GET http://evil.example/health HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"TRACE /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /health HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
    ],
    ids=["nul", "two_hosts", "no_host", "folded", "method", "http2", "connect", "proxy", "trace", "tls", "version"],
)
async def test_a_broken_head_is_never_200_and_never_500(master, token, raw):
    reader, writer = await asyncio.open_connection("127.0.0.1", master.master.doors.port)
    writer.write(raw)
    async with asyncio.timeout(TOO_LONG_S):
        line = await reader.readline()
    writer.close()
    assert line == b"" or line.split(b" ", 2)[1][:1] == b"4", line
    await assert_well(master, token)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "[::2]",
        "",
        "0",
        "a b",
    ],
)
async def test_another_host_is_misdirected(master, host):
    for path in ("/health", "/api/v1/version", "/", "/assets/x.js"):
        told = await talk(
            master.master.doors.port, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        assert told.split(b" ", 2)[1] in {b"421", b"400"}, told[:80]


async def test_forwarded_headers_are_nobody(tmp_path, session):
    """A stranger's word about where he comes from opens no loopback route, moves no URL, and dodges no limiter."""
    async with run_master(tmp_path) as master:
        await forge(master, session)


async def forge(master, session):
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    forged |= {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    statuses = []
    for number in range(30):
        body = {"username": f"nobody-{number}", "password": "wrong wrong wrong"}
        forged["X-Forwarded-For"] = f"203.0.113.{number}"
        async with session.post(f"{master.url}/api/v1/login", json=body, headers=forged) as answer:
            statuses.append(answer.status)
            assert "evil.example" not in await answer.text()
    assert statuses.count(401) <= 20
    assert statuses[-1] == 429
    async with master.admin_client() as api:
        assert "203.0.113" not in json.dumps(await api.get("/audit?limit=500"))


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL"])
async def test_the_method_is_the_one_of_the_first_line(master, session, token, name):
    bearer = {"Authorization": f"Bearer {token}"}
    async with session.post(f"{master.url}/api/v1/systems", json={"name": name}, headers=bearer) as answer:
        made = await answer.json()
    url = f"{master.url}/api/v1/systems/{made['id']}"
    for value in ("DELETE", "/api/v1/users"):
        async with session.get(f"{url}?_method=DELETE", headers=bearer | {name: value}) as answer:
            assert answer.status == 422
        async with session.get(url, headers=bearer | {name: value}) as answer:
            assert (await answer.json())["name"] == name


# --- origins ---------------------------------------------------------------------------------------------------------
EVIL_ORIGINS = [
    "https://evil.example",
    "null",
    "http://127.0.0.1:1",
    "https://127.0.0.1:{port}",
    "http://127.0.0.1",
    "",
]


async def log_in(master, session):
    body = {"username": "admin", "password": PASSWORD}
    async with session.post(f"{master.url}/api/v1/login", json=body) as answer:
        assert answer.status == 200
        return {"X-CSRF-Token": (await answer.json())["csrf_token"]}


async def test_a_cookie_without_origin_or_with_another_one_is_403(master, session):
    csrf = await log_in(master, session)
    url = f"{master.url}/api/v1/systems"
    async with session.post(url, json={"name": "x"}, headers=csrf) as answer:
        assert answer.status == 403
    for origin in EVIL_ORIGINS:
        headers = csrf | {"Origin": origin.format(port=master.master.doors.port)}
        async with session.post(url, json={"name": "x"}, headers=headers) as answer:
            assert answer.status == 403, origin
    async with session.post(url, json={"name": "x"}, headers={"Origin": master.url}) as answer:
        assert answer.status == 403  # the right origin, but no CSRF token
    async with session.post(url, json={"name": "mine"}, headers=csrf | {"Origin": master.url}) as answer:
        assert answer.status == 201


async def test_a_bearer_with_another_origin_is_403(master, session, token, systems):
    bearer = {"Authorization": f"Bearer {token}"}
    for origin in EVIL_ORIGINS:
        headers = bearer | {"Origin": origin.format(port=master.master.doors.port)}
        async with session.post(f"{master.url}/api/v1/systems", json={"name": "x"}, headers=headers) as answer:
            assert answer.status == 403, origin
    async with session.get(f"{master.url}/api/v1/systems", headers=bearer) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert await assert_well(master, token) == systems


async def test_every_websocket_refuses_every_other_origin(master, session, token):
    await log_in(master, session)
    async with session.get(f"{master.url}/api/v1/openapi.json") as answer:
        document = await answer.json()
    sockets = [path for path, methods in document["paths"].items() if "x-websocket" in methods.get("get", {})]
    assert "/api/v1/live" in sockets
    for path in sockets:
        url = f"{master.url}{path.replace('{', '').replace('}', '')}"
        for origin in [*EVIL_ORIGINS, None]:
            headers = {} if origin is None else {"Origin": origin.format(port=master.master.doors.port)}
            if origin is None and path == "/api/v1/worker/link":
                continue  # workers send none; they show no cookie either
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with session.ws_connect(url, headers=headers):
                    pass
            assert refused.value.status == 403, (path, origin)
    async with session.ws_connect(f"{master.url}/api/v1/live", headers={"Origin": master.url}) as live:
        await live.send_json({"subscribe": ["nodes"]})
        assert (await live.receive_json(timeout=30))["topic"] == "nodes"


# --- paths -----------------------------------------------------------------------------------------------------------
PATHS = [
    "/../../../../etc/passwd",
    "/..%2f..%2f..%2fetc%2fpasswd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/assets/../../config.py",
    "/assets/..%2f..%2fconfig.py",
    "/assets/..%5c..%5cconfig.py",
    "/assets/%2e%2e%2f%2e%2e%2fschema/0001_core.sql",
    "//etc/passwd",
    "/%00index.html",
    "/index.html%00.js",
    "/.env",
    "/assets/.hidden.js",
    "/index.html.gz",
    "/data/master.key",
    "/static/..;/..;/etc/passwd",
    "/\u202e",
]


@pytest.mark.parametrize("path", PATHS)
async def test_no_path_leads_out_of_the_console(master, path):
    raw = path.encode().replace(b" ", b"%20")
    told = await talk(
        master.master.doors.port,
        b"GET " + raw + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    )
    assert b"root:" not in told
    assert b"CREATE TABLE" not in told
    assert b"import " not in told.partition(b"\r\n\r\n")[2][:200]
    assert told.split(b" ", 2)[1] in {b"400", b"404", b"200", b"503", b"401", b"414"}
    if told.split(b" ", 2)[1] == b"200":
        assert b"text/html" in told  # the page that finds its own way


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/../v1/users",
        "/api/v1/%2e%2e/v1/users",
        "/api//v1/users",
        "/API/v1/users",
        "/api/v1/users/",
        "/api/v1/./users",
    ],
)
async def test_no_spelling_of_a_path_is_more_than_the_path(master, session, path):
    """The permission is looked up by the path that is served, so that no second spelling slips past it."""
    viewer = await master.create_token("viewer", "viewer")
    for headers, allowed in (({}, {401, 404, 200, 503}), ({"Authorization": f"Bearer {viewer}"}, {403, 404, 200, 503})):
        url = URL(master.url + path, encoded=True)
        async with session.get(url, headers=headers) as answer:
            assert answer.status in allowed
            if answer.status == 200:
                assert answer.content_type == "text/html"


@pytest.mark.parametrize(
    "name", ['a"b', "a\r\nSet-Cookie: x=1", "../../x", "a;filename=evil.html", "\u202etxt.exe", "x" * 5000]
)
async def test_a_download_is_named_by_plain_letters(master, session, token, name):
    """What stands in the URL comes back in no header line of its own."""
    for path in (
        URL("/api/v1/instances").joinpath("x", "logs", name, "download"),
        URL("/api/v1/packages").joinpath(name, "1", "download"),
    ):
        async with session.get(URL(master.url).join(path), headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status in {404, 422, 400, 413}
            assert "Set-Cookie" not in answer.headers
            assert name not in answer.headers.get("Content-Disposition", "")


async def test_every_answer_carries_the_browser_rules(master, session, token):
    for path in ("/", "/health", "/api/v1/nodes", "/api/v1/none", "/none.js", "/login"):
        async with session.get(master.url + path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe-eval" not in policy
            assert "'unsafe-inline'" not in policy.split("style-src")[0]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Access-Control-Allow-Origin" not in answer.headers


# --- the time limits as they are ----------------------------------------------------------------------------------
@pytest.mark.long
async def test_the_time_limits_of_a_whole_master(master, token):
    port, tls_port = master.master.doors.port, master.master.doors.tls_port
    body = f"POST /api/v1/systems HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{{"
    cases = [
        (port, b""),
        (port, b"GET /health HTTP/1.1\r\nHost: 127"),
        (tls_port, b""),
        (tls_port, b"\x16\x03\x01"),
        (port, body.encode()),
    ]

    async with asyncio.TaskGroup() as group:
        for target, said in cases:
            group.create_task(talk(target, said), name="slow peer")
