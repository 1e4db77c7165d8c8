"""How many instances get a change of configuration at once, and in which order."""

import asyncio
import contextlib

import msgspec
import pytest

from ops_system.master.configs.driver import Driver
from ops_system.master.configs.foresight import Foresight
from ops_system.master.configs.rules import ConfigApply, Waves, is_halted, keep_of, waves_of
from ops_system.master.configs.service import Configs
from ops_system.master.configs.values import Values, VariablesPatch
from ops_system.master.systems.rules import NewModule
from ops_system.master.web.route import Permission, Principal
from ops_system.model.errors import Invalid
from ops_system.model.operations import OperationState, OperationTarget
from ops_system.model.systems import ConfigMount
from ops_system.protocol.requests import Reloaded
from ops_system.runtime.tasks import running
from tests.fakes.orchestration import ANN, driven, open_desk

ADA = Principal("user", "usr_2", "ada", frozenset(Permission))
MOUNTS = (ConfigMount("conf/web.yaml", content="region: ${var.REGION}\n"),)
GOOD, BAD = Reloaded(0, "", 0.1), Reloaded(1, "bad option\n", 0.1)
FAILED, PENDING, RUNNING = OperationState.FAILED, OperationState.PENDING, OperationState.RUNNING


class Workers:
    """Nodes whose reload commands end when the test says how."""

    def __init__(self):
        self.asked = []
        self.changed = asyncio.Condition()
        self.ends = {}

    async def request(self, node_id, _kind, _body, _reply_type, _timeout_s=10.0):
        async with self.changed:
            self.asked.append(node_id)
            self.changed.notify_all()
            await self.changed.wait_for(lambda: node_id in self.ends)
            return self.ends[node_id]

    async def end(self, node, how=GOOD):
        async with self.changed:
            self.ends[f"node_{node}"] = how
            self.changed.notify_all()

    async def until_asked(self, *nodes):
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(lambda: len(self.asked) >= len(nodes))
            assert self.asked == [f"node_{node}" for node in nodes]


class Site:
    """Instances whose file has changed, and the config centre that is to bring it."""

    def __init__(self, desk):
        self.desk, self.workers = desk, Workers()
        common = {"database": desk.database, "systems": desk.systems, "instances": desk.instances}
        more = {"operations": desk.operations, "foresight": Foresight(desk.nodes, desk.systems, desk.instances)}
        self.driver = Driver(links=self.workers, bus=desk.bus, **common, **more)
        self.values = Values(audit=desk.audit, **common)
        self.configs = Configs(
            nodes=desk.nodes, templates=desk.templates, driver=self.driver, audit=desk.audit, **common, **more
        )

    async def deploy(self, system, module, start_order, *nodes):
        body = NewModule(module, "web", "1.0", config_mounts=MOUNTS, start_order=start_order)
        made = await self.desk.systems.create_module(system, body, ADA)
        for name in nodes:
            node = self.desk.nodes.add(name, ip="10.0.0.9")
            await self.desk.link_up(node)
            instance, _ = await self.desk.instances.create(made.id, node, ANN)
            await self.desk.obey(node, instance.id)

    @contextlib.asynccontextmanager
    async def at_work(self):
        async with driven(self.desk), running(self.driver.run(), "configuration"):
            yield


@pytest.fixture
async def site(tmp_path):
    """Module db on a1, a2 and a3, then module web on b1."""
    async with open_desk(tmp_path) as desk:
        made = Site(desk)
        await desk.upload("web", ports={}, hooks={"reload": ["true"]})
        await made.values.patch_variables(VariablesPatch("global", {"REGION": "eu"}), ADA)
        made.system = await desk.system()
        await made.deploy(made.system, "db", 1, "a1", "a2", "a3")
        await made.deploy(made.system, "web", 2, "b1")
        await made.values.patch_variables(VariablesPatch("global", {"REGION": "us"}), ADA)
        yield made


async def test_so_many_at_once_and_never_two_places_of_the_start_order(site):
    async with site.at_work():
        operation = await site.configs.apply(ConfigApply(system_id=site.system, max_parallel=2), ADA)
        await site.workers.until_asked("a1", "a2")
        await site.workers.end("a2")
        await site.workers.until_asked("a1", "a2", "a3")
        await site.workers.end("a3")
        assert (await site.desk.operations.get(operation.id)).targets[3].state is PENDING
        await site.workers.end("a1")
        await site.workers.until_asked("a1", "a2", "a3", "b1")
        await site.workers.end("b1")
        ended = await site.desk.ended(operation.id)
    assert ended.state is OperationState.SUCCEEDED


async def test_after_a_failure_none_begins_and_those_at_work_go_on_to_their_end(site):
    async with site.at_work():
        operation = await site.configs.apply(ConfigApply(system_id=site.system, max_parallel=2), ADA)
        await site.workers.until_asked("a1", "a2")
        await site.workers.end("a1", BAD)
        await site.desk.until(lambda: _is_halted_at(site, operation.id, 2))
        await site.workers.end("a2")
        ended = await site.desk.ended(operation.id)
        assert [one.state.value for one in ended.targets] == ["failed", "succeeded", "cancelled", "cancelled"]
        for node in ("a1", "a3", "b1"):
            await site.workers.end(node)
        again = await site.desk.operations.retry(operation.id, ADA)
        ended = await site.desk.ended(again.id)
    assert [one.state.value for one in ended.targets] == ["succeeded"] * 3


async def _is_halted_at(site, operation_id, place):
    return (await site.desk.operations.get(operation_id)).targets[place].state is OperationState.CANCELLED


async def test_a_master_that_was_killed_goes_on_with_as_many(site):
    async with site.at_work():
        operation = await site.configs.apply(ConfigApply(system_id=site.system, max_parallel=2), ADA)
        await site.workers.until_asked("a1", "a2")
    fresh = Site(site.desk.restart())
    await fresh.desk.systems.load()
    async with fresh.at_work():
        await fresh.workers.until_asked("a1", "a2")
        for node in ("a1", "a2", "a3", "b1"):
            await fresh.workers.end(node)
        ended = await fresh.desk.ended(operation.id)
    assert ended.state is OperationState.SUCCEEDED


@pytest.mark.parametrize("number", [0, -1, 101])
async def test_a_number_beyond_its_bounds_is_refused(site, number):
    with pytest.raises(Invalid, match=r"\$\.max_parallel: between 1 and 100"):
        await site.configs.apply(ConfigApply(system_id=site.system, max_parallel=number), ADA)


def test_waves_follow_the_start_order():
    placed = [(("sys_a", 1), "1"), (("sys_a", 1), "2"), (("sys_a", 2), "3"), (("sys_b", 1), "4")]
    waves = waves_of(5, placed)
    assert waves == Waves(5, [["1", "2"], ["3"], ["4"]])
    assert keep_of(waves, {"2", "4"}) == Waves(5, [["2"], ["4"]])


def test_what_has_begun_is_seen_to_its_end_though_another_failed():
    failed = OperationTarget("instance", "i1", "a", "n1", FAILED)
    waiting = msgspec.structs.replace(failed, id="i2", state=PENDING)
    at_work = msgspec.structs.replace(failed, id="i3", state=RUNNING)
    targets = [failed, waiting, at_work]
    assert is_halted(waiting, targets)
    assert not is_halted(at_work, targets)
    assert not is_halted(waiting, [waiting, at_work])
