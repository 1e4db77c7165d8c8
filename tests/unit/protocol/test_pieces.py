"""Pieces survive any cutting, and what cannot be a piece is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.errors import Invalid
from ops_system.protocol.pieces import MAX_PIECE_BYTES, Channel, PieceReader, encode_piece

PIECES = st.lists(st.tuples(st.sampled_from(Channel), st.binary(max_size=200)), max_size=20)


@given(PIECES, st.integers(1, 50))
def test_pieces_come_back_however_the_stream_is_cut(pieces, size):
    stream = b"".join(encode_piece(channel, data) for channel, data in pieces)
    reader = PieceReader()
    found = [piece for at in range(0, len(stream), size) for piece in reader.feed(stream[at : at + size])]
    assert found == pieces


@pytest.mark.parametrize("head", [b"\x07\0\0\0\x01", b"\x01\xff\xff\xff\xff"])
def test_what_cannot_be_a_piece_is_refused(head):
    with pytest.raises(Invalid):
        PieceReader().feed(head)


def test_a_piece_has_a_limit():
    with pytest.raises(ValueError, match="at most"):
        encode_piece(Channel.STDOUT, b"x" * (MAX_PIECE_BYTES + 1))


@given(st.binary(max_size=300))
def test_bytes_of_a_stranger_raise_nothing_else(data):
    with contextlib.suppress(Invalid):
        PieceReader().feed(data)


def test_one_whole_piece_is_taken_only_when_nothing_waits_before_it():
    reader, piece = PieceReader(), encode_piece(Channel.STDOUT, b"data")
    assert reader.take_whole(piece) == (Channel.STDOUT, b"data")
    assert reader.take_whole(piece[:-1]) is None
    assert reader.take_whole(piece + piece) is None
    assert reader.take_whole(b"\x07\0\0\0\x01x") is None
    reader.feed(piece[:3])
    assert reader.take_whole(piece) is None
    assert reader.feed(piece[3:]) == [(Channel.STDOUT, b"data")]
