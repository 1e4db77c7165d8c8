"""DHCP messages: hand-made ones from the RFCs, every kind of damage, and the way there and back."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.regional.dhcp.packet import (
    DEFAULT_BYTES,
    LARGEST_BYTES,
    MalformedMessageError,
    Message,
    MessageTooLongError,
    Option,
    pack,
    parse,
    read_options,
    room_for,
)
from ops_system.regional.dhcp.questions import question_of

COOKIE = "63825363"
# A DISCOVER of iPXE in a BIOS ROM, written down field by field after RFC 2131 figure 1, RFC 4578 and iPXE's encapsulation.
IPXE_DISCOVER = bytes.fromhex(
    "01010600"
    "3903f326"
    "0004"
    "8000"
    + "00000000" * 4
    + "525400123456"
    + "00" * 10
    + "00" * 64
    + "00" * 128
    + COOKIE
    + "350101"  # DISCOVER
    + "390205c0"  # up to 1472 bytes
    + "5d020000"  # BIOS
    + "5e03010201"  # UNDI 2.1
    + "3c20"
    + b"PXEClient:Arch:00000:UNDI:002001".hex()
    + "4d04"
    + b"iPXE".hex()
    + "3717"
    + "0103060708090c0d0f1a2b3c4243777980818283848586"[:46]
    + "af06"
    + "b1050180861000"[:12]  # its own options, cut by hand to six bytes
    + "3d0701525400123456"
    + "6111"
    + "00"
    + "78563412"
    + "3412"
    + "7856"
    + "1234567890abcdef"[:16]
    + "ff"
)


def test_a_discover_written_down_by_hand_is_understood():
    message = parse(IPXE_DISCOVER)
    assert (message.op, message.xid, message.secs, message.flags) == (1, 0x3903F326, 4, 0x8000)
    assert message.chaddr.hex(":") == "52:54:00:12:34:56"
    question = question_of(message)
    assert question.is_ipxe
    assert question.is_pxe
    assert question.arch == 0
    assert question.uuid == "12345678-1234-5678-1234-567890abcdef"
    assert question.giaddr is None
    assert room_for(message) == 1472 - 28


def test_an_offer_is_written_as_the_rfc_draws_it():
    offer = Message(
        op=2,
        xid=0x3903F326,
        chaddr=bytes.fromhex("525400123456"),
        flags=0x8000,
        yiaddr=IPv4Address("192.0.2.100"),
        siaddr=IPv4Address("192.0.2.1"),
        file=b"undionly.kpxe",
        options={53: b"\x02", 54: IPv4Address("192.0.2.1").packed, 51: (3600).to_bytes(4, "big")},
    )
    expected = bytes.fromhex(
        "02010600"
        "3903f326"
        "0000"
        "8000"
        "00000000"
        "c0000264"
        "c0000201"
        "00000000"
        "525400123456"
        + "00" * 10
        + "00" * 64
        + b"undionly.kpxe".hex()
        + "00" * 115
        + COOKIE
        + "350102"
        + "3604c0000201"
        + "330400000e10"
        + "ff"
    )
    assert pack(offer) == expected.ljust(300, b"\x00")


def header(**fields):
    return pack(Message(op=1, xid=1, chaddr=b"\x52\x54\x00\x00\x00\x01", **fields))[:240]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes"),
        (b"\x01" * 239, "239 bytes"),
        (header()[:236] + b"\x00\x00\x00\x00", "cookie"),
        (b"\x01\x01\x11" + header()[3:], "hardware address of 17"),
        (header() + b"\x35", "option 53"),
        (header() + b"\x35\x05\x01", "option 53"),
        (header() + b"\x34\x02\x01\x01\xff", "option 52"),
        (header() + b"\x34\x01\x04\xff", "option 52"),
        (header()[:108] + b"\x43\xff" + header()[110:] + b"\x34\x01\x01\xff", "file: option 67"),
    ],
)
def test_damage_is_named(data, says):
    with pytest.raises(MalformedMessageError, match=says):
        parse(data)


def test_padding_and_a_missing_end_mark_are_no_damage():
    assert parse(header() + b"\x00\x00\x35\x01\x01\x00").options == {53: b"\x01"}


def test_options_continue_in_file_and_sname_in_that_order():
    """RFC 3396: one option in three pieces, the middle one in `file`, the last one in `sname`."""
    data = bytearray(header() + b"\x34\x01\x03" + b"\xe0\x02ab" + b"\xff")
    data[108:113] = b"\xe0\x02cd\xff"
    data[44:49] = b"\xe0\x02ef\xff"
    message = parse(bytes(data))
    assert message.options == {224: b"abcdef"}
    assert (message.file, message.sname) == (b"", b"")


def test_a_long_option_is_cut_and_put_together():
    message = Message(op=2, xid=1, chaddr=b"\x00" * 6, options={67: b"x" * 600})
    data = pack(message, LARGEST_BYTES)
    assert [len(value) for _, value in read_options(data[240:])] == [255, 255, 90]
    assert parse(data) == message


def test_what_does_not_fit_moves_into_empty_fields():
    options = {53: b"\x02", 224: b"a" * 250, 225: b"b" * 100, 226: b"c" * 50}
    message = Message(op=2, xid=1, chaddr=b"\x00" * 6, options=options)
    data = pack(message, DEFAULT_BYTES)
    assert len(data) <= DEFAULT_BYTES
    assert parse(data) == message


def test_what_fits_nowhere_is_said():
    message = Message(op=2, xid=1, chaddr=b"\x00" * 6, file=b"boot", options={224: b"a" * 250, 225: b"b" * 250})
    with pytest.raises(MessageTooLongError, match="option 225"):
        pack(message, DEFAULT_BYTES)
    with pytest.raises(MessageTooLongError):
        pack(Message(op=2, xid=1, chaddr=b"", file=b"x" * 128))


def test_the_room_is_what_both_can_take():
    def asked(value):
        return room_for(Message(op=1, xid=1, chaddr=b"", options={Option.MAX_SIZE: value}))

    assert asked(b"\x00\x10") == DEFAULT_BYTES
    assert asked(b"\xff\xff") == LARGEST_BYTES
    assert asked(b"\x05") == DEFAULT_BYTES
    assert asked((1000).to_bytes(2, "big")) == 972


codes = st.integers(1, 254).filter(lambda code: code != 52)
texts = st.binary(max_size=60).map(lambda text: text.replace(b"\x00", b""))
messages = st.builds(
    Message,
    op=st.sampled_from([1, 2]),
    xid=st.integers(0, 2**32 - 1),
    chaddr=st.binary(max_size=16),
    htype=st.integers(0, 255),
    hops=st.integers(0, 255),
    secs=st.integers(0, 65535),
    flags=st.integers(0, 65535),
    ciaddr=st.ip_addresses(v=4),
    yiaddr=st.ip_addresses(v=4),
    siaddr=st.ip_addresses(v=4),
    giaddr=st.ip_addresses(v=4),
    sname=texts,
    file=texts,
    options=st.dictionaries(codes, st.binary(max_size=300), max_size=12),
)


@given(messages, st.integers(300, 1472))
def test_there_and_back(message, limit):
    try:
        data = pack(message, limit)
    except MessageTooLongError:
        return
    assert 300 <= len(data) <= limit
    assert parse(data) == message


@given(st.binary(max_size=700))
def test_no_bytes_break_the_parser(data):
    try_to_parse(data)


@given(st.binary(max_size=120), st.binary(max_size=200))
def test_no_options_break_the_parser(front, options):
    try_to_parse(front.ljust(236, b"\x00") + bytes.fromhex(COOKIE) + options)


@given(st.integers(0, len(IPXE_DISCOVER) - 1), st.integers(0, 255), st.integers(0, len(IPXE_DISCOVER)))
def test_a_good_message_with_one_wrong_byte_or_its_end_cut_off(place, value, end):
    damaged = bytearray(IPXE_DISCOVER)
    damaged[place] = value
    try_to_parse(bytes(damaged))
    try_to_parse(bytes(damaged[:end]))


def try_to_parse(data):
    try:
        message = parse(data)
    except MalformedMessageError:
        return
    question_of(message)
