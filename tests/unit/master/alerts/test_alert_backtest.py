from ops_system.master.alerts.backtest import (
    count_notices,
    firings_of,
    gaps_of,
    readings_of,
    run_states,
    run_through,
    step_of,
    values_of,
)
from ops_system.master.alerts.rules import Reading
from ops_system.model.alerts import AlertState, Condition, ConditionKind, Grouping, NewRule, Period

PENDING, FIRING, NO_DATA = AlertState.PENDING, AlertState.FIRING, AlertState.NO_DATA
BUSY = Condition(kind=ConditionKind.NODE_METRIC, series="cpu_percent", fire_level=90, clear_level=80)


def spans(rule, values, to_s=300, step_s=10):
    return [(one.state, one.from_s, one.to_s) for one in run_through(rule, values, 0, to_s, step_s)]


def test_periods_are_those_the_rule_would_have_had():
    values = {at: 95.0 if 100 <= at < 200 else 10.0 for at in range(0, 301, 10)}
    assert spans(NewRule(name="r", condition=BUSY, for_s=30), values) == [(PENDING, 100, 130), (FIRING, 130, 200)]
    assert spans(NewRule(name="r", condition=BUSY), dict.fromkeys(values, 95.0)) == [(FIRING, 0, 300)]


def test_gaps_are_no_data_only_when_they_last():
    values = {at: 10.0 for at in range(0, 301, 10) if not 100 <= at < 200}
    rule = NewRule(name="r", condition=BUSY, no_data="firing")
    assert spans(rule, values) == [(NO_DATA, 130, 200)]
    assert spans(NewRule(name="r", condition=BUSY), values) == []


def test_a_window_is_filled_from_before_the_beginning():
    condition = Condition(kind=ConditionKind.NODE_METRIC, series="x", fire_level=90, window_s=60, mode="every")
    values = dict.fromkeys(range(-60, 301, 10), 95.0)
    assert spans(NewRule(name="r", condition=condition), values) == [(FIRING, 0, 300)]


def test_upward_rules_judge_the_largest_of_a_bucket_and_windows_the_mean():
    points = [(0, 50.0, 99.0)]
    assert values_of(points, BUSY) == {0: 99.0}
    below = Condition(kind=ConditionKind.NODE_METRIC, series="x", op="<", fire_level=60)
    assert values_of(points, below) == {0: 50.0}
    assert [step_of(1000 - age, 1000) for age in (900, 901, 21_601)] == [1, 10, 60]


def test_messages_are_counted_by_group():
    periods = [Period(PENDING, 0, 10), Period(FIRING, 10, 50), Period(NO_DATA, 50, 60)]
    assert firings_of(periods) == [(10, 60)]
    grouping = Grouping(interval_s=30, repeat_s=0)
    assert count_notices([(10, 60)], grouping, 300) == 2
    assert count_notices([(10, 60), (20, 60), (25, 300)], grouping, 300) == 3  # 10; 20 and 25; 60 twice
    assert count_notices([(0, 300)], Grouping(repeat_s=100), 300) == 1 + 3


OFFLINE = Condition(kind=ConditionKind.NODE_STATUS, states=("offline",))


def states(words, to_s=600, **fields):
    rule = NewRule(name="r", condition=OFFLINE, **fields)
    readings = readings_of(words, OFFLINE.states)
    return [(one.state, one.from_s, one.to_s) for one in run_states(rule, readings, 0, to_s)]


def test_states_change_at_their_moment_and_begin_before_the_span():
    words = [(-50, "offline"), (100, "online"), (200.5, "offline"), (203.5, "unknown"), (230, "online")]
    assert states(words) == [(FIRING, 0, 100), (FIRING, 200.5, 230)]
    assert states([(100, "offline")], for_s=45) == [(PENDING, 100, 145), (FIRING, 145, 600)]
    assert states([(100, "offline"), (130, "online")], for_s=45) == [(PENDING, 100, 130)]
    assert states([(100, "offline"), (130, "online")], keep_firing_for_s=77) == [(FIRING, 100, 207)]
    assert states([]) == []


def test_missing_samples_count_while_the_node_is_online_only():
    online, known = [(-500, "online")], [*range(-60, 100, 10), *range(300, 600, 10)]
    assert gaps_of(known, online, 60, -60, 600)[16:19] == [
        (90, Reading.CLEAR),
        (150, Reading.BREACH),
        (300, Reading.CLEAR),
    ]
    offline = [(-500, "online"), (140, "offline"), (200, "online")]
    assert (150, Reading.UNKNOWN) in gaps_of(known, offline, 60, -60, 600)
    assert (200, Reading.BREACH) in gaps_of(known, offline, 60, -60, 600)
    assert gaps_of([], online, 60, 0, 600)[-1] == (60, Reading.BREACH)
    assert gaps_of([], [], 60, 0, 600) == [(60, Reading.UNKNOWN)]
