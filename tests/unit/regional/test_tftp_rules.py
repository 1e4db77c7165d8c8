"""TFTP: packets there and back, names that lead nowhere else, options, and which block is sent when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.regional.tftp.packet import (
    Ack,
    Data,
    Error,
    MalformedPacketError,
    OptionAck,
    Request,
    pack,
    parse,
)
from ops_system.regional.tftp.rules import GIVE_UP_S, RefusedNameError, Sender, Terms, file_name, negotiate, to_netascii

# What OVMF sends: RFC 1350's request with the options of RFC 2349 and 2348.
OVMF_REQUEST = b"\x00\x01snponly.efi\x00octet\x00tsize\x000\x00blksize\x001468\x00"


@pytest.mark.parametrize(
    ("data", "packet"),
    [
        (OVMF_REQUEST, Request("snponly.efi", "octet", {"tsize": "0", "blksize": "1468"})),
        (b"\x00\x01a\x00OCTET\x00", Request("a", "octet")),
        (b"\x00\x02a\x00octet\x00", Request("a", "octet", is_write=True)),
        (b"\x00\x01a\x00octet\x00BLKSIZE\x008\x00blksize\x009\x00\x00\x00", Request("a", "octet", {"blksize": "8"})),
        (b"\x00\x03\x00\x01abc", Data(1, b"abc")),
        (b"\x00\x04\xff\xff", Ack(65535)),
        (b"\x00\x05\x00\x08User aborted the transfer\x00", Error(8, "User aborted the transfer")),
        (b"\x00\x05\x00\x00", Error(0)),
        (b"\x00\x06tsize\x00123\x00", OptionAck({"tsize": "123"})),
    ],
)
def test_packets_are_read(data, packet):
    assert parse(data) == packet


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x00\x00",
        b"\x00\x07x",
        b"\x00\x01",
        b"\x00\x01a\x00",
        b"\x00\x01a\x00octet",
        b"\x00\x03\x00",
        b"\x00\x04",
        b"\x00\x01\xff\x00octet\x00",
        b"\x00\x01" + b"a" * 600 + b"\x00octet\x00",
    ],
)
def test_damage_is_named(data):
    with pytest.raises(MalformedPacketError):
        parse(data)


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
packets = st.one_of(
    st.builds(
        Request,
        words,
        st.sampled_from(["octet", "netascii"]),
        st.dictionaries(words.map(str.lower), words, max_size=4),
        st.booleans(),
    ),
    st.builds(Data, st.integers(0, 65535), st.binary(max_size=100)),
    st.builds(Ack, st.integers(0, 65535)),
    st.builds(Error, st.integers(0, 65535), words),
    st.builds(OptionAck, st.dictionaries(words.map(str.lower), words, max_size=4)),
)


@given(packets)
def test_there_and_back(packet):
    assert parse(pack(packet)) == packet


@given(
    st.one_of(
        st.binary(max_size=600),
        st.builds(bytes.__add__, st.sampled_from([b"\x00\x01", b"\x00\x06"]), st.binary(max_size=80)),
    )
)
def test_no_bytes_break_the_parser(data):
    try:
        packet = parse(data)
    except MalformedPacketError:
        return
    if isinstance(packet, Request):
        try:
            name = file_name(packet.name)
        except RefusedNameError:
            name = "fine"
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        terms = negotiate(packet, 10)
        assert 8 <= terms.block_bytes <= 1468
        assert 1 <= terms.window <= 64


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a", "a"),
        ("/grub/x86_64-efi/a.mod", "grub/x86_64-efi/a.mod"),
        ("./a//b", "a/b"),
        ("a..b/..c", "a..b/..c"),
        ("pxelinux.cfg/01-52-54-00", "pxelinux.cfg/01-52-54-00"),
    ],
)
def test_names_below_the_boot_files(text, name):
    assert file_name(text) == name


@pytest.mark.parametrize(
    "text",
    ["", "/", ".", "..", "../etc/passwd", "a/../../b", "/..", "a\\..\\b", "C:\\x", "a\x00b", "a\nb", "ä", "a/.."],
)
def test_names_that_lead_elsewhere(text):
    with pytest.raises(RefusedNameError):
        file_name(text)


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        ({}, Terms()),
        ({"tsize": "0"}, Terms(said={"tsize": "1000"})),
        ({"blksize": "1432", "windowsize": "8"}, Terms(1432, 8, None, {"blksize": "1432", "windowsize": "8"})),
        ({"blksize": "65464", "windowsize": "9999"}, Terms(1468, 64, None, {"blksize": "1468", "windowsize": "64"})),
        ({"timeout": "3"}, Terms(wait_s=3, said={"timeout": "3"})),
        ({"blksize": "7", "windowsize": "0", "timeout": "256", "multicast": ""}, Terms()),
        ({"blksize": "-8", "windowsize": "four", "timeout": "٣", "tsize": "x"}, Terms(said={"tsize": "1000"})),
        ({"blksize": "9" * 500}, Terms()),
    ],
)
def test_terms(options, terms):
    assert negotiate(Request("a", "octet", options), 1000) == terms


def test_text_has_no_size_before_it_is_changed():
    assert negotiate(Request("a", "netascii", {"tsize": "0"}), 1000) == Terms()
    assert to_netascii(b"a\nb\rc") == b"a\r\nb\r\x00c"


# --- the sender ------------------------------------------------------------------------------------------------------


def sender(size=2000, block=512, window=1, **fields):
    return Sender(size, Terms(block, window, **fields))


def test_one_block_at_a_time():
    s = sender()
    assert list(s.due()) == [1]
    assert [list(s.hear_ack(number, 0.01)) for number in (1, 2, 3, 4)] == [[2], [3], [4], []]
    assert s.is_done


def test_options_are_confirmed_first_and_alone():
    s = sender(window=4, said={"windowsize": "4"})
    assert list(s.due()) == [0]
    assert list(s.hear_ack(0, 0.01)) == [1, 2, 3, 4]


@pytest.mark.parametrize(("size", "last"), [(0, 1), (1, 1), (511, 1), (512, 2), (1024, 3)])
def test_the_last_block_is_short_or_empty(size, last):
    assert sender(size).last == last


def test_a_repeated_ack_makes_no_repeated_block():
    """Sorcerer's Apprentice: with one block in flight a second ACK of the same block is noise."""
    s = sender()
    s.due()
    assert list(s.hear_ack(1, 0.0)) == [2]
    assert [list(s.hear_ack(1, 0.0)) for _ in range(3)] == [[], [], []]
    assert list(s.hear_nothing()) == [2]


def test_a_window_goes_on_behind_what_arrived():
    s = sender(10_000, window=4)
    assert list(s.due()) == [1, 2, 3, 4]
    assert list(s.hear_ack(2, 0.0)) == [3, 4, 5, 6]
    assert list(s.hear_ack(2, 0.0)) == [3, 4, 5, 6]  # said once more: block 3 is missing again
    assert list(s.hear_ack(2, 0.0)) == []
    assert list(s.hear_ack(6, 0.0)) == [7, 8, 9, 10]


def test_acks_of_the_past_and_of_the_future_change_nothing():
    s = sender(10_000, window=4)
    s.due()
    s.hear_ack(4, 0.0)
    assert [list(s.hear_ack(number, 0.0)) for number in (3, 0, 65535, 9, 2000)] == [[]] * 5
    assert s.acked == 4


def test_numbers_go_round_in_a_big_file():
    s = Sender(8 * 200_000, Terms(8, 64))
    due = s.due()
    while not s.is_done:
        due = s.hear_ack(parse(pack(Data(due[-1], b""))).number, 0.0)
    assert s.acked == 200_001
    assert s.place_of(200_000) == (8 * 199_999, 8)


def test_waiting_follows_what_was_measured_and_grows():
    s = sender(window=1)
    assert s.wait_s == 1.0
    s.due()
    s.hear_ack(1, 0.1)
    assert s.wait_s == pytest.approx(0.4)
    s.hear_nothing()
    assert s.wait_s == pytest.approx(0.8)
    s.hear_ack(2, 5.0)  # sent twice: nobody knows which one this answers
    assert s.wait_s == pytest.approx(0.4)


def test_a_client_that_is_gone_is_given_up():
    s = sender(said={"timeout": "1"}, wait_s=1)
    s.due()
    waits = 0
    while s.hear_nothing():
        waits += 1
    assert s.has_given_up
    assert waits + 1 == GIVE_UP_S


@given(
    st.integers(0, 5000),
    st.sampled_from([8, 512, 1468]),
    st.integers(1, 8),
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=200),
)
def test_whatever_is_lost_or_doubled_the_file_arrives_whole(size, block, window, weather):
    """A client after RFC 7440 at the other end of a line that loses and doubles packets both ways."""
    content = bytes(place * 7 % 256 for place in range(size))
    s = Sender(size, Terms(block, window))
    storms = iter(weather)
    got, expected, line = b"", 1, list(s.due())
    for _ in range(20_000):
        if s.is_done:
            break
        acks = []
        for number in line:
            is_lost, is_doubled, is_ack_lost = next(storms, (False, False, False))
            if is_lost:
                continue
            if number == expected:
                offset, length = s.place_of(number)
                got += content[offset : offset + length]
                expected += 1
            if not is_ack_lost and (number == line[-1] or number != expected - 1):
                acks += [expected - 1] * (2 if is_doubled else 1)
        line = []
        for ack in acks:
            line += s.hear_ack(ack % 65536, 0.01)
        if not line and not s.is_done:
            line = list(s.hear_nothing())
            s.silent_s = 0.0
    assert s.is_done
    assert got == content
