"""Power over the API: BMCs that answer, a real master, the store of installations."""

import asyncio
import base64
from datetime import UTC, datetime

import msgspec
import pytest
from msgspec.structs import replace

from ops_system.kv.base import PutRequest, RangeRequest
from ops_system.master.bus import Bus
from ops_system.master.operations.service import Operations
from ops_system.master.outbound.client import Outbound
from ops_system.master.power.rules import PowerAction, PowerOrder
from ops_system.master.power.service import PowerDesk
from ops_system.master.power.store import BmcBook, bmc_key
from ops_system.master.web.route import Permission, Principal
from ops_system.model.errors import NotFound, StepUpRequired, UsageError
from ops_system.model.layouts import DiskLayout
from ops_system.model.tasks import InstallSpec, Task, TaskId, TaskStatus
from ops_system.provision.keys import MachineKeys
from ops_system.runtime.clock import SystemClock
from tests.fakes.bmc import PASSWORD, USER, Chassis, RedfishBmc, redfish_bmc
from tests.fakes.master import Api, ApiError, run_master

BMC, POWER = "/machines/dc1/SN1/bmc", "/machines/dc1/SN1/power"
ALLOW = "127.0.0.1"
KEY = base64.b64encode(bytes(range(32))).decode()


def settings(url, **more):
    return {"kind": "redfish", "address": url, "username": USER, "password": PASSWORD, "allow_plain_http": True} | more


@pytest.fixture
async def bmc():
    made = RedfishBmc(Chassis("SN1"))
    async with redfish_bmc(made) as url:
        made.url = url
        yield made


async def ended(api, operation):
    async with asyncio.timeout(30):
        while operation["state"] not in {"succeeded", "failed", "cancelled"}:
            await asyncio.sleep(0.05)
            operation = await api.get(f"/operations/{operation['id']}")
    return operation


async def order(api, action, **more):
    return (await api.post(POWER, {"action": action} | more))["operation"]


async def refused(awaitable):
    with pytest.raises(ApiError) as caught:
        await awaitable
    return caught.value.status, caught.value.body


def task(status):
    now = datetime.now(UTC)
    spec = InstallSpec(method="image", os_type="Debian", os_version="12", disk_layout=DiskLayout())
    names = {"idc": "dc1", "sn": "SN1", "mac": "52:54:00:00:00:01", "os_type": "Debian", "os_version": "12"}
    stamps = {"created_at": now, "updated_at": now, "created_by": "test"}
    return Task(task_id=TaskId("dc1.SN1.1"), status=status, install=spec, **names, **stamps)


async def put_task(master, status):
    store = master.master.ground.provision.store
    await store.put(PutRequest(MachineKeys("dc1", "SN1").task, msgspec.json.encode(task(status))))


async def test_a_machine_is_switched_looked_at_and_netbooted(tmp_path, bmc):
    async with run_master(tmp_path, outbound__allow=ALLOW) as master, master.admin_client() as api:
        assert (await refused(api.get(BMC)))[0] == 404
        assert (await refused(order(api, "on")))[0] == 404
        shown = await api.ask("PUT", BMC, settings(bmc.url))
        assert shown["has_password"]
        assert PASSWORD not in str(shown) + str(await api.get(BMC))
        told = await api.get(POWER)
        assert (told["state"], told["is_this_machine"], told["identity"]["serials"]) == ("off", True, ["SN1"])
        done = await ended(api, await order(api, "netboot"))
        assert (done["state"], done["kind"], done["steps"][-1]["name"]) == ("succeeded", "power.netboot", "confirm")
        for action in ("cycle", "off"):
            assert (await ended(api, await order(api, action)))["state"] == "succeeded"
        assert bmc.chassis.log == ["netboot", "stop", "start", "stop"]
        acts = [row["action"] for row in (await api.get("/audit?limit=100"))["items"]]
        assert {"bmc.set", "power.netboot", "power.cycle", "power.off"} <= set(acts)
        assert PASSWORD not in str(await api.get("/audit?limit=100"))
        await api.delete(BMC)
        assert (await refused(api.get(POWER)))[0] == 404


async def test_the_bmc_of_another_machine_fails_the_order_and_nothing_is_done(tmp_path, bmc):
    bmc.chassis.serial = "SN2"
    async with run_master(tmp_path, outbound__allow=ALLOW) as master, master.admin_client() as api:
        await api.ask("PUT", BMC, settings(bmc.url))
        done = await ended(api, await order(api, "on"))
        assert (done["state"], done["error"]["code"]) == ("failed", "bmc_identity")
        assert not (await api.get(POWER))["is_this_machine"]
    assert bmc.chassis.log == []
    assert not [line for line in bmc.asked if not line.startswith("GET")]


async def test_one_order_at_a_time_and_a_cancelled_one_makes_way(tmp_path, bmc):
    bmc.is_deaf = True
    async with run_master(tmp_path, outbound__allow=ALLOW) as master, master.admin_client() as api:
        await api.ask("PUT", BMC, settings(bmc.url))
        first = await order(api, "on")
        status, body = await refused(order(api, "off"))
        assert (status, body["details"]["reason"]) == (409, "power_busy")
        assert (await api.get(POWER))["wish"]["action"] == "on"
        await api.post(f"/operations/{first['id']}/cancel")
        assert (await ended(api, first))["state"] == "cancelled"
        bmc.is_deaf = False
        assert (await ended(api, await order(api, "on")))["state"] == "succeeded"


async def test_an_open_order_is_taken_up_after_a_restart_of_the_master(tmp_path, bmc):
    bmc.is_deaf = True
    async with run_master(tmp_path, outbound__allow=ALLOW) as master, master.admin_client() as api:
        await api.ask("PUT", BMC, settings(bmc.url))
        begun = await order(api, "on")
    bmc.is_deaf = False
    async with (
        run_master(tmp_path, is_set_up=False, outbound__allow=ALLOW) as master,
        Api(master.url, await master.create_token("again")) as api,
    ):
        assert (await ended(api, begun))["state"] == "succeeded"
    assert bmc.chassis.log == ["start"]


async def test_an_installation_is_not_cut_off_by_mistake(tmp_path, bmc):
    bmc.chassis.is_on = True
    async with run_master(tmp_path, outbound__allow=ALLOW) as master, master.admin_client() as api:
        await api.ask("PUT", BMC, settings(bmc.url))
        await put_task(master, TaskStatus.INSTALLING)
        for action in ("off", "cycle", "netboot"):
            status, body = await refused(order(api, action))
            assert (status, body["details"]["reason"]) == (409, "installing")
        assert (await ended(api, await order(api, "off", force=True)))["state"] == "succeeded"


async def test_a_browser_proves_itself_before_work_is_ended(tmp_path, bmc):
    async with run_master(tmp_path, outbound__allow=ALLOW) as master, master.admin_client() as api:
        await api.ask("PUT", BMC, settings(bmc.url))
        proof = Principal(kind="user", id="u", name="ada", session_id="stale", permissions=frozenset(Permission))
        desk = PowerDesk(
            database=master.master.ground.database,
            audit=master.master.ground.audit,
            operations=Operations(master.master.ground.database, Bus(), SystemClock()),
            outbound=Outbound(),
            book=BmcBook(master.master.ground.provision.store, master.master.ground.trust),
            clock=SystemClock(),
            has_proof=lambda actor: actor.session_id != "stale",
        )
        for action in (PowerAction.OFF, PowerAction.CYCLE, PowerAction.NETBOOT):
            with pytest.raises(StepUpRequired):
                await desk.order("dc1", "SN1", PowerOrder(action), proof)
        await put_task(master, TaskStatus.PENDING)  # it waits for its installation: nothing is ended
        assert (await desk.order("dc1", "SN1", PowerOrder(PowerAction.NETBOOT), proof)).kind == "power.netboot"
        for scope in ({"site": "a"}, {"idc": "dc2"}):
            with pytest.raises(NotFound):
                await desk.look("dc1", "SN1", replace(proof, scope=scope))


async def test_a_task_brings_its_machine_to_the_network_by_itself(tmp_path, bmc):
    wanted = {"idc": "dc1", "sn": "SN1", "mac": "52:54:00:00:00:01", "os_type": "Debian", "os_version": "12"}
    async with run_master(tmp_path, outbound__allow=ALLOW) as master, master.admin_client() as api:
        assert (await refused(api.post("/tasks", wanted | {"power": "auto"})))[0] == 404
        await api.ask("PUT", BMC, settings(bmc.url))
        assert (await api.post("/tasks", wanted | {"power": "auto"}))["power"] == "auto"
        (begun,) = (await api.get("/operations?kind=power"))["items"]
        assert (await ended(api, begun))["state"] == "succeeded"
        assert bmc.chassis.log == ["netboot"]
        await api.post("/tasks/dc1/SN1/cancel", {})
        await api.post("/tasks/dc1/SN1/retry", {})
        (again, _) = (await api.get("/operations?kind=power"))["items"]
        await ended(api, again)
        assert bmc.chassis.log == ["netboot", "stop", "netboot"]


async def test_by_hand_is_said(tmp_path):
    async with run_master(tmp_path) as master, master.admin_client() as api:
        await api.ask("PUT", BMC, {"kind": "manual"})
        assert (await api.get(POWER))["state"] == "unknown"
        status, body = await refused(order(api, "on"))
        assert (status, body["details"]["reason"]) == (409, "power_manual")


async def test_what_is_sealed_is_for_one_machine_and_one_address(tmp_path, bmc):
    async with run_master(tmp_path, outbound__allow=ALLOW) as master, master.admin_client() as api:
        await api.ask("PUT", BMC, settings(bmc.url))
        store = master.master.ground.provision.store
        (kept,) = (await store.range(RangeRequest(bmc_key("dc1", "SN1")))).kvs
        assert PASSWORD.encode() not in kept.value
        await store.put(PutRequest(bmc_key("dc1", "SN9"), kept.value))
        status, body = await refused(api.get("/machines/dc1/SN9/power"))
        assert (status, "was sealed for SN1" in body["message"]) == (503, True)
        moved = msgspec.json.decode(kept.value) | {"address": "http://127.0.0.1:1"}
        await store.put(PutRequest(bmc_key("dc1", "SN1"), msgspec.json.encode(moved)))
        assert (await api.get(POWER))["state"] == "off"  # asked where it was sealed for


async def test_masters_with_one_shared_key_read_what_the_other_sealed(tmp_path, bmc):
    first, second, third = (tmp_path / name for name in ("a", "b", "c"))
    for folder in (first, second, third):
        folder.mkdir()
    async with run_master(first, outbound__allow=ALLOW, provision__shared_key=KEY) as master:
        async with master.admin_client() as api:
            await api.ask("PUT", BMC, settings(bmc.url))
        (kept,) = (await master.master.ground.provision.store.range(RangeRequest(bmc_key("dc1", "SN1")))).kvs
    for folder, more, answer in ((second, {"provision__shared_key": KEY}, "off"), (third, {}, 503)):
        async with run_master(folder, outbound__allow=ALLOW, **more) as master, master.admin_client() as api:
            await master.master.ground.provision.store.put(PutRequest(kept.key, kept.value))
            if answer == "off":
                assert (await api.get(POWER))["state"] == answer
            else:
                assert (await refused(api.get(POWER)))[0] == answer
                assert not (await api.get(BMC))["has_password"]
    with pytest.raises(UsageError, match="32 bytes"):
        async with run_master(first, provision__shared_key="c2hvcnQ="):
            pass
