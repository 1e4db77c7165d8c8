"""The tool that plays a fleet: what it says of itself is right, and its machines are the same each time."""

import pytest

from tests.bench.ops_sim import FleetWorker, Tally, Weather, age_ms, make_key, make_node_id, make_worker, stamp_of


def make_fleet_worker(weather=None, **options):
    tally = Tally()
    return FleetWorker(make_worker("http://127.0.0.1:1", "a", 1), tally, weather or Weather(), **options), tally


class Outlet:
    dropped_samples = 0

    def __init__(self):
        self.sent = []

    def send(self, frame):
        self.sent.append(frame)
        return True


def test_a_named_fleet_is_the_same_each_time():
    assert make_node_id("a", 1) == make_node_id("a", 1) != make_node_id("a", 2)
    assert make_key("a", 1).private_bytes_raw() == make_key("a", 1).private_bytes_raw()
    assert make_key("a", 1).private_bytes_raw() != make_key("b", 1).private_bytes_raw()


@pytest.mark.parametrize("at_s", [1_700_000_000.25, 1_700_000_999.999, 1_700_001_000.0])
def test_a_stamp_tells_its_age_across_the_wrap(at_s):
    assert age_ms(stamp_of(at_s), at_s + 1.5) == pytest.approx(1500, abs=2)


def test_what_the_weather_takes_is_counted_and_told_by_the_next_sample():
    worker, tally = make_fleet_worker(Weather(loss=1.0))
    outlet = Outlet()
    for _ in range(3):
        worker._send_sample(outlet)
    worker._weather = Weather()
    worker._send_sample(outlet)
    worker._send_sample(outlet)
    assert [sample.dropped for sample in outlet.sent] == [3, 0]
    assert (tally.sent, tally.lost) == (2, 3)


def test_a_report_begins_new_rounds():
    tally = Tally(linked=2, rounds_ms=[1.0, 2.0, 9.0])
    assert (tally.report().round_p50_ms, tally.report().round_p99_ms) == (2.0, 0.0)
