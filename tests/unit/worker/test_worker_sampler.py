import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ops_system.model.ids import InstanceId
from ops_system.model.metrics import NODE_SERIES
from ops_system.processes.adopt_find import make_guard
from ops_system.protocol.frames import Sample
from ops_system.protocol.requests import ListeningPort
from ops_system.worker.metrics.linux import (
    LinuxCounters,
    parse_diskstats,
    parse_meminfo,
    parse_mounts,
    parse_net_dev,
    parse_pressure,
    parse_stat,
)
from ops_system.worker.metrics.pace import MAX_STRETCH, QUICK_PASSES, Aside, Pace
from ops_system.worker.metrics.portable import PortableCounters
from ops_system.worker.metrics.processlist import fit, list_processes
from ops_system.worker.metrics.rates import NodeCounters
from ops_system.worker.metrics.sampler import Counters, Sampler
from ops_system.worker.metrics.sensors import read_temperatures


class Script:
    """Readings made beforehand; an error is raised."""

    pace = Pace()

    def __init__(self, *readings: NodeCounters | Exception) -> None:
        self.readings = list(readings)

    def read(self) -> NodeCounters:
        reading = self.readings.pop(0)
        if isinstance(reading, Exception):
            raise reading
        return reading

    def close(self) -> None:
        pass


def sampler(counters: Counters, samples: list[Sample], wall_s: Callable[[], float] = lambda: 1000.0) -> Sampler:
    return Sampler(counters, dict, samples.append, wall_s=wall_s)


@pytest.mark.parametrize("failure", [OSError("gone"), RuntimeError("GetAdaptersAddresses() syscall failed.")], ids=type)
async def test_a_failed_reading_is_a_gap_and_no_end(failure: Exception) -> None:
    samples: list[Sample] = []
    script = Script(NodeCounters(1.0), failure, NodeCounters(3.0))
    taker = sampler(script, samples)
    for _ in range(3):
        await taker._tick(1.0)
    assert len(samples) == 2
    assert taker.last is samples[-1]


@pytest.mark.parametrize("make", [LinuxCounters, PortableCounters])
def test_this_machine_measured_twice(make: Callable[[], Counters]) -> None:
    counters = make()
    taker = sampler(counters, [])
    taker.sample(1.0)
    sample = taker.sample(1.0)
    counters.close()
    row = dict(zip(NODE_SERIES, sample.node, strict=True))
    assert 0 < row["mem_percent"] < 100
    assert 0 < row["disk_percent"] <= 100
    assert row["processes"] > 3
    assert row["uptime_s"] > 0
    assert not any(math.isnan(value) for value in sample.extra.values())
    assert "disk:/:used_bytes" in sample.extra


def test_kernel_tables_are_read_as_documented() -> None:
    cpu = parse_stat("cpu  10 0 5 80 5 0 0 0 3 0\ncpu0 10 0 5 80 5 0 0 0 3 0\nintr 5\n")
    assert (cpu[0].busy, cpu[0].total, len(cpu)) == (15, 100, 2)
    assert parse_meminfo("MemTotal:  10 kB\nHugePages_Total:  3\n") == {"MemTotal": 10240, "HugePages_Total": 3}
    disks = "254 0 vda 4 0 8 0 2 0 16 0 0 70 0\n 7 0 loop0 0 0 0 0 0 0 0 0 0 0 0\n"
    assert parse_diskstats(disks) == {"vda": (4096, 8192, 70)}
    head = "Inter-| Receive | Transmit\n face |bytes\n"
    assert parse_net_dev(head + "  eth0: 7 0 1 0 0 0 0 0 9 0 2 0 0 0 0 0\n") == {"eth0": (7, 9, 1, 2)}
    assert parse_pressure("some avg10=1.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=9.00 avg60=0\n") == 1.5


def test_only_real_local_file_systems_count_and_each_device_once() -> None:
    table = (
        "overlay / overlay rw 0 0\n"
        "proc /proc proc rw 0 0\n"
        "/dev/sdb1 /mnt/long/name ext4 rw 0 0\n"
        "/dev/sdb1 /data ext4 rw 0 0\n"
        "server:/x /nfs nfs rw 0 0\n"
        "/dev/sdc1 /with\\040space xfs rw 0 0\n"
    )
    assert parse_mounts(table) == ["/", "/data", "/with space"]


def test_a_slow_machine_is_asked_less_often_and_then_again_as_before() -> None:
    pace = Pace()
    for _ in range(10):
        pace.note(0.2)
    assert (pace.stretch, pace.slow_passes) == (MAX_STRETCH, 10)
    for _ in range(QUICK_PASSES):
        pace.note(0.01)
    assert pace.stretch == MAX_STRETCH // 2
    for _ in range(10 * QUICK_PASSES):
        pace.note(0.01)
    assert (pace.stretch, pace.slow_passes, pace.last_pass_s) == (1, 10, 0.01)


def test_a_mount_that_hangs_leaves_a_gap_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mended, asked = threading.Event(), threading.Event()

    def hang(path: str) -> os.statvfs_result:
        asked.set()
        mended.wait(30)
        return real(path)

    real = os.statvfs
    counters = LinuxCounters()
    assert "/" in counters.read().mounts
    monkeypatch.setattr(os, "statvfs", hang)
    monkeypatch.setattr(counters._mounts, "_stuck_s", 0.0)
    counters._asides_due_s = 0.0
    counters.read()
    assert asked.wait(10)
    assert counters.read().mounts == {}
    assert counters._mounts.is_stuck
    mended.set()
    assert counters._mounts._thread is not None
    counters._mounts._thread.join(10)
    assert "/" in counters.read().mounts
    counters.close()


def test_a_reading_that_fails_is_no_value() -> None:
    def fail() -> dict[str, int]:
        raise OSError

    aside = Aside(fail, {}, "fails")
    aside.refresh(5)
    assert aside.value == {}


def test_temperatures_have_the_names_of_their_chips(tmp_path: Path) -> None:
    files = {
        "class/hwmon/hwmon0/name": "coretemp\n",
        "class/hwmon/hwmon0/temp1_input": "45500\n",
        "class/hwmon/hwmon0/temp1_label": "Package id: 0\n",
        "class/hwmon/hwmon0/temp2_input": "41000\n",
        "class/hwmon/hwmon1/name": "coretemp\n",
        "class/hwmon/hwmon1/temp1_input": "50000\n",
        "class/hwmon/hwmon2/temp1_input": "-128000\n",
        "class/hwmon/hwmon2/temp2_input": "nonsense\n",
        "class/thermal/thermal_zone0/temp": "30000\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert read_temperatures(tmp_path) == {
        "coretemp:Package_id_0": 45.5,
        "coretemp:2": 41.0,
        "coretemp_1:1": 50.0,
    }
    shutil.rmtree(tmp_path / "class/hwmon")
    assert read_temperatures(tmp_path) == {"zone:0": 30.0}
    assert read_temperatures(tmp_path / "nothing") == {}


def test_the_process_list_knows_this_process() -> None:
    own = next(info for info in list_processes(make_guard({})).items if info.pid == os.getpid())
    assert own.mem_bytes > 10_000_000
    assert own.started_at is not None
    assert own.instance_id is None
    assert own.exe == os.path.realpath(sys.executable)
    assert (own.uid, own.cwd) == (os.geteuid(), str(Path.cwd()))
    assert (own.is_adoptable, own.why_not) == (False, "worker")


def test_the_process_list_tells_ports_and_who_may_be_taken_over() -> None:
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        seen = {info.pid: info for info in list_processes(make_guard({child.pid: InstanceId("ins_1")})).items}
        free = {info.pid: info for info in list_processes(make_guard({})).items}
        child.communicate("")
    assert seen[child.pid].ports == (ListeningPort("tcp", "127.0.0.1", port),)
    assert (seen[child.pid].why_not, seen[child.pid].instance_id) == ("already_in_care", "ins_1")
    assert free[child.pid].is_adoptable
    assert seen[1].why_not == "init"


def test_a_long_process_list_is_cut_to_one_answer() -> None:
    found = list(list_processes(make_guard({})).items) * 50
    kept = fit(found, 20_000)
    assert 0 < len(kept) < len(found)
    assert kept == tuple(found[: len(kept)])
    assert len(msgspec.msgpack.encode(kept)) <= 20_005
