import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.processes import procfs
from ops_system.processes.base import Launch, child_env
from ops_system.processes.procfs import Row, descendants, find_marker, owners, parse_stat
from ops_system.processes.stats import counters_of, parse_io


def row(pid, ppid, sid, pgrp=0, *, is_dead=False):
    return Row(pid, ppid, pgrp or sid, sid, 1, is_dead)


def table(*rows):
    return {item.pid: item for item in rows}


def test_a_name_may_hold_anything():
    head = b"42 (evil) R 1 (x) S 7 42 41 0 -1 4194304 1 2 3 4 50 60 7 8 20 0 1 0 987654 "
    found = parse_stat(head + b"1000 25 18446744073709551615 0 0\n")
    assert (found.pid, found.ppid, found.pgrp, found.sid, found.start_time, found.is_dead) == (
        42,
        7,
        42,
        41,
        987654,
        False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_process_reads_like_itself():
    me = procfs.read_row(os.getpid())
    assert (me.ppid, me.sid, me.pgrp) == (os.getppid(), os.getsid(0), os.getpgrp())
    assert procfs.read_table()[os.getpid()].start_time == me.start_time


@given(
    st.dictionaries(st.sampled_from(["A", "B", "XOPS_INSTANCE", "OPS_INSTANCE_X"]), st.text("abc=", max_size=5)),
    st.booleans(),
)
def test_the_marker_is_found_by_its_whole_name(env, is_marked):
    pairs = [f"{name}={value}" for name, value in env.items()]
    if is_marked:
        pairs.insert(len(pairs) // 2, "OPS_INSTANCE=i1")
    environ = "".join(f"{pair}\0" for pair in pairs).encode()
    assert find_marker(environ) == ("i1" if is_marked else None)


def test_descendants_go_all_the_way_down():
    found = descendants(table(row(1, 0, 1), row(2, 1, 2), row(3, 2, 2), row(4, 3, 4), row(5, 1, 5)), [2])
    assert found == {2, 3, 4}


def test_owners_by_marker_session_group_and_parent():
    rows = table(
        row(1, 0, 1),
        row(10, 1, 10),
        row(11, 10, 10),
        row(12, 11, 12),
        row(20, 1, 20),
        row(21, 20, 20),
        row(30, 1, 30, 10),
        row(31, 21, 31, is_dead=True),
    )
    assert owners(rows, {20: "b"}, {10: "a"}) == {10: "a", 11: "a", 12: "a", 20: "b", 21: "b", 30: "a"}


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), max_size=12))
def test_owners_end_even_when_parents_go_in_circles(links):
    rows = {pid: row(pid, ppid, pid) for pid, ppid in links}
    found = owners(rows, {1: "a"}, {})
    assert set(found) == descendants(rows, [1] if 1 in rows else []) & set(rows)


def test_counters_and_traffic():
    head = b"42 (name) S 7 42 41 0 -1 4194304 1 2 3 4 250 50 7 8 20 0 1 0 987654 1000 25 184 0 0\n"
    found = counters_of(head, (1.0, 2.0), 3.0)
    assert (found.cpu_s, found.mem_bytes) == (300 / os.sysconf("SC_CLK_TCK"), 25 * os.sysconf("SC_PAGE_SIZE"))
    assert counters_of(head.replace(b") S", b") Z"), (1.0, 2.0), 3.0) is None
    assert parse_io(b"rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\n") == (4096.0, 8192.0)


def test_an_instance_gets_its_own_environment_and_little_else():
    env = child_env({"PATH": "/mine"}, {"PATH": "/bin", "HOME": "/root", "SECRET": "x"}, "i1")
    assert env == {"PATH": "/mine", "HOME": "/root", "OPS_INSTANCE": "i1"}
    assert Launch.__struct_config__.frozen
