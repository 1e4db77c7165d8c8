"""Which program starts: every path of the state machine, also those that only a crash makes."""

import pytest

from ops_system.model.reasons import Reason
from ops_system.worker.programs import Outcome, Pending, Program, ProgramState, choose, proven, returned


def program(version):
    return Program(version, f"sha-{version}", f"/srv/versions/{version}/worker", f"file-{version}")


OLD, NEW = program("1.1"), program("1.2")
ORDER = Pending("op1", NEW, 90.0)
SPENT = Pending("op1", NEW, 90.0, attempts=1)


def fine(_program):
    return ""


def test_without_anything_sent_the_installed_program_runs():
    assert choose(ProgramState(), "1.0", fine).program is None


def test_a_pending_program_is_started_once_and_the_try_is_noted_first():
    choice = choose(ProgramState(current=OLD, pending=ORDER), "1.0", fine)
    assert choice.program == NEW
    assert choice.state == ProgramState(current=OLD, pending=SPENT)


@pytest.mark.parametrize(("current", "runs"), [(None, None), (OLD, OLD)])
def test_a_spent_try_brings_back_what_ran_before_and_says_so(current, runs):
    choice = choose(ProgramState(current=current, pending=SPENT), "1.0", fine)
    assert choice.program == runs
    assert choice.state.pending is None
    assert choice.state.outcome.order_id == "op1"
    assert "ended before it had its link" in choice.state.outcome.reason.message
    assert choose(choice.state, "1.0", fine).program == runs, "the next start finds no try any more"


def test_a_pending_program_that_was_changed_on_the_disk_is_not_started():
    choice = choose(ProgramState(pending=ORDER), "1.0", lambda _program: "not the file that was verified")
    assert choice.program is None
    assert choice.state.outcome.reason.message == "not the file that was verified"


def test_the_current_program_runs_while_it_is_newer_than_the_installed_one():
    state = ProgramState(current=NEW)
    assert choose(state, "1.1", fine).program == NEW
    assert choose(state, "1.2", fine).program is None
    assert choose(state, "1.10", fine).program is None


def test_a_current_program_that_is_damaged_gives_way_to_the_one_before_then_to_the_installed_one():
    state = ProgramState(current=NEW, previous=OLD)
    assert choose(state, "1.0", lambda one: "damaged" if one == NEW else "").program == OLD
    assert choose(state, "1.0", lambda _one: "damaged").program is None


def test_a_proven_program_keeps_the_one_before_it_and_no_older_one():
    state = proven(ProgramState(current=OLD, previous=program("1.0"), pending=SPENT))
    assert state == ProgramState(current=NEW, previous=OLD, outcome=Outcome("op1", "1.2"))
    assert state.packages() == {"sha-1.2", "sha-1.1"}


def test_a_program_that_failed_changes_nothing_but_the_outcome():
    reason = Reason("update_failed", "no link")
    state = returned(ProgramState(current=OLD, pending=SPENT), reason)
    assert state == ProgramState(current=OLD, outcome=Outcome("op1", "1.2", reason))
