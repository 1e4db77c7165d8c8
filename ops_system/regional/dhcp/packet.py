"""DHCPv4 messages, bytes in and bytes out (RFC 2131, 2132, 3396). Pure; the rules and the server stand on it."""

import struct
from collections.abc import Iterator
from enum import IntEnum
from ipaddress import IPv4Address

import msgspec

SERVER_PORT, CLIENT_PORT, BOOT_PORT = 67, 68, 4011
REQUEST_OP, REPLY_OP = 1, 2
BROADCAST_FLAG = 0x8000
NOWHERE = IPv4Address(0)
EVERYBODY = IPv4Address("255.255.255.255")
SMALLEST_BYTES = 300  # BOOTP's own size (RFC 951): shorter ones are dropped by some relays and ROMs
DEFAULT_BYTES = 548  # of a message nobody said anything about: a datagram of 576 without its headers
HEADERS_BYTES = 28  # IPv4 and UDP
LARGEST_BYTES = 1500 - HEADERS_BYTES  # more would be cut into fragments, which boot ROMs do not put together

_HEADER = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_SIZE_BYTES = 2  # of option 57
_COOKIE = b"\x63\x82\x53\x63"
_PAD, _END, _OVERLOAD = 0, 255, 52
_CHADDR_BYTES, _SNAME_BYTES, _FILE_BYTES = 16, 64, 128
_IN_FILE, _IN_SNAME = 1, 2


class MalformedMessageError(ValueError):
    """These bytes are no DHCP message; the text says where they stop being one."""


class MessageTooLongError(ValueError):
    """The options do not fit into what the other side can take."""


class MessageType(IntEnum):
    """Option 53."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(IntEnum):
    """The options that are read or written here."""

    SUBNET_MASK = 1
    ROUTER = 3
    DNS = 6
    HOSTNAME = 12
    DOMAIN = 15
    BROADCAST = 28
    NTP = 42
    VENDOR_SPECIFIC = 43
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    MESSAGE_TYPE = 53
    SERVER_ID = 54
    WANTED_OPTIONS = 55
    MESSAGE = 56
    MAX_SIZE = 57
    RENEWAL_TIME = 58
    REBINDING_TIME = 59
    VENDOR_CLASS = 60
    CLIENT_ID = 61
    TFTP_SERVER = 66
    BOOT_FILE = 67
    USER_CLASS = 77
    RELAY_AGENT = 82
    ARCHITECTURE = 93
    NIC_INTERFACE = 94
    MACHINE_UUID = 97
    SUBNET_SELECTION = 118
    IPXE = 175


class Message(msgspec.Struct, frozen=True):
    """A DHCP message. `options` keep their order; an option that came in pieces is one (RFC 3396)."""

    op: int
    xid: int
    chaddr: bytes
    htype: int = 1
    hops: int = 0
    secs: int = 0
    flags: int = 0
    ciaddr: IPv4Address = NOWHERE
    yiaddr: IPv4Address = NOWHERE
    siaddr: IPv4Address = NOWHERE
    giaddr: IPv4Address = NOWHERE
    sname: bytes = b""
    file: bytes = b""
    options: dict[int, bytes] = {}


def parse(data: bytes) -> Message:
    """Return the message in a UDP payload. Raises MalformedMessageError, and nothing else, whatever the bytes are."""
    if len(data) < _HEADER.size:
        raise MalformedMessageError(f"{len(data)} bytes; a DHCP message has at least {_HEADER.size}")
    op, htype, hlen, hops, xid, secs, flags, *addresses, chaddr, sname, file, cookie = _HEADER.unpack_from(data)
    if cookie != _COOKIE:
        raise MalformedMessageError(
            f"the cookie is {cookie.hex()}, not {_COOKIE.hex()}: plain BOOTP is not spoken here"
        )
    if hlen > len(chaddr):
        raise MalformedMessageError(f"a hardware address of {hlen} bytes; there is room for {len(chaddr)}")
    options, overload = _read_all_options(data[_HEADER.size :], file, sname)
    ciaddr, yiaddr, siaddr, giaddr = (IPv4Address(address) for address in addresses)
    return Message(
        op=op,
        htype=htype,
        hops=hops,
        xid=xid,
        secs=secs,
        flags=flags,
        ciaddr=ciaddr,
        yiaddr=yiaddr,
        siaddr=siaddr,
        giaddr=giaddr,
        chaddr=chaddr[:hlen],
        sname=b"" if overload & _IN_SNAME else _text(sname),
        file=b"" if overload & _IN_FILE else _text(file),
        options=options,
    )


def _read_all_options(data: bytes, file: bytes, sname: bytes) -> tuple[dict[int, bytes], int]:
    """Read the options, then those in `file`, then those in `sname` (RFC 3396, section 5), and what option 52 said."""
    options: dict[int, bytes] = {}
    _read_into(options, data, "options")
    overload = options.pop(_OVERLOAD, b"\x00")
    if len(overload) != 1 or overload[0] > _IN_FILE | _IN_SNAME:
        raise MalformedMessageError(f"option 52 is {overload.hex()}; it may be 01, 02 or 03")
    if overload[0] & _IN_FILE:
        _read_into(options, file, "file")
    if overload[0] & _IN_SNAME:
        _read_into(options, sname, "sname")
    options.pop(_OVERLOAD, None)  # one inside `file` or `sname` means nothing
    return options, overload[0]


def _read_into(options: dict[int, bytes], data: bytes, where: str) -> None:
    for code, value in read_options(data, where):
        options[code] = options.get(code, b"") + value


def read_options(data: bytes, where: str = "options") -> Iterator[tuple[int, bytes]]:
    """Yield code and value of each option up to the end mark or the end. Raises MalformedMessageError."""
    place = 0
    while place < len(data) and (code := data[place]) != _END:
        if code == _PAD:
            place += 1
            continue
        length = data[place + 1] if place + 1 < len(data) else len(data)
        value = data[place + 2 : place + 2 + length]
        if len(value) != length:
            raise MalformedMessageError(f"{where}: option {code} at byte {place} runs past the end")
        yield code, value
        place += 2 + length


def _text(field: bytes) -> bytes:
    return field.split(b"\x00", 1)[0]


def pack(message: Message, limit_bytes: int = DEFAULT_BYTES) -> bytes:
    """Return the bytes of a message, at least BOOTP's 300 and at most `limit_bytes`.

    What does not fit into the options goes to `file` and `sname` where those are empty (option 52). Raises
    MessageTooLongError when that is not enough either, or when `sname` or `file` are too long for their fields.
    """
    if len(message.file) >= _FILE_BYTES or len(message.sname) >= _SNAME_BYTES or len(message.chaddr) > _CHADDR_BYTES:
        raise MessageTooLongError("sname, file or hardware address are longer than their fields")
    pieces = [_piece(code, value) for code, value in message.options.items()]
    main, file, sname = _place(pieces, limit_bytes - _HEADER.size, message)
    header = _HEADER.pack(
        message.op,
        message.htype,
        len(message.chaddr),
        message.hops,
        message.xid,
        message.secs,
        message.flags,
        message.ciaddr.packed,
        message.yiaddr.packed,
        message.siaddr.packed,
        message.giaddr.packed,
        message.chaddr,
        sname,
        file,
        _COOKIE,
    )
    return (header + main).ljust(SMALLEST_BYTES, b"\x00")


def _piece(code: int, value: bytes) -> bytes:
    """Return one option as it is written: cut into pieces of 255 bytes at most (RFC 3396)."""
    cuts = [value[place : place + 255] for place in range(0, len(value), 255)] or [b""]
    return b"".join(bytes((code, len(cut))) + cut for cut in cuts)


def _place(pieces: list[bytes], room_bytes: int, message: Message) -> tuple[bytes, bytes, bytes]:
    """Return the contents of options, `file` and `sname`."""
    if sum(map(len, pieces)) + 1 <= room_bytes:
        return b"".join(pieces) + bytes([_END]), message.file, message.sname
    rooms = {
        "main": room_bytes - 4,  # its end mark, and option 52
        "file": 0 if message.file else _FILE_BYTES - 1,
        "sname": 0 if message.sname else _SNAME_BYTES - 1,
    }
    placed = {"main": b"", "file": b"", "sname": b""}
    for piece in pieces:
        where = next((name for name, room in rooms.items() if room - len(placed[name]) >= len(piece)), None)
        if where is None:
            raise MessageTooLongError(f"option {piece[0]} of {len(piece)} bytes does not fit any more")
        placed[where] += piece
    overload = _IN_FILE * bool(placed["file"]) | _IN_SNAME * bool(placed["sname"])
    main = placed["main"] + bytes((_OVERLOAD, 1, overload, _END))
    file = placed["file"] + bytes([_END]) if placed["file"] else message.file
    sname = placed["sname"] + bytes([_END]) if placed["sname"] else message.sname
    return main, file, sname


def room_for(message: Message) -> int:
    """Return how many bytes an answer may have: what option 57 says, in reason (it counts IP and UDP headers)."""
    value = message.options.get(Option.MAX_SIZE, b"")
    if len(value) != _SIZE_BYTES:
        return DEFAULT_BYTES
    return min(max(int.from_bytes(value, "big") - HEADERS_BYTES, DEFAULT_BYTES), LARGEST_BYTES)


def pack_options(options: dict[int, bytes]) -> bytes:
    """Return options inside an option (43, 82, 175): no end mark, no padding."""
    return b"".join(_piece(code, value) for code, value in options.items())
