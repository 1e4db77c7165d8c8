"""A site with its DHCP rules and two known machines, without a wire: what tests say to it, and what it answers."""

from ipaddress import IPv4Address, IPv4Network

import msgspec

from ops_system.regional.dhcp.leases import LeaseBook, Pool
from ops_system.regional.dhcp.packet import NOWHERE, Message, MessageType, pack, parse
from ops_system.regional.dhcp.questions import BootFiles, DhcpAnswer, boot_answer
from ops_system.regional.dhcp.rules import Arrival, DhcpConfig, handle

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
