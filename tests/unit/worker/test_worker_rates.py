import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.metrics import INSTANCE_SERIES, NODE_SERIES
from ops_system.processes.stats import ProcessCounters
from ops_system.worker.metrics.rates import (
    CpuTimes,
    MountUse,
    NodeCounters,
    cpu_percent,
    extra_row,
    instance_row,
    node_row,
    rate,
    share_percent,
    stamp_s,
)

amounts = st.floats(min_value=0, max_value=1e15)


def reading(at_s: float, *, rx: int = 0, wrote: int = 0, busy: float = 0, total: float = 0) -> NodeCounters:
    cpu = CpuTimes(busy=busy, total=total)
    return NodeCounters(
        at_s=at_s,
        cpu=(cpu, cpu),
        load=(0.5, 0.4, 0.3),
        mem_total_bytes=1000,
        mem_used_bytes=250,
        mounts={"/": MountUse(used_bytes=30, size_bytes=100), "/data": MountUse(used_bytes=90, size_bytes=100)},
        disk_io={"vda": (0, wrote), "vda1": (0, wrote)},
        net_io={"eth0": (rx, 0)},
        physical_disks=frozenset({"vda"}),
        physical_nics=frozenset({"eth0"}),
    )


def tree(cpu_s: float, mem_bytes: int = 10, written: float = 0) -> ProcessCounters:
    return ProcessCounters(cpu_s=cpu_s, mem_bytes=mem_bytes, file_descriptors=3, read_bytes=0, write_bytes=written)


def node(before: NodeCounters | None, now: NodeCounters) -> dict[str, float]:
    return dict(zip(NODE_SERIES, node_row(before, now), strict=True))


def instance(before: dict, now: dict, elapsed_s: float = 1.0) -> dict[str, float]:
    return dict(zip(INSTANCE_SERIES, instance_row(before, now, elapsed_s), strict=True))


def test_growth_becomes_a_rate_per_second() -> None:
    row = node(reading(10, rx=100, wrote=50, busy=1, total=10), reading(12, rx=300, wrote=250, busy=3, total=18))
    assert row["net_rx_bytes_per_s"] == 100
    assert row["disk_write_bytes_per_s"] == 100  # the partition does not count again
    assert row["cpu_percent"] == 25
    assert row["mem_percent"] == 25
    assert row["disk_percent"] == 90
    assert row["swap_percent"] == 0


def test_the_first_reading_has_gauges_and_no_rates() -> None:
    row = node(None, reading(10, rx=100))
    assert math.isnan(row["net_rx_bytes_per_s"])
    assert math.isnan(row["cpu_percent"])
    assert row["load1"] == 0.5


def test_a_counter_that_fell_is_a_gap_not_a_spike() -> None:
    row = node(reading(10, rx=1000), reading(11, rx=5))
    assert math.isnan(row["net_rx_bytes_per_s"])


def test_a_machine_that_slept_shows_a_gap() -> None:
    assert math.isnan(rate(0, 10**12, 3600))


@given(before=amounts, now=amounts, elapsed_s=st.floats(min_value=-10, max_value=100))
def test_a_rate_is_never_negative(before: float, now: float, elapsed_s: float) -> None:
    value = rate(before, now, elapsed_s)
    assert math.isnan(value) or value >= 0


@given(amounts, amounts, amounts, amounts)
def test_a_core_is_busy_between_nothing_and_all(busy0: float, total0: float, busy1: float, total1: float) -> None:
    value = cpu_percent(CpuTimes(busy=busy0, total=total0), CpuTimes(busy=busy1, total=total1))
    assert math.isnan(value) or 0 <= value <= 100


def test_extra_series_carry_their_device_and_leave_gaps_out() -> None:
    extra = extra_row(reading(10, rx=100), reading(11, rx=50, wrote=7, busy=1, total=4))
    assert extra["cpu0_percent"] == 25
    assert extra["disk:/data:used_percent"] == 90
    assert extra["disk:/:used_bytes"] == 30
    assert extra["diskio:vda1:write_bytes_per_s"] == 7
    assert "net:eth0:rx_bytes_per_s" not in extra


def test_disks_and_interfaces_tell_errors_inodes_and_how_busy_they_are() -> None:
    before = NodeCounters(1.0, disk_io={"vda": (0, 0, 1000)}, net_io={"eth0": (0, 0, 5, 6), "usb0": (0, 0)})
    now = NodeCounters(
        2.0,
        mounts={"/": MountUse(30, 100, 20, 80), "/btrfs": MountUse(1, 2)},
        disk_io={"vda": (7, 8, 1250)},
        net_io={"eth0": (1, 2, 5, 9), "usb0": (1, 2)},
        temperatures={"coretemp:1": 45.5},
        pressure={"io": 1.5},
    )
    assert extra_row(before, now) == {
        "disk:/:used_percent": 30.0,
        "disk:/:used_bytes": 30.0,
        "disk:/:size_bytes": 100.0,
        "disk:/:inodes_percent": 25.0,
        "disk:/btrfs:used_percent": 50.0,
        "disk:/btrfs:used_bytes": 1.0,
        "disk:/btrfs:size_bytes": 2.0,
        "diskio:vda:read_bytes_per_s": 7.0,
        "diskio:vda:write_bytes_per_s": 8.0,
        "diskio:vda:busy_percent": 25.0,
        "net:eth0:rx_bytes_per_s": 1.0,
        "net:eth0:tx_bytes_per_s": 2.0,
        "net:eth0:rx_errors_per_s": 0.0,
        "net:eth0:tx_errors_per_s": 3.0,
        "net:usb0:rx_bytes_per_s": 1.0,
        "net:usb0:tx_bytes_per_s": 2.0,
        "temp:coretemp:1:celsius": 45.5,
        "pressure:io:percent": 1.5,
    }


def test_an_instance_sums_its_tree() -> None:
    before = {(1, 0.0): tree(1.0), (2, 0.0): tree(5.0)}
    now = {(1, 0.0): tree(1.5), (2, 0.0): tree(5.25, written=100)}
    row = instance(before, now)
    assert row["cpu_percent"] == 75
    assert row["mem_bytes"] == 20
    assert row["processes"] == 2
    assert row["disk_write_bytes_per_s"] == 100


def test_children_that_come_and_go_make_neither_holes_nor_spikes() -> None:
    before = {(1, 0.0): tree(1.0), (2, 0.0): tree(50.0)}
    now = {(1, 0.0): tree(1.2), (2, 9.0): tree(4.3)}  # the pid was used again by another process
    row = instance(before, now)
    assert round(row["cpu_percent"]) == 20
    assert row["processes"] == 2


def test_an_instance_seen_for_the_first_time_has_no_rates() -> None:
    assert math.isnan(instance({}, {(1, 0.0): tree(1000.0)})["cpu_percent"])


def test_a_whole_of_nothing_is_no_division_by_zero() -> None:
    assert share_percent(5, 0) == 0


@given(st.lists(st.floats(min_value=-0.4, max_value=0.4), min_size=2, max_size=50))
def test_stamps_have_neither_doubles_nor_holes_under_jitter(jitter: list[float]) -> None:
    previous, stamps = None, []
    for tick, late_s in enumerate(jitter):
        previous = stamp_s(previous, 1_000_000.05 + tick + late_s, 1.0)
        stamps.append(previous)
    assert [b - a for a, b in pairwise(stamps)] == [1.0] * (len(stamps) - 1)


def test_stamps_follow_a_clock_that_was_moved() -> None:
    assert stamp_s(1000.0, 259_200.2, 1.0) == 259_200.0
