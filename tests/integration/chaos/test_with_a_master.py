"""A real master and a real worker: crashes with their last words, a drain and the way back, many reconnects."""

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.fakes.chaos import PROVEN, STEADY, open_node
from tests.fakes.master import ApiError, run_master
from tests.fakes.packages import make_zip, service_json
from tests.fakes.worker import running_worker, worker_config

CRASHER = "#!/bin/sh\necho about to fail\necho no such table >&2\nsleep 0.2\nexit 7\n"


async def until(ask, is_true):
    async with asyncio.timeout(30):
        while not is_true(answer := await ask()):  # noqa: ASYNC110 - asked over HTTP
            await asyncio.sleep(0.03)
    return answer


async def deployed(api, folder, scripts, **manifest):
    """Deploy one service for each script into one system, in this order; return the instances' ids by name."""
    page = await until(lambda: api.get("/nodes"), lambda page: any(one["status"] == "online" for one in page["items"]))
    node_id = page["items"][0]["id"]
    system = await api.post("/systems", {"name": "shop"})
    made = {}
    for order, (name, script) in enumerate(scripts.items()):
        archive = folder / f"{name}.zip"
        archive.write_bytes(make_zip({"run.sh": script}, service_json(name=name, **manifest)))
        await api.upload(archive)
        body = {"name": name, "package": name, "version": "1.0.0", "start_order": order}
        module = await api.post(f"/systems/{system['id']}/modules", body)
        made[name] = (await api.post("/instances", {"module_id": module["id"], "node_id": node_id}))["instance"]["id"]
    return node_id, made


async def in_state(api, instance_id, state):
    return await until(lambda: api.get(f"/instances/{instance_id}"), lambda one: one["state"] == state)


async def test_a_crash_is_told_with_its_last_words(tmp_path):
    async with run_master(tmp_path) as master, master.admin_client() as api:
        config = worker_config(tmp_path / "w", master.url, await master.create_join_token())
        rules = {"restart": {"policy": "always", "delay": "50ms", "max_restarts": 1}, "env": {"PASSWORD": "s3cret"}}
        async with running_worker(config):
            _, made = await deployed(api, tmp_path, {"shaky": CRASHER}, **rules)
            seen = await in_state(api, made["shaky"], "failed")
            assert (seen["exit_code"], seen["restarts"], seen["restarts_in_window"]) == (7, 1, 1)
            path = f"/instances/{made['shaky']}/crashes"
            told = await until(lambda: api.get(path), lambda answer: len(answer["items"]) == 2)
        newest = told["items"][0]
        assert {"stream": "stdout", "text": "about to fail"} in newest["lines"]
        assert {"stream": "stderr", "text": "no such table"} in newest["lines"]
        assert (newest["exit_code"], newest["reason"]["code"], newest["restarts"]) == (7, "exited", 1)
        assert "PASSWORD" in newest["env_names"]
        assert "s3cret" not in str(told)
        assert newest["parents"][0]["name"] == "keeper"
        await until(lambda: api.get("/nodes"), lambda page: not page["items"][0]["linked"])
        with pytest.raises(ApiError, match="node_offline"):
            await api.get(path)
        async with running_worker(worker_config(tmp_path / "w", master.url)):
            await until(lambda: api.get("/nodes"), lambda page: page["items"][0]["linked"])
            assert await api.get(path) == told
            await api.delete(f"/instances/{made['shaky']}?stop=1")
            await until(lambda: api.get("/instances"), lambda page: page["total"] == 0)
        assert not list((tmp_path / "w/state/crashes").iterdir())


async def test_a_node_is_drained_and_taken_back(tmp_path):
    async with run_master(tmp_path) as master, master.admin_client() as api:
        config = worker_config(tmp_path / "w", master.url, await master.create_join_token())
        async with running_worker(config):
            node_id, made = await deployed(
                api, tmp_path, {"db": STEADY, "web": STEADY}, health=PROVEN, env={"EFFECTS": "/dev/null"}
            )
            pids = {name: (await in_state(api, one, "running"))["pid"] for name, one in made.items()}
            drain = (await api.post(f"/nodes/{node_id}/drain"))["operation"]
            for one in made.values():
                assert (await in_state(api, one, "stopped"))["drained"]
            assert not any(psutil.pid_exists(pid) for pid in pids.values())
            with pytest.raises(ApiError, match="it is draining"):
                await api.post(f"/instances/{made['web']}/start")
            ended = await until(lambda: api.get(f"/operations/{drain['id']}"), lambda one: one["state"] != "running")
            assert ended["state"] == "succeeded"
            await api.patch(f"/nodes/{node_id}", {"draining": False})
            for one in made.values():
                assert not (await in_state(api, one, "running"))["drained"]
            for one in made.values():
                await api.delete(f"/instances/{one}?stop=1")
            await until(lambda: api.get("/instances"), lambda page: page["total"] == 0)


@pytest.mark.parametrize("count", [8, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_reconnects_of_a_worker_that_has_services_leave_nothing_behind(tmp_path, count):
    async with open_node(tmp_path) as node:
        await node.start()
        for number in range(3):
            await node.wish(node.service(f"s{number}"))
        await node.master.until(lambda: node.master.samples and len(node.master.samples[-1].instances) == 3, 30)
        await reconnect(node)  # what is made at first use is made now
        before = weigh(node.worker.pid)
        for _ in range(count):
            await reconnect(node)
        after = weigh(node.worker.pid)
    assert after["fds"] <= before["fds"] + 2
    assert after["threads"] <= before["threads"] + 1
    assert after["children"] == before["children"]
    assert after["rss_bytes"] <= before["rss_bytes"] + 8 * 1024 * 1024


async def reconnect(node):
    seen = len(node.master.snapshots)
    node.master.link.close()
    await node.master.until(lambda: len(node.master.snapshots) > seen, 30)


def weigh(pid):
    process = psutil.Process(pid)
    return {
        "fds": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": process.num_threads(),
        "children": len(process.children()),
        "rss_bytes": process.memory_info().rss,
    }
