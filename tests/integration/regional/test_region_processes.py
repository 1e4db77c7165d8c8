"""Real regional clients as processes on Debian's etcd: killed, taken over, and on a real master with its token."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from ops_system.kv.client import Client, Login
from ops_system.model.tasks import ApproveCall, ImageRef, TaskStatus
from ops_system.provision.agents import AgentBook
from ops_system.provision.approvals import approve
from ops_system.provision.regions import RegionSettings
from ops_system.regional.leadership import Standing
from ops_system.runtime.clock import SystemClock
from tests.fakes.etcd import NEEDS_ETCD, run_etcd
from tests.fakes.master import run_master
from tests.fakes.ports import free_port
from tests.fakes.provision import SPEC, a_task
from tests.fakes.region import FakeAgent, Refused, run_region

PROGRAM = Path(sys.executable).with_name("ops-regional")
IDC, SN = "dc1", "sn-001"
WITHIN_S = 40.0
IMAGE = bytes(range(256)) * 2048


class Process:
    """One `ops-regional`."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder, self.store, self.port = folder, store, free_port()
        self.child: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = ["--idc", IDC, "--store", self.store, "--api-port", str(self.port), "--listen", "127.0.0.1"]
        words += ["--data_dir", str(self.folder / "data")]
        with (self.folder / "log").open("ab") as log:
            environ = os.environ | {"OPS_REGIONAL_REGION_LEAD_TTL": "3s"}
            self.child = subprocess.Popen([PROGRAM, *words], cwd=self.folder, env=environ, stdout=log, stderr=log)

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.child is not None
        self.child.send_signal(number)
        return self.child.wait(WITHIN_S)

    def role(self) -> str:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return str(json.load(answer)["role"])
        except OSError:
            return ""

    async def wait_for(self, role: str) -> None:
        async with asyncio.timeout(WITHIN_S):
            while await asyncio.to_thread(self.role) != role:  # noqa: ASYNC110 - another process sends no event
                await asyncio.sleep(0.05)


@contextlib.contextmanager
def processes(tmp_path, store, count):
    found = [Process(tmp_path / f"region-{number}", store) for number in range(count)]
    try:
        yield found
    finally:
        for each in found:
            if each.child is not None and each.child.poll() is None:
                each.kill()


async def begins(book, agent, image=SPEC.image):
    spec = replace(SPEC, image=image, enrol=False)
    await book.create(a_task(agent.sn, mac=agent.mac, install=spec, clock=SystemClock()))
    await agent.report()

    def rule(task, machine):
        return approve(task, machine, ApproveCall(("DISK1",)), RegionSettings(), by="bob", at=book.clock.now()), machine

    await book.change_machine(IDC, agent.sn, rule)
    assert (await agent.next())["operation"] == "install"


def moves_to(agent, other):
    other.boot_id, other.token, other.task_id, other.fence = agent.boot_id, agent.token, agent.task_id, agent.fence


@NEEDS_ETCD
async def test_a_killed_client_knows_its_lead_again_and_a_standby_takes_over_a_dead_one(tmp_path):
    async with run_etcd(tmp_path) as members, Client([members[0].url]) as store:
        book = AgentBook(store, SystemClock())
        with processes(tmp_path, members[0].url, 2) as (first, second):
            first.start()
            await first.wait_for("active")
            second.start()
            async with FakeAgent(first.url) as agent, FakeAgent(second.url) as moved:
                await begins(book, agent)
                await agent.begin("wipe", "DISK1")
                assert first.kill() == -signal.SIGKILL
                first.start()
                await first.wait_for("active")  # its own name is in the key: it need not wait for the lease's end
                await agent.complete("wipe")
                await second.wait_for("standby")
                assert (await book.region(IDC)).epoch == 2

                first.kill()
                await second.wait_for("active")
                moves_to(agent, moved)
                await moved.begin("write", "DISK1")
                await moved.complete("write")
                await moved.finish()
            task = await book.get(IDC, SN)
            assert task.status is TaskStatus.COMPLETED
            assert [intent.step for intent in task.intents] == ["wipe", "write"]
            assert (await book.region(IDC)).epoch == 3
            assert second.kill(signal.SIGTERM) == 0


async def persists(ask):
    """Ask again while the region is away; what it did before it was killed is no failure."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await ask()
            except Refused as refused:
                if refused.reason == "step_done":
                    return None
                if refused.status < 500:
                    raise
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


@pytest.mark.long
@NEEDS_ETCD
async def test_a_client_killed_again_and_again_loses_and_repeats_nothing(tmp_path):
    dice, steps = random.Random(5), [f"step-{number}" for number in range(12)]
    async with run_etcd(tmp_path) as members, Client([members[0].url]) as store:
        book = AgentBook(store, SystemClock())
        with processes(tmp_path, members[0].url, 1) as (region,):
            region.start()
            await region.wait_for("active")
            async with FakeAgent(region.url) as agent:
                await begins(book, agent)
                is_over = False

                async def kills():
                    while not is_over:
                        await asyncio.sleep(dice.uniform(0.2, 1.5))
                        await asyncio.to_thread(region.kill)
                        region.start()
                        await region.wait_for("active")

                async with asyncio.TaskGroup() as group:
                    killing = group.create_task(kills())
                    for step in steps:
                        await persists(lambda step=step: agent.begin(step, "DISK1"))
                        await persists(lambda step=step: agent.progress(step, 50.0))
                        await persists(lambda step=step: agent.complete(step))
                        await asyncio.sleep(0.3)
                    is_over = True
                    await killing
                await persists(agent.finish)
            task = await book.get(IDC, SN)
            assert task.status is TaskStatus.COMPLETED
            assert [intent.step for intent in task.intents] == steps
            assert (await book.region(IDC)).epoch > 3


async def test_a_token_of_one_data_centre_is_enough_and_no_more(tmp_path):
    async with run_master(tmp_path / "master") as master:
        token = await master.create_token("dc1", "regional", idc=IDC)
        async with master.admin_client() as api:
            kind = {"Content-Type": "application/octet-stream"}
            facts = {"name": "debian", "version": "12", "format": "raw", "os_type": "Other"}
            told = await api.ask("POST", "/images", data=IMAGE, headers=kind, params=facts)
        image = ImageRef("debian", "12", told["sha256"], len(IMAGE), told["sha256"], len(IMAGE), "raw")
        async with run_region(tmp_path / "region", master.url, token) as region, FakeAgent(region.url) as agent:
            async with Client([master.url], Login(token)) as store:
                await begins(AgentBook(store, SystemClock()), agent, image)
            url = (await agent.call("device/getOSInstallConfig"))["image_url"]
            assert await agent.fetch(url, {"Range": "bytes=1000-"}) == IMAGE[1000:]
            await agent.begin("write", "DISK1")
            await agent.complete("write")
            await agent.finish()
        other = run_region(tmp_path / "other", master.url, token, standing=None, region__idc="dc2")
        async with other as region, FakeAgent(region.url, "sn-002") as agent:
            with pytest.raises(Refused) as caught:
                await agent.report()
            assert caught.value.status == 503
            assert region.app.lead.standing is Standing.STARTING
