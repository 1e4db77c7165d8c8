from types import SimpleNamespace

import pytest

from ops_system.master.bus import Bus
from ops_system.master.channels.rules import Notice
from ops_system.master.nodes.events import NodeStatusChanged
from ops_system.master.notices import Watchman
from ops_system.model.nodes import NodeStatus
from tests.fakes.clock import FakeClock


@pytest.fixture
def told():
    bus, told = Bus(), []
    names = {"nod_a": SimpleNamespace(id="nod_a", name="a"), "nod_b": SimpleNamespace(id="nod_b", name="b")}
    bus.subscribe(Notice, told.append)
    Watchman(bus, SimpleNamespace(find=names.get), FakeClock())
    for node_id, status in (
        ("nod_a", NodeStatus.OFFLINE),
        ("nod_b", NodeStatus.QUARANTINED),
        ("nod_gone", NodeStatus.QUARANTINED),
    ):
        bus.publish(NodeStatusChanged(node_id, status))
    return told


def test_a_copied_identity_is_told_without_a_rule(told):
    assert [(notice.code, notice.subject, notice.params, notice.path) for notice in told] == [
        ("node_quarantined", "node:nod_b", {"name": "b"}, "/nodes/nod_b")
    ]
