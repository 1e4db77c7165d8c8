from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from ops_system.master.operations.rules import TargetProgress, overlay, settle, with_progress, with_target
from ops_system.model.ids import OperationId
from ops_system.model.operations import Operation, OperationState, OperationStep, OperationTarget
from ops_system.model.reasons import Reason

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PENDING, RUNNING = OperationState.PENDING, OperationState.RUNNING
SUCCEEDED, FAILED, CANCELLED = OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED


def target(name, state=PENDING, step="", reason=None):
    return OperationTarget("instance", name, name, "node_1", state, step, reason=reason)


def operation(*targets, steps=("download", "start", "prove")):
    made = tuple(OperationStep(step, PENDING) for step in steps)
    return Operation(
        OperationId("op_1"), "instance.deploy", "t", PENDING, False, made, targets, None, NOW, NOW, None, "ann"
    )


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        ((PENDING, PENDING), PENDING),
        ((PENDING, RUNNING), RUNNING),
        ((SUCCEEDED, PENDING), RUNNING),
        ((SUCCEEDED, SUCCEEDED), SUCCEEDED),
        ((SUCCEEDED, CANCELLED), CANCELLED),
        ((FAILED, CANCELLED), FAILED),
        ((FAILED, RUNNING), RUNNING),
        ((), SUCCEEDED),
    ],
)
def test_the_whole_follows_from_its_targets(states, whole):
    settled = settle(operation(*(target(f"i{n}", state) for n, state in enumerate(states))), NOW)
    assert settled.state is whole
    assert (settled.ended_at is not None) == (whole in {SUCCEEDED, FAILED, CANCELLED})


def test_a_step_is_done_once_every_target_is_past_it():
    one = settle(operation(target("a", RUNNING, "start"), target("b", RUNNING, "download")), NOW)
    assert [step.state for step in one.steps] == [RUNNING, RUNNING, PENDING]
    two = settle(with_target(one, target("b", RUNNING, "prove")), NOW + timedelta(seconds=1))
    assert [step.state for step in two.steps] == [SUCCEEDED, RUNNING, RUNNING]
    assert two.steps[0].started_at == NOW
    assert two.steps[0].ended_at == NOW + timedelta(seconds=1)


def test_a_failure_is_shown_at_its_step_and_gives_the_error():
    why = Reason("exited", "exited with code 7", {"exit_code": 7})
    ended = settle(operation(target("a", FAILED, "start", why)), NOW)
    assert [step.state for step in ended.steps] == [SUCCEEDED, FAILED, CANCELLED]
    assert ended.error == why


def test_success_ends_every_step_also_those_that_were_skipped():
    ended = settle(operation(target("a", SUCCEEDED, "start")), NOW)
    assert {step.state for step in ended.steps} == {SUCCEEDED}


def test_progress_is_laid_over_running_targets_only():
    stored = settle(operation(target("a", RUNNING, "download"), target("b", SUCCEEDED)), NOW)
    fresh = msgspec.structs.replace(stored.targets[0], bytes_done=5, bytes_total=9)
    stale = msgspec.structs.replace(stored.targets[1], state=RUNNING, bytes_done=1)
    live = with_target(with_target(stored, fresh), stale)
    seen = overlay(stored, live)
    assert seen.targets[0].bytes_done == 5
    assert seen.targets[1] == stored.targets[1]


def test_a_step_of_the_worker_that_the_operation_does_not_have_moves_nothing():
    begun = settle(operation(target("a", RUNNING, "prove")), NOW)
    seen = with_progress(begun, {"a": TargetProgress("activate", 5, 9)}).targets[0]
    assert (seen.step, seen.bytes_done) == ("prove", 5)
    assert with_progress(begun, {"a": TargetProgress("start", 0, 0)}).targets[0].step == "start"
