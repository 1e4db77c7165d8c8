"""The machine of a rule, against a model that knows nothing of tracks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.master.alerts.rules import FLAP_FIRES, FLAP_HOLD_S, FLAP_WINDOW_S, Reading, Timing, Track, shift, step
from ops_system.model.alerts import AlertState

BREACH, BETWEEN, CLEAR, NO_DATA, UNKNOWN = Reading
FIRING, PENDING = AlertState.FIRING, AlertState.PENDING


def walk(readings, timing, every_s=1.0):
    track, states = Track(), []
    for number, reading in enumerate(readings):
        track = step(track, reading, number * every_s, timing)
        states.append(track.state)
    return track, states


def model(readings, for_s, keep_s):
    """Return the states of a rule without no-data and flapping, each from the whole past anew."""
    states, is_open = [], False
    for now in range(len(readings)):
        past = readings[: now + 1]
        if not is_open:
            run = 0
            while run < len(past) and past[-1 - run] is BREACH:
                run += 1
            begun = run > 0
            is_open = begun and run - 1 >= for_s
            states.append(FIRING if is_open else PENDING if begun else None)
            continue
        quiet = 0
        while quiet < len(past) and past[-1 - quiet] is CLEAR:
            quiet += 1
        is_open = not (quiet > 0 and quiet - 1 >= keep_s)
        states.append(FIRING if is_open else None)
    return states


@given(
    st.lists(st.sampled_from([BREACH, BETWEEN, CLEAR]), max_size=60),
    st.integers(min_value=0, max_value=4),
    st.integers(min_value=0, max_value=4),
)
def test_it_does_as_the_model_while_it_does_not_flap(readings, for_s, keep_s):
    far = FLAP_WINDOW_S  # so far apart that nothing flaps
    _, states = walk(readings, Timing(for_s * far, keep_s * far), far)
    assert states == model(readings, for_s, keep_s)


@given(st.lists(st.sampled_from(list(Reading)), max_size=80), st.sampled_from(["ok", "keep", "firing"]))
def test_nothing_unknown_moves_it_and_times_may_be_shifted(readings, policy):
    timing = Timing(2, 3, policy)
    track = moved = Track()
    for now, reading in enumerate(readings):
        track, moved = step(track, reading, now, timing), step(moved, reading, now + 1000, timing)
        assert step(track, UNKNOWN, now + 500, timing) is track
        assert shift(track, 1000) == moved or (track.state is None and shift(track, 1000).fires == moved.fires)
        assert len(track.fires) <= FLAP_FIRES + 1


@pytest.mark.parametrize(
    ("policy", "states"),
    [
        ("ok", [FIRING, None, None, FIRING]),
        ("keep", [FIRING, FIRING, FIRING, FIRING]),
        ("firing", [FIRING, AlertState.NO_DATA, AlertState.NO_DATA, FIRING]),
    ],
)
def test_missing_samples_count_by_policy(policy, states):
    assert walk([BREACH, NO_DATA, NO_DATA, BREACH], Timing(no_data=policy))[1] == states


def test_samples_that_come_back_fine_end_no_data_also_between_the_levels():
    assert walk([NO_DATA, BETWEEN], Timing(no_data="firing"))[1] == [AlertState.NO_DATA, None]
    assert walk([BREACH, BETWEEN], Timing())[1] == [FIRING, FIRING]
    assert walk([NO_DATA] * 4, Timing(for_s=2, no_data="firing"))[1] == [PENDING, PENDING, *[AlertState.NO_DATA] * 2]


def test_what_flaps_is_held_until_ten_minutes_of_quiet_and_steady_trouble_is_not():
    timing = Timing()
    track, _ = walk([BREACH, CLEAR] * (FLAP_FIRES - 1) + [BREACH], timing)
    now_s = 2 * FLAP_FIRES
    assert track.is_flapping(now_s)
    held = step(track, CLEAR, now_s, timing)
    assert step(held, CLEAR, now_s + FLAP_HOLD_S - 1, timing).state is FIRING
    assert step(held, CLEAR, now_s + FLAP_HOLD_S, timing).state is None
    steady_s = now_s + FLAP_WINDOW_S
    assert not track.is_flapping(steady_s)
    assert step(track, CLEAR, steady_s, timing).state is None
