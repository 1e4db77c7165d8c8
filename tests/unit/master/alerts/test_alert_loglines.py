"""What the master asks workers for the sake of log rules, and what it makes of the answers."""

from datetime import UTC, datetime

import msgspec
import pytest

from ops_system.master.alerts.loglines import MAX_WATCHED, LogLooker
from ops_system.master.alerts.views import StoredRule
from ops_system.model.alerts import Condition, ConditionKind, NewRule
from ops_system.model.errors import Invalid, NodeOffline, NotFound
from ops_system.protocol.requests import LogHits, LogLine, LogLines
from ops_system.worker.logs import InstanceLogs
from tests.fakes.clock import FakeClock
from tests.fakes.wishes import wish

NOW = datetime(2026, 1, 31, tzinfo=UTC)


class Node:
    """Stands where the links are wanted: one log, held as text."""

    def __init__(self):
        self.text, self.trouble, self.asked = "", None, []

    async def request(self, _node_id, kind, body, reply_type, _timeout_s=0):
        self.asked.append(kind)
        if self.trouble is not None:
            raise self.trouble
        if reply_type is LogLines:
            return LogLines((), None, end_offset=len(self.text))
        assert (body.is_forward, body.is_regex, body.name) == (True, False, "stdout")
        hits, offset = [], 0
        for line in self.text.splitlines(keepends=True):
            if body.text in line and offset >= body.start:
                hits.append(LogLine(None, line.strip(), offset))
            offset += len(line)
        return LogHits(tuple(hits), None, 0, 0)


def rule(pattern="ERROR"):
    condition = Condition(kind=ConditionKind.LOG, log="stdout", pattern=pattern, fire_level=1, window_s=60)
    return StoredRule("rul_1", "", NewRule(name="r", condition=condition), NOW, "", NOW)


@pytest.fixture
def node():
    return Node()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def looker(node, clock):
    made = LogLooker(node, clock)
    made.watch([(rule(), "ins_1", "nod_1")])
    return made


def counted(looker):
    number, line = looker.count("rul_1", "ins_1", 60)
    return number, line and line.message


async def test_only_new_lines_count_and_only_for_the_window(looker, node, clock):
    node.text = "ERROR old\n"
    await looker.look()
    await looker.look()
    assert (counted(looker), node.asked) == ((0, None), ["logs.read"] * 2)  # nothing new: no search
    node.text += "fine\nERROR one\nERROR two\n"
    await looker.look()
    assert counted(looker) == (2, "ERROR two")
    clock.advance(50)
    node.text += "ERROR three\n"
    await looker.look()
    assert counted(looker) == (3, "ERROR three")
    clock.advance(20)
    assert counted(looker)[0] == 1
    assert looker.count("rul_1", "ins_2", 60) == (0, None)


async def test_a_log_that_begins_later_is_new_from_its_first_line(looker, node):
    node.trouble = NotFound("not written yet")
    await looker.look()
    node.trouble, node.text = None, "ERROR first\n"
    await looker.look()
    assert counted(looker) == (1, "ERROR first")


@pytest.mark.parametrize("trouble", [NodeOffline("away"), Invalid("explodes")])
async def test_trouble_ends_nothing(looker, node, trouble):
    await looker.look()
    node.trouble = trouble
    await looker.look()
    node.trouble, node.text = None, "ERROR\n"
    await looker.look()
    assert counted(looker)[0] == 1


async def test_another_pattern_begins_anew_and_there_is_a_bound(looker, node):
    await looker.look()
    node.text = "ERROR\n"
    await looker.look()
    looker.watch([(rule(), "ins_1", "nod_1")])
    assert counted(looker)[0] == 1
    looker.watch([(rule("WARN"), "ins_1", "nod_1")])
    assert counted(looker)[0] == 0
    node.asked.clear()
    looker.watch([(rule(), f"ins_{number}", "nod_1") for number in range(MAX_WATCHED + 5)])
    await looker.look()
    assert len(node.asked) == MAX_WATCHED


class Worker:
    """A worker's own logs behind the same two questions."""

    def __init__(self, logs):
        self._logs = logs

    async def request(self, _node_id, kind, body, _reply_type, _timeout_s=0):
        return await {"logs.read": self._logs.read_log, "logs.search": self._logs.search_log}[kind](body)


@pytest.mark.parametrize(("pattern", "is_regex"), [("ERROR", False), (r"ERR\w+ \d", True)])
async def test_a_real_log_is_counted_as_it_grows(tmp_path, clock, pattern, is_regex):
    spec = wish()
    log = tmp_path / "logs" / spec.instance_id / "stdout.log"
    log.parent.mkdir(parents=True)
    looker = LogLooker(Worker(InstanceLogs(tmp_path, {spec.instance_id: spec}.get)), clock)
    made = rule(pattern)
    condition = msgspec.structs.replace(made.body.condition, regex=is_regex)
    body = msgspec.structs.replace(made.body, condition=condition)
    looker.watch([(msgspec.structs.replace(made, body=body), spec.instance_id, "nod_1")])
    log.write_text("ERROR 1 before\n")
    await looker.look()
    with log.open("a") as more:
        more.write("all is well\n" * 50 + "ERROR 2 now\nERROR 3 now\nhalf a li")
    await looker.look()
    with log.open("a") as more:
        more.write("ne\nERROR 4 now\n")
    await looker.look()
    number, line = looker.count("rul_1", spec.instance_id, 60)
    assert (number, line.message) == (3, "ERROR 4 now")
