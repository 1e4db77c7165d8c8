"""When cron lines are due: time zones, hours that are missing or come twice, lines that never come, clocks that leap."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from ops_system.master.schedules.rules import check_cron, find_zone, is_late, moments_after, replan
from ops_system.model.errors import Invalid

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def moments(cron: str, zone: str, now: datetime, count: int) -> list[str]:
    return [at.strftime("%m-%d %H:%M") for at in islice(moments_after(cron, find_zone(zone), now), count)]


def test_a_line_is_read_in_its_time_zone():
    assert moments("30 3 * * *", "Asia/Shanghai", NOW, 2) == ["03-01 19:30", "03-02 19:30"]
    assert moments("*/20 * * * *", "UTC", NOW, 3) == ["03-01 12:20", "03-01 12:40", "03-01 13:00"]
    assert moments("0 9 * * mon-fri", "UTC", NOW, 2) == ["03-02 09:00", "03-03 09:00"]


def test_a_fixed_hour_that_a_day_does_not_have_runs_right_after_the_gap():
    """Berlin, 29 March 2026: 02:00 is followed by 03:00, which is 01:00 UTC."""
    before = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
    assert moments("30 2 * * *", "Europe/Berlin", before, 2) == ["03-29 01:00", "03-30 00:30"]


def test_a_fixed_hour_that_comes_twice_runs_once():
    """Berlin, 25 October 2026: 03:00 is followed by 02:00."""
    before = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)
    assert moments("30 2 * * *", "Europe/Berlin", before, 2) == ["10-25 00:30", "10-26 01:30"]


def test_counted_again_inside_the_repeated_hour_it_does_not_come_a_second_time():
    """The service counts anew from each `now`: between the two 02:30 of that night, too."""
    for minute in (31, 45, 59):
        inside = datetime(2026, 10, 25, 0, minute, tzinfo=UTC)
        assert moments("30 2 * * *", "Europe/Berlin", inside, 1) == ["10-26 01:30"]
    second = datetime(2026, 10, 25, 1, 5, tzinfo=UTC)  # the second 02:05
    assert moments("30 2 * * *", "Europe/Berlin", second, 1) == ["10-26 01:30"]


def test_every_quarter_of_an_hour_follows_real_time_through_both_changes():
    for before in (datetime(2026, 3, 29, 0, 0, tzinfo=UTC), datetime(2026, 10, 25, 0, 0, tzinfo=UTC)):
        found = list(islice(moments_after("*/15 * * * *", find_zone("Europe/Berlin"), before), 12))
        assert found == [before + timedelta(minutes=15 * count) for count in range(1, 13)]


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 2,4,6 *", "0 3 31 11 *"])
def test_a_line_that_never_comes_is_refused_with_the_reason(cron):
    with pytest.raises(Invalid, match="never comes") as refused:
        check_cron(cron, "UTC", NOW)
    assert refused.value.details["reason"] == "cron_never_fires"


def test_the_29th_of_february_comes():
    assert check_cron("0 0 29 2 *", "UTC", NOW)[0] == datetime(2028, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize("cron", ["", "* * * *", "* * * * * *", "60 * * * *", "0 0 0 * *", "x * * * *", "0 " * 150])
def test_a_line_that_cannot_be_read_is_refused(cron):
    with pytest.raises(Invalid) as refused:
        check_cron(cron, "UTC", NOW)
    assert "reason" not in refused.value.details


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime"])
def test_a_time_zone_that_is_none_is_refused(zone):
    with pytest.raises(Invalid, match="no time zone"):
        check_cron("0 0 * * *", zone, NOW)


def test_the_next_five_are_shown():
    assert len(check_cron("0 3 * * *", "Asia/Shanghai", NOW)) == 5


def test_a_clock_set_back_counts_anew_and_a_small_correction_repeats_nothing():
    due = NOW - timedelta(seconds=1)
    later = NOW + timedelta(days=1)
    assert replan(NOW, None, None, later) == later
    assert replan(NOW, later, due, later) == later
    back = NOW - timedelta(days=3)  # set back by three days: what was counted is far away
    assert replan(back, later, due, back + timedelta(hours=2)) == back + timedelta(hours=2)
    slip = NOW - timedelta(seconds=3)  # corrected by two seconds, just after its run
    assert replan(slip, later, due, due) == later


def test_late_is_more_than_a_minute_and_a_half():
    assert not is_late(NOW, NOW - timedelta(seconds=90))
    assert is_late(NOW, NOW - timedelta(seconds=91))
