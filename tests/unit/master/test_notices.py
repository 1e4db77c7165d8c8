from datetime import timedelta
from types import SimpleNamespace

import pytest

from ops_system.master.bus import Bus
from ops_system.master.channels.rules import Notice
from ops_system.master.instances.events import InstanceFailed
from ops_system.master.nodes.events import NodeStatusChanged
from ops_system.master.notices import Watchman
from ops_system.model.nodes import NodeStatus
from ops_system.model.reasons import Reason
from ops_system.runtime.tasks import running
from tests.fakes.clock import FakeClock
from tests.fakes.worker import eventually


class Book:
    """Stands where `Nodes` is wanted."""

    def __init__(self):
        self.nodes = {}

    def add(self, node_id, status, last_seen=None, *, is_revoked=False):
        fields = {"name": node_id.removeprefix("nod_"), "status": status, "last_seen": last_seen}
        self.nodes[node_id] = SimpleNamespace(id=node_id, is_revoked=is_revoked, **fields)

    def find(self, node_id):
        return self.nodes.get(node_id)

    def list_all(self):
        return list(self.nodes.values())


@pytest.fixture
def stage():
    bus, book, clock, told = Bus(), Book(), FakeClock(), []
    bus.subscribe(Notice, told.append)
    return SimpleNamespace(bus=bus, book=book, clock=clock, told=told, watchman=Watchman(bus, book, clock))


def test_silence_and_copies_are_told_and_what_was_wanted_is_not(stage):
    stage.book.add("nod_a", NodeStatus.OFFLINE)
    stage.book.add("nod_b", NodeStatus.QUARANTINED)
    stage.book.add("nod_c", NodeStatus.OFFLINE, is_revoked=True)
    for node_id, status in (
        ("nod_a", NodeStatus.SUSPECT),
        ("nod_a", NodeStatus.OFFLINE),
        ("nod_a", NodeStatus.ONLINE),
        ("nod_b", NodeStatus.QUARANTINED),
        ("nod_c", NodeStatus.OFFLINE),
        ("nod_gone", NodeStatus.OFFLINE),
    ):
        stage.bus.publish(NodeStatusChanged(node_id, status))
    found = [(notice.code, notice.subject, notice.path) for notice in stage.told]
    assert found == [
        ("node_offline", "node:nod_a", "/nodes/nod_a"),
        ("node_quarantined", "node:nod_b", "/nodes/nod_b"),
    ]


def test_a_failure_is_told_with_its_reason(stage):
    stage.book.add("nod_a", NodeStatus.ONLINE)
    stage.bus.publish(InstanceFailed("ins_1", "nod_a", "web", Reason("gave_up", "gave up after 5 restarts")))
    stage.bus.publish(InstanceFailed("ins_2", "nod_gone", "db", None))
    assert [(notice.params, notice.lines) for notice in stage.told] == [
        ({"name": "web", "node": "a"}, ("gave up after 5 restarts",)),
        ({"name": "db", "node": "nod_gone"}, ()),
    ]


async def test_a_node_that_does_not_come_back_after_a_start_is_told(stage):
    last_seen = stage.clock.now() - timedelta(days=1)
    stage.book.add("nod_a", NodeStatus.OFFLINE, last_seen)
    stage.book.add("nod_b", NodeStatus.ONLINE, stage.clock.now())
    stage.book.add("nod_c", NodeStatus.OFFLINE)  # never heard
    async with running(stage.watchman.run(0.0), "notices"):
        await eventually(lambda: stage.told)
    assert [(notice.subject, notice.since) for notice in stage.told] == [("node:nod_a", last_seen)]
