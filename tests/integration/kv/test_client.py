"""The client: other endpoints, answers that get lost, logins of etcd, roles that end at a prefix, a leader that dies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from ops_system.kv.base import PutRequest, RangeRequest, TxnRequest, WatchRequest
from ops_system.kv.client import Client, Login
from ops_system.kv.embedded import Embedded
from ops_system.kv.errors import Denied, InvalidToken
from ops_system.kv.follow import Changed, Listed, follow
from ops_system.kv.swap import change
from ops_system.model.errors import TimedOut, Unavailable
from ops_system.runtime.tasks import running
from tests.fakes.etcd import NEEDS_ETCD, run_etcd
from tests.fakes.kvserver import serve_store
from tests.fakes.ports import free_port

SOON_S = 20.0
SECRET = "correct horse battery"


@pytest.fixture
async def engine(tmp_path) -> AsyncIterator[Embedded]:
    store = await Embedded.open(tmp_path / "store.db")
    async with running(store.run(), "store"):
        yield store
    await store.close()


@contextlib.asynccontextmanager
async def mute(after: bytes = b"") -> AsyncIterator[str]:
    """Run a server that takes a request, says `after`, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(after)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_dead_endpoint_is_passed_over_also_by_writes(engine):
    dead = f"http://127.0.0.1:{free_port()}"
    async with serve_store(engine) as url, Client([dead, url]) as client:
        await client.put(PutRequest(b"a", b"1"))
        assert (await client.range(RangeRequest(b"a"))).kvs[0].value == b"1"
    async with Client([dead]) as client:
        with pytest.raises(Unavailable):
            await client.put(PutRequest(b"a", b"2"))


async def test_a_read_whose_answer_is_lost_is_asked_elsewhere_a_write_is_not(engine):
    async with serve_store(engine) as url, mute() as lossy:
        async with Client([lossy, url]) as client:
            await client.range(RangeRequest(b"a"))
        async with Client([lossy, url]) as client:
            with pytest.raises(TimedOut, match="not known"):
                await client.put(PutRequest(b"a", b"1"))
        async with Client([lossy, url]) as client:
            assert (await client.txn(TxnRequest((), (RangeRequest(b"a"),)))).succeeded
    assert (await engine.range(RangeRequest(b"a"))).kvs == ()


async def test_a_rule_that_may_be_asked_again_wins_although_an_answer_got_lost(engine):
    def finish(kv):
        return () if kv and kv.value == b"done" else (PutRequest(b"a", b"done"),)

    async with serve_store(engine) as url, mute() as lossy, Client([lossy, url]) as client:
        client._at = 1
        seen = await client.range(RangeRequest(b"a"))
        client._at = 0
        with pytest.raises(TimedOut):
            await client.txn(TxnRequest((), (PutRequest(b"b"),)))
        await change(client, b"a", finish, may_repeat=True)
    assert seen.kvs == ()
    assert (await engine.range(RangeRequest(b"a"))).kvs[0].value == b"done"


async def test_an_answer_that_is_no_stores_is_said(engine):
    async with mute(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") as strange, Client([strange]) as client:
        with pytest.raises(Unavailable, match="not an answer of a store"):
            await client.range(RangeRequest(b"a"))
        with pytest.raises(Unavailable):
            await client.watch(WatchRequest(b"a")).__aenter__()


class Breaking:
    """A store whose watches break once, in place of telling something, after `on_break` was run."""

    def __init__(self, engine: Embedded) -> None:
        self.engine = engine
        self.range = engine.range
        self.on_break = None

    @contextlib.asynccontextmanager
    async def watch(self, request: WatchRequest):
        async with self.engine.watch(request) as watch:
            self.inner = watch
            yield self

    async def next(self):
        changes = await self.inner.next()
        if self.on_break is not None:
            hook, self.on_break = self.on_break, None
            await hook()
            raise Unavailable("the stream broke")
        return changes


async def test_following_resumes_after_a_break_and_lists_again_after_a_compaction(engine):
    store = Breaking(engine)

    async def go_on() -> None:
        await engine.put(PutRequest(b"k/4"))
        await engine.compact(engine.revision)

    async def nothing() -> None:
        pass

    async with asyncio.timeout(SOON_S), contextlib.aclosing(follow(store, b"k/", pause_s=0.01)) as told:
        assert isinstance(await anext(told), Listed)
        await engine.put(PutRequest(b"k/1"))
        assert [event.kv.key for event in (await anext(told)).events] == [b"k/1"]
        store.on_break = nothing
        await engine.put(PutRequest(b"k/2"))
        changed = await anext(told)
        assert isinstance(changed, Changed)
        assert [event.kv.key for event in changed.events] == [b"k/2"]
        store.on_break = go_on
        await engine.put(PutRequest(b"k/3"))
        listed = await anext(told)
        assert isinstance(listed, Listed)
        assert [kv.key for kv in listed.kvs] == [b"k/1", b"k/2", b"k/3", b"k/4"]


async def post(url: str, path: str, **body: object) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v3/{path}", json=body) as answer:
        assert answer.status == 200, await answer.text()


async def set_up_roles(url: str) -> None:
    """Do what docs/store.md says for a cluster with one region."""
    await post(url, "auth/user/add", name="root", password=SECRET)
    await post(url, "auth/role/add", name="root")
    await post(url, "auth/user/grant", user="root", role="root")
    await post(url, "auth/user/add", name="dc1", password=SECRET)
    await post(url, "auth/role/add", name="dc1")
    perm = {"permType": "READWRITE", "key": "L29zL2RjMS8=", "range_end": "L29zL2RjMTA="}  # /os/dc1/ to /os/dc10
    await post(url, "auth/role/grant", name="dc1", perm=perm)
    await post(url, "auth/user/grant", user="dc1", role="dc1")
    await post(url, "auth/enable")


@NEEDS_ETCD
async def test_users_and_roles_of_etcd(tmp_path):
    async with run_etcd(tmp_path, options=("--auth-token-ttl", "1")) as members:
        url = members[0].url
        await set_up_roles(url)
        async with (
            Client([url], Login(user="root", password=SECRET)) as root,
            Client([url], Login(user="dc1", password=SECRET)) as dc1,
            Client([url], Login(user="dc1", password="wrong")) as wrong,
        ):
            await root.put(PutRequest(b"/os/dc2/a", b"1"))
            await dc1.put(PutRequest(b"/os/dc1/a", b"1"))
            for refused in (dc1.range(RangeRequest(b"/os/dc2/a")), dc1.range(RangeRequest(b"/os/dc1/", b"\0"))):
                with pytest.raises(Denied):
                    await refused
            with pytest.raises(InvalidToken):
                await wrong.range(RangeRequest(b"/os/dc1/a"))
            dc1._token = "gone.1"
            assert (await dc1.range(RangeRequest(b"/os/dc1/a"))).kvs[0].value == b"1"
            with pytest.raises(Denied):
                async with dc1.watch(WatchRequest(b"/os/dc2/a")):
                    pass


@NEEDS_ETCD
@pytest.mark.long
async def test_the_leader_of_three_dies_and_nothing_acknowledged_is_lost(tmp_path):
    async with run_etcd(tmp_path, 3) as members, Client([member.url for member in members], within_s=3.0) as client:
        done: set[bytes] = set()
        events: set[bytes] = set()

        async def write() -> None:
            for number in range(200):
                key = b"/os/dc1/%03d" % number
                try:
                    await change(
                        client, key, lambda kv, key=key: () if kv else (PutRequest(key, b"1"),), may_repeat=True
                    )
                except Unavailable:
                    continue
                done.add(key)
                if number == 60:
                    await asyncio.to_thread((await leader(members)).kill)

        async def look() -> None:
            async for told in follow(client, b"/os/dc1/", pause_s=0.05):
                kvs = told.kvs if isinstance(told, Listed) else [event.kv for event in told.events]
                events.update(kv.key for kv in kvs)

        async with asyncio.timeout(60), running(look(), "look"):
            await write()
            kept = {kv.key for kv in (await client.range(RangeRequest(b"/os/dc1/", b"/os/dc10"))).kvs}
            assert done <= kept
            assert len(done) > 150
            while not kept <= events:  # noqa: ASYNC110 - the follower has no event of its own
                await asyncio.sleep(0.05)


async def leader(members):
    for member in members:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{member.url}/v3/maintenance/status", json={}) as got,
        ):
            told = await got.json()
        if told["leader"] == told["header"]["member_id"]:
            return member
    raise AssertionError("no leader")
