"""Installations over HTTP: a real master; region and agents are played on its store."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest

from ops_system.kv.client import Client
from ops_system.model.errors import NotAllowed
from ops_system.model.machines import Machine
from ops_system.model.tasks import ApproveCall, Task
from ops_system.provision.agents import AgentBook
from ops_system.provision.approvals import approve
from ops_system.provision.regions import RegionSettings
from ops_system.runtime.clock import SystemClock
from tests.bench.sim import SimWorker
from tests.fakes.agents import PlayedAgent
from tests.fakes.etcd import NEEDS_ETCD, run_etcd
from tests.fakes.master import Api, ApiError, RunningMaster, run_master
from tests.fakes.provision import IDC, MAC, SN, a_task

ORDER = {"idc": IDC, "sn": SN, "mac": "00-1A-2B-3C-4D-5E", "os_type": "Debian 12", "os_version": "12"}
TASK = f"/tasks/{IDC}/{SN}"


@pytest.fixture
async def master(tmp_path) -> AsyncIterator[RunningMaster]:
    async with run_master(tmp_path) as running_master:
        yield running_master


@pytest.fixture
async def api(master) -> AsyncIterator[Api]:
    async with master.admin_client() as client:
        yield client


def book_of(master: RunningMaster) -> AgentBook:
    provision = master.master.ground.provision
    assert provision is not None
    return AgentBook(provision.store, SystemClock())


@contextlib.asynccontextmanager
async def refused(status: int, reason: str = "") -> AsyncIterator[None]:
    with pytest.raises(ApiError) as told:
        yield
    assert told.value.status == status, told.value.body
    if reason:
        assert told.value.body["details"].get("reason") == reason, told.value.body


async def until(api: Api, path: str, wanted: dict[str, object]) -> dict[str, object]:
    """Ask until the answer has these values; upkeep sends no event to a test."""
    async with asyncio.timeout(30):
        while True:
            found = await api.get(path)
            if all(found[name] == value for name, value in wanted.items()):
                return found
            await asyncio.sleep(0.05)


async def test_from_an_order_to_a_node(master, api):
    made = await api.post("/tasks", ORDER | {"tags": {"rack": "a1"}})
    assert (made["status"], made["os_type"], made["os_version"], made["mac"]) == ("pending", "Debian", "12", MAC)
    async with refused(409, "no_inventory"):
        await api.post(f"{TASK}/approve", {"disks": ["DISK1"]})
    agent = PlayedAgent(book_of(master))
    await agent.report()
    machine = await api.get(f"/machines/{IDC}/{SN}")
    assert [disk["serial"] for disk in machine["disks"]] == ["DISK1", "DISK2"]
    assert machine["is_agent_alive"]
    steps = (await api.post(f"{TASK}/dry-run", {"disks": ["DISK1"]}))["steps"]
    assert any(step["is_destructive"] and step["disks"] == ["DISK1"] for step in steps)
    body = {"disks": ["DISK1"], "inventory_hash": machine["inventory_hash"], "notes": "go"}
    approved = await api.post(f"{TASK}/approve", body)
    assert approved["status"] == "approved"
    assert approved["approval"]["disks"] == ["DISK1"]
    async with refused(409):
        await api.post(f"{TASK}/approve", body)
    task = await agent.begin()
    enrolment = agent.open_enrolment(task)
    assert enrolment.labels == {"idc": IDC, "sn": SN}
    await agent.write(task)
    done = await agent.end(task)
    assert done.sealed_enrolment == ""
    await joins(master, enrolment.join_token, MAC)
    home = await until(api, TASK, {"status": "completed", "deadline_at": None})
    node = await api.get(f"/nodes/{home['node_id']}")
    assert node["labels"]["sn"] == SN
    assert (await api.get(f"{TASK}/log"))["lines"] == ["half of it"]
    assert (await api.get("/stats"))["completed"] == 1
    assert [row["action"] for row in (await api.get("/audit?q=task:"))["items"]] == ["task.approve", "task.create"]


async def joins(master: RunningMaster, token: str, mac: str) -> None:
    _, _, token_id, secret = token.split(".", 3)
    worker = SimWorker(master.url, "new-system")
    worker.fingerprint = msgspec.structs.replace(worker.fingerprint, macs=(mac,))
    async with aiohttp.ClientSession() as session:
        await worker.enrol(session, token_id, secret)


async def test_an_enrolment_is_good_for_its_machine_alone(master, api):
    agent = await approved_agent(master, api)
    enrolment = agent.open_enrolment(await agent.begin())
    with pytest.raises(AssertionError, match="other_machine"):
        await joins(master, enrolment.join_token, "00:00:00:00:00:02")
    await joins(master, enrolment.join_token, MAC)


async def approved_agent(master: RunningMaster, api: Api, **facts: object) -> PlayedAgent:
    await api.post("/tasks", ORDER)
    agent = PlayedAgent(book_of(master), **facts)
    await agent.report()
    await api.post(f"{TASK}/approve", {"disks": ["DISK1"]})
    return agent


async def test_orders_that_cannot_be_are_refused_by_name(api):
    for change, field in (
        ({"idc": "region"}, "idc"),
        ({"sn": "../etc"}, "sn"),
        ({"mac": "01:00:5e:00:00:01"}, "mac"),
        ({"os_type": "Windos"}, "os_type"),
        ({"os_version": "11"}, "os_version"),
        ({"tags": {"": "x"}}, "tags"),
    ):
        with pytest.raises(ApiError, match=field) as told:
            await api.post("/tasks", ORDER | change)
        assert told.value.status == 422
    assert (await api.get("/tasks"))["total"] == 0


async def test_live_pages_hear_of_tasks_and_machines(master, api):
    async with api.socket("/live") as socket:
        await socket.send_json({"subscribe": [f"tasks:{IDC}", f"machines:{IDC}"]})
        for _ in range(2):
            assert (await socket.receive_json())["type"] == "snapshot"
        await api.post("/tasks", ORDER)
        told = await socket.receive_json()
        assert (told["topic"], told["type"]) == (f"tasks:{IDC}", "change")
        assert told["data"]["items"][0]["status"] == "pending"
        await PlayedAgent(book_of(master)).report()
        seen = {(await socket.receive_json())["topic"] for _ in range(2)}
        assert seen == {f"tasks:{IDC}", f"machines:{IDC}"}


async def test_a_page_hears_of_what_it_shows_and_how_many_there_are(master, api):
    await api.post("/tasks", ORDER)
    await api.post("/tasks", ORDER | {"sn": "sn-other", "mac": "00:1a:2b:3c:4d:7f"})
    async with api.socket("/live") as socket:
        shown = {f"task:{IDC}/{SN}", f"machine:{IDC}/{SN}", f"task:{IDC}/nobody", "stats"}
        await socket.send_json({"subscribe": sorted(shown)})
        frames = [await socket.receive_json() for _ in shown]
        first = {frame["topic"]: frame["data"]["items"] for frame in frames}
        assert {frame["type"] for frame in frames} == {"snapshot"}
        assert [item["sn"] for item in first[f"task:{IDC}/{SN}"]] == [SN]
        assert first[f"machine:{IDC}/{SN}"] == first[f"task:{IDC}/nobody"] == []
        assert [(item["idc"], item["pending"], item["machines"]) for item in first["stats"]] == [(IDC, 2, 0)]

        book = book_of(master)
        await PlayedAgent(book, "sn-other", boot="boot-other").report()
        told = await socket.receive_json()
        assert told["topic"] == "stats", "of the other machine only that it is one more"
        counts = told["data"]["items"][0]
        assert (counts["pending"], counts["pending_approval"], counts["machines"]) == (1, 1, 1)

        await PlayedAgent(book).report()
        newest = {}
        while len(newest) < 3:
            frame = await socket.receive_json()
            newest[frame["topic"]] = frame["data"]["items"][0]
        assert newest[f"task:{IDC}/{SN}"]["status"] == "pending_approval"
        assert newest[f"machine:{IDC}/{SN}"]["sn"] == SN
        assert "logs" not in newest[f"task:{IDC}/{SN}"]


@NEEDS_ETCD
@pytest.mark.long
async def test_the_limit_holds_on_an_etcd_whoever_asks(tmp_path):
    async with run_etcd(tmp_path) as members, contextlib.AsyncExitStack() as stack:
        books = [AgentBook(await stack.enter_async_context(Client([members[0].url])), SystemClock()) for _ in range(3)]
        agents = [PlayedAgent(books[number % 3], f"sn-{number}", boot=f"boot-{number}") for number in range(12)]
        for agent in agents:
            await agent.book.create(a_task(agent.sn, at=agent.book.clock.now()))
            await agent.report()
            await agent.book.change_machine(IDC, agent.sn, allowed)
        began = 0

        async def begin(agent: PlayedAgent) -> None:
            nonlocal began
            with contextlib.suppress(NotAllowed):
                await agent.begin(max_installs=4)
                began += 1

        async with asyncio.TaskGroup() as group:
            for agent in agents:
                group.create_task(begin(agent))
        assert began == 4


def allowed(task: Task, machine: Machine | None) -> tuple[Task, Machine | None]:
    call, at = ApproveCall(("DISK1",)), SystemClock().now()
    return approve(task, machine, call, RegionSettings(), by="bob", at=at), machine


@NEEDS_ETCD
async def test_two_masters_on_one_etcd_are_one_control_plane(tmp_path):
    async with run_etcd(tmp_path) as members:
        url = members[0].url
        async with (
            run_master(tmp_path / "a", provision__store="etcd", provision__etcd=url) as first,
            run_master(tmp_path / "b", provision__store="etcd", provision__etcd=url) as second,
            first.admin_client() as one,
            second.admin_client() as two,
            Client([url]) as store,
        ):
            await one.post("/tasks", ORDER)
            agent = PlayedAgent(AgentBook(store, SystemClock()))
            await agent.report()
            assert (await two.post(f"{TASK}/approve", {"disks": ["DISK1"]}))["status"] == "approved"
            assert (await one.get(TASK))["approval"]["by"] == "test-admin"
            task = await agent.begin()
            await agent.write(task)
            await agent.end(task)
            await joins(second, agent.open_enrolment(task).join_token, MAC)
            home = await until(one, TASK, {"status": "completed", "deadline_at": None})
            assert home["node_id"]
            await until(one, "/stats", {"completed": 1})
