from pathlib import Path

import pytest

from ops_system.processes import cgroups
from ops_system.processes.cgroups import find_hierarchies
from ops_system.processes.limits import Mount, controls, given, own_folder, parse_mounts, parse_oom_kills, parse_own
from ops_system.processes.spec import LimitRules

ALL = LimitRules(memory_bytes=1000, cpu_percent=150, pids=7, nofile=9)
HYBRID = r"""25 1 254:0 / / rw,relatime - ext4 /dev/root rw
33 32 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
34 32 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 32 0:30 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
36 32 0:31 /docker/c1 /odd\040place rw - cgroup2 cgroup2 rw
"""


def test_what_is_written_in_each_version():
    assert [(item.file, item.value) for item in controls(ALL, 1)] == [
        ("memory.limit_in_bytes", "1000"),
        ("memory.memsw.limit_in_bytes", "1000"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "150000"),
        ("pids.max", "7"),
    ]
    assert [(item.file, item.value) for item in controls(ALL, 2)] == [
        ("memory.max", "1000"),
        ("memory.swap.max", "0"),
        ("cpu.max", "150000 100000"),
        ("pids.max", "7"),
    ]
    assert [item.controller for item in controls(LimitRules(pids=1), 2)] == ["pids"]
    assert controls(LimitRules(nofile=5), 1) == []
    assert given(ALL) == ("memory", "cpu_percent", "pids")


def test_kills_are_counted_in_both_forms():
    assert parse_oom_kills("low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n") == 1
    assert parse_oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n") == 2
    assert parse_oom_kills("") == 0


def test_mounts_and_own_groups_are_read():
    mounts = parse_mounts(HYBRID)
    assert mounts == [
        Mount(1, "/sys/fs/cgroup/cpu,cpuacct", "/", frozenset({"cpu"})),
        Mount(1, "/sys/fs/cgroup/memory", "/", frozenset({"memory"})),
        Mount(2, "/odd place", "/docker/c1"),
    ]
    own = parse_own("4:memory:/a/b\n1:cpu,cpuacct:/\n0::/docker/c1/x:y\n")
    assert own == {"memory": "/a/b", "cpu": "/", "cpuacct": "/", "": "/docker/c1/x:y"}
    folders = [own_folder(mount, own) for mount in mounts]
    assert folders == ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory/a/b", "/odd place/x:y"]
    assert own_folder(mounts[2], {"": "/elsewhere"}) == "/odd place"


@pytest.fixture
def proc(tmp_path):
    """A machine with v2 alone: the worker sits in /unit/worker of `top`."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("0::/unit/worker\n")
    (tmp_path / "self/mountinfo").write_text(f"1 2 0:1 / {tmp_path}/top rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "top/unit/worker").mkdir(parents=True)
    for folder in ("top", "top/unit"):
        (tmp_path / folder / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    (tmp_path / "top/unit/cgroup.procs").write_text("")
    return tmp_path


def roots(proc):
    return [(item.root.parent.relative_to(proc), set(item.controllers)) for item in find_hierarchies(proc, proc)]


ALL_THREE = {"cpu", "memory", "pids"}


def test_a_delegated_parent_comes_first_then_the_top_then_kill_alone(proc, monkeypatch):
    refused = set()
    monkeypatch.setattr(cgroups, "_is_usable", lambda item: item.root.parent not in refused)
    assert roots(proc) == [(Path("top/unit"), ALL_THREE)]
    (proc / "top/unit/cgroup.procs").write_text("17\n")
    assert roots(proc) == [(Path("top"), ALL_THREE)]
    refused.add(proc / "top")
    assert roots(proc) == [(Path("top/unit/worker"), set())]
    refused.add(proc / "top/unit/worker")
    assert roots(proc) == []


def test_a_place_that_cannot_switch_controllers_on_is_left_as_it_was(proc):
    assert roots(proc) == []
    assert not list(proc.glob("top/ops-*/cgroup.procs"))
    assert find_hierarchies(proc, proc / "no-such-proc") == ()
