import asyncio
import contextlib
import gzip
import ssl
from datetime import UTC, datetime

import pytest
from aiohttp import web

from ops_system.master.outbound.client import MAX_ANSWER_BYTES, MAX_REDIRECTS, Outbound
from ops_system.master.outbound.rules import Listener
from ops_system.model.errors import Forbidden, Invalid, OpsError, TimedOut, Unavailable, UsageError
from tests.fakes.certificates import write_certificate
from tests.fakes.receiver import Names, receiver

HERE = ["127.0.0.1"]


@pytest.fixture
async def site():
    async with receiver() as made:
        yield made


async def post(outbound, url, body=b"{}"):
    return await outbound.post(url, body, {"Content-Type": "application/json"})


def redirect_to(location, status=307):
    async def say(request):
        return web.Response(status=status, headers={"Location": location})

    return say


async def test_what_is_sent_arrives_and_the_answer_comes_back(site):
    answer = await post(Outbound(allow=HERE), site.url("/hook?x=1"), b'{"a":1}')
    assert (answer.status, answer.body) == (200, b"ok")
    (got,) = site.got
    assert (got.path, got.body) == ("/hook?x=1", b'{"a":1}')
    assert "Cookie" not in got.headers


async def test_loopback_is_refused_unless_allowed(site):
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(Forbidden) as caught:
            await post(Outbound(), site.url("/secret-path", host))
        assert caught.value.details["reason"] == "outbound_refused"
        assert "secret-path" not in str(caught.value)
    with pytest.raises(OpsError):
        await post(Outbound(), f"http://2130706433:{site.port}/")
    assert site.got == []


async def test_own_listeners_are_refused_although_their_address_is_allowed(site):
    own = Listener(frozenset({"127.0.0.1"}), frozenset({site.port}))
    with pytest.raises(Forbidden, match="the master itself"):
        await post(Outbound(allow=HERE, own=lambda: own), site.url())
    assert (await post(Outbound(allow=[f"127.0.0.1:{site.port}"], own=lambda: own), site.url())).status == 200


async def test_a_name_that_answers_differently_the_second_time_opens_nothing(site):
    names = Names("127.0.0.2", "127.0.0.1")
    outbound = Outbound(allow=["127.0.0.2"], make_resolver=lambda: names)
    site.say = redirect_to("/again")
    async with receiver("127.0.0.2") as first:
        first.say = redirect_to(f"http://rebind.example:{site.port}/")
        with pytest.raises(Forbidden) as caught:
            await post(outbound, first.url(host="rebind.example"))
    assert caught.value.details["reason"] == "outbound_refused"
    assert (names.asked, len(first.got), site.got) == (2, 1, [])


async def test_only_the_allowed_addresses_of_a_name_are_dialled():
    async with receiver("127.0.0.2") as site:
        outbound = Outbound(allow=["127.0.0.2"], make_resolver=lambda: Names("127.0.0.1 169.254.169.254 127.0.0.2"))
        assert (await post(outbound, site.url(host="many.example"))).status == 200


async def test_an_allowed_host_name_is_matched_by_name(site):
    def names():
        return Names("127.0.0.1")

    assert (await post(Outbound(allow=["hooks.lan"], make_resolver=names), site.url(host="hooks.lan"))).status == 200
    with pytest.raises(Forbidden):
        await post(Outbound(allow=["hooks.lan"], make_resolver=names), site.url(host="other.lan"))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_on_the_same_host_keeps_method_and_body(site, status):
    async def say(request):
        return web.Response(text="there") if request.path == "/b" else await redirect_to("/b", status)(request)

    site.say = say
    answer = await post(Outbound(allow=HERE), site.url("/a"), b"kept")
    assert (answer.body, [got.body for got in site.got]) == (b"there", [b"kept", b"kept"])


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.2:1/", "http://localhost/", "ftp://127.0.0.1/", "//other.example/", "http://u:p@127.0.0.1/"],
)
async def test_a_redirect_elsewhere_is_refused(site, location):
    site.say = redirect_to(location)
    with pytest.raises(Forbidden) as caught:
        await post(Outbound(allow=["127.0.0.0/8", "localhost"]), site.url())
    assert caught.value.details["reason"] == "redirect_refused"
    assert len(site.got) == 1


async def test_redirects_without_end_are_given_up(site):
    site.say = redirect_to("/again")
    with pytest.raises(Forbidden, match="more than"):
        await post(Outbound(allow=HERE), site.url())
    assert len(site.got) == 1 + MAX_REDIRECTS


async def test_a_server_that_never_answers_is_given_up():
    ended = asyncio.Event()

    async def hang(reader, writer):
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TimedOut) as caught:
            await post(Outbound(allow=HERE, within_s=0.3), f"http://127.0.0.1:{port}/")
        async with asyncio.timeout(30):
            await ended.wait()
    assert caught.value.details["reason"] == "outbound_timeout"


async def test_a_body_without_end_is_read_to_64_kib(site):
    async def flood(request):
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"x" * 65536)
        return response

    site.say = flood
    answer = await post(Outbound(allow=HERE), site.url())
    assert answer.body == b"x" * MAX_ANSWER_BYTES


async def test_a_packed_answer_stays_packed(site):
    packed = gzip.compress(bytes(20_000_000))

    async def bomb(request):
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    site.say = bomb
    answer = await post(Outbound(allow=HERE), site.url())
    assert answer.body == packed[:MAX_ANSWER_BYTES]


async def test_proxies_of_the_environment_are_not_used(site, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await post(Outbound(allow=HERE), site.url())).status == 200


async def test_nobody_there_is_said():
    async with receiver() as gone:
        pass
    with pytest.raises(Unavailable) as caught:
        await post(Outbound(allow=HERE), gone.url("/token-81"))
    assert caught.value.details["reason"] == "unreachable"
    assert "token-81" not in str(caught.value)


async def test_a_bad_url_is_invalid():
    with pytest.raises(Invalid):
        await post(Outbound(), "gopher://x/")


async def test_certificates_are_checked_and_authorities_can_be_added(tmp_path):
    write_certificate(tmp_path, datetime.now(UTC))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "own.pem", tmp_path / "own.key")

    def names():
        return Names("127.0.0.1")

    async with receiver(tls=tls) as site:
        url = f"https://ops.example:{site.port}/"
        with pytest.raises(Unavailable) as caught:
            await post(Outbound(allow=HERE, make_resolver=names), url)
        assert caught.value.details["reason"] == "tls_failed"
        trusting = Outbound(allow=HERE, ca_file=str(tmp_path / "own.pem"), make_resolver=names)
        assert (await post(trusting, url)).status == 200
        with pytest.raises(Unavailable):
            await post(trusting, f"https://another.example:{site.port}/")
    with pytest.raises(UsageError, match=r"outbound\.ca_file"):
        Outbound(ca_file=str(tmp_path / "own.key"))


async def test_a_dialled_host_is_judged_alike(site):
    with pytest.raises(Forbidden):
        await Outbound().dial("localhost", site.port)
    with pytest.raises(Unavailable):
        await Outbound(make_resolver=no_names).dial("nowhere.example", 25)
    made = await Outbound(allow=["127.0.0.2", "127.0.0.1"]).dial("127.0.0.1", site.port)
    assert made.getpeername() == ("127.0.0.1", site.port)
    made.close()


def no_names():
    class Nobody(Names):
        async def resolve(self, host, port=0, family=0):
            raise OSError("no such name")

    return Nobody()
