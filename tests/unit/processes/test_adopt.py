"""Whom a takeover may take: the rules, and the PID files it does not believe."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.takeover import Takeover, find_command_problems, find_takeover_problems
from ops_system.processes.adopt import (
    CannotTake,
    Facts,
    Guard,
    choose_leader,
    find_difference,
    find_obstacle,
    is_like,
    is_named,
    is_whole_unit,
    learn,
    parse_cgroup,
    parse_pid_file,
    printable,
    unit_of,
)
from ops_system.processes.adopt_facts import Port, _ports_linux, _ports_psutil, _read_psutil, read_all, read_facts
from ops_system.processes.adopt_find import find_lookalike, find_tree, make_guard, read_pid_file
from ops_system.processes.adopt_tree import find_roots, find_unit
from ops_system.processes.base import Identity
from ops_system.processes.procfs import Row, read_boot_id, read_row

GUARD = Guard(own_pid=500, own_uid=0, ancestors=frozenset({400}), masters=frozenset({600}), in_care={700: "ins_1"})


def process(pid=1000, ppid=1, **fields):
    fields = {"name": "nginx", "cmdline": ("nginx: master process nginx",), "executable": "/usr/sbin/nginx", **fields}
    return Facts(pid=pid, ppid=ppid, start_time=fields.pop("start_time", pid), uid=fields.pop("uid", 0), **fields)


class _Refused:
    def __init__(self, code):
        self.code = code

    def __enter__(self):
        return self

    def __exit__(self, kind, problem, _trace):
        assert kind is CannotTake, f"nothing was refused, {self.code} was due"
        assert problem.reason.code == self.code
        self.problem = problem
        return True


# --- who is out of bounds --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (process(1, 0), "init"),
        (process(2, 0, cmdline=(), executable=""), "kernel_thread"),
        (process(31, 2, cmdline=(), executable=""), "kernel_thread"),
        (process(500), "worker"),
        (process(cmdline=("/usr/bin/python3", "/opt/bin/ops-worker", "-work_dir", "w")), "worker"),
        (process(cmdline=("python", "-m", "ops_system.worker.main")), "worker"),
        (process(400), "worker_ancestor"),
        (process(600), "master"),
        (process(cmdline=("ops-master",)), "master"),
        (process(cmdline=("python", "-I", "-S", "/x/ops_system/processes/keeper.py", "/state")), "keeper"),
        (process(cmdline=("/opt/worker", "ops-keeper", "/state")), "keeper"),
        (process(700), "already_in_care"),
        (process(marker="ins_2"), "already_in_care"),
        (process(is_dead=True), "ended"),
        (process(), None),
        (process(uid=33), None),
    ],
)
def test_who_may_never_be_taken(facts, code):
    found = find_obstacle(facts, GUARD)
    assert (found.code if found else None) == code


def test_without_root_other_users_are_out_of_bounds():
    guard = Guard(own_pid=500, own_uid=1000)
    assert find_obstacle(process(uid=33), guard).code == "other_user"
    assert find_obstacle(process(uid=None), guard).code == "other_user"
    assert find_obstacle(process(uid=1000), guard) is None


def test_the_program_of_a_built_worker_is_known():
    guard = Guard(own_pid=500, own_uid=0, own_program="/opt/ops/worker")
    assert find_obstacle(process(executable="/opt/ops/worker (deleted)"), guard).code == "worker"


# --- who matches -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["nginx", "/usr/sbin/nginx", "nginx: master process nginx"])
def test_a_process_goes_by_several_names(name):
    assert is_named(process(), name)


def test_more_words_narrow_the_command_line():
    java = process(name="java", executable="/usr/lib/jvm/bin/java", cmdline=("java", "-Xmx1g", "-jar", "shop.jar"))
    assert is_named(java, "java -jar shop.jar")
    assert not is_named(java, "java -jar blog.jar")
    assert not is_named(java, "jav")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"executable": "/usr/sbin/nginx"}, None),
        ({"executable": "/usr/sbin/nginx2"}, "another_executable"),
        ({"work_dir": "/srv/"}, None),
        ({"work_dir": "/sr"}, "another_work_dir"),
        ({"uid": 33}, None),
        ({"uid": 0}, "another_user"),
    ],
)
def test_what_is_named_must_be_so_exactly(fields, code):
    facts = process(executable="/usr/sbin/nginx (deleted)", work_dir="/srv", uid=33)
    found = find_difference(facts, Takeover(strategy="match", process_name="nginx", **fields))
    assert (found.code if found else None) == code


def test_a_leader_with_its_children_is_one_and_two_trees_are_none():
    table = {
        facts.pid: facts for facts in (process(10), process(11, 10), process(12, 11), process(20), process(21, 20))
    }
    one = [table[pid] for pid in (12, 10, 11)]
    assert choose_leader(one, table, "nginx").pid == 10
    with _Refused("ambiguous") as refused:
        choose_leader([*one, table[21]], table, "nginx")
    assert [facts.pid for facts in refused.problem.candidates] == [10, 21]
    with _Refused("no_match"):
        choose_leader([], table, "nginx")


def test_what_was_learned_is_known_again_and_nothing_else():
    learned = learn(process(), "boot")
    assert is_like(process(2000), learned)
    assert not is_like(process(2000, uid=33), learned)
    assert not is_like(process(2000, cmdline=("nginx: worker process",)), learned)


@given(st.text())
def test_nothing_breaks_a_line(text):
    assert printable(text).isprintable()


# --- groups ----------------------------------------------------------------------------------------------------------
def test_control_groups_tell_the_unit():
    hybrid = "12:memory:/x\n1:name=systemd:/system.slice/nginx.service\n0::/system.slice/nginx.service\n"
    assert unit_of(parse_cgroup(hybrid)) == "nginx.service"
    assert unit_of(parse_cgroup("0::/user.slice/user-0.slice/session-1.scope\n")) == "session-1.scope"
    assert unit_of(parse_cgroup("0::/\n")) == ""
    assert parse_cgroup("nonsense") == ""


def test_a_unit_is_whole_only_for_its_first_process(tmp_path):
    group = "/system.slice/cron.service"
    cron, job, child = (process(pid, ppid, cgroup=group) for pid, ppid in ((10, 1), (20, 10), (30, 20)))
    table = {facts.pid: facts for facts in (cron, job, child)}
    assert is_whole_unit(cron, table.values())
    assert not is_whole_unit(job, table.values())
    folder = tmp_path / group.strip("/")
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").write_text("10\n20\n30\n")
    assert find_unit(Identity("boot", 10, 10), table, frozenset(), [str(tmp_path)]) == folder
    assert find_unit(Identity("boot", 10, 10), table, frozenset({30}), [str(tmp_path)]) is None  # we are in it
    assert find_unit(Identity("boot", 10, 11), table, frozenset(), [str(tmp_path)]) is None


def test_a_tree_keeps_orphans_and_takes_no_reused_number():
    rows = {pid: Row(pid, ppid, pid, sid, start, is_dead=False) for pid, ppid, sid, start in TREE}
    leader, known = Identity("boot", 10, 100), [Identity("boot", 12, 120), Identity("boot", 13, 999)]
    assert find_roots(rows, leader, known, [], frozenset()) == {10, 11, 12}
    reused = Identity("boot", 10, 99)
    assert find_roots(rows, reused, [], [], frozenset()) == set()


TREE = ((10, 1, 10, 100), (11, 10, 10, 110), (12, 1, 12, 120), (13, 1, 13, 130), (20, 1, 20, 200))


# --- PID files -------------------------------------------------------------------------------------------------------
@given(st.binary(max_size=200))
def test_a_pid_file_is_a_number_or_refused(data):
    with contextlib.suppress(CannotTake):
        assert parse_pid_file(data, "x") >= 0


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "pid_file_empty"), (b" \n", "pid_file_empty"), (b"-1", "pid_file_garbage"), (b"1 2", "pid_file_garbage")],
)
def test_nonsense_in_a_pid_file_is_refused(data, code):
    with _Refused(code):
        parse_pid_file(data, "x")
    assert parse_pid_file(b"42\n/var/lib/postgresql\n", "x") == 42


@pytest.fixture
def other(tmp_path):
    with subprocess.Popen(["sleep", "1000"], cwd=tmp_path) as child:
        yield child
        child.kill()


def by_file(path, **fields):
    return Takeover(strategy="pidfile", pid_file=str(path), **fields)


def find(takeover, in_care=(), *, is_first=True):
    guard = make_guard(dict.fromkeys(in_care, "ins_1"))
    return find_tree(takeover, guard, read_boot_id(), is_first=is_first)


def test_a_pid_file_leads_to_its_process(tmp_path, other):
    path = tmp_path / "x.pid"
    path.write_text(f"{other.pid}\n")
    assert find(by_file(path)).leader.pid == other.pid
    assert find(by_file(path, uid=os.geteuid(), work_dir=str(tmp_path))).leader.pid == other.pid
    with _Refused("already_in_care"):
        find(by_file(path), [other.pid])
    with _Refused("pid_file_stale"):
        find(by_file(path, executable="/bin/true"))


def test_a_pid_file_of_before_the_boot_is_stale_but_nothing_is_started_beside_what_lives(tmp_path, other):
    path = tmp_path / "x.pid"
    path.write_text(f"{other.pid}\n")
    os.utime(path, (1000, 1000))
    with _Refused("pid_file_stale"):
        find(by_file(path))
    learned = learn(read_facts(other.pid), read_boot_id())
    assert find(by_file(path, learned=learned), is_first=False).leader.pid == other.pid
    path.unlink()
    with _Refused("pid_file_missing"):
        find(by_file(path))
    assert find_lookalike(by_file(path, learned=learned), make_guard({})).pid == other.pid


@pytest.mark.parametrize(
    ("pid", "code"), [(1, "init"), (os.getpid(), "worker"), (4194303, "pid_file_stale")], ids=("init", "worker", "gone")
)
def test_a_pid_file_may_not_name_init_or_the_worker(tmp_path, pid, code):
    path = tmp_path / "x.pid"
    path.write_text(str(pid))
    with _Refused(code):
        find(by_file(path))


def test_a_pid_file_that_is_none_is_refused(tmp_path, other):
    real = tmp_path / "real"
    real.write_text(str(other.pid))
    link, fifo, world = tmp_path / "link", tmp_path / "fifo", tmp_path / "world"
    link.symlink_to(real)
    os.mkfifo(fifo)
    world.write_text(str(other.pid))
    world.chmod(0o666)
    assert world.stat().st_mode & stat.S_IWOTH
    for path in (tmp_path, link, fifo, world, "/proc/sys/kernel/ns_last_pid", "/dev/null"):
        with _Refused("pid_file_unsafe"):
            read_pid_file(str(path))
    with _Refused("pid_file_missing"):
        read_pid_file(str(tmp_path / "none"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_pid_file_of_a_third_user_is_not_believed(tmp_path, other):
    path = tmp_path / "x.pid"
    path.write_text(str(other.pid))
    os.chown(path, 4242, 4242)
    with _Refused("pid_file_unsafe"):
        find(by_file(path))


def test_a_process_above_something_in_care_is_not_taken(tmp_path):
    with subprocess.Popen(["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as shell:
        child = int(shell.stdout.readline())
        takeover = Takeover(strategy="pid", pid=shell.pid)
        assert [facts.pid for facts in find(takeover).below] == [child]
        with _Refused("holds_others"):
            find(takeover, [child])
        os.kill(child, 9)


def test_odd_names_do_not_disturb():
    """Invalid UTF-8, newlines and `$(…)` in the arguments of others, and a command line of 128 kB."""
    odd = [b"sleep", b"1000\xff\n$(reboot)", b"x" * 100_000]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "odd")
        script.write_text("#!/bin/sh\necho ready\nread line\n")
        script.chmod(0o755)
        with subprocess.Popen([bytes(script), *odd], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"ready\n"
            facts = read_all()[child.pid]
            assert len(facts.cmdline[-1]) == 100_000
            with _Refused("no_match"):
                find(Takeover(strategy="match", process_name="$(reboot)"))
            child.communicate(b"\n")


# --- the wish itself -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"strategy": "spawn"}, "$.pid_strategy"),
        ({"strategy": "pid"}, "$.pid"),
        ({"strategy": "pid", "pid": 1}, "$.pid"),
        ({"strategy": "pid", "pid": -5}, "$.pid"),
        ({"strategy": "pid", "pid": 5, "process_name": "x"}, "$.process_name"),
        ({"strategy": "match"}, "$.process_name"),
        ({"strategy": "match", "process_name": "a\nb"}, "$.process_name"),
        ({"strategy": "match", "process_name": "x" * 131072}, "$.process_name"),
        ({"strategy": "pidfile", "pid_file": "run/x.pid"}, "$.pid_file"),
        ({"strategy": "pidfile", "pid_file": "/run/../etc/x"}, "$.pid_file"),
        ({"strategy": "pidfile", "pid_file": "/run/\0x"}, "$.pid_file"),
        ({"strategy": "match", "process_name": "x", "uid": -1}, "$.uid"),
        ({"strategy": "match", "process_name": "x", "executable": "bin/x"}, "$.executable"),
        ({"strategy": "match", "process_name": "x", "start_command": ("",)}, "$.start_command[0]"),
        ({"strategy": "match", "process_name": "x", "start_command": ("x", "y" * 40000)}, "$.start_command"),
    ],
)
def test_each_fault_of_a_wish_is_named(fields, path):
    assert path in [found for found, _ in find_takeover_problems(Takeover(**fields))]


def test_a_command_may_hold_anything_but_nul():
    assert list(find_command_problems("$.x", ("sh", "-c", "echo $(date)\n"))) == []
    assert list(find_command_problems("$.x", ("sh", "\0"))) != []


def test_this_interpreter_is_read_whole():
    facts = read_facts(os.getpid())
    assert (facts.executable, facts.work_dir) == (os.path.realpath(sys.executable), str(Path.cwd()))
    assert facts.uid == os.geteuid()


def test_psutil_tells_the_same_as_proc():
    """What other systems are read by, beside what Linux is read by."""
    plain, portable = read_facts(os.getpid()), _read_psutil(read_row(os.getpid()))
    for field in ("pid", "ppid", "start_time", "cmdline", "executable", "work_dir", "uid", "marker", "sid"):
        assert getattr(plain, field) == getattr(portable, field)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = Port("tcp", "127.0.0.1", server.getsockname()[1])
        assert port in _ports_linux([os.getpid()])[os.getpid()]
        assert port in _ports_psutil([os.getpid()])[os.getpid()]
