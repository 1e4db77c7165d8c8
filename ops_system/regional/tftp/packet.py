"""TFTP packets, bytes in and bytes out (RFC 1350, 2347). Pure; the rules and the server stand on it."""

from enum import IntEnum

import msgspec

LARGEST_REQUEST_BYTES = 512  # RFC 2347: a request is no longer than that
_NUMBER_BYTES = 2


class MalformedPacketError(ValueError):
    """These bytes are no TFTP packet; the text says why."""


class Opcode(IntEnum):
    """The first two bytes."""

    READ = 1
    WRITE = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OPTIONS = 6


class ErrorCode(IntEnum):
    """What an error packet says (RFC 1350; 8 is RFC 2347's)."""

    UNDEFINED = 0
    NOT_FOUND = 1
    ACCESS = 2
    DISK_FULL = 3
    ILLEGAL = 4
    UNKNOWN_TRANSFER = 5
    EXISTS = 6
    NO_USER = 7
    OPTIONS_REFUSED = 8


class Request(msgspec.Struct, frozen=True):
    """A request to read or to write. `options`: names in small letters, the first of each."""

    name: str
    mode: str  # "octet", "netascii", "mail"
    options: dict[str, str] = {}
    is_write: bool = False


class Data(msgspec.Struct, frozen=True):
    """One block. Numbers go round at 65 536."""

    number: int
    content: bytes


class Ack(msgspec.Struct, frozen=True):
    """Everything up to block `number` arrived."""

    number: int


class Error(msgspec.Struct, frozen=True):
    """The other side ends the transfer. `code` may be one nobody knows."""

    code: int
    message: str = ""


class OptionAck(msgspec.Struct, frozen=True):
    """The options that hold."""

    options: dict[str, str]


Packet = Request | Data | Ack | Error | OptionAck


def parse(data: bytes) -> Packet:
    """Return the packet in a UDP payload. Raises MalformedPacketError, and nothing else, whatever the bytes are."""
    opcode, rest = int.from_bytes(data[:_NUMBER_BYTES], "big"), data[_NUMBER_BYTES:]
    match opcode:
        case Opcode.READ | Opcode.WRITE:
            return _request(rest, is_write=opcode == Opcode.WRITE)
        case Opcode.DATA:
            return Data(_number(rest), rest[_NUMBER_BYTES:])
        case Opcode.ACK:
            return Ack(_number(rest))
        case Opcode.ERROR:
            text = rest[_NUMBER_BYTES:].split(b"\x00", 1)[0]
            return Error(_number(rest), text.decode("ascii", "replace"))
        case Opcode.OPTIONS:
            return OptionAck(_options(_texts(rest)))
        case _:
            raise MalformedPacketError(f"opcode {opcode}; there are 1 to 6")


def _number(rest: bytes) -> int:
    if len(rest) < _NUMBER_BYTES:
        raise MalformedPacketError("the packet ends before its number")
    return int.from_bytes(rest[:_NUMBER_BYTES], "big")


def _request(rest: bytes, *, is_write: bool) -> Request:
    if len(rest) + _NUMBER_BYTES > LARGEST_REQUEST_BYTES:
        raise MalformedPacketError(f"a request of {len(rest) + _NUMBER_BYTES} bytes")
    match _texts(rest):
        case [name, mode, *options]:
            return Request(name, mode.lower(), _options(options), is_write)
        case _:
            raise MalformedPacketError("a request names a file and a mode, each ended by a zero")


def _texts(rest: bytes) -> list[str]:
    """Return the texts that are ended by a zero each. What follows the last zero is padding of some ROMs."""
    try:
        return [text.decode("ascii") for text in rest.split(b"\x00")[:-1]]
    except UnicodeDecodeError as error:
        raise MalformedPacketError("a text that is not ASCII") from error


def _options(texts: list[str]) -> dict[str, str]:
    """Return options by name. A name without a value ends them: ROMs pad requests with zeros."""
    options: dict[str, str] = {}
    for name, value in zip(texts[::2], texts[1::2], strict=False):
        if name:
            options.setdefault(name.lower(), value)
    return options


def pack(packet: Packet) -> bytes:
    """Return the bytes of a packet. Block numbers go round."""
    match packet:
        case Request():
            opcode = Opcode.WRITE if packet.is_write else Opcode.READ
            return _head(opcode) + _zeroed(packet.name, packet.mode) + _zeroed(*_flat(packet.options))
        case Data():
            return _head(Opcode.DATA, packet.number) + packet.content
        case Ack():
            return _head(Opcode.ACK, packet.number)
        case Error():
            return _head(Opcode.ERROR, packet.code) + _zeroed(packet.message)
        case OptionAck():
            return _head(Opcode.OPTIONS) + _zeroed(*_flat(packet.options))


def _head(*numbers: int) -> bytes:
    return b"".join((number & 0xFFFF).to_bytes(_NUMBER_BYTES, "big") for number in numbers)


def _flat(options: dict[str, str]) -> list[str]:
    return [text for pair in options.items() for text in pair]


def _zeroed(*texts: str) -> bytes:
    return b"".join(text.encode("ascii", "replace").replace(b"\x00", b"?") + b"\x00" for text in texts)
