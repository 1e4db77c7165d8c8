from ops_system.master.alerts.backtest import count_notices, firings_of, run_through, step_of, values_of
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
