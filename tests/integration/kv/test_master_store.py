"""The embedded store behind a real master: its routes, who reaches what, and how streams end."""

import asyncio
import io
from collections.abc import AsyncIterator

import aiohttp
import pytest

from ops_system.kv.base import DeleteRequest, PutRequest, RangeRequest, TxnRequest, WatchRequest
from ops_system.kv.client import Client, Login
from ops_system.kv.errors import Denied, InvalidToken
from ops_system.master.auth.offline import create_token
from ops_system.master.web.route import Role
from ops_system.model.errors import Unavailable
from tests.fakes.master import Api, RunningMaster, run_master

SOON_S = 30.0


@pytest.fixture
async def master(tmp_path) -> AsyncIterator[RunningMaster]:
    async with run_master(tmp_path) as running:
        yield running


async def regional_token(master: RunningMaster, idc: str | None = "dc1") -> str:
    folder = master.master.ground.folder
    return await asyncio.to_thread(create_token, folder, f"region {idc}", Role.REGIONAL, idc=idc)


def client(master: RunningMaster, token: str) -> Client:
    return Client([master.url], Login(token=token))


async def test_an_administrators_token_does_all_and_a_regional_one_its_own(master):
    async with (
        client(master, await master.create_token()) as admin,
        client(master, await regional_token(master)) as dc1,
        client(master, await regional_token(master, None)) as nowhere,
    ):
        await admin.put(PutRequest(b"/os/dc2/machines/a/task", b"{}"))
        async with dc1.watch(WatchRequest(b"/os/dc1/", b"/os/dc10")) as watch:
            await dc1.put(PutRequest(b"/os/dc1/machines/a/task", b"{}"))
            await admin.put(PutRequest(b"/os/dc2/machines/b/task", b"{}"))
            await admin.put(PutRequest(b"/os/dc1/machines/b/task", b"{}"))
            async with asyncio.timeout(SOON_S):
                told = [(await watch.next()).events[0].kv.key for _ in range(2)]
        assert told == [b"/os/dc1/machines/a/task", b"/os/dc1/machines/b/task"]
        for refused in (
            dc1.range(RangeRequest(b"/os/dc2/machines/a/task")),
            dc1.range(RangeRequest(b"/os/dc1/", b"\0")),
            dc1.delete(DeleteRequest(b"/os/dc1/", b"/os/dc2")),
            dc1.txn(TxnRequest((), (), (PutRequest(b"/os/dc2/x"),))),
            nowhere.range(RangeRequest(b"/os/dc1/servers/a")),
        ):
            with pytest.raises(Denied):
                await refused
        with pytest.raises(Denied):
            async with dc1.watch(WatchRequest(b"/os/", b"/os0")):
                pass
    async with master.admin_client() as api:
        rows = (await api.get("/audit?outcome=denied"))["items"]
    assert [row["action"] for row in rows].count("store_kv/range") == 3
    assert [row["action"] for row in rows].count("store_watch") == 1


async def test_refusals_speak_as_etcd_does(master):
    async with aiohttp.ClientSession() as session:
        url = f"{master.url}/v3/kv/range"
        async with session.post(url, data=b'{"key":"YQ=="}') as answer:
            told = await answer.json()
            assert (answer.status, told["code"], told["error"]) == (401, 16, told["message"])
        headers = {"Authorization": f"Bearer {await master.create_token()}"}
        async with session.post(url, data=b'{"key":""}', headers=headers) as answer:
            assert answer.status == 400
            assert await answer.json() == {
                "error": "etcdserver: key is not provided",
                "message": "etcdserver: key is not provided",
                "code": 3,
            }
        async with session.post(url, data=io.BytesIO(bytes(3_000_000)), headers=headers) as answer:
            assert (answer.status, (await answer.json())["code"]) == (413, 3)
        form = headers | {"Content-Type": "application/x-www-form-urlencoded"}  # as curl -d says
        async with session.post(url, data=b'{"key":"YQ==","rangeEnd":"Yg=="}', headers=form) as answer:
            assert (answer.status, list(await answer.json())) == (200, ["header"])
        async with session.get(url, headers=headers) as answer:
            assert answer.status == 405


async def test_a_browser_session_and_an_operator_reach_no_key(master):
    async with client(master, await master.create_token("op", "operator")) as operator:
        with pytest.raises(Denied):
            await operator.range(RangeRequest(b"/os/dc1/servers/a"))
    async with client(master, "ops_none") as stranger:
        with pytest.raises(InvalidToken):
            await stranger.range(RangeRequest(b"/os/dc1/servers/a"))


async def test_a_stream_ends_with_its_token(master):
    token = await regional_token(master)
    async with client(master, token) as dc1, Api(master.url, await master.create_token()) as api:
        opened = dc1.watch(WatchRequest(b"/os/dc1/", b"/os/dc10"))
        watch = await opened.__aenter__()
        (token_id,) = [row["id"] for row in (await api.get("/tokens"))["items"] if row["idc"] == "dc1"]
        await api.delete(f"/tokens/{token_id}")
        with pytest.raises(Unavailable):
            async with asyncio.timeout(SOON_S):
                await watch.next()
        await opened.__aexit__(None, None, None)


async def test_keys_and_leases_outlive_the_master_and_it_stops_with_a_watch_open(tmp_path):
    async with run_master(tmp_path) as master:
        token = await master.create_token()
        async with client(master, token) as admin:
            lease = await admin.grant(30)
            revision = (await admin.put(PutRequest(b"/os/dc1/servers/a", b"1", lease=lease.id))).revision
            held = client(master, token)
            opened = held.watch(WatchRequest(b"/os/", b"/os0"))
            await opened.__aenter__()
    await opened.__aexit__(None, None, None)
    await held.close()
    async with run_master(tmp_path, is_set_up=False) as master, client(master, token) as admin:
        answer = await admin.range(RangeRequest(b"/os/dc1/servers/a"))
        assert (answer.revision, answer.kvs[0].lease) == (revision, lease.id)
        assert 0 < (await admin.time_to_live(lease.id)).ttl_s <= 30
        assert (await health_of(master))["parts"]["provision store"] == "ok"


async def health_of(master: RunningMaster):
    async with aiohttp.ClientSession() as session, session.get(f"{master.url}/health") as answer:
        return await answer.json()
