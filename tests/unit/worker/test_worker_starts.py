import asyncio
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.instances import Desired, HealthState, InstanceReport, State
from ops_system.model.manifest import Health, Manifest
from ops_system.model.stamps import from_ms
from ops_system.processes.spec import RunSpec
from ops_system.runtime.tasks import spawn
from ops_system.worker.starts import OrderedStarts, plan_starts
from tests.fakes.wishes import wish


def service(start_timeout: str = "60s") -> Manifest:
    return Manifest("web", "1.0.0", entrypoint="run.sh", health=Health(start_timeout=start_timeout))


DB = wish("db", start_order=10, service=service())
APP = wish("app", depends_on=("db",))


class Recorder:
    def __init__(self) -> None:
        self.prepared: list[str] = []
        self.told: list[tuple[str, str | None]] = []
        self.news = asyncio.Event()

    async def prepare(self, spec, _progress):
        self.prepared.append(spec.instance_id)
        self.news.set()

    async def remove(self, spec): ...

    def tell(self, instance_id, reason):
        self.told.append((instance_id, reason.code if reason else None))
        self.news.set()

    async def until(self, is_true):
        async with asyncio.timeout(30):
            while not is_true():
                self.news.clear()
                await self.news.wait()


class Boot:
    """Wishes found at a start, all of them being prepared at once as the supervisor does."""

    def __init__(self, *wishes) -> None:
        self.recorder = Recorder()
        self.starts = OrderedStarts(self.recorder, self.recorder.tell)
        self.wishes = wishes

    @asynccontextmanager
    async def begun(self):
        async with asyncio.TaskGroup() as group:
            tasks = [
                spawn(group, self.starts.prepare(RunSpec(spec, "run.sh"), lambda _: None), spec.instance_id)
                for spec in self.starts.begin(self.wishes)
                if spec.desired is Desired.RUNNING
            ]
            yield self.recorder
            for task in tasks:
                task.cancel()

    def see(self, instance_id, state):
        self.starts.see(InstanceReport(instance_id, 1, state, HealthState.UNKNOWN, from_ms(0)))


async def test_a_start_waits_until_what_it_depends_on_is_proven():
    boot = Boot(APP, DB)
    async with boot.begun() as recorder:
        await recorder.until(lambda: recorder.prepared == ["db"] and recorder.told)
        assert recorder.told == [("app", "waiting_for_dependency")]
        for state in (State.PREPARING, State.STARTING, State.BACKOFF):
            boot.see("db", state)
        await asyncio.sleep(0)
        assert recorder.prepared == ["db"]
        boot.see("db", State.RUNNING)
        await recorder.until(lambda: recorder.prepared == ["db", "app"])
    assert recorder.told[-1] == ("app", None)


async def test_a_chain_comes_up_one_after_the_other_and_waiting_counts_for_nobody():
    third = wish("web", depends_on=("app",))
    quick = wish("app", depends_on=("db",), service=service("100ms"))
    boot = Boot(third, quick, DB)
    async with boot.begun() as recorder:
        await recorder.until(lambda: len(recorder.told) == 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await recorder.until(lambda: "web" in recorder.prepared)
        boot.see("db", State.RUNNING)
        await recorder.until(lambda: recorder.prepared == ["db", "app", "web"])
    assert ("web", "dependency_not_ready") in recorder.told


@pytest.mark.parametrize("state", [State.EXITED, State.FAILED, State.STOPPED])
async def test_what_will_not_come_is_not_waited_for(state):
    boot = Boot(APP, DB)
    async with boot.begun() as recorder:
        boot.see("db", state)
        await recorder.until(lambda: recorder.prepared == ["db", "app"])


async def test_what_nobody_wants_or_is_elsewhere_is_not_waited_for():
    boot = Boot(wish("app", depends_on=("db", "elsewhere")), wish("db", desired=Desired.STOPPED))
    async with boot.begun() as recorder:
        await recorder.until(lambda: recorder.prepared == ["app"])
    assert [code for _, code in recorder.told] == [None]


async def test_after_its_start_timeout_a_dependency_holds_nobody_back():
    boot = Boot(APP, wish("db", service=service("50ms")))
    async with boot.begun() as recorder:
        await recorder.until(lambda: recorder.prepared == ["db", "app"])
    assert [code for _, code in recorder.told] == ["waiting_for_dependency", "dependency_not_ready", None]


async def test_a_persons_wish_waits_for_nobody():
    boot = Boot(APP, DB)
    async with boot.begun() as recorder:
        await recorder.until(lambda: recorder.told)
        boot.starts.free("app")
        await recorder.until(lambda: recorder.prepared == ["db", "app"])


async def test_only_the_first_start_is_held_back():
    boot = Boot(APP, DB)
    async with boot.begun() as recorder:
        boot.see("db", State.RUNNING)
        await recorder.until(lambda: recorder.prepared == ["db", "app"])
        boot.see("db", State.STARTING)
        await boot.starts.prepare(RunSpec(APP, "run.sh"), lambda _: None)
    assert recorder.prepared == ["db", "app", "app"]


def test_the_start_order_counts_within_a_system():
    other = wish("x", start_order=30)
    first, second = wish("a", start_order=20), wish("b", start_order=10)
    plan = plan_starts([other, first, second])
    assert [spec.instance_id for spec in plan.sequence] == ["b", "a", "x"]
    assert plan.after["a"] == (second,)


IDS = ["a", "b", "c", "d", "e"]


@given(st.dictionaries(st.sampled_from(IDS), st.tuples(st.integers(0, 2), st.sets(st.sampled_from(IDS)))))
def test_no_circle_is_left_to_wait_in(drawn):
    plan = plan_starts(wish(name, start_order=order, depends_on=tuple(deps)) for name, (order, deps) in drawn.items())
    places = {spec.instance_id: place for place, spec in enumerate(plan.sequence)}
    assert places.keys() == drawn.keys()
    for instance_id, befores in plan.after.items():
        assert all(places[before.instance_id] < places[instance_id] for before in befores)
