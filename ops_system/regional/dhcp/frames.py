"""An IPv4 packet made by hand, for a machine that cannot be reached by IP yet (RFC 2131, section 4.1). Pure."""

import struct
from ipaddress import IPv4Address

_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_VERSION_AND_LENGTH, _TTL, _UDP_PROTOCOL = 0x45, 64, 17


def udp_packet(source: tuple[IPv4Address, int], target: tuple[IPv4Address, int], payload: bytes) -> bytes:
    """Return the IPv4 packet around `payload`, checksums done."""
    (from_address, from_port), (to_address, to_port) = source, target
    length = _UDP.size + len(payload)
    ends = from_address.packed + to_address.packed
    pseudo = ends + struct.pack("!BBH", 0, _UDP_PROTOCOL, length)
    bare = _UDP.pack(from_port, to_port, length, 0) + payload
    check = checksum(pseudo + bare) or 0xFFFF  # zero would say: none made (RFC 768)
    udp = _UDP.pack(from_port, to_port, length, check) + payload
    return _ip_header(ends, length) + udp


def _ip_header(ends: bytes, length: int) -> bytes:
    sizes = (_VERSION_AND_LENGTH, 0, _IP.size + length, 0, 0, _TTL, _UDP_PROTOCOL)
    bare = _IP.pack(*sizes, 0, ends[:4], ends[4:])
    return _IP.pack(*sizes, checksum(bare), ends[:4], ends[4:])


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\x00"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:  # noqa: PLR2004 - 16 bits
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
