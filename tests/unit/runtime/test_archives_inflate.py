import io

import pytest

from ops_system.model.errors import Invalid
from ops_system.runtime.archives import inspect_zip
from ops_system.runtime.inflate import PIECE_BYTES, unpack_entry
from tests.fakes.evil_archives import BASE, STORED, Member, build_zip


def pieces_of(tmp_path, member):
    """The entry's pieces up to the fault, and the fault."""
    path = tmp_path / "a.zip"
    path.write_bytes(build_zip([*BASE, member]))
    listing = inspect_zip(path)
    entry = listing.find(member.name)
    pieces, fault = [], None
    try:
        pieces.extend(unpack_entry(io.BytesIO(path.read_bytes()), entry, listing.offsets[entry.name]))
    except Invalid as error:
        fault = error
    return pieces, fault


def test_a_liar_is_stopped_before_its_first_surplus_byte_is_handed_out(tmp_path):
    pieces, fault = pieces_of(tmp_path, Member("liar", bytes(50_000_000), size_bytes=1))
    assert pieces == []
    assert "more than the 1 bytes it promised" in fault.message


def test_a_bomb_comes_in_small_pieces(tmp_path):
    pieces, fault = pieces_of(tmp_path, Member("zeros", bytes(3_500_000), packed=None, crc32=1, size_bytes=100_000))
    assert pieces == []
    assert fault is not None


@pytest.mark.parametrize("method", [STORED, 8])
def test_pieces_are_bounded_and_whole(tmp_path, method):
    data = bytes(range(256)) * 20 + b"".join(number.to_bytes(4, "big") for number in range(700_000))
    pieces, fault = pieces_of(tmp_path, Member("data", data, method=method))
    assert fault is None
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert b"".join(pieces) == data


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (Member("x", b"abc", size_bytes=4), "has 3 bytes instead of the 4"),
        (Member("x", b"abc", method=STORED, size_bytes=2), "more than the 2"),
        (Member("x", b"", packed=b"", size_bytes=0), "is cut off"),
        (Member("x", b"abc" * 100, packed=b"\x4b"), "is cut off"),
        (Member("x", b"abc", packed=b"\xff\xff\xff"), "Error -3"),
    ],
)
def test_every_lie_has_its_words(tmp_path, member, words):
    _, fault = pieces_of(tmp_path, member)
    assert words in fault.message
