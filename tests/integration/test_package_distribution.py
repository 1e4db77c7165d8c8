"""Packages on their way to real workers: bytes told to the rollout, straight from S3, and S3 dying in the middle."""

import asyncio
import contextlib
import hashlib
import io
import random

import pytest

from ops_system.master.artefacts import watch
from tests.fakes.master import ApiError, run_master
from tests.fakes.packages import make_zip, service_json
from tests.fakes.s3 import BUCKET, KEY, SECRET, s3_server
from tests.fakes.worker import kill_marked, running_worker, worker_config

ZIP = {"Content-Type": "application/zip"}
PART = {"Content-Type": "application/octet-stream"}
RUN = b"#!/bin/sh\nexec sleep 600\n"
LARGE = random.Random(11).randbytes(3_000_000)
STRATEGY = {"canary": 0, "max_parallel": 2, "bake_s": 0.2}


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch):
    monkeypatch.setattr(watch, "WELL_S", 0.2)
    monkeypatch.setattr(watch, "ILL_S", 0.2)


def package(version, extra=b""):
    return make_zip({"run.sh": RUN, "data": extra}, service_json(name="app", version=version))


async def upload(api, data):
    return await api.ask("POST", "/packages", data=io.BytesIO(data), headers=ZIP)


async def until(ask, is_true, timeout_s=60.0):
    async with asyncio.timeout(timeout_s):
        while not is_true(answer := await ask()):  # noqa: ASYNC110 - another process's answer sets no event here
            await asyncio.sleep(0.05)
        return answer


def on(server, **more):
    return {
        "storage__type": "minio",
        "storage__minio__endpoint": server.endpoint,
        "storage__minio__ak": KEY,
        "storage__minio__sk": SECRET,
        "storage__minio__bucket": BUCKET,
        **more,
    }


@contextlib.asynccontextmanager
async def worker_of(master, api, folder, **texts):
    config = worker_config(folder, master.url, await master.create_join_token(), **texts)
    async with running_worker(config):
        page = await until(lambda: api.get("/nodes?status=online"), lambda page: page["total"] == 1)
        yield page["items"][0]["id"]


async def define(api, version):
    system = await api.post("/systems", {"name": "shop"})
    body = {"name": "web", "package": "app", "version": version}
    return await api.post(f"/systems/{system['id']}/modules", body)


async def deploy(api, stack, module_id, node_id):
    made = await api.post("/instances", {"module_id": module_id, "node_id": node_id})
    stack.callback(kill_marked, made["instance"]["id"])
    return made["operation"]["id"]


async def ended(api, operation_id):
    return await until(lambda: api.get(f"/operations/{operation_id}"), lambda one: one["ended_at"] is not None)


async def test_a_rollout_tells_how_many_bytes_have_arrived(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        master = await stack.enter_async_context(run_master(tmp_path))
        api = await stack.enter_async_context(master.admin_client())
        limited = worker_of(master, api, tmp_path / "n1", packages__bandwidth="2MB")
        node_id = await stack.enter_async_context(limited)
        await upload(api, package("1.0.0"))
        stored = await upload(api, package("2.0.0", LARGE))
        module = await define(api, "1.0.0")
        await ended(api, await deploy(api, stack, module["id"], node_id))
        begun = await api.post(f"/modules/{module['id']}/rollout", {"version": "2.0.0", "strategy": STRATEGY})
        operation_id = begun["operation"]["id"]

        def is_half_way(one):
            target = one["targets"][0]
            return target["step"] == "fetch" and 0 < target["bytes_done"] < target["bytes_total"]

        seen = await until(lambda: api.get(f"/operations/{operation_id}"), is_half_way)
        assert seen["targets"][0]["bytes_total"] == stored["size_bytes"]
        assert (await ended(api, operation_id))["state"] == "succeeded"

        usage = await api.get("/packages/app/2.0.0/usage")
        assert {user["kind"] for user in usage["users"]} == {"module", "instance", "rollout"}
        assert usage["nodes"] == 1
        before = await api.get("/packages/app/1.0.0/usage")
        assert [user["kind"] for user in before["users"]] == ["rollout"]
        diff = await api.get("/packages/app/2.0.0/diff?against=1.0.0")
        assert {one["path"] for one in diff["files"]} == {"data", "service.json"}
        await api.ask("PUT", "/package-retention", {"keep_versions": 1, "keep_days": None, "is_daily": False})
        with pytest.raises(ApiError, match="not_allowed"):  # nothing is a day old yet
            await api.post("/package-retention/run")


async def test_workers_fetch_straight_from_the_bucket(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(s3_server(tmp_path / "s3"))
        master = await stack.enter_async_context(run_master(tmp_path, **on(server, storage__downloads="direct")))
        api = await stack.enter_async_context(master.admin_client())
        await upload(api, package("1.0.0", LARGE))
        async with api.session.get(f"{api._url}/api/v1/packages/app/1.0.0/download", allow_redirects=False) as answer:
            assert (answer.status, server.endpoint in answer.headers["Location"]) == (307, True)
        path = "/packages/app/1.0.0/download?direct=0"
        async with api.session.get(f"{api._url}/api/v1{path}", allow_redirects=False) as answer:
            assert answer.status == 200
        node_id = await stack.enter_async_context(worker_of(master, api, tmp_path / "n1"))
        module = await define(api, "1.0.0")
        operation = await ended(api, await deploy(api, stack, module["id"], node_id))
        assert operation["state"] == "succeeded"


async def test_s3_killed_in_the_middle_of_an_upload_and_a_deploy(tmp_path):
    data = package("1.0.0", LARGE)
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(s3_server(tmp_path / "s3"))
        master = await stack.enter_async_context(run_master(tmp_path, **on(server)))
        api = await stack.enter_async_context(master.admin_client())
        announced = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        path = f"/uploads/{(await api.post('/uploads', announced))['id']}"
        await api.ask("PUT", f"{path}?offset=0", data=io.BytesIO(data), headers=PART)
        await server.stop()
        with pytest.raises(ApiError, match="unavailable"):
            await api.post(f"{path}/complete", {})
        assert (await api.get(path))["received_bytes"] == len(data)
        assert (await api.get("/packages"))["total"] == 0
        await server.start()
        await api.post(f"{path}/complete", {})

        limited = worker_of(master, api, tmp_path / "n1", packages__bandwidth="2MB")
        node_id = await stack.enter_async_context(limited)
        module = await define(api, "1.0.0")
        operation_id = await deploy(api, stack, module["id"], node_id)
        await until(
            lambda: api.get(f"/operations/{operation_id}"),
            lambda one: 0 < one["targets"][0]["bytes_done"] < one["targets"][0]["bytes_total"],
        )
        await server.stop()
        await server.start()
        assert (await ended(api, operation_id))["state"] == "succeeded"
