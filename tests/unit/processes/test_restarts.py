from hypothesis import given
from hypothesis import strategies as st

from ops_system.processes.restarts import Again, Finished, GaveUp, History, delay_after, judge
from ops_system.processes.spec import RestartRules


def test_the_delay_doubles_to_its_limit_and_jitters_by_a_quarter():
    assert [delay_after(1, 60, row, 0.5) for row in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert delay_after(4, 60, 0, 0.0) == 3
    assert delay_after(4, 60, 0, 1.0) == 5


def test_giving_up_counts_only_restarts_within_the_window():
    rules = RestartRules(max_restarts=2, window_s=100)
    history = History((0.0, 150.0), 2)
    verdict = judge(rules, history, is_success=False, now_s=160, dice=0.5)
    assert isinstance(verdict, Again)
    assert verdict.history.times_s == (150.0, 160)
    assert judge(rules, verdict.history, is_success=False, now_s=161, dice=0.5) == GaveUp(2)


def test_a_success_is_finished_unless_always():
    assert judge(RestartRules(), History(), is_success=True, now_s=0, dice=0) == Finished()
    assert isinstance(judge(RestartRules(policy="always"), History(), is_success=True, now_s=0, dice=0), Again)


@given(st.floats(0, 3600), st.floats(0, 3600), st.integers(0, 10_000), st.floats(0, 1))
def test_the_delay_stays_within_its_bounds(delay_s, max_delay_s, in_a_row, dice):
    found = delay_after(delay_s, max_delay_s, in_a_row, dice)
    assert 0 <= found <= 1.25 * max(delay_s, max_delay_s)
