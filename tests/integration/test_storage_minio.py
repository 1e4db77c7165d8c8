"""A master that keeps its packages on a real S3 server: upload, download, deploy, the server away, the move."""

import asyncio
import contextlib
import io
import random

import aiohttp
import pytest

from ops_system.master.app import open_master
from ops_system.master.artefacts import watch
from ops_system.master.config import SCHEMA
from ops_system.master.main import run as run_command
from ops_system.model.errors import NotAllowed, UsageError
from ops_system.runtime import config as settings
from tests.fakes.master import ApiError, run_master
from tests.fakes.packages import make_zip, service_json
from tests.fakes.s3 import BUCKET, KEY, SECRET, s3_server
from tests.fakes.worker import kill_marked, running_worker, worker_config

ZIP = {"Content-Type": "application/zip"}
SLEEPER = b"#!/bin/sh\nexec sleep 600\n"
LARGE = random.Random(7).randbytes(12 << 20)


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch):
    monkeypatch.setattr(watch, "WELL_S", 0.2)
    monkeypatch.setattr(watch, "ILL_S", 0.2)


@pytest.fixture
async def server(tmp_path):
    async with s3_server(tmp_path / "s3") as running:
        yield running


def on(server):
    """The settings of a master that uses this server."""
    return {
        "storage__type": "minio",
        "storage__minio__endpoint": server.endpoint,
        "storage__minio__ak": KEY,
        "storage__minio__sk": SECRET,
        "storage__minio__bucket": BUCKET,
    }


def package(name="app", version="1.0.0", extra=b""):
    return make_zip({"run.sh": SLEEPER, "data": extra}, service_json(name=name, version=version))


async def upload(api, data):
    return await api.ask("POST", "/packages", data=io.BytesIO(data), headers=ZIP)


async def fetch(api, path, **options):
    async with api.session.get(f"{api._url}/api/v1{path}", **options) as answer:
        return answer.status, answer.headers, await answer.read()


async def until(ask, is_true, timeout_s=40):
    async with asyncio.timeout(timeout_s):
        while not is_true(answer := await ask()):  # noqa: ASYNC110 - another process's answer sets no event here
            await asyncio.sleep(0.05)
        return answer


async def until_health(api, status):
    async def ask():
        async with api.session.get(f"{api._url}/health") as answer:
            return await answer.json()

    return (await until(ask, lambda health: health["status"] == status))["parts"]["storage"]


async def test_packages_come_from_the_bucket_whole_and_in_parts(tmp_path, server):
    data = package(extra=LARGE)
    async with run_master(tmp_path, **on(server)) as master, master.admin_client() as api:
        stored = await upload(api, data)
        assert [path.name for path in server.folder.rglob("*") if path.is_file()] == [stored["sha256"]]
        kept = [path for path in (tmp_path / "data/uploads").rglob("*") if path.is_file()]
        assert kept == []  # nothing stays behind on this machine
        path = "/packages/app/1.0.0/download"
        status, headers, body = await fetch(api, path)
        assert (status, body == data, headers["Content-Length"]) == (200, True, str(len(data)))
        for asked, span in (
            ("bytes=5-9", slice(5, 10)),
            ("bytes=1000-", slice(1000, None)),
            ("bytes=-7", slice(-7, None)),
        ):
            status, headers, body = await fetch(api, path, headers={"Range": asked})
            assert (status, body == data[span]) == (206, True), asked
        assert headers["Content-Range"] == f"bytes {len(data) - 7}-{len(data) - 1}/{len(data)}"
        status, headers, _ = await fetch(api, path, headers={"Range": f"bytes={len(data)}-"})
        assert (status, headers["Content-Range"]) == (416, f"bytes */{len(data)}")
        status, headers, _ = await fetch(api, f"{path}?direct=1", allow_redirects=False)
        assert (status, SECRET in headers["Location"]) == (307, False)
        async with aiohttp.ClientSession() as stranger, stranger.get(headers["Location"]) as answer:
            assert await answer.read() == data
        await api.delete("/packages/app/1.0.0")
        assert not any(path.is_file() for path in server.folder.rglob("*"))


async def test_a_server_that_is_away_is_said_and_nothing_is_lost(tmp_path, server):
    async with run_master(tmp_path, **on(server)) as master, master.admin_client() as api:
        await upload(api, package())
        await server.stop()
        with pytest.raises(ApiError) as told:
            await upload(api, package("web"))
        assert (told.value.status, told.value.body["code"]) == (503, "unavailable")
        assert server.endpoint in told.value.body["message"]
        assert SECRET not in str(told.value.body)
        assert server.endpoint in await until_health(api, "degraded")
        assert (await api.get("/packages"))["total"] == 1
        await server.start()
        assert await until_health(api, "ok") == "ok"
        await upload(api, package("web"))
        assert (await fetch(api, "/packages/app/1.0.0/download"))[2] == package()


async def test_a_master_starts_while_its_server_is_away(tmp_path, server):
    await server.stop()
    async with run_master(tmp_path, **on(server)) as master, master.admin_client() as api:
        await until_health(api, "degraded")
        await server.start()
        await until_health(api, "ok")
        await upload(api, package())


async def test_a_deploy_goes_on_when_the_server_is_back(tmp_path, server, caplog):
    async with contextlib.AsyncExitStack() as stack:
        master = await stack.enter_async_context(run_master(tmp_path, **on(server)))
        api = await stack.enter_async_context(master.admin_client())
        config = worker_config(tmp_path / "w1", master.url, await master.create_join_token())
        await stack.enter_async_context(running_worker(config))
        nodes = await until(lambda: api.get("/nodes?status=online"), lambda page: page["items"])
        await upload(api, package(extra=LARGE))
        system = await api.post("/systems", {"name": "shop"})
        module = await api.post(
            f"/systems/{system['id']}/modules", {"name": "app", "package": "app", "version": "1.0.0"}
        )
        await server.stop()
        made = await api.post("/instances", {"module_id": module["id"], "node_id": nodes["items"][0]["id"]})
        instance_id = made["instance"]["id"]
        stack.callback(kill_marked, instance_id)
        await until(lambda: asyncio.sleep(0, caplog.text), lambda said: "broke off" in said)
        await server.start()
        await until(lambda: api.get(f"/instances/{instance_id}"), lambda one: one["state"] == "running")


async def test_everything_is_copied_and_found_in_either_store(tmp_path, server, capsys):
    others = {key: text for key, text in on(server).items() if key != "storage__type"}
    names = [f"app{number}" for number in range(3)]
    async with run_master(tmp_path, **others) as master, master.admin_client() as api:
        for name in names:
            await upload(api, package(name))
        words = ["-data_dir", str(tmp_path / "data"), *server.flags()[2:]]
        assert await asyncio.to_thread(run_command, ["storage", "migrate", "--to", "minio", *words]) == 0
        assert "now set storage.type: minio" in capsys.readouterr().out
        await upload(api, package("late"))  # between the copy and the restart
        with pytest.raises(NotAllowed, match="nothing is removed from the store in use"):
            await asyncio.to_thread(run_command, ["storage", "migrate", "--to", "minio", "--remove", "1", *words])
    words += ["-store_type", "minio"]
    async with run_master(tmp_path, is_set_up=False, **on(server)) as master, master.admin_client() as api:
        for name in (*names, "late"):
            assert (await fetch(api, f"/packages/{name}/1.0.0/download"))[2] == package(name)
        command = ["storage", "migrate", "--to", "minio", "--remove", "1", *words]
        assert await asyncio.to_thread(run_command, command) == 0
        assert "1 were copied now" in (said := capsys.readouterr().out)
        assert "4 packages were removed" in said
        assert not any(path.is_file() for path in (tmp_path / "data/uploads/sha256").rglob("*"))
        assert (await fetch(api, "/packages/late/1.0.0/download"))[2] == package("late")


@pytest.mark.parametrize(("missing", "words"), [("ak", "storage.minio.ak"), ("endpoint", "storage.minio.endpoint")])
async def test_a_missing_setting_is_a_usage_error(tmp_path, missing, words):
    texts = {"storage.type": "minio", "server.data_dir": str(tmp_path / "data")}
    for key, text in (("endpoint", "127.0.0.1:1"), ("ak", "x"), ("sk", "y")):
        texts |= {} if key == missing else {f"storage.minio.{key}": text}
    with pytest.raises(UsageError, match=words):
        async with open_master(settings.build(SCHEMA, texts)):
            pass
    assert not (tmp_path / "data").exists()
