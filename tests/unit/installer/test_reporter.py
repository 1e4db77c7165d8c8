import threading

import pytest

from ops_system.installer import reporter as module
from ops_system.installer.guard import RENEWALS_A_LEASE, Guard
from ops_system.installer.reporter import RENEW_AHEAD_S, Reporter
from ops_system.model.errors import NotAllowed, Unavailable
from ops_system.protocol.agent import LEASE_TTL_S, MAX_LOG_LINES, LeaseAnswer, ProgressAnswer


class FakeRegion:
    def __init__(self) -> None:
        self.calls, self.error, self.third = [], None, threading.Event()
        self.lease = None
        self.learned = []

    def call(self, _path, body, _answer):
        if self.error:
            raise self.error
        self.calls.append(body)
        if len(self.calls) >= 3:
            self.third.set()
        return ProgressAnswer(lease=self.lease if body.renews else None)

    def learn(self, urls):
        self.learned += urls


def make(region, guard=None):
    return Reporter(region, guard or Guard(), "sn", "t1", 3)


def test_only_the_newest_progress_is_sent_with_all_lines():
    region = FakeRegion()
    reporter = make(region)
    reporter.progress("write", 1.0, done=1, total=100)
    reporter.progress("write", 50.0, done=50, total=100)
    reporter.line("a")
    reporter.line("b")
    reporter.flush()
    (call,) = region.calls
    assert (call.percent, call.bytes_done, call.lines, call.fence) == (50.0, 50, ("a", "b"), 3)
    reporter.flush()
    assert len(region.calls) == 1


def test_lines_alone_do_not_take_a_step_back():
    region = FakeRegion()
    reporter = make(region)
    reporter.progress("write", 50.0, done=50, total=100)
    reporter.flush()
    reporter.line("x")
    reporter.flush()
    assert (region.calls[-1].percent, region.calls[-1].bytes_done) == (50.0, 50)
    reporter.progress("write", 100.0, "done")
    reporter.flush()
    assert region.calls[-1].bytes_done == 50
    reporter.progress("verify", 0.0)
    reporter.flush()
    assert region.calls[-1].bytes_done is None


def test_a_region_away_loses_nothing_and_keeps_the_order():
    region = FakeRegion()
    reporter = make(region)
    region.error = Unavailable("away")
    for number in range(MAX_LOG_LINES + 50):
        reporter.line(str(number))
    reporter.flush()
    region.error = None
    reporter.flush()
    sent = [line for call in region.calls for line in call.lines]
    assert sent == [str(number) for number in range(MAX_LOG_LINES + 50)]
    assert all(len(call.lines) <= MAX_LOG_LINES for call in region.calls)


def test_what_is_told_later_does_not_overtake_what_is_on_its_way():
    class SlowRegion(FakeRegion):
        first_is_in, second_is_in = threading.Event(), threading.Event()

        def call(self, path, body, answer):
            if self.first_is_in.is_set():
                self.second_is_in.set()
            else:
                self.first_is_in.set()
                self.second_is_in.wait(0.3)  # it comes only where it may overtake
            return super().call(path, body, answer)

    region = SlowRegion()
    reporter = make(region)
    reporter.progress("write", 10.0, done=10, total=100)
    thread = threading.Thread(target=reporter.flush)
    thread.start()
    region.first_is_in.wait()
    reporter.progress("write", 100.0, done=100, total=100)
    reporter.flush()
    thread.join()
    assert [call.bytes_done for call in region.calls] == [10, 100]


def test_too_many_lines_are_dropped_and_counted(monkeypatch):
    monkeypatch.setattr(module, "MAX_KEPT", 10)
    region = FakeRegion()
    reporter = make(region)
    for number in range(25):
        reporter.line(str(number))
    reporter.flush()
    assert region.calls[0].lines[0] == "… 15 lines were not sent in time"
    assert region.calls[0].lines[1:] == tuple(str(number) for number in range(15, 25))


def test_a_refusal_is_no_reason_to_say_it_again():
    region = FakeRegion()
    reporter = make(region)
    region.error = NotAllowed("not running")
    reporter.line("x")
    reporter.flush()
    region.error = None
    reporter.flush()
    assert region.calls == []


def test_a_silent_step_is_said_again(monkeypatch):
    monkeypatch.setattr(module, "ALIVE_S", 0.0)
    region = FakeRegion()
    with Reporter(region, Guard(), "sn", "t1", 3, interval_s=0.001) as reporter:
        reporter.progress("raid", 0.0)
        assert region.third.wait(20)
    assert {call.step for call in region.calls[-2:]} == {"raid"}


def test_progress_renews_a_lease_that_will_be_due_soon_and_only_such_a_one():
    region, clock = FakeRegion(), [0.0]
    guard = Guard(lambda: clock[0])
    guard.renew(0.0, LEASE_TTL_S, 3)
    reporter = make(region, guard)
    region.lease = LeaseAnswer(LEASE_TTL_S, 3, regions=("http://r2",))
    due_s = LEASE_TTL_S / RENEWALS_A_LEASE
    for clock[0] in (due_s - RENEW_AHEAD_S - 0.1, due_s - RENEW_AHEAD_S, 2 * (due_s - RENEW_AHEAD_S) - 0.1):
        reporter.line("x")
        reporter.flush()
    assert [call.renews for call in region.calls] == [False, True, False]
    assert guard.due_in_s() == pytest.approx(RENEW_AHEAD_S + 0.1), "counted from when it was asked"
    assert region.learned == ["http://r2"]


def test_a_region_that_renews_nothing_leaves_the_lease_as_it_is():
    region, clock = FakeRegion(), [0.0]
    guard = Guard(lambda: clock[0])
    guard.renew(0.0, LEASE_TTL_S, 3)
    clock[0] = LEASE_TTL_S / RENEWALS_A_LEASE
    reporter = make(region, guard)
    reporter.line("x")
    reporter.flush()
    assert region.calls[0].renews
    assert guard.due_in_s() == 0.0
