"""Updates of workers as the master sees them: who may order one, what a node refuses, and what is on record (S14, S21)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.fakes.master import Api, ApiError, RunningMaster, run_master
from tests.fakes.packages import make_zip, service_json
from tests.fakes.worker import running_worker, worker_config

WITHIN_S = 20.0
ENDED = {"succeeded", "failed", "cancelled"}


@pytest.fixture
async def master(tmp_path: Path) -> AsyncIterator[RunningMaster]:
    async with run_master(tmp_path) as running:
        yield running


@pytest.fixture
async def api(master: RunningMaster) -> AsyncIterator[Api]:
    async with master.admin_client() as client:
        yield client


@contextlib.asynccontextmanager
async def worker(master: RunningMaster, folder: Path, *, self_update: bool) -> AsyncIterator[None]:
    config = worker_config(folder / "w1", master.url, await master.create_join_token())
    policy = msgspec.structs.replace(config.policy, self_update=self_update)
    async with running_worker(msgspec.structs.replace(config, policy=policy)):
        yield


async def offer(api: Api, folder: Path, version: str) -> None:
    manifest = service_json(name="ops-worker", version=version, entrypoint="worker")
    archive = folder / "update.zip"
    archive.write_bytes(make_zip({"worker": "#!/bin/sh\n"}, manifest))
    await api.upload(archive)


async def online(api: Api) -> str:
    async with asyncio.timeout(WITHIN_S):
        while True:
            nodes = (await api.get("/nodes"))["items"]
            if nodes and nodes[0]["status"] == "online":
                return str(nodes[0]["id"])
            await asyncio.sleep(0.05)


async def ended(api: Api, answer: dict[str, Any]) -> dict[str, Any]:
    async with asyncio.timeout(WITHIN_S):
        while True:
            operation = await api.get(f"/operations/{answer['operation']['id']}")
            if operation["state"] in ENDED:
                return operation
            await asyncio.sleep(0.05)


async def test_a_node_that_forbids_updates_refuses_and_the_master_has_it_on_record(master, api, tmp_path):
    async with worker(master, tmp_path, self_update=False):
        node_id = await online(api)
        await offer(api, tmp_path, "99.0")
        operation = await ended(api, await api.post(f"/nodes/{node_id}/update", {"version": "99.0"}))
        assert operation["state"] == "failed"
        assert operation["error"]["code"] == "policy_refused"
        assert "policy.self_update" in operation["error"]["message"]
        rows = (await api.get("/audit", params={"action": "worker.update"}))["items"]
        assert [row["outcome"] for row in rows] == ["denied", "begun"]


async def test_many_are_chosen_by_labels_or_ids_and_each_says_why_it_is_not_updated(master, api, tmp_path):
    async with worker(master, tmp_path, self_update=True):
        node_id = await online(api)
        await offer(api, tmp_path, "99.0")
        operation = await ended(api, await api.post("/worker-updates", {"version": "99.0", "node_ids": [node_id]}))
        assert operation["targets"][0]["reason"]["code"] == "not_allowed"
        assert "runs from source" in operation["targets"][0]["reason"]["message"]
        for body in ({}, {"node_ids": [node_id], "labels": {"zone": "a"}}, {"labels": {"zone": "nowhere"}}):
            with pytest.raises(ApiError) as refused:
                await api.post("/worker-updates", {"version": "99.0", **body})
            assert refused.value.status == 422


async def test_an_older_version_or_an_unknown_or_unreserved_package_begins_nothing(master, api, tmp_path):
    async with worker(master, tmp_path, self_update=True):
        node_id = await online(api)
        await offer(api, tmp_path, "0.0.1")
        expected = {
            409: {"version": "0.0.1"},
            404: {"version": "98.0"},
            422: {"version": "0.0.1", "package": "web"},
        }
        for status, body in expected.items():
            with pytest.raises(ApiError) as refused:
                await api.post(f"/nodes/{node_id}/update", body)
            assert refused.value.status == status
        assert (await api.get("/operations"))["items"] == []
