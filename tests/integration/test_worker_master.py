"""A real worker and a real master: joined over plain loopback and over TLS, deploying what a person would."""

import asyncio
import gzip
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from ops_system.model.errors import UsageError
from ops_system.worker.app import run_app
from ops_system.worker.identity import load_identity
from tests.fakes.master import Api, RunningMaster, run_master
from tests.fakes.packages import PYTHON_SERVER, make_zip, service_json
from tests.fakes.worker import running_worker, worker_config

PROGRAM = Path(sys.executable).with_name("ops-worker")


@pytest.fixture
async def master(tmp_path: Path) -> AsyncIterator[RunningMaster]:
    async with run_master(tmp_path) as running:
        yield running


@pytest.fixture
async def api(master: RunningMaster) -> AsyncIterator[Api]:
    async with master.admin_client() as client:
        yield client


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(ask, is_true, timeout_s: float = 20.0):
    async with asyncio.timeout(timeout_s):
        while True:
            answer = await ask()
            if is_true(answer):
                return answer
            await asyncio.sleep(0.03)


async def online_node(api: Api) -> dict:
    page = await until(
        lambda: api.get("/nodes"), lambda page: any(node["status"] == "online" for node in page["items"])
    )
    return page["items"][0]


async def deploy_web(api: Api, node_id: str, folder: Path, port: int) -> dict:
    """Deploy a small web server and return its instance once it is proven."""
    manifest = service_json(
        args=["${port.http}"],
        ports={"http": port},
        health={"type": "http", "target": "http://127.0.0.1:${port.http}/", "interval": "1s"},
    )
    archive = folder / "web.zip"
    archive.write_bytes(make_zip({"run.sh": PYTHON_SERVER}, manifest))
    await api.upload(archive)
    system = await api.post("/systems", {"name": "demo"})
    module = await api.post(f"/systems/{system['id']}/modules", {"name": "web", "package": "web", "version": "1.0.0"})
    made = await api.post("/instances", {"module_id": module["id"], "node_id": node_id})
    return await until_state(api, made["instance"]["id"], "running")


async def until_state(api: Api, instance_id: str, state: str) -> dict:
    return await until(lambda: api.get(f"/instances/{instance_id}"), lambda one: one["state"] == state)


async def destroy(api: Api, instance_id: str) -> None:
    await api.delete(f"/instances/{instance_id}?stop=1")
    await until(lambda: api.get("/instances"), lambda page: page["total"] == 0)


def can_connect(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("is_tls", [False, True])
async def test_join_deploy_and_destroy(master: RunningMaster, api: Api, tmp_path: Path, is_tls: bool) -> None:
    url, port = master.tls_url if is_tls else master.url, free_port()
    config = worker_config(tmp_path / "w", url, await master.create_join_token(), connect__labels="zone=a")
    async with running_worker(config):
        node = await online_node(api)
        assert (node["name"], node["labels"]) == ("n1", {"zone": "a"})
        instance = await deploy_web(api, node["id"], tmp_path, port)
        assert instance["health"] == "healthy"
        assert can_connect(port)
        listed = await api.get(f"/nodes/{node['id']}/processes")
        assert {item["instance_id"] for item in listed["items"]} >= {instance["id"]}
        await until(
            lambda: api.get(f"/nodes/{node['id']}"), lambda node: node["metrics"].get("cpu_percent") is not None
        )
        measured = await until(
            lambda: api.get(f"/instances/{instance['id']}"), lambda one: one["metrics"].get("cpu_percent") is not None
        )
        assert measured["metrics"]["mem_bytes"] > 1_000_000
        assert measured["metrics"]["processes"] >= 1
        await destroy(api, instance["id"])
        assert not can_connect(port)


async def heard(following: aiohttp.ClientWebSocketResponse, words: str) -> str:
    """Return what a followed log says until `words` have come."""
    text = ""
    async with asyncio.timeout(30):
        while words not in text:
            text += (await following.receive()).data
    return text


async def test_logs_are_listed_read_downloaded_and_followed(master: RunningMaster, api: Api, tmp_path: Path) -> None:
    port = free_port()
    async with running_worker(worker_config(tmp_path / "w", master.url, await master.create_join_token())):
        node = await online_node(api)
        instance = await deploy_web(api, node["id"], tmp_path, port)
        base = f"/instances/{instance['id']}/logs"
        assert [item["name"] for item in (await api.get(base))["items"]] == ["stdout", "stderr"]
        async with api.socket(f"{base}/stderr/follow") as following:
            async with api.session.get(f"http://127.0.0.1:{port}/service.json?seen=1") as page:
                assert page.status == 200
            await heard(following, "seen=1")
        read = await api.get(f"{base}/stderr?q=seen&tail=5")
        assert len(read["lines"]) == 1
        assert "GET /service.json?seen=1" in read["lines"][0]["text"]
        async with api.session.get(f"{master.url}/api/v1{base}/stderr/download") as download:
            assert b"seen=1" in await download.read()
        async with api.session.get(f"{master.url}/api/v1{base}/stderr/download?gzip=1") as download:
            assert download.headers["Content-Disposition"].endswith('-stderr.log.gz"')
            assert b"seen=1" in gzip.decompress(await download.read())
        found = await api.get(f"{base}/stderr/search?q=get%20/SERVICE.json%5C%3Fseen%3D%5Cd&regex=1&nocase=1")
        assert [hit["text"] for hit in found["hits"]] == [read["lines"][0]["text"]]
        assert found["next"] is None
        around = await api.get(f"{base}/stderr?around={found['hits'][0]['offset']}&tail=1")
        assert around["lines"] == found["hits"]
        async with api.session.get(f"{master.url}/api/v1{base}/stderr/search?q=(&regex=1") as refused:
            assert (refused.status, (await refused.json())["code"]) == (422, "invalid")
        merged = await api.get(f"/modules/{instance['module_id']}/logs/stderr?q=seen")
        assert [(line["instance_id"], line["text"]) for line in merged["lines"]] == [
            (instance["id"], read["lines"][0]["text"])
        ]
        async with api.socket(f"/systems/{instance['system_id']}/logs/stderr/follow") as following:
            async with api.session.get(f"http://127.0.0.1:{port}/service.json?seen=2") as page:
                assert page.status == 200
            text = await heard(following, "seen=2")
            assert instance["id"] in text
        await destroy(api, instance["id"])


async def test_a_used_token_joins_nobody_else(master: RunningMaster, api: Api, tmp_path: Path) -> None:
    token = await master.create_join_token()
    async with running_worker(worker_config(tmp_path / "w", master.url, token)):
        await online_node(api)
    with pytest.raises(UsageError, match="token"):
        await run_app(worker_config(tmp_path / "w2", master.url, token))
    assert load_identity(tmp_path / "w2") is None


async def test_a_worker_program_stops_within_ten_seconds_and_its_services_go_on(
    master: RunningMaster, api: Api, tmp_path: Path
) -> None:
    work_dir, port, status_port = tmp_path / "w", free_port(), free_port()
    token = tmp_path / "token"
    token.write_text(await master.create_join_token())
    flags = ["-work_dir", str(work_dir), "-port", str(status_port)]
    argv = [str(PROGRAM), "-master", master.url, "-token", f"@{token}", *flags]
    with subprocess.Popen(argv) as first:  # noqa: ASYNC220 - starting is quick; waiting is done in threads
        node = await online_node(api)
        instance = await deploy_web(api, node["id"], tmp_path, port)

        second = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=20, check=False)
        assert second.returncode == 3
        assert "another worker" in second.stderr

        status = await asyncio.to_thread(subprocess.run, [PROGRAM, "status", *flags, "-json", "1"], capture_output=True)
        assert json.loads(status.stdout)["instances"][0]["pid"] == instance["pid"]
        refused = await asyncio.to_thread(subprocess.run, [PROGRAM, "leave", *flags], capture_output=True, text=True)
        assert refused.returncode == 1
        assert "web" in refused.stderr

        first.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(first.wait, 10) == 0
    assert can_connect(port)
    status = await asyncio.to_thread(subprocess.run, [PROGRAM, "status", *flags, "-json", "1"], capture_output=True)
    picture = json.loads(status.stdout)
    assert picture["running"] is False
    assert picture["instances"][0]["pid"] == instance["pid"]

    async with running_worker(worker_config(work_dir, master.url)):
        await until(lambda: api.get(f"/nodes/{node['id']}"), lambda node: node["linked"])
        again = await until_state(api, instance["id"], "running")
        assert (again["pid"], again["restarts"]) == (instance["pid"], 0)
        await destroy(api, instance["id"])
    assert not can_connect(port)


async def test_wishes_made_while_the_worker_is_away_are_carried_out_when_it_is_back(
    master: RunningMaster, api: Api, tmp_path: Path
) -> None:
    port = free_port()
    async with running_worker(worker_config(tmp_path / "w", master.url, await master.create_join_token())):
        node = await online_node(api)
        instance = await deploy_web(api, node["id"], tmp_path, port)
    await until(lambda: api.get(f"/nodes/{node['id']}"), lambda node: not node["linked"])
    await api.post(f"/instances/{instance['id']}/stop")
    assert can_connect(port)
    async with running_worker(worker_config(tmp_path / "w", master.url)):
        await until_state(api, instance["id"], "stopped")
        assert not can_connect(port)
        await destroy(api, instance["id"])


def test_the_frames_of_a_proof_are_small(tmp_path: Path) -> None:
    """A fingerprint of a host with hundreds of disks must still fit the opening."""
    from ops_system.protocol.frames import MAX_FRAME_BYTES
    from ops_system.worker.fingerprint.base import local_probe, read_fingerprint

    found = read_fingerprint(local_probe())
    many = msgspec.structs.replace(found, disks=found.disks * 500)
    assert len(msgspec.msgpack.encode(many)) < MAX_FRAME_BYTES
