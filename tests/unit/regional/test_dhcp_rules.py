"""What is answered to whom: three modes, every kind of firmware, relays, and the silence strangers get."""

from ipaddress import IPv4Address, IPv4Network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.regional.dhcp.leases import LeaseBook, Pool
from ops_system.regional.dhcp.packet import EVERYBODY, NOWHERE, Message, MessageType, pack, parse
from ops_system.regional.dhcp.questions import BootFiles, DhcpAnswer, boot_answer, question_of, sub_options
from ops_system.regional.dhcp.rules import Arrival, DhcpConfig, Target, handle

KNOWN, OTHER, STRANGER = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:99"
SERVER, RIVAL, FIRST = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"), IPv4Address("192.0.2.100")
POOL = Pool(
    network=IPv4Network("192.0.2.0/24"),
    first=FIRST,
    last=IPv4Address("192.0.2.101"),
    routers=(SERVER,),
    dns=(SERVER, RIVAL),
    ntp=(SERVER,),
    domain="dc1.example",
    lease_s=600,
)
FAR = Pool(
    network=IPv4Network("198.51.100.0/24"), first=IPv4Address("198.51.100.10"), last=IPv4Address("198.51.100.20")
)
FILES = BootFiles(script_url="http://192.0.2.1:8081/boot.ipxe", http_url="http://192.0.2.1:8081/static")
PXE = {60: b"PXEClient:Arch:00000:UNDI:002001", 93: b"\x00\x00", 97: b"\x00" + bytes(range(16))}


class Site:
    """A server that knows two machines. `boots`: what the gate says."""

    def __init__(self, mode="full", **fields):
        self.config = DhcpConfig(mode, "br0", SERVER, (POOL, FAR), **fields)
        self.book = LeaseBook(self.config.pools)
        self.boots = True
        self.fixed = None
        self.asked = []

    def answers(self, question):
        self.asked.append(question)
        if question.mac == STRANGER:
            return None
        answer = boot_answer(question, FILES) if self.boots else DhcpAnswer()
        return msgspec.structs.replace(answer, address=self.fixed)

    def hear(self, kind, options=None, *, mac=KNOWN, port=67, source=NOWHERE, now_s=0.0, **fields):
        message = Message(
            op=1,
            xid=77,
            chaddr=bytes.fromhex(mac.replace(":", "")),
            options={53: bytes([kind]), **(options or {})},
            **fields,
        )
        arrival = Arrival(pack(message, 1472), source, 68, port, now_s)
        return handle(self.config, self.book, self.answers, arrival)

    def told(self, *args, **fields):
        """Return the answer itself; there must be one."""
        handled = self.hear(*args, **fields)
        assert handled.reply is not None, handled.outcome
        return parse(handled.reply.data)

    def join(self, mac=KNOWN, now_s=0.0):
        """Get an address as a machine does, and return it."""
        offer = self.told(MessageType.DISCOVER, mac=mac, now_s=now_s)
        options = {50: offer.yiaddr.packed, 54: SERVER.packed}
        ack = self.told(MessageType.REQUEST, options, mac=mac, now_s=now_s)
        assert ack.options[53] == bytes([MessageType.ACK])
        return ack.yiaddr


def outcome(handled):
    return handled.outcome, handled.reply


# --- full ----------------------------------------------------------------------------------------------------------


def test_a_known_machine_gets_an_address_and_what_to_boot():
    offer = Site().told(MessageType.DISCOVER, PXE)
    assert offer.op == 2
    assert offer.xid == 77
    assert offer.yiaddr in {FIRST, FIRST + 1}
    assert offer.siaddr == SERVER
    assert offer.file == b"undionly.kpxe"
    assert offer.options[54] == SERVER.packed
    assert offer.options[51] == (600).to_bytes(4, "big")
    assert offer.options[58] + offer.options[59] == (300).to_bytes(4, "big") + (525).to_bytes(4, "big")
    assert offer.options[1] == IPv4Address("255.255.255.0").packed
    assert offer.options[3] == SERVER.packed
    assert offer.options[6] == SERVER.packed + RIVAL.packed
    assert offer.options[15] == b"dc1.example"
    assert offer.options[60] == b"PXEClient"
    assert sub_options(offer.options[43]) == {6: b"\x08"}
    assert offer.options[97] == PXE[97]


@pytest.mark.parametrize(
    ("arch", "name"),
    [(0, b"undionly.kpxe"), (7, b"snponly.efi"), (9, b"snponly.efi"), (11, b"snponly-arm64.efi"), (6, b"")],
)
def test_each_firmware_gets_its_loader(arch, name):
    options = {**PXE, 93: arch.to_bytes(2, "big")}
    assert Site().told(MessageType.DISCOVER, options).file == name


@pytest.mark.parametrize(("arch", "name"), [(15, "snponly.efi"), (16, "snponly.efi"), (19, "snponly-arm64.efi")])
def test_http_boot_gets_a_url_in_an_answer_for_it(arch, name):
    options = {60: b"HTTPClient:Arch:00016:UNDI:003001", 93: arch.to_bytes(2, "big"), 55: b"\x43"}
    offer = Site().told(MessageType.DISCOVER, options)
    assert offer.options[60] == b"HTTPClient"
    assert offer.options[67] == offer.file == f"http://192.0.2.1:8081/static/{name}".encode()
    assert 43 not in offer.options


@pytest.mark.parametrize("user_class", [b"iPXE", b"\x04iPXE"])
def test_ipxe_gets_its_script_and_need_not_wait_for_others(user_class):
    offer = Site().told(MessageType.DISCOVER, {**PXE, 77: user_class})
    assert offer.file == b"http://192.0.2.1:8081/boot.ipxe"
    assert sub_options(offer.options[175]) == {176: b"\x01"}


def test_a_machine_for_its_disk_gets_an_address_and_nothing_to_boot():
    site = Site()
    site.boots = False
    offer = site.told(MessageType.DISCOVER, PXE)
    assert offer.yiaddr != NOWHERE
    assert (offer.file, offer.siaddr) == (b"", NOWHERE)
    assert not {43, 60, 66, 67, 97, 175} & set(offer.options)


def test_a_long_url_travels_as_an_option():
    site = Site()
    site.answers = lambda _: DhcpAnswer(boot_url="http://x/" + "y" * 150)
    offer = site.told(MessageType.DISCOVER, {**PXE, 77: b"iPXE"})
    assert offer.file == b""
    assert offer.options[67] == b"http://x/" + b"y" * 150


def test_what_matters_least_is_left_out_when_there_is_no_room():
    site = Site()
    site.answers = lambda _: DhcpAnswer(boot_url="http://x/" + "y" * 150)
    relayed = {**PXE, 61: b"i" * 100, 82: b"\x01\xc8" + b"r" * 200}
    offer = site.told(MessageType.DISCOVER, relayed, giaddr=IPv4Address("192.0.2.254"))
    assert len(offer.options[67]) == 159
    assert 42 not in offer.options
    assert offer.options[51] == (600).to_bytes(4, "big")


def test_an_offer_becomes_a_lease_only_when_it_is_asked_for():
    site = Site()
    assert not site.hear(MessageType.DISCOVER).changed
    address = site.join()
    handled = site.hear(MessageType.REQUEST, {50: address.packed, 54: SERVER.packed}, now_s=5.0)
    assert [lease.address for lease in handled.changed] == [address]
    assert handled.changed[0].until_s == 605.0


def test_an_address_the_gate_names_is_given_even_outside_the_range():
    site = Site()
    site.fixed = IPv4Address("192.0.2.50")
    assert site.join() == site.fixed
    assert outcome(site.hear(MessageType.DISCOVER, mac=OTHER)) == ("address_taken", None)
    site.fixed = IPv4Address("203.0.113.5")
    assert outcome(site.hear(MessageType.DISCOVER, mac=OTHER)) == ("address_taken", None)


def test_renewing_goes_to_the_address_itself():
    site = Site()
    address = site.join()
    handled = site.hear(MessageType.REQUEST, ciaddr=address, source=address, now_s=300.0)
    assert handled.outcome == "ack"
    assert handled.reply.target == Target(address, 68)
    assert parse(handled.reply.data).ciaddr == address


def test_a_machine_that_restarts_gets_its_address_confirmed():
    site = Site()
    address = site.join()
    assert site.told(MessageType.REQUEST, {50: address.packed}, now_s=1.0).yiaddr == address


def test_a_lease_nobody_remembers_is_renewed_when_it_is_free():
    assert Site().told(MessageType.REQUEST, ciaddr=FIRST).yiaddr == FIRST


def test_information_without_an_address():
    handled = Site().hear(MessageType.INFORM, ciaddr=IPv4Address("192.0.2.30"))
    ack = parse(handled.reply.data)
    assert (ack.yiaddr, handled.reply.target) == (NOWHERE, Target(IPv4Address("192.0.2.30"), 68))
    assert 51 not in ack.options
    assert ack.options[6] == SERVER.packed + RIVAL.packed
    assert outcome(Site().hear(MessageType.INFORM)) == ("no_address", None)


def test_released_and_declined_addresses():
    site = Site()
    address = site.join()
    assert outcome(site.hear(MessageType.RELEASE, {54: SERVER.packed}, ciaddr=address, mac=OTHER)) == (
        "not_its_own",
        None,
    )
    assert site.hear(MessageType.RELEASE, {54: RIVAL.packed}, ciaddr=address).outcome == "other_server"
    released = site.hear(MessageType.RELEASE, {54: SERVER.packed}, ciaddr=address)
    assert released.outcome == "release"
    assert released.changed[0].state == "released"
    address = site.join()
    assert site.hear(MessageType.DECLINE, {50: address.packed, 54: SERVER.packed}).outcome == "decline"
    assert site.join(now_s=1.0) != address


def test_an_empty_pool_is_silence():
    site = Site()
    site.join()
    site.join(OTHER)
    assert outcome(site.hear(MessageType.DISCOVER, mac="52:54:00:00:00:03")) == ("pool_empty", None)


# --- NAK: to own clients alone (P10) -------------------------------------------------------------------------------


def test_strangers_get_silence_whatever_they_say():
    for mode in ("full", "proxy", "off"):
        site = Site(mode)
        for kind in MessageType:
            for port in (67, 4011):
                wrong = {**PXE, 50: IPv4Address("203.0.113.9").packed, 54: SERVER.packed}
                handled = site.hear(kind, wrong, mac=STRANGER, port=port, ciaddr=IPv4Address("203.0.113.9"))
                assert handled.reply is None


def test_a_known_machine_without_a_lease_of_ours_gets_no_nak():
    elsewhere = IPv4Address("203.0.113.9").packed
    assert outcome(Site().hear(MessageType.REQUEST, {50: elsewhere})) == ("no_record", None)
    site = Site()
    assert outcome(site.hear(MessageType.REQUEST, ciaddr=IPv4Address("192.0.2.30"))) == ("not_its_own", None)


def test_an_own_client_with_an_address_of_another_network_is_told_so():
    site = Site()
    site.join()
    handled = site.hear(MessageType.REQUEST, {50: IPv4Address("203.0.113.9").packed, 61: b"\x01id"})
    nak = parse(handled.reply.data)
    assert handled.outcome == "nak"
    assert handled.reply.target == Target(EVERYBODY, 68)
    assert nak.options == {53: bytes([MessageType.NAK]), 54: SERVER.packed, 61: b"\x01id"}
    assert (nak.yiaddr, nak.siaddr) == (NOWHERE, NOWHERE)


def test_an_own_client_is_refused_what_another_machine_has():
    site = Site()
    site.join()
    taken = site.join(OTHER)
    assert site.hear(MessageType.REQUEST, {50: taken.packed}).outcome == "nak"
    outside = {50: IPv4Address("192.0.2.30").packed}
    assert outcome(site.hear(MessageType.REQUEST, outside)) == ("not_its_own", None)


def test_a_request_for_another_server_frees_our_offer():
    site = Site()
    site.told(MessageType.DISCOVER)
    handled = site.hear(MessageType.REQUEST, {50: FIRST.packed, 54: RIVAL.packed})
    assert outcome(handled) == ("other_server", None)
    assert site.book.lease_of(KNOWN) is None


def test_a_nak_through_a_relay_is_broadcast_by_the_relay():
    site = Site()
    site.join()
    relay = IPv4Address("198.51.100.1")
    handled = site.hear(MessageType.REQUEST, {50: FIRST.packed, 54: SERVER.packed}, giaddr=relay)
    assert handled.outcome == "nak"
    assert handled.reply.target == Target(relay, 67)
    assert parse(handled.reply.data).flags & 0x8000


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
