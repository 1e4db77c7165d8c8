"""A real Prometheus scrapes the master by its token and answers PromQL; a master keeps its history over a restart."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import time

import aiohttp
import msgspec
import pytest

from ops_system.runtime.tasks import running
from tests.bench.sim import SimWorker, make_sample
from tests.fakes.fleet import free_port
from tests.fakes.master import run_master

ODD_MOUNT = '/a "b"\\ü:{c}'
PROMETHEUS = shutil.which("prometheus", path="/usr/bin:/usr/local/bin")


@contextlib.asynccontextmanager
async def linked_worker(master, session, name="n1"):
    """A simulated worker that sends a sample every fifth of a second."""
    _, _, token_id, secret = (await master.create_join_token()).split(".", 3)
    worker = SimWorker(master.url, name)
    await worker.enrol(session, token_id, secret)
    link = await worker.dial(session)
    async with running(worker.carry(link), name), running(send_samples(link), "samples"):
        yield worker


async def send_samples(link):
    while True:
        sample = make_sample(time.time())
        link.send(msgspec.structs.replace(sample, extra=sample.extra | {f"disk:{ODD_MOUNT}:inodes_percent": 7.0}))
        await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def prometheus(folder, target, token):
    """Debian's Prometheus on a free port; gives the address of its API."""
    port = free_port()
    folder.mkdir()
    scrape = {
        "job_name": "ops",
        "authorization": {"type": "Bearer", "credentials": token},
        "static_configs": [{"targets": [target.removeprefix("http://")]}],
    }
    config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [scrape]}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    command = [PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as program:  # noqa: ASYNC220 - quick
        try:
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            program.kill()


async def ask(session, url, query):
    """Return the answer of PromQL as soon as there is one."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/query", params={"query": query}) as answer:
                    told = await answer.json()
                if told.get("data", {}).get("result"):
                    return told["data"]["result"]
            await asyncio.sleep(0.2)


@pytest.mark.skipif(PROMETHEUS is None, reason="Debian's prometheus is not here")
async def test_a_real_prometheus_scrapes_master_and_fleet(tmp_path):
    async with (
        aiohttp.ClientSession() as session,
        run_master(tmp_path) as master,
        linked_worker(master, session) as worker,
        prometheus(tmp_path / "prometheus", master.url, await master.create_token("scraper", "viewer")) as url,
    ):
        [up] = await ask(session, url, "up == 1")
        assert up["metric"]["job"] == "ops"
        [node] = await ask(session, url, 'ops_node_cpu_percent{name=~"n.*"} > 0')
        assert (node["metric"]["node"], node["metric"]["name"]) == (worker.node_id, "n1")
        [mount] = await ask(session, url, 'ops_node_mount_used_percent{mount="/"} == 40')
        assert mount["metric"]["node"] == worker.node_id
        [odd] = await ask(session, url, "ops_node_mount_inodes_percent == 7")
        assert odd["metric"]["mount"] == ODD_MOUNT
        [online] = await ask(session, url, 'ops_nodes{status="online"} == 1 and on() ops_node_up == 1')
        assert online["value"][1] == "1"
        assert await ask(session, url, "rate(process_cpu_seconds_total[10s]) >= 0 and on() ops_metrics_history_up == 1")
        async with session.get(f"{url}/targets/metadata", params={"metric": "ops_node_load1"}) as answer:
            [told] = (await answer.json())["data"]
        assert (told["type"], told["help"]) == ("gauge", "Load average over one minute.")


async def test_a_scraper_sees_what_lies_in_its_scope(tmp_path):
    async with (
        aiohttp.ClientSession() as session,
        run_master(tmp_path) as master,
        linked_worker(master, session) as worker,
        master.admin_client() as api,
    ):
        made = await api.post("/tokens", {"name": "elsewhere", "role": "viewer", "scope": {"site": "b"}})
        texts = {}
        async with asyncio.timeout(20):
            while f'ops_node_load1{{node="{worker.node_id}",name="n1"}}' not in texts.get("all", ""):
                for name, headers in (("all", {}), ("b", {"Authorization": f"Bearer {made['token']}"})):
                    async with session.get(f"{master.url}/metrics", headers=headers) as answer:
                        texts[name] = await answer.text()
        assert worker.node_id not in texts["b"]
        assert "ops_master_start_time_seconds" in texts["b"]


async def test_history_is_there_after_a_restart_of_the_master(tmp_path):
    async with aiohttp.ClientSession() as session:
        async with (
            run_master(tmp_path) as master,
            linked_worker(master, session) as worker,
            master.admin_client() as api,
        ):
            path = f"/nodes/{worker.node_id}/metrics?series=cpu_percent,disk:*"
            before = []
            async with asyncio.timeout(20):
                while not before:
                    before = (await api.get(path))["series"]["cpu_percent"]
        [damaged] = (tmp_path / "data/metrics").rglob("10s-*.seg")
        async with run_master(tmp_path, is_set_up=False) as master, master.admin_client("viewer") as api:
            after = await api.get(path)
            assert after["series"]["cpu_percent"][0][0] == before[0][0] // 10 * 10
            assert "disk:/:used_percent" in after["names"]
            week = await api.get(f"{path}&from={time.time() - 7 * 86_400}&agg=max")
            [[_, first, largest]] = week["series"]["cpu_percent"][-1:]
            assert first == largest
        damaged.write_bytes(b"nonsense" * 100)
        async with run_master(tmp_path, is_set_up=False) as master, master.admin_client("operator") as api:
            assert (await api.get(path))["series"]["cpu_percent"] == []
            assert (await api.get("/health"))["status"] == "ok"
