"""The IPMI half of `bmc`: pyghmi's own `Bmc` in a process of its own, for client and server share globals there.

Each order goes to standard output as a line; the answer on standard input says whether the machine is on then.
"""

import json
import socket
import sys
import uuid
from typing import Any

from pyghmi.ipmi.bmc import Bmc
from pyghmi.ipmi.private import serversession
from pyghmi.ipmi.private import session as sessions
from pyghmi.ipmi.private.serversession import ServerSession

_AREA_INFO, _READ_AREA, _SET_BOOT_OPTIONS = (0x0A, 0x10), (0x0A, 0x11), (0x00, 0x08)
_CHASSIS_CONTROL = 0x00, 0x02
_BOOT_FLAGS = 5
_SHA1, _NO_SUCH_SUITE = 1, 0x11
_UEFI, _DEVICES, _PXE = 0b100000, 0b111100, 4


def ask(order: str) -> str:
    """Tell an order and hear the state of the machine after it."""
    sys.stdout.write(order + "\n")
    sys.stdout.flush()
    return sys.stdin.readline().strip()


def text(value: str) -> bytes:
    """Return a field of an inventory area: its type and length, and the text."""
    return bytes([0xC0 | len(value)]) + value.encode()


def inventory(serial: str) -> bytes:
    """Return a FRU with a product area (Platform Management FRU Information Storage Definition, 1.0)."""
    fields = b"".join(map(text, ("Fake", "Chassis", "P1", "1", serial, "")))
    body = b"\x01\x00\x19" + fields + b"\xc1"
    body += bytes(-(len(body) + 1) % 8)
    body = body[:1] + bytes([(len(body) + 1) // 8]) + body[2:]
    body += bytes([-sum(body) % 256])
    header = bytes([1, 0, 0, 0, 1, 0, 0])
    return header + bytes([-sum(header) % 256]) + body


class Strict(ServerSession):  # type: ignore[misc] # the library is not typed
    """Says no to the cipher suites that the library's server does not speak, instead of taking them for SHA-1."""

    def create_open_session_response(self, request: bytes) -> bytes:
        if request[12] != _SHA1:
            return bytes([request[0], _NO_SUCH_SUITE, 0, 0]) + bytes(request[4:8])
        return bytes(super().create_open_session_response(request))


def free_udp_port() -> int:
    """Return a port of loopback that is free now: the library must know its number beforehand."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class FakeBmc(Bmc):  # type: ignore[misc] # the library is not typed
    """Hands everything to the parent."""

    def __init__(self, facts: dict[str, str]) -> None:
        super().__init__(
            {facts["user"]: facts["password"]}, port=free_udp_port(), address="::ffff:127.0.0.1"
        )  # its own waking needs IPv6
        self.guid = uuid.UUID(facts["uuid"])
        self.fru = inventory(facts["serial"])
        self.last: tuple[object, ...] = ()

    def get_system_guid(self) -> uuid.UUID:
        return self.guid

    def get_power_state(self) -> str:
        return ask("state")

    def power_on(self) -> None:
        ask("on")

    def power_off(self) -> None:
        ask("off")

    def power_reset(self) -> None:
        ask("restart")

    def handle_raw_request(self, request: dict[str, Any], session: Any) -> Any:
        data = bytes(request.get("data", b""))
        asked = request["netfn"], request["command"]
        if asked == _CHASSIS_CONTROL and self.is_sent_again(data, session):
            return session.send_ipmi_response()
        if asked == _AREA_INFO:
            return session.send_ipmi_response(data=[len(self.fru) & 0xFF, len(self.fru) >> 8, 0])
        if asked == _READ_AREA:
            start = data[1] | data[2] << 8
            piece = self.fru[start : start + data[3]]
            return session.send_ipmi_response(data=[len(piece), *piece])
        if asked == _SET_BOOT_OPTIONS and data[0] == _BOOT_FLAGS:
            return self.choose(data, session)
        return super().handle_raw_request(request, session)

    def is_sent_again(self, data: bytes, session: Any) -> bool:
        """Whether this is a request whose answer came too late: by its sequence number, as BMCs find out."""
        before, self.last = self.last, (session, session.seqlun, data)
        return self.last == before

    def choose(self, data: bytes, session: Any) -> Any:
        """Take boot flags: the network, for the next start only."""
        if data[2] & _DEVICES != _PXE or data[1] & 0b1000000:
            return session.send_ipmi_response(code=0xCC)
        ask("network uefi" if data[1] & _UEFI else "network")
        return session.send_ipmi_response()


if __name__ == "__main__":
    serversession.ServerSession = Strict
    bmc = FakeBmc(json.loads(sys.argv[1]))
    sys.stdout.write(f"{bmc.port}\n")
    sys.stdout.flush()
    while True:
        sessions.Session.wait_for_rsp(30)
