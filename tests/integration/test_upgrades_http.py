"""Rollouts of module versions over HTTP, with real workers in this process."""

import asyncio
import contextlib
import hashlib
import io

import pytest

from tests.fakes.master import ApiError, run_master
from tests.fakes.packages import make_zip, service_json
from tests.fakes.worker import kill_marked, running_worker, worker_config

ZIP = {"Content-Type": "application/zip"}
WELL = b"#!/bin/sh\necho version $VERSION\nexec sleep 600\n"
BAD = b"#!/bin/sh\necho out of paper >&2\nexit 7\n"
GREEDY = b"""#!/bin/sh
exec python3 -c 'import time; held = bytearray(60_000_000); time.sleep(600)'
"""
SICK = b"#!/bin/sh\nsleep 1\nexit 3\n"
AT_ONCE = {"type": "command", "target": "/bin/true", "interval": "1s", "start_timeout": "20s"}
NOW = {"bake_s": 0.3, "max_parallel": 4, "canary": 1}


def package(version, script=WELL, **manifest):
    manifest = {"health": AT_ONCE, "restart": {"policy": "on-failure", "delay": "1s"}, **manifest}
    return make_zip({"run.sh": script}, service_json(name="app", version=version, env={"VERSION": version}, **manifest))


async def until(ask, is_true, timeout_s=40.0):
    async with asyncio.timeout(timeout_s):
        while not is_true(answer := await ask()):  # noqa: ASYNC110 - another process's answer sets no event here
            await asyncio.sleep(0.05)
        return answer


class Field:
    """A module with an instance on each of some workers."""

    def __init__(self, api, module_id, system_id):
        self.api = api
        self.module_id = module_id
        self.system_id = system_id

    async def upload(self, version, script=WELL, **manifest):
        data = io.BytesIO(package(version, script, **manifest))
        return await self.api.ask("POST", "/packages", data=data, headers=ZIP)

    async def instances(self):
        return (await self.api.get(f"/instances?module_id={self.module_id}&limit=100"))["items"]

    async def versions(self):
        return sorted(one["version"] for one in await self.instances())

    async def rollout(self, version, **strategy):
        body = {"version": version, "strategy": {**NOW, **strategy}, "note": "because"}
        return (await self.api.post(f"/modules/{self.module_id}/rollout", body))["operation"]

    async def operation(self, operation):
        return await self.api.get(f"/operations/{operation['id']}")

    async def ended(self, operation):
        return await until(lambda: self.operation(operation), lambda one: one["ended_at"] is not None, 60)

    async def settled(self):
        return await until(self.instances, lambda all_: all(one["state"] == "running" for one in all_))


@contextlib.asynccontextmanager
async def open_field(folder, *names):
    async with contextlib.AsyncExitStack() as stack:
        master = await stack.enter_async_context(run_master(folder))
        api = await stack.enter_async_context(master.admin_client())
        for name in names:
            config = worker_config(folder / name, master.url, await master.create_join_token(), connect__name=name)
            await stack.enter_async_context(running_worker(config))
        await until(lambda: api.get("/nodes?status=online"), lambda page: page["total"] == len(names))
        system = await api.post("/systems", {"name": "shop"})
        await api.ask("POST", "/packages", data=io.BytesIO(package("1.0.0")), headers=ZIP)
        module = await api.post(
            f"/systems/{system['id']}/modules", {"name": "web", "package": "app", "version": "1.0.0"}
        )
        field = Field(api, module["id"], system["id"])
        await api.post(f"/systems/{system['id']}/actions", {"action": "deploy"})
        instances = await until(
            field.instances, lambda all_: len(all_) == len(names) and all(one["state"] == "running" for one in all_)
        )
        for one in instances:
            stack.callback(kill_marked, one["id"])
        yield field


@pytest.fixture
async def field(tmp_path):
    async with open_field(tmp_path, "n1", "n2", "n3") as made:
        yield made


async def test_a_plan_tells_what_would_change_and_writes_nothing(field):
    await field.upload("2.0.0", ports={"http": 8431})
    plan = await field.api.post(f"/modules/{field.module_id}/plan", {"version": "2.0.0"})
    assert (plan["is_possible"], plan["waves"], plan["from_version"], plan["to_version"]) == (True, 3, "1.0.0", "2.0.0")
    assert [item["node_name"] for item in plan["items"]] == ["n1", "n2", "n3"]
    changed = {change["field"]: (change["before"], change["after"]) for change in plan["items"][0]["changes"]}
    assert changed["package.version"] == ("1.0.0", "2.0.0")
    assert changed["service.ports"] == ("{}", '{"http":8431}')
    assert all(item["restarts"] and item["hindrances"] == [] for item in plan["items"])
    assert (await field.api.get(f"/modules/{field.module_id}/rollouts"))["total"] == 0
    assert await field.versions() == ["1.0.0"] * 3


async def test_a_rollout_goes_through_its_waves_and_keeps_ids(field):
    await field.upload("2.0.0")
    before = {one["id"]: one["pid"] for one in await field.instances()}
    operation = await field.ended(await field.rollout("2.0.0"))
    assert (operation["state"], operation["reverted"], operation["error"]) == ("succeeded", False, None)
    after = await field.instances()
    assert {one["id"] for one in after} == set(before)
    assert all(one["pid"] != before[one["id"]] and one["state"] == "running" for one in after)
    assert await field.versions() == ["2.0.0"] * 3
    assert (await field.api.get(f"/modules/{field.module_id}"))["version"] == "2.0.0"
    (entry,) = (await field.api.get(f"/modules/{field.module_id}/rollouts"))["items"]
    assert (entry["from_version"], entry["to_version"], entry["state"], entry["note"]) == (
        *("1.0.0", "2.0.0"),
        *("succeeded", "because"),
    )
    back = await field.ended(await field.rollout("1.0.0"))  # one click back is a rollout like any other
    assert back["state"] == "succeeded"
    assert await field.versions() == ["1.0.0"] * 3


async def test_a_version_that_cannot_start_goes_back_after_the_canary(field):
    await field.upload("2.0.0", BAD)
    pids = {one["id"]: one["pid"] for one in await field.instances()}
    operation = await field.ended(await field.rollout("2.0.0"))
    assert (operation["state"], operation["reverted"]) == ("failed", True)
    assert "code 7" in operation["error"]["message"]
    instances = await field.settled()
    assert await field.versions() == ["1.0.0"] * 3
    assert sum(one["pid"] == pids[one["id"]] for one in instances) == 2  # only the canary was touched
    assert sorted(target["state"] for target in operation["targets"]) == ["cancelled", "cancelled", "failed"]
    assert (await field.api.get(f"/modules/{field.module_id}"))["version"] == "1.0.0"


async def test_a_version_that_ends_while_it_is_watched_goes_back(field):
    await field.upload("2.0.0", SICK)
    operation = await field.ended(await field.rollout("2.0.0", bake_s=20, canary=2))
    assert (operation["state"], operation["reverted"]) == ("failed", True)
    await field.settled()
    assert await field.versions() == ["1.0.0"] * 3


async def test_without_a_return_it_stands_still_and_says_why(field):
    await field.upload("2.0.0", BAD)
    operation = await field.ended(await field.rollout("2.0.0", auto_revert=False))
    assert (operation["state"], operation["reverted"]) == ("failed", False)
    assert await field.versions() == ["1.0.0", "1.0.0", "2.0.0"]


async def test_it_waits_while_paused_and_goes_on(field):
    await field.upload("2.0.0")
    operation = await field.rollout("2.0.0", bake_s=1.0)
    paused = await field.api.post(f"/operations/{operation['id']}/pause")
    assert paused["state"] == "paused"
    with pytest.raises(ApiError) as told:
        await field.api.post(f"/operations/{operation['id']}/pause")
    assert told.value.status == 409
    await until(field.instances, lambda all_: all(one["state"] == "running" for one in all_))
    assert (await field.versions()).count("2.0.0") <= 1
    assert (await field.api.post(f"/operations/{operation['id']}/resume"))["state"] == "running"
    assert (await field.ended(operation))["state"] == "succeeded"
    assert await field.versions() == ["2.0.0"] * 3


async def test_what_a_person_cancels_goes_back(field):
    await field.upload("2.0.0")
    operation = await field.rollout("2.0.0", bake_s=60)
    await until(field.versions, lambda versions: "2.0.0" in versions)
    await field.api.post(f"/operations/{operation['id']}/cancel")
    ended = await field.ended(operation)
    assert (ended["state"], ended["reverted"]) == ("cancelled", True)
    await field.settled()
    assert await field.versions() == ["1.0.0"] * 3


async def test_two_at_once_and_actions_on_the_system_are_refused(field):
    await field.upload("2.0.0")
    operation = await field.rollout("2.0.0", bake_s=60)
    for path, body in (
        (f"/modules/{field.module_id}/rollout", {"version": "2.0.0"}),
        (f"/systems/{field.system_id}/actions", {"action": "restart"}),
    ):
        with pytest.raises(ApiError) as told:
            await field.api.post(path, body)
        assert (told.value.status, told.value.body["code"]) == (409, "conflict")
        assert operation["id"] in told.value.body["message"]
    await field.api.post(f"/operations/{operation['id']}/cancel")
    await field.ended(operation)


REFUSED = (
    ({"version": "9.9.9"}, 404, "no package app 9.9.9"),
    ({"version": "1.0.0"}, 409, "are so already"),
    ({"version": "1.0.0", "strategy": {"max_parallel": 0, "bake_s": -1}}, 422, "max_parallel"),
    ({"version": "1.0.0", "strategy": {"speed": 3}}, 422, "speed"),
    ({"version": "1.0.0", "note": "x" * 501}, 422, "note"),
)


async def test_what_cannot_be_is_refused_with_the_reason(field):
    for body, status, words in REFUSED:
        with pytest.raises(ApiError) as told:
            await field.api.post(f"/modules/{field.module_id}/rollout", body)
        assert told.value.status == status
        assert words in str(told.value.body)


async def test_hindrances_are_named_in_plan_and_refusal(field):
    await field.upload("2.0.0", os="windows")
    plan = await field.api.post(f"/modules/{field.module_id}/plan", {"version": "2.0.0"})
    assert not plan["is_possible"]
    assert plan["items"][0]["hindrances"][0]["code"] == "wrong_os"
    with pytest.raises(ApiError) as told:
        await field.rollout("2.0.0")
    assert told.value.status == 409
    assert "windows" in str(told.value.body["details"]["hindrances"])


async def test_what_was_stopped_gets_the_version_and_stays_stopped(field):
    await field.upload("2.0.0")
    first = (await field.instances())[0]
    await field.api.post(f"/instances/{first['id']}/stop")
    await until(lambda: field.api.get(f"/instances/{first['id']}"), lambda one: one["state"] == "stopped")
    assert (await field.ended(await field.rollout("2.0.0")))["state"] == "succeeded"
    one = await field.api.get(f"/instances/{first['id']}")
    assert (one["state"], one["version"]) == ("stopped", "2.0.0")


async def test_a_package_is_on_the_node_before_its_service_stops(field, tmp_path):
    data = package("2.0.0")
    await field.api.ask("POST", "/packages", data=io.BytesIO(data), headers=ZIP)
    operation = await field.rollout("2.0.0", bake_s=60, canary=0)
    await until(lambda: field.operation(operation), lambda one: any(t["step"] == "bake" for t in one["targets"]))
    sha256 = hashlib.sha256(data).hexdigest()
    folders = [tmp_path / name / "versions/app/2.0.0" / sha256 for name in ("n1", "n2", "n3")]
    assert any(folder.is_dir() for folder in folders)
    await field.api.post(f"/operations/{operation['id']}/cancel")
    await field.ended(operation)


async def test_a_version_that_takes_too_much_does_not_pass_its_gate(tmp_path):
    """It starts, its probe passes, and then it degrades: the live series tell."""
    gates = [
        {"series": "mem_bytes", "growth": 4, "window_s": 2},
        {"series": "cpu_percent", "above": 400, "window_s": 2},
    ]
    async with open_field(tmp_path, "w1", "w2") as field:
        await field.settled()
        await field.upload("2.0.0", GREEDY)
        page = await field.instances()
        await until(
            lambda: field.api.get(f"/instances/{page[0]['id']}/metrics?series=mem_bytes"),
            lambda found: found["series"]["mem_bytes"],
        )
        ended = await field.ended(await field.rollout("2.0.0", bake_s=6, gates=gates))
        assert (ended["state"], ended["reverted"]) == ("failed", True)
        assert [step["state"] for step in ended["steps"]] == ["succeeded", "succeeded", "failed"]
        history = (await field.api.get(f"/modules/{field.module_id}/rollouts"))["items"]
        assert history[0]["failure"]["code"] == "gate_above"
        assert history[0]["failure"]["params"]["series"] == "mem_bytes"
        assert await field.versions() == ["1.0.0", "1.0.0"]
        await field.settled()
        with pytest.raises(ApiError, match=r"gates\[0\].series"):
            await field.rollout("2.0.0", gates=[{"series": "mem", "above": 1}])
