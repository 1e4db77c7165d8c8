"""The agent's end of a sealed box: makes the key of this boot and opens what the master sealed to it (trust P11). Pure.

The other end is `runtime.sealing`, which stands on `cryptography`: 14 MB that the agent's RAM need not hold for one
box of a few hundred bytes. This is X25519 (RFC 7748), HKDF-SHA256 (RFC 5869) and ChaCha20-Poly1305 (RFC 8439) in plain
Python. It does not run in constant time: the key lives for one boot, opens one box, and nobody else runs here.
"""

import base64
import binascii
import hashlib
import hmac
import struct

from ops_system.model.errors import Invalid

KEY_BYTES, _TAG_BYTES = 32, 16
_INFO = b"ops-system sealed box v1"
_NONCE = bytes(12)
_PRIME = 2**255 - 19
_A24 = 121665
_POLY_PRIME = 2**130 - 5
_MASK = 0xFFFFFFFF
_BASE = (9).to_bytes(KEY_BYTES, "little")


class BootKey:
    """The key of one boot, made of 32 random bytes. It never leaves this process."""

    def __init__(self, dice: bytes) -> None:
        self._scalar = dice
        self.public = x25519(dice, _BASE)

    def public_text(self) -> str:
        """Return what is told to others: the raw public key in base64."""
        return base64.b64encode(self.public).decode()

    def open(self, box: str, context: str) -> bytes:
        """Return what was sealed. Raises Invalid when it was sealed for another key or context, or was changed."""
        try:
            raw = base64.b64decode(box, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Invalid("the sealed enrolment is no base64") from error
        if len(raw) < KEY_BYTES + _TAG_BYTES:
            raise Invalid("the sealed enrolment was cut off")
        theirs, sealed, tag = raw[:KEY_BYTES], raw[KEY_BYTES:-_TAG_BYTES], raw[-_TAG_BYTES:]
        key = _hkdf(x25519(self._scalar, theirs), _INFO + theirs + self.public)
        if not hmac.compare_digest(tag, _tag(key, sealed, context.encode())):
            raise Invalid("the sealed enrolment was sealed for another machine or boot, or was changed on its way")
        return _chacha20(key, sealed, 1)


def x25519(scalar: bytes, point: bytes) -> bytes:
    """Return the shared secret (RFC 7748, section 5: the Montgomery ladder)."""
    k = int.from_bytes(scalar, "little") & ~7 & ~(1 << 255) | (1 << 254)
    x1 = int.from_bytes(point, "little") & ((1 << 255) - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for place in reversed(range(255)):
        bit = k >> place & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % _PRIME, b * b % _PRIME, d * a % _PRIME, c * b % _PRIME
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % _PRIME, x1 * (da - cb) ** 2 % _PRIME
        x2, z2 = aa * bb % _PRIME, e * (aa + _A24 * e) % _PRIME
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, _PRIME - 2, _PRIME) % _PRIME).to_bytes(KEY_BYTES, "little")


def _hkdf(secret: bytes, info: bytes) -> bytes:
    """One block of RFC 5869 without salt."""
    extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def _tag(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """RFC 8439, section 2.8: Poly1305 over context, ciphertext and both lengths, each padded to 16 bytes."""
    once = _block(struct.unpack("<8I", key), 0)[:KEY_BYTES]
    lengths = struct.pack("<QQ", len(context), len(sealed))
    message = context + bytes(-len(context) % 16) + sealed + bytes(-len(sealed) % 16) + lengths
    r = int.from_bytes(once[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for place in range(0, len(message), 16):
        total = (total + int.from_bytes(message[place : place + 16] + b"\x01", "little")) * r % _POLY_PRIME
    return ((total + int.from_bytes(once[16:], "little")) & (2**128 - 1)).to_bytes(16, "little")


def _chacha20(key: bytes, text: bytes, counter: int) -> bytes:
    words = struct.unpack("<8I", key)
    blocks = range((len(text) + 63) // 64)
    stream = b"".join(_block(words, counter + number) for number in blocks)
    return bytes(a ^ b for a, b in zip(text, stream, strict=False))


def _block(key: tuple[int, ...], counter: int) -> bytes:
    """RFC 8439, section 2.3."""
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *key, counter, *struct.unpack("<3I", _NONCE)]
    state = list(start)
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):  # fmt: skip
            _quarter(state, a, b, c, d)
    return struct.pack("<16I", *((x + y) & _MASK for x, y in zip(state, start, strict=True)))


def _quarter(state: list[int], a: int, b: int, c: int, d: int) -> None:
    for into, source, target, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[into] = (state[into] + state[source]) & _MASK
        mixed = state[target] ^ state[into]
        state[target] = (mixed << turn | mixed >> (32 - turn)) & _MASK
