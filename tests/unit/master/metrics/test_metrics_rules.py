"""Window maths: a ring behaves as a dictionary of the last 900 seconds, whatever the order of seconds."""

import itertools
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.master.metrics.charts import draw, short_values
from ops_system.master.metrics.layout import Asked, answer, remember
from ops_system.master.metrics.rules import MetricsQuery, Span, check_size, choose_series, span_of
from ops_system.master.metrics.windows import MAX_LATE_S, SERIES_BYTES, TICKS, WINDOW_S, Rings, TimeBase
from ops_system.model.errors import Invalid

START = 1_700_000_000
VALUES = st.floats(-1e6, 1e6, width=32)


def rings_with(points, name="cpu"):
    rings = Rings()
    rings.add(name)
    for second, value in points:
        rings.put(second, [(name, value)])
    return rings


def points_of(rings, first_s, last_s, step_s):
    asked = Asked(Span(first_s, last_s, step_s), "cpu", (), is_top=False)
    return answer(asked, remember(rings, ["cpu"]), (), ()).series.get("cpu", [])


class Model:
    """The plain way to say what a window keeps."""

    def __init__(self):
        self.kept = {}
        self.newest = None

    def put(self, second, value):
        if self.newest is None or second < self.newest - MAX_LATE_S or second >= self.newest + 3600:
            self.kept, self.newest = {}, second
        self.newest = max(self.newest, second)
        self.kept = {at: one for at, one in self.kept.items() if at > self.newest - WINDOW_S}
        self.kept[second] = value


@given(st.lists(st.tuples(st.integers(-1000, 2500), VALUES), max_size=60))
def test_rings_keep_what_the_model_keeps(steps):
    model, rings = Model(), rings_with([])
    for offset, value in steps:
        model.put(START + offset, value)
        rings.put(START + offset, [("cpu", value)])
    for at in range(START - 1100, START + 2600, 7):
        assert rings.at("cpu", at) == model.kept.get(at) or (math.isnan(rings.at("cpu", at)) and at not in model.kept)
    for at, value in model.kept.items():
        assert rings.at("cpu", at) == value


@given(
    st.dictionaries(st.integers(0, WINDOW_S - 1), VALUES, min_size=1, max_size=80),
    st.integers(1, 120),
    st.integers(-50, 950),
    st.integers(0, 950),
)
def test_buckets_hold_the_mean_and_the_largest_of_their_seconds(values, step_s, first, length):
    rings = rings_with([(START + at, value) for at, value in sorted(values.items())])
    first_s, last_s = START + first, START + first + length
    points = points_of(rings, first_s, last_s, step_s)
    expected = {}
    for at, value in values.items():
        if first_s <= START + at <= last_s and at > max(values) - WINDOW_S:
            expected.setdefault((START + at) // step_s * step_s, []).append(value)
    assert [point[0] for point in points] == sorted(expected)
    for start, mean, largest in points:
        found = expected[start]
        assert mean == pytest.approx(sum(found) / len(found), rel=1e-5, abs=1e-2)
        assert largest == pytest.approx(max(found), rel=1e-6)


def test_a_gap_is_absent_and_so_is_nan():
    rings = rings_with([(START, 1.0), (START + 1, math.nan), (START + 5, 3.0)])
    assert points_of(rings, START, START + 10, 1) == [(START, 1.0, 1.0), (START + 5, 3.0, 3.0)]


def test_a_skipped_second_does_not_show_what_stood_there_a_lap_ago():
    rings = rings_with([(START + at, float(at)) for at in range(WINDOW_S)])
    rings.put(START + WINDOW_S + 10, [("cpu", 7.0)])
    assert math.isnan(rings.at("cpu", START + WINDOW_S + 5))
    assert rings.at("cpu", START + 11) == 11.0
    assert math.isnan(rings.at("cpu", START + 10))


def test_a_point_costs_four_bytes():
    rings = rings_with([(START, 1.0)])
    ring, ticks = rings._rings["cpu"], rings._ticks["cpu"]
    assert ring.itemsize * len(ring) == 4 * WINDOW_S
    assert sys.getsizeof(ring) / WINDOW_S < 5
    assert ring.itemsize * len(ring) + ticks.itemsize * len(ticks) == SERIES_BYTES


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e300, -1e300])
def test_what_no_float32_holds_is_unknown(value):
    assert math.isnan(rings_with([(START, value)]).at("cpu", START))


def test_series_without_a_value_in_the_window_are_dropped():
    rings = rings_with([(START, 1.0)])
    rings.add("gone")
    assert rings.drop_silent() == 1
    assert rings.names() == ["cpu"]


def test_values_for_json_are_short_and_null_where_unknown():
    assert short_values([12.300000190734863, math.nan, 5.0], 5) == [12.3, None, 5.0, None, None]
    assert short_values([1.0, 2.0, 3.0], 2) == [1.0, 2.0]


@given(st.lists(st.floats(-0.4, 1.4), min_size=1, max_size=50), st.floats(-86_400 * 3, 86_400 * 3))
def test_a_late_frame_does_not_move_its_second(delays, skew_s):
    base = TimeBase()
    seconds = [base.second(START + n + skew_s, START + n + delay) for n, delay in enumerate(delays)]
    assert [one - seconds[0] for one in seconds] == list(range(len(delays)))


def test_a_clock_that_was_set_is_followed():
    base = TimeBase()
    assert base.second(START, START + 100.0) == START + 100
    assert base.second(START + 1, START + 4000.0) == START + 4000
    assert base.second(START + 2, START + 4001.0) == START + 4001


def test_the_default_span_is_the_last_quarter_of_an_hour():
    span = span_of(MetricsQuery(), START + 0.9)
    assert (span.first_s, span.last_s, span.step_s) == (START - 899, START, 1)
    assert span_of(MetricsQuery(from_s=START - 3600, to_s=START), START).step_s == 5


@pytest.mark.parametrize(("days", "step_s"), [(1, 120), (7, 900), (36_500, 86_400)])
def test_a_step_that_is_not_given_is_round_and_makes_at_most_900_points(days, step_s):
    to_s = 4_000_000_000
    assert span_of(MetricsQuery(from_s=to_s - days * 86_400 + 1, to_s=to_s), START).step_s == step_s


@pytest.mark.parametrize(
    "query",
    [
        MetricsQuery(from_s=math.nan),
        MetricsQuery(to_s=math.inf),
        MetricsQuery(from_s=-1.0),
        MetricsQuery(step_s=0),
        MetricsQuery(step_s=100_000),
        MetricsQuery(from_s=START + 10.0, to_s=START + 1.0),
    ],
)
def test_a_query_that_means_nothing_is_refused(query):
    with pytest.raises(Invalid):
        span_of(query, START)


def test_series_are_chosen_by_name_and_prefix():
    existing = ["cpu_percent", "disk:/:used_percent", "disk:/var:used_percent", "load1"]
    assert choose_series("", ["load1", "load5"], existing) == ["load1", "load5"]  # asked for, no points yet
    assert choose_series("load1, nothing,cpu_percent", [], existing) == ["cpu_percent", "load1"]
    assert choose_series("disk:*", [], existing) == existing[1:3]
    assert choose_series("*", [], existing) == existing


def test_an_answer_has_a_largest_size():
    check_size(Span(START - 899, START, 1), 500)
    with pytest.raises(Invalid, match="larger step_s"):
        check_size(Span(0, START, 60), 100)


# --- ten seconds ----------------------------------------------------------------------------------------------------
def ticks_by_hand(values, first_s, end_s):
    """The plain way: mean and largest of the known seconds of each ten."""
    found = {}
    for start in range(first_s - first_s % 10, end_s - end_s % 10, 10):
        known = [values[at] for at in range(start, start + 10) if not math.isnan(values.get(at, math.nan))]
        if known:
            found[start] = (sum(known) / len(known), max(known))
    return found


@given(st.dictionaries(st.integers(0, 4000), st.one_of(VALUES, st.just(math.nan)), min_size=1, max_size=150))
def test_ticks_are_the_means_and_the_largest_of_ten_seconds(values):
    seconds = sorted(values)
    rings = rings_with([(START + at, values[at]) for at in seconds])
    restart = [at for before, at in itertools.pairwise(seconds) if at - before >= 3600]
    kept = {START + at: values[at] for at in seconds if at >= (restart[-1] if restart else 0)}
    newest = max(kept)
    expected = ticks_by_hand(kept, min(kept), newest)
    rows = rings.ticks("cpu")
    found = {
        (rows.first + place) * 10: (mean, top)
        for place, (mean, top) in enumerate(zip(rows.means, rows.tops, strict=True))
        if not math.isnan(mean)
    }
    oldest = (newest // 10 - TICKS) * 10
    assert set(found) == {at for at in expected if at >= oldest}
    for at, (mean, top) in found.items():
        assert mean == pytest.approx(expected[at][0], rel=1e-5, abs=1e-1)
        assert top == pytest.approx(expected[at][1], rel=1e-6)


def test_an_hour_is_drawn_from_ten_seconds_and_ends_with_the_open_tick():
    rings = rings_with([(START + at, float(at % 10)) for at in range(3603)])
    points = points_of(rings, START, START + 3602, 60)
    assert points[0] == (START - START % 60, 4.5, 9.0)
    assert points[-1] == ((START + 3602) // 60 * 60, pytest.approx(4.3, abs=0.3), 9.0)
    assert len(points) == 61
    assert points_of(rings, START, START + 3602, 1)[0] == (START, 4.5, 9.0)  # the seconds are gone
    assert points_of(rings, START, START + 3602, 1)[-1] == (START + 3602, 2.0, 2.0)


def test_the_largest_can_stand_in_the_place_of_the_mean():
    rings = rings_with([(START, 1.0), (START + 1, 3.0)])
    assert draw([rings.seconds("cpu")], 10, is_top=True) == [(START, 3.0, 3.0)]


@pytest.mark.parametrize("jump_s", [-3 * 86_400, 3 * 86_400, -100, 5000])
def test_a_clock_that_jumps_starts_the_window_anew(jump_s):
    rings = rings_with([(START + at, 1.0) for at in range(100)])
    rings.put(START + 100 + jump_s, [("cpu", 2.0)])
    assert points_of(rings, START + 100 + jump_s - 900, START + 100 + jump_s, 1) == [(START + 100 + jump_s, 2.0, 2.0)]
    assert rings.first_tick == (START + 100 + jump_s) // 10


ANY_VALUE = st.one_of(VALUES, st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -1e300]))
ACTS = ["", "", "", "drop", "add", "far", "narrow", "wide", "single", "look"]
STEPS = st.tuples(st.integers(-15, 12), ANY_VALUE, ANY_VALUE, ANY_VALUE, st.sampled_from(ACTS))


def told_by(rings, name):
    rows = (rings.seconds(name), rings.ticks(name))
    return [(one.step_s, one.first, [repr(value) for value in (*one.means, *one.tops)]) for one in rows]


@given(st.lists(STEPS, max_size=40))
def test_a_row_keeps_what_single_values_keep(steps):
    names, rows, singles, second = ("a", "b", "c"), Rings(), Rings(), START
    for rings in (rows, singles):
        rings.add("a")
        rings.add("b")
    rows.expect(names)
    for forward, *values, act in steps:
        second += forward + (5000 if act == "far" else 0)
        for rings in (rows, singles):
            if act == "drop" and "b" in rings:
                rings.drop("b")
            if act == "add" and "c" not in rings:
                rings.add("c", second)
        if act in {"narrow", "wide"}:
            names = ("c", "a") if act == "narrow" else ("a", "b", "c")
            rows.expect(names)
        row = tuple(values[: len(names)])
        if act == "single":
            rows.put(second, zip(names, row, strict=True))
        else:
            assert rows.put_row(second, names, row)
        singles.put(second, zip(names, row, strict=True))
        if act == "look":
            assert [repr(rows.at("a", second - back)) for back in range(12)] == [
                repr(singles.at("a", second - back)) for back in range(12)
            ]
    assert rows.names() == singles.names()
    for name in rows.names():
        assert told_by(rows, name) == told_by(singles, name)


def test_a_row_of_other_series_is_not_taken():
    rings = Rings()
    rings.add("a")
    rings.expect(("a",))
    assert not rings.put_row(START, ("b",), (1.0,))
    assert rings.newest_s is None
