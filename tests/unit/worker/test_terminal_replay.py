"""What a terminal said last is kept by its place in all it ever said."""

from hypothesis import given
from hypothesis import strategies as st

from ops_system.worker.terminal_session import Replay


@given(st.lists(st.binary(max_size=40), max_size=60), st.integers(1, 50), st.integers(0, 3000), st.integers(0, 100))
def test_what_is_kept_is_the_end_of_what_was_said(said, limit, place, size):
    replay, everything = Replay(limit), b"".join(said)
    for data in said:
        replay.add(data)
    assert replay.end == len(everything)
    assert min(limit, len(everything)) <= replay.end - replay.start <= max(2 * limit, 0) + 40
    begin = max(place, replay.start)
    assert replay.read(place, size) == everything[begin : begin + size]
