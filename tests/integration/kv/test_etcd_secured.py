"""A cluster as an operator secures it: TLS by an authority of its own, users, roles that end at a data centre's keys."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from ops_system.kv.base import Compare, CompareTarget, DeleteRequest, PutRequest, RangeRequest, TxnRequest, WatchRequest
from ops_system.kv.client import Client, Login, tls_context
from ops_system.kv.errors import Denied, InvalidToken
from ops_system.kv.follow import Changed, Listed, follow
from ops_system.kv.ranges import prefix_end
from ops_system.kv.swap import change
from ops_system.model.errors import Unavailable
from ops_system.runtime.tasks import running
from tests.fakes.certificates import Authority
from tests.fakes.etcd import NEEDS_ETCD, Member, run_etcd
from tests.fakes.ports import free_port

pytestmark = NEEDS_ETCD

SOON_S = 30.0
SECRET = "correct horse battery"
REGIONS = ("dc1", "dc2")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), datetime.now(UTC))


@pytest.fixture
def tls(authority: Authority) -> ssl.SSLContext:
    return tls_context(str(authority.ca_file))


def served_by(authority: Authority) -> tuple[str, ...]:
    cert_file, key_file = authority.issue("server")
    return ("--cert-file", str(cert_file), "--key-file", str(key_file))


@pytest.fixture
async def cluster(tmp_path: Path, authority: Authority, tls: ssl.SSLContext) -> AsyncIterator[list[Member]]:
    """Three members with users and roles, as docs/store.md says."""
    async with run_etcd(tmp_path, 3, served_by(authority), tls) as members:
        await set_up_roles(members[0].url, tls)
        yield members


async def set_up_roles(url: str, tls: ssl.SSLContext) -> None:
    """Do what docs/store.md says for each data centre."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:

        async def post(path: str, **body: object) -> None:
            async with session.post(f"{url}/v3/auth/{path}", json=body) as answer:
                assert answer.status == 200, await answer.text()

        await post("user/add", name="root", password=SECRET)
        await post("role/add", name="root")
        await post("user/grant", user="root", role="root")
        for idc in REGIONS:
            await post("role/add", name=idc)
            for prefix in (f"/os/{idc}/", f"/os/region/{idc}/", f"/os/unmatched_reports/{idc}/"):
                await post("role/grant", name=idc, perm=permission("READWRITE", prefix))
            await post("role/grant", name=idc, perm={"permType": "READ", "key": text(f"/os/global/stats/{idc}")})
            await post("user/add", name=idc, password=SECRET)
            await post("user/grant", user=idc, role=idc)
        await post("enable")


def permission(kind: str, prefix: str) -> dict[str, str]:
    end = base64.b64encode(prefix_end(prefix.encode())).decode()
    return {"permType": kind, "key": text(prefix), "range_end": end}


def text(key: str) -> str:
    return base64.b64encode(key.encode()).decode()


def user(name: str, password: str = SECRET) -> Login:
    return Login(user=name, password=password)


async def refusals(client: Client, *calls: object) -> None:
    for call in calls:
        with pytest.raises(Denied):
            await call


async def test_roles_see_their_data_centre_alone_and_the_next_member_is_asked(cluster, tls):
    urls = [member.url for member in cluster]
    async with (
        Client(urls, user("root"), tls) as root,
        Client([f"https://127.0.0.1:{free_port()}", *urls], user("dc1"), tls, within_s=5.0) as dc1,
        Client(urls, user("dc2"), tls) as dc2,
        asyncio.timeout(SOON_S),
    ):
        await look_at_the_roles(root, dc1, dc2)
        await look_at_a_wrong_password(urls, tls)
        await look_at_a_lost_token(dc1)
        await look_at_a_dead_member(cluster, dc1)


async def look_at_the_roles(root: Client, dc1: Client, dc2: Client) -> None:
    await root.put(PutRequest(b"/os/global/stats/dc1", b"{}"))
    await dc1.put(PutRequest(b"/os/dc1/servers/a", b"1"))
    await dc2.put(PutRequest(b"/os/dc2/servers/a", b"2"))
    assert (await dc1.range(RangeRequest(b"/os/global/stats/dc1"))).kvs[0].value == b"{}"
    all_of_dc2 = (b"/os/dc2/", prefix_end(b"/os/dc2/"))
    foreign = Compare(b"/os/dc2/servers/a", CompareTarget.VERSION, version=1)
    await refusals(
        dc1,
        dc1.range(RangeRequest(b"/os/dc2/servers/a")),
        dc1.range(RangeRequest(b"/os/", prefix_end(b"/os/"))),
        dc1.range(RangeRequest(b"/os/dc10/a")),
        dc1.put(PutRequest(b"/os/region/dc2/active", b"mine")),
        dc1.put(PutRequest(b"/os/global/stats/dc1", b"mine")),
        dc1.delete(DeleteRequest(*all_of_dc2)),
        dc1.txn(TxnRequest((foreign,), (PutRequest(b"/os/dc1/servers/a", b"3"),))),
        dc1.txn(TxnRequest((), (), (RangeRequest(*all_of_dc2),))),
    )
    with pytest.raises(Denied):
        async with dc1.watch(WatchRequest(*all_of_dc2)):
            pass
    assert (await root.range(RangeRequest(*all_of_dc2))).kvs[0].value == b"2"


async def look_at_a_wrong_password(urls: list[str], tls: ssl.SSLContext) -> None:
    async with Client(urls, user("dc1", "guessed"), tls) as wrong:
        for call in (wrong.range(RangeRequest(b"/os/dc1/a")), wrong.put(PutRequest(b"/os/dc1/a"))):
            with pytest.raises(InvalidToken, match=r"does not let dc1 in: .*invalid user ID or password; look at user"):
                await call
        with pytest.raises(InvalidToken, match="look at user and password"):
            async with wrong.watch(WatchRequest(b"/os/dc1/a")):
                pass


async def look_at_a_lost_token(dc1: Client) -> None:
    """Members that were started again have forgotten every token; so has one whose time is over."""
    dc1._token = "forgotten.1"
    assert (await dc1.range(RangeRequest(b"/os/dc1/servers/a"))).kvs[0].value == b"1"
    dc1._token = "forgotten.2"
    async with dc1.watch(WatchRequest(b"/os/dc1/servers/a")):
        assert dc1._token != "forgotten.2"


async def look_at_a_dead_member(cluster: list[Member], dc1: Client) -> None:
    told: asyncio.Queue[bytes] = asyncio.Queue()

    async def look() -> None:
        async for each in follow(dc1, b"/os/dc1/", pause_s=0.05):
            match each:
                case Listed():
                    told.put_nowait(b"listed")
                case Changed():
                    for event in each.events:
                        told.put_nowait(event.kv.key)

    async with running(look(), "look"):
        assert await told.get() == b"listed"
        serving = next(member for member in cluster if member.url == dc1._endpoint)
        await asyncio.to_thread(serving.kill)
        for number in range(3):
            key = b"/os/dc1/servers/%d" % number
            await write(dc1, key)
            assert await told.get() == key
    assert dc1._endpoint != serving.url


async def write(client: Client, key: bytes) -> None:
    """Write as every role does: asked again while the cluster chooses a leader."""
    while True:
        try:
            await change(client, key, lambda kv: () if kv else (PutRequest(key, b"1"),), may_repeat=True)
        except Unavailable:
            continue
        return


async def test_certificates_that_are_not_to_be_trusted_are_named(tmp_path, authority, tls):
    stranger = Authority(tmp_path / "stranger", datetime.now(UTC))
    demanding = (*served_by(authority), "--client-cert-auth", "--trusted-ca-file", str(authority.ca_file))
    shown = tls_context(str(authority.ca_file), *map(str, authority.issue("client")))
    forged = tls_context(str(authority.ca_file), *map(str, stranger.issue("client")))
    async with run_etcd(tmp_path, 1, demanding, shown) as (member,), asyncio.timeout(SOON_S):
        async with Client([member.url], tls=shown) as client:
            await client.put(PutRequest(b"/os/dc1/a", b"1"))
        for context in (tls, forged):
            async with Client([member.url], tls=context) as client:
                for call in (client.put(PutRequest(b"/os/dc1/a", b"2")), client.range(RangeRequest(b"/os/dc1/a"))):
                    with pytest.raises(Unavailable, match=r"without a certificate of its authority.*nothing was chang"):
                        await call
        async with Client([member.url], tls=tls_context(str(stranger.ca_file))) as client:
            with pytest.raises(Unavailable, match=r"not to be trusted.*look at the CA file.*nothing was changed"):
                await client.put(PutRequest(b"/os/dc1/a", b"3"))
        async with Client([member.url.replace("https", "http")], within_s=5.0) as client:
            with pytest.raises(Unavailable, match=member.url.replace("https", "http")):
                await client.range(RangeRequest(b"/os/dc1/a"))
        async with Client([member.url], tls=shown) as client:
            assert (await client.range(RangeRequest(b"/os/dc1/a"))).kvs[0].value == b"1"


def test_a_certificate_file_that_cannot_be_used_is_named(tmp_path, authority):
    (tmp_path / "empty.pem").write_text("")
    for ca_file in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        with pytest.raises(OSError, match=f"{ca_file.name}: .*authority's certificate in PEM"):
            tls_context(str(ca_file))
    cert_file, _ = authority.issue("one")
    _, other_key = authority.issue("two")
    with pytest.raises(OSError, match=r"one\.pem and .*two\.key: .*a certificate and its key"):
        tls_context(str(authority.ca_file), str(cert_file), str(other_key))
