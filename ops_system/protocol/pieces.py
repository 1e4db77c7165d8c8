"""Pieces of several channels in one byte stream: a command's stdout and stderr, a terminal's control. Sans-I/O.

    piece = channel (1 byte) · length (4 bytes, big endian) · so many bytes

Called by both ends of the streams `exec` and `terminal`.
"""

import struct
from enum import IntEnum

from ops_system.model.errors import Invalid

MAX_PIECE_BYTES = 64 * 1024
_HEAD = struct.Struct(">BI")


class Channel(IntEnum):
    """What a piece holds. `CONTROL` is a MessagePack struct that both ends know."""

    CONTROL = 0
    STDOUT = 1
    STDERR = 2


def encode_piece(channel: Channel, data: bytes) -> bytes:
    """Return one piece. `data` has at most `MAX_PIECE_BYTES`."""
    if len(data) > MAX_PIECE_BYTES:
        raise ValueError(f"a piece has at most {MAX_PIECE_BYTES} bytes, not {len(data)}")
    return _HEAD.pack(channel, len(data)) + data


_CHANNELS = frozenset(channel.value for channel in Channel)


class PieceReader:
    """Cuts a byte stream into pieces again, wherever its chunks begin and end."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[tuple[Channel, bytes]]:
        """Return the pieces that `data` completes. Raises `Invalid` for a channel or a length that cannot be."""
        whole = self.take_whole(data)
        if whole is not None:
            return [whole]
        self._rest += data
        found: list[tuple[Channel, bytes]] = []
        while len(self._rest) >= _HEAD.size:
            number, size = _HEAD.unpack_from(self._rest)
            channel = _channel(number, size)
            end = _HEAD.size + size
            if len(self._rest) < end:
                break
            found.append((channel, bytes(self._rest[_HEAD.size : end])))
            del self._rest[:end]
        return found

    def take_whole(self, data: bytes) -> tuple[Channel, bytes] | None:
        """Return the piece when `data` is exactly one and nothing waits before it, as is usual: no copy of a copy."""
        if self._rest or len(data) < _HEAD.size:
            return None
        number, size = _HEAD.unpack_from(data)
        if len(data) != _HEAD.size + size or number not in _CHANNELS or size > MAX_PIECE_BYTES:
            return None
        return Channel(number), data[_HEAD.size :]


def _channel(number: int, size: int) -> Channel:
    if number not in _CHANNELS or size > MAX_PIECE_BYTES:
        raise Invalid(f"a piece of channel {number} with {size} bytes cannot be")
    return Channel(number)
