import threading

from ops_system.installer import reporter as module
from ops_system.installer.reporter import Reporter
from ops_system.model.errors import NotAllowed, Unavailable
from ops_system.protocol.agent import MAX_LOG_LINES, Done


class FakeRegion:
    def __init__(self) -> None:
        self.calls, self.error, self.third = [], None, threading.Event()

    def call(self, _path, body, _answer):
        if self.error:
            raise self.error
        self.calls.append(body)
        if len(self.calls) >= 3:
            self.third.set()
        return Done()


def make(region):
    return Reporter(region, "sn", "t1", 3)


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
    with Reporter(region, "sn", "t1", 3, interval_s=0.001) as reporter:
        reporter.progress("raid", 0.0)
        assert region.third.wait(20)
    assert {call.step for call in region.calls[-2:]} == {"raid"}
