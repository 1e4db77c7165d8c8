"""The orchestration over HTTP, with real workers in this process."""

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.evil_archives import EVIL, good_zip
from tests.fakes.master import Api, ApiError, RunningMaster, run_master
from tests.fakes.packages import make_zip, service_json
from tests.fakes.worker import running_worker, worker_config

ZIP = {"Content-Type": "application/zip"}
SLEEPER = b"#!/bin/sh\necho hello from $OPS_INSTANCE\nexec sleep 600\n"
QUITTER = b"#!/bin/sh\necho out of paper >&2\nexit 7\n"


@pytest.fixture
async def master(tmp_path: Path) -> AsyncIterator[RunningMaster]:
    async with run_master(tmp_path) as running:
        yield running


@pytest.fixture
async def api(master: RunningMaster) -> AsyncIterator[Api]:
    async with master.admin_client() as client:
        yield client


@contextlib.asynccontextmanager
async def workers(master: RunningMaster, api: Api, folder: Path, *names: str) -> AsyncIterator[list[str]]:
    """Join workers of these names; give their node ids."""
    async with contextlib.AsyncExitStack() as stack:
        for name in names:
            token = await master.create_join_token()
            config = worker_config(folder / name, master.url, token, connect__name=name)
            await stack.enter_async_context(running_worker(config))
        page = await until(lambda: api.get("/nodes?status=online&sort=name"), lambda page: page["total"] == len(names))
        yield [node["id"] for node in page["items"]]


async def until(ask, is_true, timeout_s: float = 30.0):
    async with asyncio.timeout(timeout_s):
        while not is_true(answer := await ask()):  # noqa: ASYNC110 - another process's answer sets no event here
            await asyncio.sleep(0.05)
        return answer


async def ended(api: Api, operation: dict) -> dict:
    return await until(lambda: api.get(f"/operations/{operation['id']}"), lambda one: one["ended_at"] is not None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def upload(api: Api, data: bytes) -> dict:
    return await api.ask("POST", "/packages", data=data, headers=ZIP)


async def define(api: Api, *names: str, script: bytes = SLEEPER, **manifest: object) -> tuple[str, list[str]]:
    """Upload one package and plan modules of it in one system."""
    await upload(api, make_zip({"run.sh": script}, service_json(name="app", **manifest)))
    system = await api.post("/systems", {"name": "shop"})
    made = [
        await api.post(
            f"/systems/{system['id']}/modules",
            {"name": name, "package": "app", "version": "1.0.0", "start_order": order},
        )
        for order, name in enumerate(names)
    ]
    return system["id"], [module["id"] for module in made]


async def refused(call, status: int, code: str) -> dict:
    with pytest.raises(ApiError) as caught:
        await call
    assert (caught.value.status, caught.value.body["code"]) == (status, code)
    return caught.value.body


async def test_uploads_answer_as_the_contract_says(api: Api) -> None:
    data = good_zip(name="web", version="1.4.0")
    async with api.session.post(f"{api._url}/api/v1/packages", data=data, headers=ZIP) as answer:
        made = await answer.json()
        assert answer.status == 201
    assert (made["name"], made["version"], made["size_bytes"]) == ("web", "1.4.0", len(data))
    assert made["manifest"]["entrypoint"] == "run.sh"
    async with api.session.post(f"{api._url}/api/v1/packages", data=data, headers=ZIP) as answer:
        assert answer.status == 200
    await refused(upload(api, good_zip(name="web", version="1.4.0", description="other")), 409, "conflict")
    body = await refused(upload(api, EVIL["up"]()), 422, "invalid")
    assert body["details"]["problems"]
    plain = api.ask("POST", "/packages", data=data, headers={"Content-Type": "text/plain"})
    await refused(plain, 415, "unsupported_media")
    assert (await api.get("/packages"))["total"] == 1

    url = f"{api._url}/api/v1/packages/web/1.4.0/download"
    async with api.session.get(url) as whole:
        assert await whole.read() == data
    async with api.session.get(url, headers={"Range": "bytes=100-"}) as rest:
        assert rest.status == 206
        assert await rest.read() == data[100:]
    await api.delete("/packages/web/1.4.0")
    await refused(api.get("/packages/web/1.4.0"), 404, "not_found")


async def test_a_sender_that_goes_away_leaves_nothing(master: RunningMaster, api: Api) -> None:
    uploads = master.master.ground.folder.uploads
    head = (
        "POST /api/v1/packages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/zip\r\n"
        f"Authorization: {api.session.headers['Authorization']}\r\nContent-Length: 100000\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", int(master.url.rpartition(":")[2]))
    writer.write(head.encode() + good_zip())

    async def incoming():
        return [path for path in uploads.rglob("*") if path.is_file()]

    await until(incoming, bool)
    writer.close()
    await until(incoming, lambda found: not found)
    assert (await api.get("/packages"))["total"] == 0


async def test_an_upload_in_parts_over_http(api: Api) -> None:
    data = good_zip(name="web", version="2.0")
    part = {"Content-Type": "application/octet-stream"}
    announced = await api.post("/uploads", {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    path = f"/uploads/{announced['id']}"
    await api.ask("PUT", f"{path}?offset=0", data=data[:50], headers=part)
    body = await refused(api.ask("PUT", f"{path}?offset=0", data=data, headers=part), 409, "conflict")
    assert body["details"]["received_bytes"] == 50
    await refused(api.post(f"{path}/complete"), 409, "conflict")
    await api.ask("PUT", f"{path}?offset=50", data=data[50:], headers=part)
    assert (await api.post(f"{path}/complete"))["version"] == "2.0"
    await refused(api.get(path), 404, "not_found")


async def test_a_service_that_exits_at_once_fails_its_deploy_with_the_reason(
    master: RunningMaster, api: Api, tmp_path: Path
) -> None:
    _, (module,) = await define(api, "web", script=QUITTER)
    async with workers(master, api, tmp_path, "n1") as (node,):
        made = await api.post("/instances", {"module_id": module, "node_id": node})
        failed = await ended(api, made["operation"])
        assert failed["state"] == "failed"
        assert failed["error"]["code"] == "exited"
        assert failed["error"]["params"]["exit_code"] == 7
        steps = {step["name"]: step["state"] for step in failed["steps"]}
        assert steps["download"] == "succeeded"
        instance = made["instance"]["id"]
        timeline = await until(
            lambda: api.get(f"/instances/{instance}/events"),
            lambda page: any(line["kind"] == "exit" for line in page["items"]),
        )
        assert any(line["exit_code"] == 7 for line in timeline["items"])
        log = await api.get(f"/instances/{instance}/logs/stderr?tail=1")
        assert "out of paper" in log["lines"][0]["text"]
        await refused(api.get(f"/instances/{instance}/logs/nothing"), 404, "not_found")
        await refused(api.delete("/packages/app/1.0.0"), 409, "not_allowed")
        gone = await api.delete(f"/instances/{instance}?stop=1")
        assert (await ended(api, gone["operation"]))["state"] == "succeeded"
        await refused(api.get(f"/instances/{instance}"), 404, "not_found")


async def test_a_system_on_two_nodes_from_deploy_to_destroy(master: RunningMaster, api: Api, tmp_path: Path) -> None:
    system, _ = await define(api, "db", "web")
    async with workers(master, api, tmp_path, "n1", "n2"):
        act = f"/systems/{system}/actions"
        begun = await api.post(act, {"action": "deploy"})
        assert [target["name"] for target in begun["operation"]["targets"]] == ["db", "db", "web", "web"]
        assert (await ended(api, begun["operation"]))["state"] == "succeeded"
        page = await api.get(f"/instances?system_id={system}&state=running&sort=name")
        assert page["total"] == 4
        starts = {one["name"]: one["started_at"] for one in page["items"]}
        assert starts["db"] < starts["web"]
        pids = {one["id"]: one["pid"] for one in page["items"]}

        again = await ended(api, (await api.post(act, {"action": "restart"}))["operation"])
        assert again["state"] == "succeeded"
        fresh = {one["id"]: one["pid"] for one in (await api.get("/instances"))["items"]}
        assert fresh.keys() == pids.keys()
        assert not set(fresh.values()) & set(pids.values())

        running = page["items"][0]["id"]
        await refused(api.delete(f"/instances/{running}"), 409, "not_allowed")
        await refused(api.delete(f"/systems/{system}"), 409, "not_allowed")
        stopped = await ended(api, (await api.post(act, {"action": "stop"}))["operation"])
        assert stopped["state"] == "succeeded"
        assert [target["name"] for target in stopped["targets"]] == ["web", "web", "db", "db"]
        gone = await ended(api, (await api.post(act, {"action": "destroy"}))["operation"])
        assert gone["state"] == "succeeded"
        assert (await api.get("/instances"))["total"] == 0
        await api.delete(f"/systems/{system}")
        await refused(api.post(act, {"action": "explode"}), 422, "invalid")
        assert (await api.get("/audit/verify"))["ok"]


async def test_a_halted_deploy_is_cleared_away(master: RunningMaster, api: Api, tmp_path: Path) -> None:
    system, _ = await define(api, "db", "web", script=QUITTER)
    async with workers(master, api, tmp_path, "n1"):
        act = f"/systems/{system}/actions"
        failed = await ended(api, (await api.post(act, {"action": "deploy"}))["operation"])
        assert [(target["state"], target["reason"]["code"]) for target in failed["targets"]] == [
            ("failed", "exited"),
            ("cancelled", "earlier_wave_failed"),
        ]
        states = {one["name"]: one["state"] for one in (await api.get("/instances"))["items"]}
        assert states["web"] == "pending"
        gone = await ended(api, (await api.post(act, {"action": "destroy"}))["operation"])
        assert gone["state"] == "succeeded"
        assert (await api.get("/instances"))["total"] == 0


async def test_a_master_that_stops_in_the_middle_goes_on_where_it_stood(tmp_path: Path) -> None:
    port, go = free_port(), tmp_path / "go"
    health = {"type": "command", "target": f"test -e {go}", "interval": "1s"}
    async with contextlib.AsyncExitStack() as life:
        async with run_master(tmp_path / "m", server__port=str(port)) as master, master.admin_client() as api:
            system, _ = await define(api, "db", "web", health=health)
            config = worker_config(tmp_path / "w", master.url, await master.create_join_token())
            await life.enter_async_context(running_worker(config))
            await until(lambda: api.get("/nodes?status=online"), lambda page: page["total"] == 1)
            operation = (await api.post(f"/systems/{system}/actions", {"action": "deploy"}))["operation"]
            await until(lambda: api.get("/instances?state=starting"), lambda page: page["total"] == 1)
        go.touch()
        again = run_master(tmp_path / "m", is_set_up=False, server__port=str(port))
        async with again as master, master.admin_client("operator") as api:
            assert (await ended(api, operation))["state"] == "succeeded"
            page = await api.get("/instances?sort=name")
            assert [(one["name"], one["state"], one["restarts"]) for one in page["items"]] == [
                ("db", "running", 0),
                ("web", "running", 0),
            ]
            await ended(api, (await api.post(f"/systems/{system}/actions", {"action": "destroy"}))["operation"])


async def test_a_node_that_is_away_is_said_so(master: RunningMaster, api: Api, tmp_path: Path) -> None:
    _, (module,) = await define(api, "web")
    async with workers(master, api, tmp_path, "n1") as (node,):
        made = await api.post("/instances", {"module_id": module, "node_id": node})
        assert (await ended(api, made["operation"]))["state"] == "succeeded"
        instance = made["instance"]["id"]
    await until(lambda: api.get(f"/nodes/{node}"), lambda one: not one["linked"])
    await refused(api.get(f"/instances/{instance}/logs"), 409, "node_offline")
    waiting = (await api.post(f"/instances/{instance}/stop"))["operation"]
    async with running_worker(worker_config(tmp_path / "n1", master.url, connect__name="n1")):
        assert (await ended(api, waiting))["state"] == "succeeded"
        await ended(api, (await api.delete(f"/instances/{instance}"))["operation"])


async def test_roles_are_kept(master: RunningMaster, api: Api) -> None:
    async with master.admin_client("viewer") as viewer:
        assert (await viewer.get("/packages"))["total"] == 0
        for call in (
            upload(viewer, good_zip()),
            viewer.post("/systems", {"name": "x"}),
            viewer.post("/instances", {"module_id": "m", "node_id": "n"}),
            viewer.delete("/instances/ins_x"),
            viewer.get("/worker/packages/" + "0" * 64),
        ):
            await refused(call, 403, "forbidden")
