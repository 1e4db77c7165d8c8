"""A regional client and its agents over HTTP, on the embedded store behind its gateway."""

import asyncio
from hashlib import sha256

import msgspec
import pytest
from msgspec.structs import replace

from ops_system.kv.client import Client
from ops_system.model.tasks import ApproveCall, TaskStatus
from ops_system.provision.agents import AgentBook
from ops_system.provision.approvals import approve
from ops_system.provision.regions import RegionSettings
from ops_system.runtime.clock import SystemClock
from tests.fakes.provision import SPEC as WITH_WORKER
from tests.fakes.provision import a_task
from tests.fakes.region import FakeAgent, Refused, run_region
from tests.fakes.regionstore import run_store

IDC, SN = "dc1", "sn-001"
SPEC = replace(WITH_WORKER, enrol=False)


@pytest.fixture
async def store(tmp_path):
    async with run_store(tmp_path / "store.db") as store:
        yield store


@pytest.fixture
async def book(store):
    async with Client([store.url]) as client:
        yield AgentBook(client, SystemClock())


@pytest.fixture
async def region(tmp_path, store):
    async with run_region(tmp_path / "region", store.url) as region:
        yield region


@pytest.fixture
async def agent(region):
    async with FakeAgent(region.url) as agent:
        yield agent


async def approves(book, sn=SN, disks=("DISK1",)):
    def rule(task, machine):
        return approve(task, machine, ApproveCall(disks), RegionSettings(), by="bob", at=book.clock.now()), machine

    return await book.change_machine(IDC, sn, rule)


async def begins(book, agent, **facts):
    await book.create(a_task(agent.sn, **({"mac": agent.mac, "install": SPEC} | facts)))
    await agent.report()
    await approves(book, agent.sn)
    return await agent.next()


async def test_a_machine_is_reported_approved_installed_and_sent_to_its_disk(book, region, agent):
    await book.create(a_task(SN, install=SPEC))
    assert "ops.mode=install" in await agent.ask("GET", "/boot/00-1a-2b-3c-4d-5e.ipxe")
    assert (await book.get(IDC, SN)).status is TaskStatus.BOOTING
    by_serial = await agent.ask("GET", f"/boot/none.ipxe?serial={SN}")
    assert "BOOTIF=01-00-1a-2b-3c-4d-5e" in by_serial  # the card its task names, for who does not tell one

    told = await agent.report()
    assert told["is_known"]
    assert told["status"] == "pending_approval"
    waiting = asyncio.ensure_future(agent.next())  # noqa: TID251 - an agent that waits while somebody approves
    await approves(book)
    assert (await waiting)["operation"] == "install"
    assert agent.fence == 1

    system = await agent.call("device/getOSInstallConfig")
    assert system["disks"] == ["DISK1"]
    assert system["fence"] == 1
    await agent.begin("write", "DISK1")
    await agent.progress("write", 50.0, bytes_done=1, bytes_total=2, lines=["half"])
    await agent.complete("write")
    await agent.finish()

    task = await book.get(IDC, SN)
    assert task.status is TaskStatus.COMPLETED
    assert task.logs == ("half",)
    assert task.intents[0].done_at is not None
    for page in (
        "/boot/00:1a:2b:3c:4d:5e.ipxe",
        "/grub/grub.cfg-00:1a:2b:3c:4d:5e",
        "/pxelinux/pxelinux.cfg/01-00-1a-2b-3c-4d-5e",
    ):
        assert "starts from its disk" in await agent.ask("GET", page)
    assert (await agent.next())["operation"] == "reboot_local"


async def refused(awaitable) -> Refused:
    with pytest.raises(Refused) as caught:
        await awaitable
    return caught.value


async def test_an_agent_without_its_session_is_told_nothing(book, region, agent):
    await begins(book, agent)
    token, agent.token = agent.token, ""
    assert (await refused(agent.call("lease"))).status == 401
    agent.token = "x" * 43
    for path in ("lease", "device/getNextOperation", "device/getOSInstallConfig", "device/isInInstallQueue"):
        assert (await refused(agent.call(path))).status == 401
    assert (await refused(agent.ask("GET", f"/api/v1/task/{SN}"))).status == 401
    async with FakeAgent(region.url, "sn-002", "00:1a:2b:3c:4d:02") as other:
        await other.report()
        agent.token = other.token
        assert (await refused(agent.begin("write", "DISK1"))).status == 401
    agent.token = token
    assert (await agent.ask("GET", f"/api/v1/task/{SN}"))["status"] == "installing"


async def test_what_cannot_be_meant_is_refused_and_changes_nothing(book, region, agent):
    await begins(book, agent)
    before = await book.get(IDC, SN)
    assert (await refused(agent.ask("POST", "/api/v1/report", {"sn": SN}))).status == 422
    assert (await refused(agent.call("progress", step="x"))).status == 422
    huge = {"sn": "sn-9", "mac_address": agent.mac, "uuid": "u", "hardware": {"vendor": "x" * 300_000}}
    assert (await refused(agent.ask("POST", "/api/v1/report", huge))).status == 413
    for sn, mac in (("../x", agent.mac), ("a b", agent.mac), ("sn-9", "no mac"), ("sn-9", "01:00:00:00:00:01")):
        body = {"sn": sn, "mac_address": mac, "uuid": "u", "hardware": {}}
        assert (await refused(agent.ask("POST", "/api/v1/report", body))).status == 422
    plain = {"data": b"{}", "headers": {"Content-Type": "text/plain"}}
    assert (await refused(agent.ask("POST", "/api/v1/report", **plain))).status == 415
    deep = {"data": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}
    assert (await refused(agent.ask("POST", "/api/v1/report", **deep))).status == 422
    assert (await refused(agent.progress("write", 1.0, lines=["x"] * 201))).status == 422
    assert (await refused(agent.begin("write", "DISK9"))).reason == "disk_not_approved"
    agent.fence += 1
    assert (await refused(agent.begin("write", "DISK1"))).reason == "stale_fence"
    assert await book.get(IDC, SN) == before


async def test_a_second_agent_waits_and_both_are_quarantined_when_the_first_still_lives(book, region, agent):
    await begins(book, agent)
    async with FakeAgent(region.url) as rival:
        assert (await refused(rival.report())).reason == "two_agents"
        assert (await refused(agent.call("lease"))).reason == "quarantined"
        assert (await book.get(IDC, SN)).status is TaskStatus.NEEDS_OPERATOR
        assert (await refused(rival.report())).reason == "quarantined"
        assert "starts from its disk" in await rival.ask("GET", "/boot/00-1a-2b-3c-4d-5e.ipxe")


async def test_progress_renews_the_lease_of_an_agent_that_asks_for_it_and_no_other(store, book, region, agent):
    await begins(book, agent)
    renewals, lease_id = region.app.desk.renewals, region.app.mirror.seat(SN).lease_id
    before = renewals.calls
    assert (await agent.progress("write", 1.0))["lease"] is None
    assert renewals.calls == before
    told = (await agent.progress("write", 2.0, renews=True))["lease"]
    assert (told["ttl_s"], told["fence"], told["is_cancel_asked"]) == (30.0, agent.fence, False)
    assert told["regions"] == [region.url]
    assert renewals.calls == before + 1
    await book.change(IDC, SN, lambda task: replace(task, is_cancel_asked=True))
    assert (await agent.progress("write", 3.0, renews=True))["lease"]["is_cancel_asked"]
    async with FakeAgent(region.url) as rival:
        assert (await refused(rival.report())).reason == "two_agents"
        assert (await agent.progress("write", 4.0, renews=True))["lease"] is None, "it hears of the rival when it asks"
    await store.engine.revoke(lease_id)
    assert (await agent.progress("write", 5.0, renews=True))["lease"] is None
    assert (await book.get(IDC, SN)).progress[0].percent == 5.0


async def test_the_token_of_an_earlier_boot_is_worth_nothing(book, region, agent):
    await book.create(a_task(SN, install=SPEC))
    await agent.report()
    await book.release(IDC, SN, region.app.mirror.seat(SN).lease.session_sha256)
    async with FakeAgent(region.url) as again:
        await again.report()
        assert (await refused(agent.call("lease"))).status == 401
        assert (await again.call("lease"))["fence"] == 0


async def test_unknown_machines_start_from_their_disk_until_discovery_is_switched_on(book, region, agent):
    page = "/boot/00-1a-2b-3c-4d-77.ipxe"
    assert "unknown: this machine starts from its disk" in await agent.ask("GET", page)
    assert "BOOTIF" not in await agent.ask("GET", f"/boot/none.ipxe?serial={SN}")
    await book.change_settings(IDC, lambda settings: replace(settings, discovery=True))
    async with asyncio.timeout(30):
        while not region.app.mirror.settings.discovery:
            await region.app.mirror.changed()
    assert "ops.mode=report" in await agent.ask("GET", page)
    assert not (await agent.report())["is_known"]
    assert [machine.sn for machine in await book.unmatched(IDC)] == [SN]
    await book.create(a_task(SN, install=SPEC))
    assert (await book.get(IDC, SN)).status is TaskStatus.PENDING_APPROVAL
    await approves(book)
    assert (await agent.next())["operation"] == "install"


async def test_nothing_but_what_is_needed_is_handed_out(book, region, agent, tmp_path):
    assert (await refused(agent.ask("GET", f"/images/{'ab' * 32}"))).status == 404
    for path in ("/static/../lock", "/static/%2e%2e/lock", "/static//etc/passwd", f"/kickstart/{SN}", "/nothing"):
        assert (await refused(agent.ask("GET", path))).status == 404
    spec = replace(SPEC, method="kickstart", image=None, template="# {{ hostname }} {{ callback_url }}")
    await begins(book, agent, install=spec)
    assert await agent.ask("GET", f"/kickstart/{SN}") == "# sn-001 "  # to look at; it says nobody when it is done
    asks = {"sn": SN}
    former = (await agent.ask("POST", "/api/v1/device/getOSInstallConfig", asks))["kickstart_url"]
    answers = (await agent.ask("POST", "/api/v1/device/getOSInstallConfig", asks))["kickstart_url"]
    path, key = answers.removeprefix(region.url), answers.rpartition("/")[2]
    text = await agent.ask("GET", path)
    assert text.startswith("# sn-001 http://")
    assert agent.task_id in text
    for wrong in (former.removeprefix(region.url), f"{path}x", f"/kickstart/{SN}/{'a' * 43}", f"/preseed/{SN}/{key}"):
        assert (await refused(agent.ask("GET", wrong))).status == 404, wrong
    kept = await book.get(IDC, SN)
    assert kept.installer_sha256 == sha256(key.encode()).hexdigest()
    assert key not in msgspec.json.encode(kept).decode()
    assert (await refused(agent.ask("GET", f"/preseed/{SN}"))).status == 404
    done = text.split()[2].removeprefix(region.url)
    assert (await refused(agent.ask("POST", done))).status == 404, "its agent is still at work"
    await agent.begin("start-installer", "DISK1")
    assert (await refused(agent.ask("POST", done))).status == 404
    await agent.complete("start-installer", hands_over=True)
    for wrong in (f"{done}x", done.replace(key, former.rpartition("/")[2]), done.removesuffix(f"/{key}"), f"{done}é"):
        assert (await refused(agent.ask("POST", wrong))).status == 404, wrong
    assert (await refused(agent.ask("POST", "/api/v1/device/getOSInstallConfig", asks))).reason == "not_installing"
    assert (await refused(agent.ask("POST", f"{done}/wiped"))).status == 404
    await agent.ask("POST", f"{done}/started")
    shown = (await book.get(IDC, SN)).progress[-1]
    assert (shown.step, shown.percent) == ("installer", 5.0)
    await agent.ask("POST", done)
    task = await book.get(IDC, SN)
    assert (task.status, task.status_history[-1].by) == (TaskStatus.COMPLETED, f"installer:{SN}")
    assert task.intents[0].done_at is not None
    for over in (f"/kickstart/{SN}", path):
        assert (await refused(agent.ask("GET", over))).status == 404
    assert (await refused(agent.ask("POST", done))).status == 404


async def test_it_tells_how_it_is(region, agent):
    health = await agent.ask("GET", "/health")
    assert health["status"] == "ok"
    assert health["role"] == "active"
    assert health["epoch"] == 1
    assert 'ops_regional_role{role="active"} 1' in await agent.ask("GET", "/metrics")
    for page in ("dhcp/status", "dhcp/leases", "tftp/status", "tftp/files", "configs"):
        assert await agent.ask("GET", f"/api/v1/pxe/{page}")
