"""Configuration over HTTP, with a real worker in this process: files change beside what runs."""

import asyncio
import contextlib
import io

import pytest

from tests.fakes.master import ApiError, run_master
from tests.fakes.packages import make_zip, service_json
from tests.fakes.worker import kill_marked, running_worker, worker_config

ZIP = {"Content-Type": "application/zip"}
RUN = b"#!/bin/sh\nexec sleep 600\n"
RELOAD = b"#!/bin/sh\ngrep -q refuse conf/web.yaml && { echo no such option; exit 3; }\ncp conf/web.yaml seen\n"


async def until(ask, is_true, timeout_s=40.0):
    async with asyncio.timeout(timeout_s):
        while not is_true(answer := await ask()):  # noqa: ASYNC110 - another process's answer sets no event here
            await asyncio.sleep(0.05)
        return answer


async def applied(api, body):
    operation = (await api.post("/config/apply", body))["operation"]
    return await until(lambda: api.get(f"/operations/{operation['id']}"), lambda one: one["ended_at"] is not None)


@pytest.fixture
async def site(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        master = await stack.enter_async_context(run_master(tmp_path))
        api = await stack.enter_async_context(master.admin_client())
        config = worker_config(tmp_path / "n1", master.url, await master.create_join_token(), connect__name="n1")
        await stack.enter_async_context(running_worker(config))
        await until(lambda: api.get("/nodes?status=online"), lambda page: page["total"] == 1)
        hooks = {"reload": ["sh", "reload.sh"]}
        data = make_zip({"run.sh": RUN, "reload.sh": RELOAD}, service_json(name="app", hooks=hooks))
        await api.ask("POST", "/packages", data=io.BytesIO(data), headers=ZIP)
        yield api, stack, tmp_path / "n1"


async def test_a_change_of_a_template_reaches_what_runs_by_its_reload_command(site):
    api, stack, work_dir = site
    await api.ask("PATCH", "/variables", json={"values": {"REGION": "eu"}, "secrets": {"KEY": "s-91"}})
    text = "node: ${node.name}\nregion: ${var.REGION}\nkey: ${secret.KEY}\n"
    template = await api.post(
        "/config-templates", {"name": "web.yaml", "format": "yaml", "content": text, "approve": True}
    )
    system = """
name: shop
modules:
  web:
    package: app
    version: "1.0.0"
    config_mounts: [{path: conf/web.yaml, template: web.yaml}]
"""
    made = await api.post("/systems/apply", {"document": system})
    assert made["is_applied"]
    action = await api.post(f"/systems/{made['system_id']}/actions", {"action": "deploy"})
    await until(lambda: api.get(f"/operations/{action['operation']['id']}"), lambda one: one["state"] == "succeeded")
    (instance,) = (await api.get("/instances"))["items"]
    stack.callback(kill_marked, instance["id"])
    home = work_dir / "instances" / instance["id"]
    assert (home / "conf/web.yaml").read_text() == "node: n1\nregion: eu\nkey: s-91\n"
    assert not (home / "seen").exists()

    await api.post(f"/config-templates/{template['id']}/versions", {"content": f"{text}more: 1\n"})
    plan = await api.post("/config/plan", {"template_id": template["id"], "version": 2})
    assert [(one["node_name"], one["how"]) for one in plan["items"]] == [("n1", "reload")]
    operation = await applied(api, {"template_id": template["id"], "version": 2})
    assert operation["state"] == "succeeded", operation["targets"][0]["reason"]
    assert (home / "seen").read_text() == "node: n1\nregion: eu\nkey: s-91\nmore: 1\n"
    after = await api.get(f"/instances/{instance['id']}")
    assert (after["pid"], after["state"]) == (instance["pid"], "running")

    await api.ask("PATCH", "/variables", json={"owner": instance["id"], "values": {"REGION": "refuse"}})
    operation = await applied(api, {"instance_id": instance["id"]})
    assert (operation["state"], operation["targets"][0]["reason"]["code"]) == ("failed", "reload_failed")
    assert "no such option" in operation["targets"][0]["reason"]["message"]

    await api.ask("PATCH", "/variables", json={"owner": instance["id"], "values": {"REGION": "a: ["}})
    before = (home / "conf/web.yaml").read_text()
    with pytest.raises(ApiError) as told:
        await api.post("/config/apply", {"instance_id": instance["id"]})
    assert "line 2, column 10" in told.value.body["message"]
    assert (home / "conf/web.yaml").read_text() == before
    assert (await api.get(f"/instances/{instance['id']}"))["pid"] == instance["pid"]
