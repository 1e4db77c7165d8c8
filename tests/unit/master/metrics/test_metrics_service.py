"""Samples in, points out: ownership, budget, staleness, forgetting, and what is published."""

import math

import msgspec
import pytest

from ops_system.master.bus import Bus, Changed
from ops_system.master.metrics.rules import MetricsQuery
from ops_system.master.metrics.service import CURRENT_FOR_S, SWEEP_TURNS, MetricsBook
from ops_system.master.metrics.shelf import CORE
from ops_system.master.metrics.windows import SERIES_BYTES, WINDOW_S
from ops_system.master.nodes.events import NodeRemoved
from ops_system.model.errors import NotFound
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.metrics import INSTANCE_SERIES, NODE_SERIES
from ops_system.protocol.frames import Sample
from tests.fakes.clock import FakeClock

NODE, OTHER, WEB = NodeId("n1"), NodeId("n2"), InstanceId("i1")


class Rig:
    def __init__(self, budget_bytes=10**7):
        self.bus, self.clock, self.told = Bus(), FakeClock(), []
        self.bus.subscribe(Changed, self.told.append)
        self.book = MetricsBook(self.bus, self.clock, budget_bytes=budget_bytes)

    def sample(self, node_id=NODE, value=1.0, *, extra=None, instances=None, skew_s=0.0, dropped=0):
        at_s = self.clock.now().timestamp() + skew_s
        row = tuple(value + n for n in range(len(NODE_SERIES)))
        self.book.ingest(node_id, Sample(at_s, row, extra or {}, instances or {}, dropped))

    async def tend(self):
        """Let a minute of turns go by."""
        for _ in range(SWEEP_TURNS):
            await self.book._tend(0.0)

    def node_points(self, series="cpu_percent", **query):
        return self.book.query_node(NODE, MetricsQuery(series=series, **query)).series.get(series)


@pytest.fixture
def rig():
    return Rig()


def test_samples_become_points_by_our_clock(rig):
    for value in (1.0, 3.0, 5.0):
        rig.sample(value=value, skew_s=3 * 86_400)
        rig.clock.advance(1.0)
    start = int(rig.clock.now().timestamp()) - 3
    assert rig.node_points() == [(start, 1.0, 1.0), (start + 1, 3.0, 3.0), (start + 2, 5.0, 5.0)]
    assert rig.node_points(step_s=60) == [(start // 60 * 60, 3.0, 5.0)]
    assert rig.book.current_of_node(NODE)["mem_percent"] == 6.0


def test_current_values_grow_old(rig):
    rig.sample()
    rig.clock.advance(CURRENT_FOR_S)
    assert rig.book.current_of_node(NODE) == {}
    assert list(rig.book.fleet()) == []


def test_unknown_values_are_absent_everywhere(rig):
    rig.book.tell(lambda _topic: True)
    rig.book.ingest(NODE, Sample(rig.clock.now().timestamp(), (math.nan, 5.0, math.inf)))
    assert rig.book.current_of_node(NODE) == {"mem_percent": 5.0}
    assert rig.book.query_node(NODE, MetricsQuery()).names == ["mem_percent"]
    assert list(rig.book.fleet()) == [("node:n1", [None, 5.0, *[None] * (CORE - 2)])]
    assert rig.told[-1].data["values"] == {"mem_percent": 5.0}


def test_a_sample_without_a_time_is_nothing(rig):
    rig.book.ingest(NODE, Sample(math.nan, (1.0,)))
    assert rig.book.used_bytes == 0


def test_extra_series_are_kept_within_bounds(rig):
    rig.sample(extra={"disk:/:used_percent": 40.0, "x" * 200: 1.0, "\x1b[0m": 1.0, "": 1.0})
    assert set(rig.book.query_node(NODE, MetricsQuery()).names) == {*NODE_SERIES, "disk:/:used_percent"}
    rig.sample(extra={f"flood{n}": 1.0 for n in range(5000)})
    assert len(rig.book.query_node(NODE, MetricsQuery()).names) <= 512
    assert rig.book.refused_values > 4000


def test_the_budget_holds_and_the_core_of_each_node_is_kept():
    rig = Rig(budget_bytes=20 * SERIES_BYTES)
    for number in range(10):
        rig.sample(NodeId(f"n{number}"), extra={f"extra{n}": 1.0 for n in range(10)})
    assert rig.book.used_bytes <= (20 + 10 * CORE) * SERIES_BYTES
    for number in range(10):
        assert set(NODE_SERIES[:CORE]) <= set(rig.book.query_node(NodeId(f"n{number}"), MetricsQuery()).names)


def test_a_watched_node_takes_the_room_of_those_nobody_watches():
    rig = Rig(budget_bytes=60 * SERIES_BYTES)
    many = {f"disk:/{n}:used_percent": 1.0 for n in range(30)}
    rig.sample(OTHER, extra=many)
    rig.sample(NODE, extra=many)
    assert not set(many) <= set(rig.book.query_node(NODE, MetricsQuery()).names)
    rig.book.tell(lambda topic: topic == "metrics:node:n1")
    rig.clock.advance(1.0)
    rig.sample(NODE, extra=many)
    assert set(many) <= set(rig.book.query_node(NODE, MetricsQuery()).names)
    assert rig.book.query_node(OTHER, MetricsQuery()).names == list(NODE_SERIES[:CORE])
    assert rig.book.used_bytes <= 60 * SERIES_BYTES


def test_what_rules_want_takes_the_room_of_what_nobody_needs_but_no_more_than_there_is():
    rig = Rig(budget_bytes=2 * (CORE + 1) * SERIES_BYTES)

    def sample_both():
        for _ in range(11):
            rig.clock.advance(1.0)
            rig.sample(NODE)
            rig.sample(OTHER)
        return [set(rig.book.query_node(node_id, MetricsQuery()).names) for node_id in (NODE, OTHER)]

    core = set(NODE_SERIES[:CORE])
    assert sample_both() == [core, core]
    rig.book.want(["load15"])
    assert sample_both() == [{*core, "load15"}] * 2
    rig.book.want(["load15", "uptime_s"])
    assert sample_both() == [{*core, "load15"}] * 2
    assert rig.book.used_bytes == 2 * (CORE + 1) * SERIES_BYTES


def test_an_instance_belongs_to_one_node(rig):
    rig.book.check_owner(lambda instance_id: NODE if instance_id == WEB else None)
    rig.sample(OTHER, instances={WEB: (99.0,), InstanceId("nobody"): (1.0,)})
    assert rig.book.current_of_instance(WEB) == {}
    rig.sample(NODE, instances={WEB: (7.0, 1024.0)})
    assert rig.book.current_of_instance(WEB) == {"cpu_percent": 7.0, "mem_bytes": 1024.0}
    assert rig.book.node_of(WEB) == NODE
    with pytest.raises(NotFound):
        rig.book.node_of(InstanceId("nobody"))


def test_an_instance_without_a_sample_has_its_node_and_no_points(rig):
    rig.book.check_owner(lambda instance_id: NODE if instance_id == WEB else None)
    assert rig.book.node_of(WEB) == NODE
    assert set(rig.book.query_instance(WEB, MetricsQuery()).series) == set(INSTANCE_SERIES)
    assert not any(rig.book.query_instance(WEB, MetricsQuery()).series.values())


def test_without_an_owner_check_the_first_node_keeps_it(rig):
    rig.sample(NODE, instances={WEB: (7.0,)})
    rig.sample(OTHER, instances={WEB: (99.0,)})
    assert rig.book.current_of_instance(WEB) == {"cpu_percent": 7.0}


def test_a_removed_node_is_forgotten_with_its_instances(rig):
    rig.sample(NODE, instances={WEB: (1.0,)})
    rig.sample(OTHER)
    rig.bus.publish(NodeRemoved(NODE))
    assert rig.book.current_of_instance(WEB) == {}
    assert rig.book.query_node(NODE, MetricsQuery()).names == []
    assert rig.book.used_bytes == len(NODE_SERIES) * SERIES_BYTES


async def test_a_whole_window_of_silence_frees_the_memory(rig):
    rig.sample(instances={WEB: (1.0,)}, extra={"disk:/mnt:used_percent": 1.0})
    for _ in range(WINDOW_S):
        rig.clock.advance(1.0)
        rig.sample()
    await rig.tend()
    assert rig.book.query_node(NODE, MetricsQuery()).names == list(NODE_SERIES)
    rig.clock.advance(WINDOW_S + 1)
    await rig.tend()
    assert rig.book.used_bytes == 0


def test_only_what_is_watched_is_published(rig):
    rig.sample(instances={WEB: (1.0, 2.0, 3.0)})
    assert rig.told == []
    rig.book.tell(lambda topic: topic == "metrics:fleet")
    rig.sample(value=2.0, instances={WEB: (1.0, 2.0, 3.0)})
    node, instance = rig.told
    assert (node.topic, node.key) == ("metrics:fleet", "node:n1")
    assert msgspec.json.decode(node.data) == [2.0 + n for n in range(CORE)]
    assert instance == Changed("metrics:fleet", "instance:i1", [1.0, 2.0])
    rig.told.clear()
    rig.book.tell(lambda topic: topic == "metrics:instance:i1")
    rig.sample(instances={WEB: (1.0, 2.0)})
    at_s = int(rig.clock.now().timestamp())
    assert rig.told == [
        Changed("metrics:instance:i1", "", {"at_s": at_s, "values": {"cpu_percent": 1.0, "mem_bytes": 2.0}})
    ]


def test_dropped_samples_are_counted(rig):
    rig.sample(dropped=3)
    rig.sample(dropped=-5)
    assert rig.book.dropped_samples == 3


def test_series_that_come_later_or_find_room_later_are_kept_as_well(rig):
    names = list(NODE_SERIES)
    for second in range(4):
        row = [float(second)] * len(names)
        row[0] = math.nan if second < 2 else 7.0  # a rate has no first value
        extra = {"disk:/:used_percent": 40.0} if second > 2 else {}
        rig.book.ingest(NODE, Sample(rig.clock.now().timestamp(), tuple(row), extra))
        rig.clock.advance(1.0)
    assert [mean for _, mean, _ in rig.node_points()] == [7.0, 7.0]
    assert [mean for _, mean, _ in rig.node_points("load1")] == [0.0, 1.0, 2.0, 3.0]
    assert [mean for _, mean, _ in rig.node_points("disk:/:used_percent")] == [40.0]


def test_of_a_large_fleet_only_the_core_is_kept_and_half_the_room_stays_free():
    rig = Rig(budget_bytes=100 * CORE * SERIES_BYTES)
    for number in range(60):
        rig.sample(NodeId(f"node-{number}"))
    assert rig.book.used_bytes == 60 * CORE * SERIES_BYTES
    for number in range(60):
        assert len(rig.book.query_node(NodeId(f"node-{number}"), MetricsQuery()).names) == CORE


def test_what_was_refused_is_tried_again_now_and_then_and_at_once_when_watched():
    rig = Rig(budget_bytes=2 * (len(NODE_SERIES) + CORE) * SERIES_BYTES)
    rig.sample(OTHER)
    rig.sample()
    assert len(rig.book.query_node(NODE, MetricsQuery()).names) == CORE
    rig.bus.publish(NodeRemoved(OTHER))
    for _ in range(11):
        rig.clock.advance(1.0)
        rig.sample()
    assert len(rig.book.query_node(NODE, MetricsQuery()).names) == len(NODE_SERIES)
    rig.sample(OTHER)
    rig.sample(OTHER)
    assert len(rig.book.query_node(OTHER, MetricsQuery()).names) == CORE
    rig.book.tell(lambda topic: topic == "metrics:node:n2")
    rig.sample(OTHER)
    assert len(rig.book.query_node(OTHER, MetricsQuery()).names) == len(NODE_SERIES)


async def test_rules_read_the_newest_value_a_window_and_the_history(rig):
    for value in (1.0, 2.0, 4.0):
        rig.sample(value=value, instances={WEB: (value * 10,)})
        rig.clock.advance(1.0)
    assert rig.book.latest("node:n1", "cpu_percent") == (4.0, 1.0)
    assert rig.book.latest("instance:i1", "cpu_percent") == (40.0, 1.0)
    assert rig.book.window("node:n1", "cpu_percent", 4) == [None, 1.0, 2.0, 4.0]
    assert rig.book.window("node:n1", "nothing", 2) == [None, None]
    start = int(rig.clock.now().timestamp()) - 3
    points = await rig.book.history("node:n1", "cpu_percent", start, start + 2, 1)
    assert points == [(start, 1.0, 1.0), (start + 1, 2.0, 2.0), (start + 2, 4.0, 4.0)]


def test_rules_get_a_value_only_while_it_is_new(rig):
    rig.sample(value=4.0, extra={"disk:/:used_percent": math.nan})
    rig.clock.advance(9.0)
    assert rig.book.fresh(["node:n1"], "cpu_percent", 10.0) == [4.0]
    assert rig.book.fresh(["node:n1"], "disk:/:used_percent", 10.0) == [None]
    assert rig.book.fresh(["node:n1"], "nothing", 10.0) == [None]
    assert rig.book.fresh(["node:n2"], "cpu_percent", 10.0) == [None]
    rig.clock.advance(1.0)
    assert rig.book.fresh(["node:n1"], "cpu_percent", 10.0) == [None]


def test_what_is_told_goes_past_the_bus_where_somebody_takes_it(rig):
    taken = []
    rig.book.tell(lambda topic: topic == "metrics:fleet", lambda *change: taken.append(change))
    rig.sample(value=2.0)
    assert rig.told == []
    [(topic, key, data)] = taken
    assert (topic, key, msgspec.json.decode(data)) == ("metrics:fleet", "node:n1", [2.0 + n for n in range(CORE)])


def test_a_silent_subject_ends_its_window_with_what_is_not_known(rig):
    rig.sample(value=5.0)
    rig.clock.advance(4.0)
    rig.clock.jump(-3 * 86_400)
    assert rig.book.window("node:n1", "cpu_percent", 6) == [None, 5.0, None, None, None, None]


@pytest.mark.parametrize("subject", ["node:n2", "instance:n1", "n1", "", "node:"])
async def test_a_subject_that_never_came_is_unknown(rig, subject):
    rig.sample()
    assert rig.book.latest(subject, "cpu_percent") is None
    assert rig.book.window(subject, "cpu_percent", 10) == []
    assert await rig.book.history(subject, "cpu_percent", 0, 10, 1) == []
