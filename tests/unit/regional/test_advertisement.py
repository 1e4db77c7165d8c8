"""The answer to who looks for an IPv6 router: none here."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.regional.advertisement import answer_to, filter_of

SOLICITATION = bytes.fromhex("8500abcd00000000")
WITH_ADDRESS = SOLICITATION + bytes.fromhex("0101525400123456")


@pytest.mark.parametrize("data", [SOLICITATION, WITH_ADDRESS, WITH_ADDRESS + bytes.fromhex("0e01000000000000")])
def test_a_solicitation_is_told_that_no_router_is_here(data):
    kind, code, _, hop_limit, flags, lifetime_s, reachable, retransmit = struct.unpack(
        "!BBHBBHII", answer_to(data, 255)
    )
    assert (kind, code, hop_limit, flags, lifetime_s, reachable, retransmit) == (134, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("data", "hop_limit"),
    [
        (SOLICITATION, 254),
        (SOLICITATION[:7], 255),
        (b"\x86" + SOLICITATION[1:], 255),
        (b"\x85\x01" + SOLICITATION[2:], 255),
        (SOLICITATION + b"\x01\x00" + b"\x00" * 6, 255),
        (SOLICITATION + b"\x01\x02" + b"\x00" * 6, 255),
        (SOLICITATION + b"\x01", 255),
    ],
)
def test_what_is_no_sound_solicitation_gets_none(data, hop_limit):
    assert answer_to(data, hop_limit) is None


@given(st.binary(max_size=80), st.integers(0, 255))
def test_no_bytes_break_it(data, hop_limit):
    answer = answer_to(data, hop_limit)
    assert answer is None or len(answer) == 16


def test_the_filter_lets_one_type_through():
    through = [kind for kind in range(256) if not struct.unpack("=8I", filter_of(133))[kind >> 5] >> (kind & 31) & 1]
    assert through == [133]
