import pytest

from ops_system.master.alerts.conditions import judge_value, judge_window
from ops_system.master.alerts.rules import Reading
from ops_system.model.alerts import Condition, ConditionKind

BREACH, BETWEEN, CLEAR, NO_DATA, UNKNOWN = Reading


def on(op=">=", fire=90.0, clear=80.0, **fields):
    return Condition(
        kind=ConditionKind.NODE_METRIC, series="cpu_percent", op=op, fire_level=fire, clear_level=clear, **fields
    )


@pytest.mark.parametrize(
    ("condition", "readings"),
    [
        (on(), {95: BREACH, 90: BREACH, 85: BETWEEN, 80: CLEAR, 0: CLEAR}),
        (on(">", clear=None), {90.1: BREACH, 90: CLEAR}),
        (on("<", 10, 20), {9: BREACH, 10: BETWEEN, 20: CLEAR, 30: CLEAR}),
        (on("<=", 10, 10), {10: BREACH, 10.1: CLEAR}),
    ],
)
def test_values_are_judged_by_two_levels(condition, readings):
    assert {value: judge_value(condition, value) for value in readings} == readings


def test_windows_are_read_by_their_mode():
    samples = [100.0, 100.0, 100.0, 61.0]
    assert judge_window(on(mode="mean", window_s=4), samples) == (BREACH, 90.25)
    assert judge_window(on(mode="every", window_s=4), samples) == (CLEAR, 61.0)
    assert judge_window(on("<", 70, 70, mode="every", window_s=4), samples) == (CLEAR, 100.0)
    assert judge_window(on(mode="share", share_percent=75, window_s=4), samples) == (BREACH, 75.0)
    assert judge_window(on(mode="share", share_percent=76, window_s=4), samples) == (CLEAR, 75.0)
    assert judge_window(on(mode="share", share_percent=75, window_s=4), [85.0, 100.0, 85.0, 61.0]) == (BETWEEN, 25.0)


def test_a_window_without_a_past_is_not_known_yet():
    assert judge_window(on(window_s=4), [None, None, 99.0, 99.0]) == (UNKNOWN, None)
    assert judge_window(on(window_s=4), [None] * 4) == (NO_DATA, None)
    assert judge_window(on(window_s=4), []) == (NO_DATA, None)
    assert judge_window(on(window_s=4), [None, 99.0, None, 99.0])[0] is BREACH
