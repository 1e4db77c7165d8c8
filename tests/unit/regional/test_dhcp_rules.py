"""Alone on the segment: addresses, what each kind of firmware boots, and who is told no (P10)."""

from ipaddress import IPv4Address

import pytest

from ops_system.regional.dhcp.packet import EVERYBODY, NOWHERE, MessageType, parse
from ops_system.regional.dhcp.questions import DhcpAnswer, sub_options
from ops_system.regional.dhcp.rules import Target
from tests.fakes.dhcp import FIRST, KNOWN, OTHER, PXE, RIVAL, SERVER, STRANGER, Site, outcome

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


def test_an_address_it_has_of_another_network_is_refused_to_an_own_client_alone():
    elsewhere = IPv4Address("203.0.113.9")
    site = Site()
    assert outcome(site.hear(MessageType.REQUEST, ciaddr=elsewhere)) == ("other_network", None)
    site.join()
    handled = site.hear(MessageType.REQUEST, ciaddr=elsewhere)
    assert (handled.outcome, handled.reply.target) == ("nak", Target(EVERYBODY, 68))


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
