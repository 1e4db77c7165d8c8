"""Commands on nodes, from the API through a real link to real processes and back."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from ops_system.master.commands import service, store
from ops_system.model.errors import StorageFull
from ops_system.processes import procfs
from tests.fakes.clock import FakeClock
from tests.fakes.master import PASSWORD, Api, ApiError, RunningMaster, run_master
from tests.fakes.worker import running_worker, worker_config
from tests.integration.test_auth_http import browser

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
async def workers(master: RunningMaster, folder: Path, **policies: dict[str, bool]) -> AsyncIterator[None]:
    """Run one worker a name, each with the given switches of its own policy."""
    async with contextlib.AsyncExitStack() as stack:
        for name, policy in policies.items():
            config = worker_config(folder / name, master.url, await master.create_join_token())
            changed = msgspec.structs.replace(
                config,
                policy=msgspec.structs.replace(config.policy, **policy),
                connect=msgspec.structs.replace(config.connect, name=name),
            )
            await stack.enter_async_context(running_worker(changed))
        yield


async def nodes_by_name(api: Api, count: int) -> dict[str, str]:
    """Return the ids of `count` online nodes."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            online = [node for node in (await api.get("/nodes"))["items"] if node["status"] == "online"]
            if len(online) == count:
                return {node["name"]: node["id"] for node in online}
            await asyncio.sleep(0.05)


async def ended(api: Api, operation_id: str) -> dict[str, Any]:
    async with asyncio.timeout(WITHIN_S):
        while True:
            operation = await api.get(f"/operations/{operation_id}")
            if operation["state"] in ENDED:
                return operation
            await asyncio.sleep(0.05)


async def test_a_command_answers_with_what_it_said(master, api, tmp_path):
    async with workers(master, tmp_path, n1={}):
        node_id = (await nodes_by_name(api, 1))["n1"]
        by_shell = await api.post(f"/nodes/{node_id}/exec", {"command": "echo out; echo err >&2; exit 7"})
        assert (by_shell["exit_code"], by_shell["stdout"], by_shell["stderr"]) == (7, "out\n", "err\n")
        by_words = await api.post(f"/nodes/{node_id}/exec", {"argv": ["printf", "%s|", "a b", "$HOME"]})
        assert by_words["stdout"] == "a b|$HOME|"
        flood = await api.post(f"/nodes/{node_id}/exec", {"command": "head -c 3000000 /dev/zero | tr '\\0' x"})
        assert flood["truncated"]
        assert len(flood["stdout"]) == 1024 * 1024
        rows = (await api.get("/audit", params={"action": "node.exec"}))["items"]
        assert [row["outcome"] for row in rows] == ["done", "begun", "done", "begun", "failed", "begun"]
        assert rows[-1]["details"]["argv"] == "echo out; echo err >&2; exit 7"


async def test_out_of_time_says_what_was_said_and_leaves_nothing(master, api, tmp_path):
    async with workers(master, tmp_path, n1={}):
        node_id = (await nodes_by_name(api, 1))["n1"]
        order = {"command": "sleep 1000 & echo $!; wait", "timeout_s": 0.5}
        with pytest.raises(ApiError) as refused:
            await api.post(f"/nodes/{node_id}/exec", order)
        assert refused.value.status == 504
        row = procfs.read_row(int(refused.value.body["details"]["stdout"]))
        assert row is None or row.is_dead


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"argv": ["true"], "command": "true"},
        {"command": "true", "timeout_s": 61},
        {"command": "true", "timeout_s": 0},
        {"argv": ["a\0b"]},
        {"argv": [""]},
        {"argv": ["/no/such/program"]},
        {"command": "true", "user": "no-such-user"},
        {"command": "true", "shell": "zsh"},
    ],
)
async def test_what_cannot_be_run_is_refused(master, api, tmp_path, order):
    async with workers(master, tmp_path, n1={}):
        node_id = (await nodes_by_name(api, 1))["n1"]
        with pytest.raises(ApiError) as refused:
            await api.post(f"/nodes/{node_id}/exec", order)
        assert refused.value.status == 422


async def test_the_node_s_own_policy_wins_over_an_administrator(master, api, tmp_path):
    async with workers(master, tmp_path, shut={"exec": False}):
        node_id = (await nodes_by_name(api, 1))["shut"]
        with pytest.raises(ApiError) as refused:
            await api.post(f"/nodes/{node_id}/exec", {"command": "true"})
        assert refused.value.status == 403
        assert "policy.exec" in refused.value.body["message"]
        rows = (await api.get("/audit", params={"action": "node.exec"}))["items"]
        assert rows[0]["outcome"] == "denied"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root alone may change the user")
async def test_a_command_runs_as_whom_it_is_for_and_never_as_root_where_the_node_forbids_it(master, api, tmp_path):
    async with workers(master, tmp_path, n1={}, rootless={"run_as_root": False}):
        for node_id in (await nodes_by_name(api, 2)).values():
            said = await api.post(f"/nodes/{node_id}/exec", {"argv": ["id", "-un"], "user": "nobody"})
            assert (said["exit_code"], said["stdout"]) == (0, "nobody\n")
        for user in ("", "root"):
            with pytest.raises(ApiError) as refused:
                await api.post(
                    f"/nodes/{(await nodes_by_name(api, 2))['rootless']}/exec", {"argv": ["id"], "user": user}
                )
            assert refused.value.status == 403
            assert "policy.run_as_root" in refused.value.body["message"]


async def test_many_nodes_one_result_each(master, api, tmp_path):
    async with workers(master, tmp_path, n1={}, n2={}, shut={"exec": False}):
        ids = await nodes_by_name(api, 3)
        begun = await api.post("/exec", {"node_ids": list(ids.values()), "command": 'echo here; test -n "$PATH"'})
        operation = await ended(api, begun["operation"]["id"])
        assert operation["state"] == "failed"
        run = await api.get(f"/exec/{operation['id']}")
        results = {result["node_name"]: result for result in run["results"]}
        assert {name: result["state"] for name, result in results.items()} == {
            "n1": "succeeded",
            "n2": "succeeded",
            "shut": "failed",
        }
        assert results["n1"]["stdout"] == "here\n"
        assert results["shut"]["reason"]["code"] == "forbidden"
        full = await api.get(f"/exec/{operation['id']}/results/{ids['n2']}")
        assert (full["stdout"], full["exit_code"], full["is_tail"]) == ("here\n", 0, False)
        listed = (await api.get("/exec"))["items"][0]
        assert (listed["id"], listed["node_count"], listed["failed_count"]) == (operation["id"], 3, 1)

        async with master.admin_client("operator") as operator:
            with pytest.raises(ApiError) as refused:
                await operator.post(f"/operations/{operation['id']}/retry")
        assert refused.value.status == 403
        again = await ended(api, (await api.post(f"/operations/{operation['id']}/retry"))["id"])
        assert [target["id"] for target in again["targets"]] == [ids["shut"]]


async def test_a_cancelled_run_is_killed_and_keeps_what_it_said(master, api, tmp_path):
    async with workers(master, tmp_path, n1={}):
        ids = await nodes_by_name(api, 1)
        order = {"node_ids": [ids["n1"]], "command": "echo $$; exec sleep 1000", "timeout_s": 600}
        operation = (await api.post("/exec", order))["operation"]
        pid = await first_words(master, api, operation["id"])
        await api.post(f"/operations/{operation['id']}/cancel")
        assert (await ended(api, operation["id"]))["state"] == "cancelled"
        async with asyncio.timeout(WITHIN_S):
            while (row := procfs.read_row(pid)) is not None and not row.is_dead:  # noqa: ASYNC110 - another's process
                await asyncio.sleep(0.02)
        run = await api.get(f"/exec/{operation['id']}")
        assert run["results"][0]["stdout"] == f"{pid}\n"


async def first_words(master: RunningMaster, api: Api, operation_id: str) -> int:
    """Return the pid that the command tells while it runs, as a browser hears of it."""
    async with asyncio.timeout(WITHIN_S), api.socket("/live") as socket:
        await socket.send_json({"subscribe": [f"exec:{operation_id}"]})
        async for message in socket:
            assert message.type is aiohttp.WSMsgType.TEXT
            told = json.loads(message.data)
            for item in told.get("data", {}).get("items", []):
                if item["stdout"].endswith("\n"):
                    return int(item["stdout"])
    raise AssertionError("nothing was told")


async def test_a_broken_link_leaves_the_end_unknown(master, api, tmp_path):
    async with workers(master, tmp_path, n1={}):
        ids = await nodes_by_name(api, 1)
        order = {"node_ids": [ids["n1"]], "command": "echo $$; exec sleep 1000", "timeout_s": 600}
        operation = (await api.post("/exec", order))["operation"]
        await first_words(master, api, operation["id"])
        await api.patch(f"/nodes/{ids['n1']}", {"revoked": True})
        ending = await ended(api, operation["id"])
        assert ending["targets"][0]["reason"]["code"] == "result_unknown"


async def test_a_master_that_was_stopped_says_it_does_not_know(tmp_path):
    async with run_master(tmp_path) as master, master.admin_client() as api, workers(master, tmp_path, n1={}):
        ids = await nodes_by_name(api, 1)
        order = {"node_ids": [ids["n1"]], "command": "echo $$; exec sleep 1000", "timeout_s": 600}
        operation = (await api.post("/exec", order))["operation"]
        await first_words(master, api, operation["id"])
    async with run_master(tmp_path, is_set_up=False) as master, master.admin_client() as api:
        ending = await ended(api, operation["id"])
        assert (ending["state"], ending["targets"][0]["reason"]["code"]) == ("failed", "result_unknown")


async def test_labels_choose_and_a_scope_limits(master, api, tmp_path):
    async with workers(master, tmp_path, n1={}, n2={}):
        ids = await nodes_by_name(api, 2)
        await api.patch(f"/nodes/{ids['n1']}", {"labels": {"zone": "a"}})
        operation = (await api.post("/exec", {"labels": {"zone": "a"}, "argv": ["true"]}))["operation"]
        assert [target["id"] for target in (await ended(api, operation["id"]))["targets"]] == [ids["n1"]]
        with pytest.raises(ApiError) as refused:
            await api.post("/exec", {"labels": {"zone": "nowhere"}, "argv": ["true"]})
        assert refused.value.status == 422
        made = await api.post("/tokens", {"name": "b", "role": "operator", "grants": ["exec"], "scope": {"zone": "b"}})
        async with Api(master.url, made["token"]) as other:
            for ask in (
                other.get(f"/exec/{operation['id']}"),
                other.post(f"/nodes/{ids['n1']}/exec", {"argv": ["true"]}),
                other.post("/exec", {"node_ids": [ids["n1"]], "argv": ["true"]}),
            ):
                with pytest.raises(ApiError) as refused:
                    await ask
                assert refused.value.status == 404
            assert (await other.get("/exec"))["items"] == []


async def test_commands_are_kept_for_later(api):
    kept = await api.post("/saved-commands", {"name": "disk", "command": "df -h", "timeout_s": 10})
    with pytest.raises(ApiError) as refused:
        await api.post("/saved-commands", {"name": "disk", "argv": ["df"]})
    assert refused.value.status == 409
    changed = await api.ask("PUT", f"/saved-commands/{kept['id']}", {"name": "disks", "argv": ["df", "-h"]})
    assert (changed["name"], changed["argv"], changed["command"]) == ("disks", ["df", "-h"], "")
    assert [item["name"] for item in (await api.get("/saved-commands"))["items"]] == ["disks"]
    await api.delete(f"/saved-commands/{kept['id']}")
    assert (await api.get("/saved-commands"))["total"] == 0


async def test_nothing_of_the_worker_s_own_environment_is_seen(master, api, tmp_path, monkeypatch):
    monkeypatch.setenv("OPS_TEST_SECRET", "do not tell")
    assert os.environ["OPS_TEST_SECRET"]
    async with workers(master, tmp_path, n1={}):
        node_id = (await nodes_by_name(api, 1))["n1"]
        said = await api.post(f"/nodes/{node_id}/exec", {"argv": ["env"]})
        names = {line.partition("=")[0] for line in said["stdout"].splitlines()}
        assert names <= {"PATH", "HOME", "LANG", "TZ"}


async def test_a_run_is_repeated_by_a_browser_only_with_a_fresh_proof(tmp_path):
    clock = FakeClock()
    async with run_master(tmp_path, clock=clock) as master, browser(master.url) as page:
        await page.log_in()
        node_id = (await page.ask("POST", "/nodes", {"name": "away"}))[1]["id"]
        begun = (await page.ask("POST", "/exec", {"node_ids": [node_id], "argv": ["true"]}))[1]["operation"]
        async with master.admin_client() as api:
            assert (await ended(api, begun["id"]))["state"] == "failed"
        clock.advance(3600)
        path = f"/operations/{begun['id']}/retry"
        assert (await page.ask("POST", path))[1]["code"] == "step_up_required"
        assert (await page.ask("POST", "/step-up", {"password": PASSWORD}))[0] == 200
        assert (await page.ask("POST", path))[0] == 202


async def test_a_full_disk_delays_the_record_and_stops_nothing(tmp_path, monkeypatch):
    save, tries = store.save_result, []

    async def save_at_the_second_try(*what):
        tries.append(what)
        if len(tries) == 1:
            raise StorageFull("no room")
        await save(*what)

    monkeypatch.setattr(store, "save_result", save_at_the_second_try)
    monkeypatch.setattr(service, "RETRY_WRITE_S", 0.01)
    async with run_master(tmp_path) as master, master.admin_client() as api:
        node_id = (await api.post("/nodes", {"name": "away"}))["id"]
        begun = await api.post("/exec", {"node_ids": [node_id], "argv": ["true"]})
        assert (await ended(api, begun["operation"]["id"]))["targets"][0]["reason"]["code"] == "node_offline"
        assert len(tries) == 2
