"""Alerts of a real master, told to a real receiver: a metric that breaches, a restart in the middle, acts of people."""

import asyncio
import contextlib
import json
import time
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
import pytest

from ops_system.runtime.tasks import running
from tests.bench.sim import make_sample
from tests.fakes.attacker import join, linked
from tests.fakes.master import Api, ApiError, run_master
from tests.fakes.receiver import receiver

SECRET = "hush-82"
BUSY = {"kind": "node_metric", "series": "cpu_percent", "fire_level": 90, "clear_level": 80}


@pytest.fixture
async def site():
    async with receiver() as made:
        yield made


@contextlib.asynccontextmanager
async def stage(folder, *, is_new=True):
    texts = {"outbound__allow": "127.0.0.1", "logic__heartbeat_interval": "100ms"}
    async with (
        run_master(folder, is_set_up=is_new, **texts) as master,
        aiohttp.ClientSession() as session,
        Api(master.url, await master.create_token(f"new-{is_new}")) as api,
    ):
        yield master, api, session


def webhook(site, **fields):
    return {"name": "ops", "kind": "webhook", "url": site.url("/token-82"), "secret": SECRET} | fields


def rule(**fields):
    return {"name": "busy", "condition": BUSY, "severity": "critical", **fields}


async def items(site, count):
    got = [json.loads(one.body) for one in await site.wait_for(count)]
    return [item for body in got for item in body["items"]]


@contextlib.asynccontextmanager
async def load(worker, percent):
    """Let the worker send this CPU load ten times a second."""

    async def send():
        while True:
            sample = make_sample(time.time())
            worker.link.send(msgspec.structs.replace(sample, node=(percent, *sample.node[1:])))
            await asyncio.sleep(0.1)

    async with running(send(), "samples"):
        yield


async def open_alerts(api, **query):
    return (await api.get("/alerts", params={"state": "pending,firing,no_data", **query}))["items"]


async def test_a_breach_is_told_once_over_a_restart_and_its_end_too(tmp_path, site):
    async with stage(tmp_path) as (master, api, session):
        await api.post("/channels", webhook(site))
        body = rule(for_s=1, texts={"en": "{name} at {value} % ({level})"}, group={"interval_s": 1})
        made = await api.post("/alert-rules", body)
        assert (made["firing"], made["builtin"], made["group"]["by"]) == (0, "", "rule")
        worker = await join(master, session, "n1")
        async with linked(worker, session), load(worker, 97.5):
            (first,) = await items(site, 1)
            (alert,) = await open_alerts(api)
            order = {"rule": body | {"name": "tried"}, "from": time.time() - 60, "to": time.time(), "points": True}
            tried = await api.post("/alert-rules/backtest", order)
            state = {"name": "gone", "condition": {"kind": "node_status", "states": ["offline"]}}
            heard = await api.post("/alert-rules/backtest", order | {"rule": state})
            missing = {"name": "mute", "condition": {"kind": "no_data", "window_s": 30}}
            quiet = await api.post("/alert-rules/backtest", order | {"rule": missing})
            lines = {"kind": "log", "log": "stdout", "pattern": "x", "fire_level": 1, "window_s": 60}
            with pytest.raises(ApiError, match="cannot be tried: lines stay on the nodes"):
                await api.post("/alert-rules/backtest", order | {"rule": {"name": "lines", "condition": lines}})
        assert (heard["subjects_tested"], heard["firings"], heard["step_s"]) == (1, 0, 1)
        assert (quiet["subjects_tested"], quiet["firings"]) == (1, 0)
        (subject,) = tried["subjects"]
        assert (subject["subject"], subject["fired"], subject["periods"][-1]["state"]) == (
            alert["subject"],
            1,
            "firing",
        )
        assert (tried["step_s"], tried["subjects_tested"], tried["notices"]) == (1, 1, 1)
        assert {value for _, value in subject["points"]} == {97.5}
        with pytest.raises(ApiError, match="history reaches 7 days"):
            await api.post("/alert-rules/backtest", order | {"from": 0})
        assert first["title"] == "n1 at 97.5 % (>= 90)"
        assert (first["event"], first["state"], first["alert_id"]) == ("alert", "firing", alert["id"])
        assert (alert["state"], alert["value"], alert["subject"]) == ("firing", 97.5, f"node:{worker.node_id}")
        lines = (await api.get(f"/alerts/{alert['id']}"))["transitions"]
        assert [line["kind"] for line in lines] == ["pending", "firing", "told"]
        acked = await api.post(f"/alerts/{alert['id']}/ack", {"note": "looking"})
        assert acked["ack"]["note"] == "looking"
    async with stage(tmp_path, is_new=False) as (master, api, session):
        (again,) = await open_alerts(api)
        assert (again["id"], again["ack"]["by"]) == (alert["id"], acked["ack"]["by"])
        await api.post("/channels", webhook(site, name="second"))  # the first one would wait 10 s with its next message
        worker.url = master.url
        async with linked(worker, session), load(worker, 10.0):
            (_, second) = await items(site, 2)
            ended = (await api.get(f"/alerts/{alert['id']}"))["alert"]
        assert (second["state"], second["severity"], second["alert_id"]) == ("resolved", "info", alert["id"])
        assert (ended["state"], ended["fired_at"]) == ("resolved", alert["fired_at"])


async def test_people_write_switch_and_delete_rules(tmp_path):
    async with stage(tmp_path) as (_, api, _session):
        shipped = (await api.get("/alert-rules"))["items"]
        assert {one["builtin"] for one in shipped if one["enabled"]} >= {"node_offline", "instance_failed", "disk_full"}
        made = await api.post("/alert-rules", rule())
        path = f"/alert-rules/{made['id']}"
        with pytest.raises(ApiError) as twice:
            await api.post("/alert-rules", rule())
        assert twice.value.status == 409
        changed = await api.ask("PUT", path, rule(name="busier", for_s=60))
        assert (changed["name"], changed["for_s"]) == ("busier", 60)
        assert (await api.patch(path, {"enabled": False}))["enabled"] is False
        bad = rule(name=" ", condition={**BUSY, "series": "cpu_procent", "clear_level": 95}, channels=["chn_none"])
        with pytest.raises(ApiError) as refused:
            await api.ask("PUT", path, bad)
        where = [problem.partition(":")[0] for problem in refused.value.body["details"]["problems"]]
        assert where == ["$.name", "$.condition.series", "$.condition.clear_level", "$.channels[0]"]
        await api.delete(path)
        with pytest.raises(ApiError, match="no alert rule"):
            await api.get(path)
        acts = {row["action"] for row in (await api.get("/audit?limit=100"))["items"]}
        assert {"alert_rule.create", "alert_rule.change", "alert_rule.delete"} <= acts


async def test_a_silence_keeps_the_channel_quiet_until_it_ends(tmp_path, site):
    async with stage(tmp_path) as (master, api, session):
        await api.post("/channels", webhook(site))
        await api.post("/alert-rules", rule())
        worker = await join(master, session, "n1")
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        silence = await api.post(
            "/silences", {"reason": "new disks", "matchers": {"node_ids": [worker.node_id]}, "ends_at": until}
        )
        assert silence["state"] == "active"

        async def is_silenced():
            return any(one["silenced_by"] == [silence["id"]] for one in await open_alerts(api))

        async with linked(worker, session), load(worker, 99):
            async with asyncio.timeout(30):
                while not await is_silenced():  # noqa: ASYNC110 - the API is asked as people ask it
                    await asyncio.sleep(0.05)
            assert (await api.get(f"/silences/{silence['id']}"))["matching"] == 1
            assert site.got == []
            ended = await api.post(f"/silences/{silence['id']}/expire")
            assert ended["state"] == "expired"
            (item,) = await items(site, 1)
            assert item["state"] == "firing"
        with pytest.raises(ApiError) as refused:
            await api.post("/silences", {"reason": "all", "matchers": {}, "ends_at": until})
        assert refused.value.status == 422
