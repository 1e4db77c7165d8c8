"""Schedules over HTTP on a real master: a backup by the clock, its history, its operation; what is refused."""

import asyncio

import pytest

from tests.fakes.master import Api, ApiError, run_master
from tests.fakes.packages import make_zip, service_json


async def closed_run(api: Api, schedule: dict) -> dict:
    """Return the newest run once it has ended."""
    async with asyncio.timeout(60), api.socket("/live") as socket:
        await socket.send_json({"subscribe": ["operations"]})
        while True:
            run = (await api.get(f"/schedules/{schedule['id']}/runs"))["items"][0]
            if run["outcome"] != "running":
                return run
            operation = await api.get(f"/operations/{run['operation_ids'][0]}")
            if operation["state"] not in {"pending", "running"}:
                await asyncio.sleep(0)  # the schedule hears of it over the bus, in its own turn
            else:
                await socket.receive()


async def test_a_backup_by_schedule_is_run_told_and_kept(tmp_path):
    async with run_master(tmp_path) as master, master.admin_client() as api:
        body = {"name": "nightly", "kind": "backup", "cron": "0 3 * * *", "timezone": "Asia/Shanghai", "params": {}}
        schedule = await api.post("/schedules", body)
        assert schedule["next_at"].endswith("T19:00:00Z")
        begun = await api.post(f"/schedules/{schedule['id']}/run")
        assert (begun["trigger"], len(begun["operation_ids"])) == ("person", 1)
        run = await closed_run(api, schedule)
        assert (run["outcome"], run["operation_ids"]) == ("succeeded", begun["operation_ids"])
        assert (await api.get("/backups"))["total"] == 1
        kinds = {one["kind"]: one["permission"] for one in (await api.get("/schedules/kinds"))["items"]}
        assert kinds == {"backup": "admin", "exec": "exec", "restart": "operate", "retention": "operate"}
        paused = await api.post(f"/schedules/{schedule['id']}/pause")
        assert (paused["is_paused"], paused["next_at"]) == (True, None)
        assert (await api.post(f"/schedules/{schedule['id']}/resume"))["next_at"]
        changed = await api.ask("PUT", f"/schedules/{schedule['id']}", body | {"cron": "0 4 * * *"})
        assert changed["next_at"].endswith("T20:00:00Z")
        await api.delete(f"/schedules/{schedule['id']}")
        assert (await api.get("/schedules"))["total"] == 0


async def test_backups_and_package_versions_by_schedule_are_kept_in_number(tmp_path):
    async with run_master(tmp_path) as master, master.admin_client() as api:
        for version in ("1.0.0", "1.1.0", "1.2.0"):
            archive = tmp_path / f"{version}.zip"
            archive.write_bytes(make_zip({"run.sh": "#!/bin/sh\n"}, service_json(version=version)))
            await api.upload(archive)
        await api.ask("PUT", "/package-retention", {"keep_versions": 2})
        await api.ask("PUT", "/backups/settings", {"keep_count": 2})
        left = {}
        for kind, times in (("retention", 2), ("backup", 3)):
            schedule = await api.post("/schedules", {"name": kind, "kind": kind, "cron": "0 3 * * *"})
            for _ in range(times):
                await api.post(f"/schedules/{schedule['id']}/run")
                run = await closed_run(api, schedule)
                assert (run["outcome"], run["reason"]) == ("succeeded", None)
                async with master.master.ground.database.transaction() as tx:  # the first run finds nothing old
                    await tx.execute("UPDATE packages SET created_ms = 0")
            left[kind] = (await api.get(f"/schedules/{schedule['id']}/runs"))["total"]
        assert left == {"retention": 2, "backup": 3}
        assert sorted(one["version"] for one in (await api.get("/packages"))["items"]) == ["1.1.0", "1.2.0"]
        assert (await api.get("/backups"))["total"] == 2


async def test_what_cannot_run_is_refused_before_it_is_kept(tmp_path):
    cases = [
        {"cron": "0 0 30 2 *"},
        {"timezone": "Mars/Olympus"},
        {"kind": "nothing"},
        {"kind": "exec", "params": {"command": "true"}},
        {"kind": "exec", "params": {"command": "true", "argv": ["true"], "labels": {"a": "b"}}},
        {"kind": "restart", "params": {}},
        {"params": {"place": "s3"}},
        {"params": {"plaice": "local"}},
    ]
    async with run_master(tmp_path) as master, master.admin_client() as api:
        for changes in cases:
            with pytest.raises(ApiError) as refused:
                await api.post("/schedules", {"name": "x", "kind": "backup", "cron": "0 3 * * *"} | changes)
            assert refused.value.status == 422, changes
        assert (await api.get("/schedules"))["total"] == 0
        with pytest.raises(ApiError) as refused:
            await api.post("/schedules/preview", {"cron": "0 0 31 4 *"})
        assert refused.value.body["details"]["reason"] == "cron_never_fires"
        assert len((await api.post("/schedules/preview", {"cron": "0 3 * * *"}))["next_at"]) == 5


async def test_a_command_by_schedule_wants_the_grant(tmp_path):
    async with run_master(tmp_path) as master, master.admin_client("operator") as api:
        body = {"name": "x", "kind": "exec", "cron": "0 3 * * *", "params": {"command": "true", "labels": {"a": "b"}}}
        with pytest.raises(ApiError) as refused:
            await api.post("/schedules", body)
        assert refused.value.status == 403
