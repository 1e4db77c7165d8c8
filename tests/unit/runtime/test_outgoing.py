"""Bytes that leave in any order are hashed once, in order."""

import hashlib
import os
import random

import pytest

from ops_system.runtime.outgoing import Outgoing, sender_key

DATA = random.Random(1).randbytes(3_500_000)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(DATA)
    return path


def sent(outgoing, start, count):
    return b"".join(bytes(piece) for piece in outgoing.pieces(start, count))


@pytest.mark.parametrize(
    "parts",
    [
        [(0, 3_500_000)],
        [],
        [(0, 1_200_000), (1_200_000, 2_300_000)],
        [(2_000_000, 1_500_000)],
        [(0, 2_000_000), (700_000, 2_800_000)],
        [(1_000_000, 10), (0, 5), (3_499_999, 1)],
    ],
    ids=["whole", "nothing", "parts", "resumed", "sent again", "scattered"],
)
def test_the_hash_is_of_the_whole_file_whatever_left(path, parts):
    with Outgoing(path) as outgoing:
        for start, count in parts:
            assert sent(outgoing, start, count) == DATA[start : start + count]
        assert outgoing.sha256() == hashlib.sha256(DATA).hexdigest()


def test_a_part_that_breaks_off_is_no_part_of_the_hash_twice(path):
    with Outgoing(path) as outgoing:
        pieces = outgoing.pieces(0, len(DATA))
        next(pieces)
        next(pieces)
        pieces.close()
        assert sent(outgoing, 100, len(DATA) - 100) == DATA[100:]
        assert outgoing.sha256() == hashlib.sha256(DATA).hexdigest()


def test_what_left_is_not_read_again_for_the_hash(path):
    with Outgoing(path) as outgoing:
        assert sent(outgoing, 0, len(DATA)) == DATA
        path.write_bytes(b"")
        assert outgoing.sha256() == hashlib.sha256(DATA).hexdigest()


def test_a_file_is_found_again_by_what_it_looks_like(path):
    key = sender_key(path)
    assert sender_key(path) == key
    os.utime(path, ns=(1, 1))
    changed = sender_key(path)
    assert len({key, changed}) == 2
    path.write_bytes(DATA[:-1] + b"!")
    os.utime(path, ns=(1, 1))
    assert sender_key(path) not in {key, changed}
    other = path.rename(path.with_name("b.zip"))
    os.utime(other, ns=(1, 1))
    other.write_bytes(DATA)
    os.utime(other, ns=(1, 1))
    assert sender_key(other) != changed
