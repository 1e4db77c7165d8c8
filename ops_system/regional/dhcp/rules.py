"""Decides what is answered to a DHCP message (RFC 2131, RFC 4578, PXE 2.1). Pure but for the leases it is handed.

    mode full    DISCOVER -> OFFER, REQUEST -> ACK (or NAK, or silence), INFORM -> ACK, DECLINE and RELEASE noted
    mode proxy   DISCOVER of a boot ROM -> OFFER without an address; REQUEST on port 4011 -> ACK with the boot file
    mode off     silence

Whom nobody knows gets no answer, never a NAK (P10). A NAK goes only to a machine that has a lease of ours, or asks us
by name, for an address that is of another network or of our own range and not its own.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

import msgspec

from ops_system.regional.dhcp.leases import Lease, LeaseBook, Pool
from ops_system.regional.dhcp.packet import (
    BOOT_PORT,
    BROADCAST_FLAG,
    CLIENT_PORT,
    EVERYBODY,
    NOWHERE,
    REPLY_OP,
    REQUEST_OP,
    SERVER_PORT,
    MalformedMessageError,
    Message,
    MessageTooLongError,
    MessageType,
    Option,
    pack,
    parse,
    room_for,
)
from ops_system.regional.dhcp.questions import DhcpAnswer, DhcpQuestion, address_in, question_of, sub_options
from ops_system.regional.dhcp.words import boot_fields, lease_options, network_options, plain_options, shed

Mode = Literal["off", "proxy", "full"]
Answers = Callable[[DhcpQuestion], DhcpAnswer | None]
_LINK_SELECTION = 5  # of option 82 (RFC 3527)


class DhcpConfig(msgspec.Struct, frozen=True):
    """What a site decided. `server_address` is this machine's own on `interface`.

    `pools`: in mode full, the network of the interface and those behind relays. `relays`: networks whose relays are
    heard; empty: in mode full those of the pools, in mode proxy all.
    """

    mode: Mode
    interface: str
    server_address: IPv4Address
    pools: tuple[Pool, ...] = ()
    relays: tuple[IPv4Network, ...] = ()


class Target(msgspec.Struct, frozen=True):
    """Where an answer goes. With `mac` the machine has no address yet: the frame is made by hand for that card."""

    address: IPv4Address
    port: int
    mac: str = ""


class Reply(msgspec.Struct, frozen=True):
    """One answer to send, from `from_port`."""

    data: bytes
    target: Target
    kind: MessageType
    from_port: int = SERVER_PORT


class Handled(msgspec.Struct, frozen=True):
    """What became of a message. `outcome` is a stable word that is counted; `changed` must be kept before the send."""

    outcome: str
    question: DhcpQuestion | None = None
    reply: Reply | None = None
    changed: tuple[Lease, ...] = ()


class Arrival(msgspec.Struct, frozen=True):
    """A datagram: its payload, where it came from, to which of our ports, when (a clock that never goes back)."""

    data: bytes
    source: IPv4Address
    source_port: int
    port: int
    now_s: float


class _Case(msgspec.Struct, frozen=True):
    """A message of a machine that is known, with all that decides on it."""

    arrival: Arrival
    message: Message
    question: DhcpQuestion
    answer: DhcpAnswer
    pool: Pool | None


def handle(config: DhcpConfig, book: LeaseBook, answers: Answers, arrival: Arrival) -> Handled:
    """Return what to do with a datagram. `book` is changed; nothing else is. Never raises for bad bytes."""
    if config.mode == "off":
        return Handled("off")
    try:
        message = parse(arrival.data)
    except MalformedMessageError:
        return Handled("malformed")
    question = question_of(message) if message.op == REQUEST_OP else None
    if question is None:
        return Handled("no_question")
    if not _is_relay_heard(config, question):
        return Handled("unknown_relay", question)
    return _hear(config, book, answers, arrival=arrival, message=message, question=question)


def _hear(
    config: DhcpConfig, book: LeaseBook, answers: Answers, *, arrival: Arrival, message: Message, question: DhcpQuestion
) -> Handled:
    """Ask who is known, and go the way of the mode."""
    if question.kind in {MessageType.RELEASE, MessageType.DECLINE}:
        return _note(config, book, message, question, arrival.now_s)
    answer = answers(question)
    if answer is None:
        return Handled("unknown", question)
    case = _Case(arrival, message, question, answer, _pool(book, message, question, config.server_address))
    if arrival.port == BOOT_PORT:
        return _boot_server(config, case)
    return _proxy(config, case) if config.mode == "proxy" else _full(config, book, case)


def _is_relay_heard(config: DhcpConfig, question: DhcpQuestion) -> bool:
    if question.giaddr is None:
        return True
    if not config.relays:
        return config.mode == "proxy" or any(question.giaddr in pool.network for pool in config.pools)
    return any(question.giaddr in network for network in config.relays)


def _pool(book: LeaseBook, message: Message, question: DhcpQuestion, own: IPv4Address) -> Pool | None:
    """Return the pool of the link a machine is on (RFC 3527, 3011, 2131 in this order).

    An address it has of one of our networks names that network: renewing comes to us past the relay. Any other one
    says nothing of where it is now.
    """
    relayed = sub_options(message.options.get(Option.RELAY_AGENT, b""))
    named = (
        address_in(relayed, _LINK_SELECTION),
        address_in(message.options, Option.SUBNET_SELECTION),
        question.giaddr,
    )
    if (link := next((sign for sign in named if sign is not None), None)) is not None:
        return book.pool_of(link)
    return (question.ciaddr and book.pool_of(question.ciaddr)) or book.pool_of(own)


def _note(config: DhcpConfig, book: LeaseBook, message: Message, question: DhcpQuestion, now_s: float) -> Handled:
    """RELEASE and DECLINE: never answered; only the machine's own lease is touched."""
    server = address_in(message.options, Option.SERVER_ID)
    if config.mode != "full" or (server is not None and server != config.server_address):
        return Handled("other_server", question)
    if question.kind == MessageType.RELEASE:
        lease = book.release(question.mac, message.ciaddr, now_s)
    else:
        lease = book.decline(question.mac, question.requested or NOWHERE, now_s)
    return (
        Handled(question.kind.name.lower(), question, changed=(lease,)) if lease else Handled("not_its_own", question)
    )


# --- beside the site's own server --------------------------------------------------------------------------------


def _proxy(config: DhcpConfig, case: _Case) -> Handled:
    """Port 67: only boot ROMs that look for an offer are told, and only where to boot from."""
    question = case.question
    if question.kind != MessageType.DISCOVER or not (question.is_pxe or question.is_http):
        return Handled("not_ours", question)
    if not case.answer.boots:
        return Handled("local_disk", question)
    return _say(config, case, MessageType.OFFER, {})


def _boot_server(config: DhcpConfig, case: _Case) -> Handled:
    """Port 4011: a machine that has its address asks us by name for its boot file (PXE 2.1, section 2.2)."""
    question = case.question
    if question.kind not in {MessageType.REQUEST, MessageType.INFORM} or not (question.is_pxe or question.is_http):
        return Handled("not_ours", question)
    if not case.answer.boots:
        return Handled("local_disk", question)
    return _say(config, case, MessageType.ACK, {})


# --- alone on the segment ------------------------------------------------------------------------------------------


def _full(config: DhcpConfig, book: LeaseBook, case: _Case) -> Handled:
    match case.question.kind:
        case MessageType.DISCOVER:
            return _discover(config, book, case)
        case MessageType.REQUEST:
            return _request(config, book, case)
        case MessageType.INFORM:
            if case.question.ciaddr is None:
                return Handled("no_address", case.question)
            return _say(config, case, MessageType.ACK, {} if case.pool is None else network_options(case.pool))
        case _:
            return Handled("not_ours", case.question)


def _discover(config: DhcpConfig, book: LeaseBook, case: _Case) -> Handled:
    if case.pool is None:
        return Handled("no_pool", case.question)
    mac, now_s, fixed = case.question.mac, case.arrival.now_s, case.answer.address
    if fixed is not None:
        is_possible = fixed in case.pool.network and book.is_free(fixed, mac, now_s)
        return _offer(config, case, case.pool, fixed) if is_possible else Handled("address_taken", case.question)
    lease = book.offer(mac, case.pool, case.question.requested, now_s)
    return Handled("pool_empty", case.question) if lease is None else _offer(config, case, case.pool, lease.address)


def _offer(config: DhcpConfig, case: _Case, pool: Pool, address: IPv4Address) -> Handled:
    return _say(config, case, MessageType.OFFER, lease_options(pool), address)


def _request(config: DhcpConfig, book: LeaseBook, case: _Case) -> Handled:
    """SELECTING names a server; INIT-REBOOT asks for an address; RENEWING and REBINDING have one (RFC 2131, 4.3.2)."""
    question, message = case.question, case.message
    server = address_in(message.options, Option.SERVER_ID)
    if server is not None and server != config.server_address:
        book.forget_offer(question.mac)
        return Handled("other_server", question)
    address = question.requested or question.ciaddr
    if address is None or case.pool is None:
        return Handled("no_address" if case.pool else "no_pool", question)
    is_own_client = server is not None or _has_lease(book, question.mac)
    has_record = is_own_client or question.ciaddr is not None
    if not has_record:
        return Handled("no_record", question)
    if address not in case.pool.network:
        return _refuse(config, case) if is_own_client else Handled("other_network", question)
    return _bind(config, book, case, case.pool, address, is_own_client=is_own_client)


def _has_lease(book: LeaseBook, mac: str) -> bool:
    lease = book.lease_of(mac)
    return lease is not None and lease.state in {"bound", "offered"}


def _bind(
    config: DhcpConfig, book: LeaseBook, case: _Case, pool: Pool, address: IPv4Address, *, is_own_client: bool
) -> Handled:
    question, fixed = case.question, case.answer.address
    may_have = address == fixed if fixed is not None else pool.has(address)
    name = case.answer.hostname or question.hostname
    lease = book.bind(question.mac, address, pool.lease_s, case.arrival.now_s, name) if may_have else None
    if lease is not None:
        handled = _say(config, case, MessageType.ACK, lease_options(pool), address)
        return msgspec.structs.replace(handled, changed=(lease,))
    is_of_ours = fixed is not None or pool.has(address)
    return _refuse(config, case) if is_own_client and is_of_ours else Handled("not_its_own", question)


def _refuse(config: DhcpConfig, case: _Case) -> Handled:
    """NAK: the machine forgets its address and asks anew. Through a relay it must be broadcast (RFC 2131, 4.3.2)."""
    options: dict[int, bytes] = {Option.MESSAGE_TYPE: bytes([MessageType.NAK])}
    options |= {Option.SERVER_ID: config.server_address.packed, **plain_options(case.message)}
    relayed = case.question.giaddr is not None
    flags = case.message.flags | BROADCAST_FLAG if relayed else case.message.flags
    reply = _reply_to(case.message, flags=flags, options=options)
    return _packed(case, MessageType.NAK, reply, _target_of_nak(case.question))


def _target_of_nak(question: DhcpQuestion) -> Target:
    return Target(question.giaddr, SERVER_PORT) if question.giaddr else Target(EVERYBODY, CLIENT_PORT)


# --- the answer ------------------------------------------------------------------------------------------------------


def _say(
    config: DhcpConfig, case: _Case, kind: MessageType, options: dict[int, bytes], address: IPv4Address = NOWHERE
) -> Handled:
    """Put an answer together: who speaks, what the address is for, what to boot."""
    is_alone = config.mode == "full" and case.arrival.port != BOOT_PORT
    file, boot = boot_fields(case.message, case.question, case.answer, config.server_address, is_alone=is_alone)
    said = {Option.MESSAGE_TYPE: bytes([kind]), Option.SERVER_ID: config.server_address.packed, **options, **boot}
    if case.answer.hostname and address != NOWHERE:
        said[Option.HOSTNAME] = case.answer.hostname.encode("ascii", "replace")[:63]
    next_server = (case.answer.next_server or config.server_address) if case.answer.boots else NOWHERE
    reply = _reply_to(
        case.message,
        flags=case.message.flags,
        ciaddr=case.message.ciaddr if kind == MessageType.ACK else NOWHERE,
        yiaddr=address,
        siaddr=next_server,
        file=file,
        options={**said, **plain_options(case.message)},
    )
    return _packed(case, kind, reply, target_of(case.arrival, case.message, reply))


def _reply_to(
    message: Message,
    *,
    flags: int,
    options: dict[int, bytes],
    ciaddr: IPv4Address = NOWHERE,
    yiaddr: IPv4Address = NOWHERE,
    siaddr: IPv4Address = NOWHERE,
    file: bytes = b"",
) -> Message:
    return Message(
        op=REPLY_OP,
        xid=message.xid,
        chaddr=message.chaddr,
        flags=flags,
        ciaddr=ciaddr,
        yiaddr=yiaddr,
        siaddr=siaddr,
        giaddr=message.giaddr,
        file=file,
        options=options,
    )


def _packed(case: _Case, kind: MessageType, reply: Message, target: Target) -> Handled:
    """Return the answer as bytes; what matters least is left out until it fits."""
    for smaller in shed(reply):
        try:
            data = pack(smaller, room_for(case.message))
        except MessageTooLongError:
            continue
        return Handled(kind.name.lower(), case.question, Reply(data, target, kind, case.arrival.port))
    return Handled("too_long", case.question)


def target_of(arrival: Arrival, message: Message, reply: Message) -> Target:
    """Return where an answer that is no NAK goes (RFC 2131, section 4.1; port 4011: back to where it came from)."""
    if arrival.port == BOOT_PORT and arrival.source != NOWHERE:
        return Target(arrival.source, arrival.source_port)
    if message.giaddr != NOWHERE:
        return Target(message.giaddr, SERVER_PORT)
    if message.ciaddr != NOWHERE:
        return Target(message.ciaddr, CLIENT_PORT)
    if message.flags & BROADCAST_FLAG or reply.yiaddr == NOWHERE:
        return Target(EVERYBODY, CLIENT_PORT)
    return Target(reply.yiaddr, CLIENT_PORT, message.chaddr.hex(":"))
