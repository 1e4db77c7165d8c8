"""Deadlines of leases by a clock that is handed in."""

import pytest

from ops_system.kv.errors import LeaseTooLong
from ops_system.kv.leases import GRACE_S, MAX_TTL_S, MIN_TTL_S, Deadlines, granted


def test_the_shortest_and_the_longest():
    assert granted(0) == granted(-5) == MIN_TTL_S
    assert granted(MAX_TTL_S) == MAX_TTL_S
    with pytest.raises(LeaseTooLong):
        granted(MAX_TTL_S + 1)


def test_a_lease_is_due_when_nobody_renewed_it():
    deadlines = Deadlines()
    deadlines.grant(1, 10, 100.0)
    deadlines.grant(2, 10, 100.0)
    assert deadlines.renew(2, 105.0) is not None
    assert deadlines.due(109.9) == []
    assert deadlines.due(110.0) == [1]
    deadlines.drop(1)
    assert deadlines.due(114.9) == []
    assert deadlines.due(115.0) == [2]
    assert deadlines.renew(1, 116.0) is None


def test_a_dropped_lease_that_is_granted_again_is_not_due_early():
    deadlines = Deadlines()
    deadlines.grant(1, 10, 100.0)
    deadlines.drop(1)
    deadlines.grant(1, 60, 105.0)
    assert deadlines.due(110.0) == []
    assert deadlines.left_s(1, 110.0) == 55.0


def test_time_in_which_nobody_was_heard_does_not_count():
    deadlines = Deadlines()
    deadlines.grant(1, 10, 100.0)
    deadlines.hold(50.0)
    assert deadlines.due(159.9) == []
    assert deadlines.left_s(1, 150.0) == 10.0
    assert deadlines.due(160.0) == [1]


def test_after_a_restart_it_has_what_was_left_and_time_to_be_renewed():
    deadlines = Deadlines()
    deadlines.restore(1, 3600, 1800.0, 5.0)
    deadlines.restore(2, 30, 0.5, 5.0)
    deadlines.restore(3, 3, 0.0, 5.0)
    assert [deadlines.left_s(number, 5.0) for number in (1, 2, 3)] == [1800.0, GRACE_S, 3.0]


def test_only_what_the_disk_does_not_know_is_kept():
    deadlines = Deadlines()
    deadlines.grant(1, 3600, 0.0)
    deadlines.grant(2, 20, 0.0)
    assert deadlines.to_keep(25.0, 30.0) == []
    assert deadlines.to_keep(100.0, 30.0) == [(1, 3500.0)]
    assert deadlines.to_keep(120.0, 30.0) == []
