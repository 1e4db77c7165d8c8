"""The options of an answer: of a lease, of a network, of booting; and what is left out when they do not fit. Pure."""

from collections.abc import Iterator
from ipaddress import IPv4Address

import msgspec

from ops_system.regional.dhcp.leases import Pool
from ops_system.regional.dhcp.packet import Message, Option, pack_options
from ops_system.regional.dhcp.questions import DhcpAnswer, DhcpQuestion

FIELD_TEXT_BYTES = 127  # of `file`, with room for the zero behind it
_DISCOVERY_CONTROL, _USE_THE_FILE_GIVEN = 6, 8  # of option 43 in an answer to a PXE client (PXE 2.1, table 2-1)
_NO_PXE_DHCP = 176  # of option 175: iPXE need not wait for a second server

_LEAST_FIRST = (
    Option.NTP,
    Option.DOMAIN,
    Option.HOSTNAME,
    Option.TFTP_SERVER,
    Option.BROADCAST,
    Option.CLIENT_ID,
    Option.RELAY_AGENT,
)


def network_options(pool: Pool) -> dict[int, bytes]:
    """Return what a machine needs to know of its network."""
    options: dict[int, bytes] = {Option.SUBNET_MASK: pool.network.netmask.packed}
    for code, addresses in ((Option.ROUTER, pool.routers), (Option.DNS, pool.dns), (Option.NTP, pool.ntp)):
        if addresses:
            options[code] = b"".join(address.packed for address in addresses)
    if pool.domain:
        options[Option.DOMAIN] = pool.domain.encode("ascii", "replace")
    options[Option.BROADCAST] = pool.network.broadcast_address.packed
    return options


def lease_options(pool: Pool) -> dict[int, bytes]:
    """Return how long an address is good for, and `network_options`. Renewing at a half, rebinding at 7/8 of it."""
    terms = (
        (Option.LEASE_TIME, pool.lease_s),
        (Option.RENEWAL_TIME, pool.lease_s // 2),
        (Option.REBINDING_TIME, pool.lease_s * 7 // 8),
    )
    return {code: seconds.to_bytes(4, "big") for code, seconds in terms} | network_options(pool)


def plain_options(message: Message) -> dict[int, bytes]:
    """Return what is said back as it was heard: client id (RFC 6842), subnet (RFC 3011), relay's notes, these last."""
    echoed = (Option.CLIENT_ID, Option.SUBNET_SELECTION, Option.RELAY_AGENT)
    return {code: message.options[code] for code in echoed if code in message.options}


def boot_fields(
    message: Message, question: DhcpQuestion, answer: DhcpAnswer, server: IPv4Address, *, is_alone: bool
) -> tuple[bytes, dict[int, bytes]]:
    """Return the `file` field and the options that make a machine boot; both empty for one that shall not.

    A boot ROM is told that no search is needed (43.6 = 8), iPXE that nobody else will answer where `is_alone`.
    """
    name = (answer.boot_url or answer.boot_file).encode("ascii", "replace")
    if not name:
        return b"", {}
    options: dict[int, bytes] = {}
    if question.is_http:
        options[Option.VENDOR_CLASS] = b"HTTPClient"
    elif question.is_pxe:
        options[Option.VENDOR_CLASS] = b"PXEClient"
        options[Option.VENDOR_SPECIFIC] = pack_options({_DISCOVERY_CONTROL: bytes([_USE_THE_FILE_GIVEN])}) + b"\xff"
    if question.is_ipxe and is_alone:
        options[Option.IPXE] = pack_options({_NO_PXE_DHCP: b"\x01"})
    if Option.MACHINE_UUID in message.options:
        options[Option.MACHINE_UUID] = message.options[Option.MACHINE_UUID]
    wanted = message.options.get(Option.WANTED_OPTIONS, b"")
    if Option.BOOT_FILE in wanted or len(name) > FIELD_TEXT_BYTES:
        options[Option.BOOT_FILE] = name
    if Option.TFTP_SERVER in wanted and answer.boot_file:
        options[Option.TFTP_SERVER] = str(answer.next_server or server).encode()
    return name if len(name) <= FIELD_TEXT_BYTES else b"", options


def shed(reply: Message) -> Iterator[Message]:
    """Yield an answer, then smaller ones: what matters least goes first. What is needed to boot is never left out."""
    yield reply
    options = dict(reply.options)
    for code in _LEAST_FIRST:
        if options.pop(code, None) is not None:
            yield msgspec.structs.replace(reply, options=dict(options))
