import asyncio
import itertools
from types import SimpleNamespace

from ops_system.master.bus import Bus
from ops_system.master.gauges import LINES_AT_ONCE, SUBJECTS_AT_ONCE, fleet_text
from ops_system.master.metrics.service import MetricsBook
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.metrics import NODE_SERIES
from ops_system.model.nodes import NodeStatus
from ops_system.protocol.frames import Sample
from ops_system.runtime.tasks import running
from tests.fakes.clock import FakeClock
from tests.fakes.nodes import ADMIN


class FewNodes:
    """Two nodes, one of them away."""

    def list_records(self, _principal):
        return [SimpleNamespace(id="n1", name="web-1"), SimpleNamespace(id="n2", name="web-2")]

    def status(self, node_id):
        return NodeStatus.ONLINE if node_id == "n1" else NodeStatus.OFFLINE


class FewInstances:
    """One instance on a node that is seen, one on a node that is not."""

    async def list_views(self):
        return [
            SimpleNamespace(id="i1", name="web", node_id="n1", state="running", restarts=3),
            SimpleNamespace(id="i2", name="db", node_id="n9", state="failed", restarts=0),
        ]


async def test_the_fleet_is_told_by_node_and_instance_within_the_scope():
    clock = FakeClock()
    book = MetricsBook(Bus(), clock, budget_bytes=10**7)
    extra = {"cpu0_percent": 7.0, "disk:/:used_percent": 8.0}
    sample = Sample(clock.now().timestamp(), (5.0,) * len(NODE_SERIES), extra, {InstanceId("i1"): (50.0, 1024.0)})
    book.ingest(NodeId("n1"), sample)
    tell = fleet_text(FewNodes(), book, FewInstances())
    lines = "".join([piece async for piece in tell(ADMIN)]).splitlines()
    assert 'ops_node_up{node="n1",name="web-1"} 1' in lines
    assert 'ops_node_up{node="n2",name="web-2"} 0' in lines
    assert 'ops_node_load15{node="n1",name="web-1"} 5' in lines
    assert 'ops_node_core_cpu_percent{node="n1",name="web-1",core="0"} 7' in lines
    assert 'ops_node_mount_used_percent{node="n1",name="web-1",mount="/"} 8' in lines
    labels = 'instance_id="i1",name="web",node="n1",node_name="web-1"'
    assert f"ops_instance_cpu_percent{{{labels}}} 50" in lines
    assert f"ops_instance_mem_bytes{{{labels}}} 1024" in lines
    assert f'ops_instance_state{{{labels},state="running"}} 1' in lines
    assert f"ops_instance_restarts{{{labels}}} 3" in lines
    assert not any("i2" in line or "n9" in line for line in lines)
    clock.advance(60.0)
    assert not any(["load15" in piece async for piece in tell(ADMIN)])


class ManyNodes:
    """A fleet as large as the loop has to bear."""

    def list_records(self, _principal):
        return [SimpleNamespace(id=f"n{number}", name=f"web-{number}") for number in range(1000)]

    def status(self, _node_id):
        return NodeStatus.ONLINE


class NoInstances:
    async def list_views(self):
        return []


async def test_a_large_fleet_is_told_in_short_pieces_and_others_run_in_between():
    clock, nodes = FakeClock(), ManyNodes()
    book = MetricsBook(Bus(), clock, budget_bytes=10**8)
    for record in nodes.list_records(ADMIN):
        book.ingest(NodeId(record.id), Sample(clock.now().timestamp(), (5.0,) * len(NODE_SERIES)))
    turns, tell = [], fleet_text(nodes, book, NoInstances())

    async def take_turns():
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async with running(take_turns(), "others"):
        pieces = [piece async for piece in tell(ADMIN)]
    assert len(turns) >= 1000 // SUBJECTS_AT_ONCE + len(pieces)
    lines = "".join(pieces).splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert len(samples) == 1000 * (len(NODE_SERIES) + 1)
    families = [name for name, _ in itertools.groupby(line.partition("{")[0] for line in samples)]
    assert len(families) == len(set(families)) == len(NODE_SERIES) + 1
    assert max(piece.count("\n") for piece in pieces) <= LINES_AT_ONCE
    assert lines.count("# TYPE ops_node_up gauge") == 1
    assert lines.count("# HELP ops_node_up Whether the node is online.") == 1
