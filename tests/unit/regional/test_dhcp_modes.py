"""Through relays, beside another server, where answers go, and what is made of nonsense."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.regional.dhcp.packet import EVERYBODY, NOWHERE, Message, MessageType, pack, parse
from ops_system.regional.dhcp.questions import question_of
from ops_system.regional.dhcp.rules import Arrival, Target, handle
from tests.fakes.dhcp import FAR, FIRST, KNOWN, OTHER, PXE, SERVER, Site, outcome

# --- relays ----------------------------------------------------------------------------------------------------------


def test_behind_a_relay_an_address_of_that_network_is_given_and_the_relays_notes_come_back_last():
    relay = IPv4Address("198.51.100.1")
    notes = b"\x01\x04eth7\x02\x02sw"
    handled = Site().hear(MessageType.DISCOVER, {82: notes, 61: b"\x01id"}, giaddr=relay)
    offer = parse(handled.reply.data)
    assert offer.yiaddr in FAR.network
    assert offer.giaddr == relay
    assert handled.reply.target == Target(relay, 67)
    assert list(offer.options)[-1] == 82
    assert offer.options[82] == notes
    assert offer.options[61] == b"\x01id"


@pytest.mark.parametrize("options", [{82: b"\x05\x04" + FAR.first.packed}, {118: FAR.first.packed}])
def test_the_link_may_be_named_apart_from_the_relays_address(options):
    offer = Site().told(MessageType.DISCOVER, options, giaddr=IPv4Address("192.0.2.9"))
    assert offer.yiaddr in FAR.network


def test_relays_nobody_named_are_not_heard():
    stray = IPv4Address("203.0.113.1")
    assert outcome(Site().hear(MessageType.DISCOVER, PXE, giaddr=stray)) == ("unknown_relay", None)
    assert Site("proxy").hear(MessageType.DISCOVER, PXE, giaddr=stray).outcome == "offer"
    named = Site("proxy", relays=(IPv4Network("198.51.100.0/24"),))
    assert outcome(named.hear(MessageType.DISCOVER, PXE, giaddr=stray)) == ("unknown_relay", None)


# --- proxy -----------------------------------------------------------------------------------------------------------


def test_beside_another_server_a_rom_is_told_what_to_boot_and_no_address():
    handled = Site("proxy").hear(MessageType.DISCOVER, PXE)
    offer = parse(handled.reply.data)
    assert handled.reply.target == Target(EVERYBODY, 68)
    assert (offer.yiaddr, offer.siaddr, offer.file) == (NOWHERE, SERVER, b"undionly.kpxe")
    assert offer.options == {
        53: bytes([MessageType.OFFER]),
        54: SERVER.packed,
        60: b"PXEClient",
        43: b"\x06\x01\x08\xff",
        97: PXE[97],
    }


def test_beside_another_server_ipxe_waits_for_it():
    offer = Site("proxy").told(MessageType.DISCOVER, {**PXE, 77: b"iPXE"})
    assert offer.file == b"http://192.0.2.1:8081/boot.ipxe"
    assert 175 not in offer.options


@pytest.mark.parametrize("kind", [MessageType.REQUEST, MessageType.INFORM])
@pytest.mark.parametrize("mode", ["proxy", "full"])
def test_port_4011_answers_the_one_who_asks(mode, kind):
    have = IPv4Address("192.0.2.77")
    handled = Site(mode).hear(kind, PXE, port=4011, source=have, ciaddr=have)
    ack = parse(handled.reply.data)
    assert ack.options[53] == bytes([MessageType.ACK])
    assert (ack.yiaddr, ack.file) == (NOWHERE, b"undionly.kpxe")
    assert (handled.reply.target, handled.reply.from_port) == (Target(have, 68), 4011)
    assert handled.changed == ()


def test_beside_another_server_the_rest_is_not_ours():
    site = Site("proxy")
    for kind in (MessageType.REQUEST, MessageType.INFORM, MessageType.RELEASE, MessageType.DECLINE):
        assert site.hear(kind, PXE, ciaddr=FIRST).reply is None
    assert outcome(site.hear(MessageType.DISCOVER, {60: b"udhcp 1.35.0"})) == ("not_ours", None)
    assert outcome(site.hear(MessageType.DISCOVER, PXE, port=4011)) == ("not_ours", None)
    site.boots = False
    assert outcome(site.hear(MessageType.DISCOVER, PXE)) == ("local_disk", None)
    assert outcome(site.hear(MessageType.REQUEST, PXE, port=4011)) == ("local_disk", None)


# --- where answers go -----------------------------------------------------------------------------------------------


def test_without_an_address_the_card_is_answered_unless_it_wants_a_broadcast():
    site = Site()
    quiet = site.hear(MessageType.DISCOVER)
    assert quiet.reply.target == Target(parse(quiet.reply.data).yiaddr, 68, KNOWN)
    loud = site.hear(MessageType.DISCOVER, flags=0x8000)
    assert loud.reply.target == Target(EVERYBODY, 68)
    assert parse(loud.reply.data).flags == 0x8000


# --- nonsense ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"op": 2},
        {"htype": 6},
        {"chaddr": b"\x00" * 6},
        {"chaddr": b"\x01\x00\x5e\x00\x00\x01"},
        {"chaddr": b"\x52\x54\x00"},
        {"options": {}},
        {"options": {53: b"\x09"}},
        {"options": {53: b"\x01\x01"}},
    ],
)
def test_what_no_machine_says_is_dropped(fields):
    message = Message(
        **{"op": 1, "xid": 1, "chaddr": bytes.fromhex("525400000001"), "options": {53: b"\x01"}, **fields}
    )
    site = Site()
    handled = handle(site.config, site.book, site.answers, Arrival(pack(message), NOWHERE, 68, 67, 0.0))
    assert outcome(handled) == ("no_question", None)
    assert site.asked == []


def test_odd_options_are_read_with_care():
    options = {60: b"PXE\x07\xff\x00", 77: b"", 93: b"\x00", 97: b"\x01" + b"x" * 16, 12: b"h\x1b[1m", 50: b"abc"}
    question = question_of(Message(op=1, xid=1, chaddr=b"\x52" * 6, options={53: b"\x01", **options}))
    assert (question.vendor_class, question.user_class, question.arch, question.uuid) == ("PXE??", "", None, "")
    assert (question.hostname, question.requested) == ("h?[1m", None)


addresses = st.sampled_from([NOWHERE, SERVER, FIRST, FAR.first, IPv4Address("203.0.113.9"), EVERYBODY])
kinds = st.sampled_from([1, 3, 4, 7, 8, 9])
values = st.one_of(
    st.binary(max_size=40), addresses.map(lambda each: each.packed), st.just(b"PXEClient"), st.just(b"iPXE")
)
option_sets = st.dictionaries(
    st.sampled_from([12, 43, 50, 54, 55, 57, 60, 61, 66, 67, 77, 82, 93, 97, 118, 175]), values, max_size=8
)


@given(
    st.sampled_from(["full", "proxy"]),
    st.lists(
        st.tuples(
            kinds,
            option_sets,
            addresses,
            addresses,
            addresses,
            st.sampled_from([67, 4011]),
            st.sampled_from([KNOWN, OTHER]),
        ),
        max_size=6,
    ),
)
def test_whatever_is_said_the_answer_is_sound(mode, says):
    site = Site(mode)
    for number, (kind, options, ciaddr, giaddr, source, port, mac) in enumerate(says):
        handled = site.hear(
            kind, options, mac=mac, port=port, source=source, ciaddr=ciaddr, giaddr=giaddr, now_s=float(number)
        )
        if handled.reply is None:
            continue
        answer = parse(handled.reply.data)
        assert answer.op == 2
        assert answer.xid == 77
        assert answer.chaddr.hex(":") == mac
        assert answer.options[54] == SERVER.packed
        assert handled.reply.from_port == port
        assert answer.yiaddr == NOWHERE or (
            mode == "full" and port == 67 and site.book.pool_of(answer.yiaddr).has(answer.yiaddr)
        )
        assert answer.options[53] != bytes([MessageType.NAK]) or mode == "full"


@given(st.binary(max_size=400))
def test_no_bytes_get_an_answer_or_an_exception(data):
    site = Site()
    assert handle(site.config, site.book, site.answers, Arrival(data, NOWHERE, 68, 67, 0.0)).reply is None
