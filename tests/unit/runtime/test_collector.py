"""What is new is looked at in time, however rarely the collector itself would."""

import asyncio
import gc
import weakref

import pytest

from ops_system.runtime import collector
from ops_system.runtime.collector import collect_in_time
from ops_system.runtime.tasks import running


class Knot:
    """Holds itself."""

    def __init__(self):
        self.itself = self


@pytest.fixture
def no_collections():
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("age", [0, 1, 2])
async def test_a_cycle_that_nobody_holds_is_freed_young_or_old(monkeypatch, no_collections, age):
    monkeypatch.setattr(collector, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(collector, "ALL_EVERY", 3)
    freed, loop = asyncio.Event(), asyncio.get_running_loop()
    knot = Knot()
    weakref.finalize(knot, loop.call_soon, freed.set)
    for generation in range(age):
        gc.collect(generation)  # it is held still
    del knot
    assert not freed.is_set()
    async with running(collect_in_time(), "collector"), asyncio.timeout(20):
        await freed.wait()
