from ops_system.model.ids import InstanceId
from ops_system.processes.base import Exit, Identity
from ops_system.processes.oom import Explainer, OomLog, parse_kill

SYSTEM = b"3,2482,14419003776,-;Out of memory: Killed process 2992 (python) total-vm:42220kB, UID:0 oom_score_adj:0\n"
GROUP = b"3,2483,14419003776,c;Memory cgroup out of memory: Killed process 2993 (a) b) total-vm:1kB\n"


class FakeLog(OomLog):
    def __init__(self, pids):
        self.pids = pids

    def has_killed(self, pid, started_s):
        return self.pids.get(pid, -1.0) >= started_s


def test_kills_are_read_from_the_kernels_log():
    assert parse_kill(SYSTEM) == (2992, 14419.003776)
    assert parse_kill(GROUP) == (2993, 14419.003776)
    assert parse_kill(b"6,1,5,-;usb 1-1: Killed process 7 (x)\n") is None
    assert parse_kill(b"nonsense") is None


def test_an_end_is_named_by_the_nearest_limit():
    limited = {InstanceId("limited")}
    ends = Explainer(limited.__contains__, FakeLog({7: 100.0}))
    leader = Identity("boot", 7, 100)  # at 1 s where a tick is 10 ms
    late = Identity("boot", 7, 100_000_000)
    assert ends.explain(InstanceId("limited"), Exit(signal="SIGKILL"), leader).oom == "limit"
    assert ends.explain(InstanceId("limited"), Exit(code=137)).oom == "limit"
    assert ends.explain(InstanceId("limited"), Exit(code=1), leader).oom == ""
    assert ends.explain(InstanceId("free"), Exit(signal="SIGKILL"), leader).oom == "system"
    assert ends.explain(InstanceId("free"), Exit(signal="SIGTERM"), leader).oom == ""
    assert ends.explain(InstanceId("free"), Exit(signal="SIGKILL"), late).oom == ""


def test_a_log_that_is_not_there_knows_nothing(tmp_path):
    log = OomLog(str(tmp_path / "kmsg"))
    assert not log.has_killed(1, 0.0)
    log.close()
