"""A PXE ROM on a segment (tests/fakes/segment.py), step by step."""

import asyncio
import socket

from ops_system.regional.dhcp.packet import Message, MessageType, pack, parse
from tests.fakes.segment import Box

EVERYBODY = ("255.255.255.255", 67)


class Rom:
    """Speaks DHCP from the card of `box`; asks for broadcast answers, so it needs no address."""

    def __init__(self, box: Box, mac: str) -> None:
        self.box, self.mac = box, mac
        self._xid = 0
        with box.inside():
            self.wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            self.wire.bind(("0.0.0.0", 68))
        self.wire.setblocking(False)

    async def say(self, kind: MessageType, options: dict[int, bytes], to: tuple[str, int], **fields) -> None:
        """Send one message, with a number of its own."""
        self._xid += 1
        hardware = bytes.fromhex(self.mac.replace(":", ""))
        said = {53: bytes([kind]), **options}
        message = Message(op=1, xid=self._xid, chaddr=hardware, flags=0x8000, options=said, **fields)
        await asyncio.get_running_loop().sock_sendto(self.wire, pack(message, 1400), to)

    async def hear(self) -> tuple[Message, tuple[str, int]]:
        """Return the next answer to this machine, and where it came from."""
        while True:
            data, source = await asyncio.get_running_loop().sock_recvfrom(self.wire, 2000)
            message = parse(data)
            if message.chaddr.hex(":") == self.mac and message.xid == self._xid:
                return message, source

    async def discover(self, options: dict[int, bytes], within_s: float = 0.5) -> Message | None:
        """Look for a server; None when none answered in time."""
        await self.say(MessageType.DISCOVER, options, EVERYBODY)
        try:
            async with asyncio.timeout(within_s):
                return (await self.hear())[0]
        except TimeoutError:
            return None
