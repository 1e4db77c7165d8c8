"""Notices from a real master to a real receiver: a failed instance, a silent node, a copied identity."""

import contextlib
import json
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web

from ops_system.master.channels.rules import Notice, Severity
from ops_system.model.errors import UsageError
from ops_system.model.instances import HealthState, InstanceReport, State
from ops_system.model.reasons import Reason
from ops_system.protocol.frames import Apply, Report
from tests.bench.sim import Refused, SimWorker
from tests.fakes.attacker import join, linked
from tests.fakes.clock import FakeClock
from tests.fakes.master import ApiError, run_master
from tests.fakes.packages import make_zip, service_json
from tests.fakes.receiver import receiver
from tests.fakes.worker import eventually

SECRET = "hush-81"


@pytest.fixture
async def site():
    async with receiver() as made:
        yield made


@contextlib.asynccontextmanager
async def stage(folder, **settings):
    texts = {"outbound__allow": "127.0.0.1", "logic__heartbeat_interval": "100ms", **settings}
    async with (
        run_master(folder, **texts) as master,
        master.admin_client() as api,
        aiohttp.ClientSession() as session,
    ):
        yield master, api, session


def webhook(site, **fields):
    return {"name": "ops", "kind": "webhook", "url": site.url("/token-82"), "secret": SECRET} | fields


async def told(site, count):
    return [json.loads(got.body) for got in await site.wait_for(count)]


async def deploy(api, worker):
    package = make_zip({"run.sh": "#!/bin/sh\n"}, service_json(os="any", arch="any"))
    await api.ask("POST", "/packages", data=package, headers={"Content-Type": "application/zip"})
    system = await api.post("/systems", {"name": "shop"})
    module = await api.post(f"/systems/{system['id']}/modules", {"name": "web", "package": "web", "version": "1.0.0"})
    made = await api.post("/instances", {"module_id": module["id"], "node_id": worker.node_id})
    await eventually(lambda: any(isinstance(frame, Apply) for frame in worker.heard))
    return made["instance"]["id"]


def report(worker, instance_id, state, reason=None):
    spec = [frame.spec for frame in worker.heard if isinstance(frame, Apply)][-1]
    now = datetime.now(UTC)
    worker.link.send(
        Report(
            InstanceReport(
                instance_id, spec.generation, state, HealthState.UNKNOWN, now, spec.restart_seq, reason=reason
            )
        )
    )


async def test_an_instance_that_gave_up_and_a_node_that_fell_silent(tmp_path, site):
    async with stage(tmp_path, logic__node_offline_threshold="1s", server__public_url="https://ops.example") as (
        master,
        api,
        session,
    ):
        for event in ("instance_failed", "node_offline"):  # one channel would wait 10 s before it tells more
            await api.post("/channels", webhook(site, name=event, events=[event]))
        worker = await join(master, session, "n1")
        async with linked(worker, session):
            instance_id = await deploy(api, worker)
            for _ in range(3):
                report(worker, instance_id, State.FAILED, Reason("gave_up", "gave up after 5 restarts"))
            await eventually(lambda: any(b"instance_failed" in got.body for got in site.got))
        by_event = {body["items"][0]["event"]: body for body in await told(site, 2)}
        failed, silent = by_event["instance_failed"], by_event["node_offline"]
        assert failed["items"][0]["params"] == {"name": "web", "node": "n1"}
        assert failed["items"][0]["lines"] == ["gave up after 5 restarts"]
        assert failed["items"][0]["url"] == f"https://ops.example/instances/{instance_id}"
        assert (silent["total"], silent["items"][0]["subject"]) == (1, f"node:{worker.node_id}")
        assert silent["title"] == "Node n1 is offline"


async def test_a_copied_identity_is_told_of(tmp_path, site):
    async with stage(tmp_path) as (master, api, session):
        await api.post("/channels", webhook(site, language="zh"))
        worker = await join(master, session, "n1")
        async with linked(worker, session):
            copy = SimWorker(master.url, "n1", key=worker.key, node_id=worker.node_id)
            for _ in range(2):
                with pytest.raises(Refused):
                    await copy.dial(session)
            (body,) = await told(site, 1)
    assert (body["title"], body["total"]) == ("节点 n1-clone 已隔离：另一台机器使用了同一身份", 1)


async def test_the_api_makes_changes_tests_and_removes_a_channel(tmp_path, site):
    async with stage(tmp_path) as (_, api, _session):
        made = await api.post("/channels", webhook(site))
        path = f"/channels/{made['id']}"
        assert (made["target"], made["has_secret"], made["last_delivery"]) == (site.url("").rstrip("/"), True, None)
        sent = await api.post(f"{path}/test")
        assert (sent["state"], sent["attempts"]) == ("sent", 1)
        changed = await api.patch(path, {"enabled": False, "events": ["node_offline"]})
        assert (changed["enabled"], changed["events"], changed["last_delivery"]["state"]) == (
            False,
            ["node_offline"],
            "sent",
        )
        assert (await api.get(f"{path}/deliveries"))["total"] == 1
        assert (await api.get(f"{path}/deliveries?state=failed"))["total"] == 0
        with pytest.raises(ApiError) as refused:
            await api.patch(path, {"kind": "slack"})
        assert refused.value.status == 422
        answers = json.dumps([made, sent, changed, await api.get("/channels"), await api.get("/audit?limit=500")])
        await api.delete(path)
        assert (await api.get("/channels"))["items"] == []
    assert SECRET not in answers
    assert "token-82" not in answers


async def test_the_master_itself_is_no_receiver(tmp_path):
    async with stage(tmp_path) as (master, api, _):
        made = await api.post("/channels", {"name": "self", "kind": "slack", "url": f"{master.url}/api/v1/login"})
        told = await api.post(f"/channels/{made['id']}/test")
        assert (told["state"], told["error"]["code"]) == ("failed", "outbound_refused")
        assert "the master itself" in told["error"]["message"]


async def test_a_message_that_waits_goes_out_after_a_restart_of_the_master(tmp_path, site):
    async def refuse(_request):
        return web.Response(status=503)

    clock, settings = FakeClock(datetime.now(UTC)), {"outbound__allow": "127.0.0.1"}
    site.say = refuse
    async with run_master(tmp_path, clock=clock, **settings) as master, master.admin_client() as api:
        made = await api.post("/channels", webhook(site))
        notice = Notice("node_offline", "node:n1", Severity.CRITICAL, "node_offline", {"name": "n1"}, clock.now())
        master.master.ground.bus.publish(notice)
        await eventually(lambda: clock.advance(0.1) or site.got)
        (first,) = await told(site, 1)
    site.say = None
    clock.advance(60)
    async with run_master(tmp_path, clock=clock, is_set_up=False, **settings) as master:
        _, second = await told(site, 2)
        async with master.admin_client("viewer") as api:
            with pytest.raises(ApiError):
                await api.get(f"/channels/{made['id']}/deliveries")
    assert first["id"] == second["id"]


async def test_an_allowance_that_means_nothing_ends_the_start(tmp_path):
    with pytest.raises(UsageError, match=r"outbound\.allow: 'http://x'"):
        async with run_master(tmp_path, outbound__allow="http://x"):
            pass
