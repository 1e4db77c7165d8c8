"""Seals bytes so that only the holder of one X25519 key can open them: no name of the sender, no second opening key.

An ephemeral X25519 key, HKDF-SHA256 (RFC 5869) over the shared secret and both public keys, ChaCha20-Poly1305 (8439);
the key is used once, so the nonce is zero. `box = ephemeral public key (32 bytes) ‖ ciphertext ‖ tag`, in base64. The
master seals the enrolment of a new system to the boot key of its agent (trust P11).
"""

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ops_system.model.errors import Invalid

_KEY_BYTES = 32
_NONCE = bytes(12)
_INFO = b"ops-system sealed box v1"


def make_boot_key() -> X25519PrivateKey:
    """Return a fresh key; it stays in the memory of the agent that made it."""
    return X25519PrivateKey.generate()


def public_text(key: X25519PrivateKey) -> str:
    """Return what is told to others: the raw public key in base64."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def seal(plain: bytes, public_key: str, context: str) -> str:
    """Return `plain` sealed to a public key, in base64. `context` must be the same at opening; it is not secret.

    Raises Invalid for a text that is no public key.
    """
    theirs = _public(public_key)
    ephemeral = X25519PrivateKey.generate()
    mine = ephemeral.public_key().public_bytes_raw()
    try:
        shared = ephemeral.exchange(theirs)
    except ValueError as error:  # a point of small order: the secret would be known to all
        raise Invalid("boot_public_key: this is no usable X25519 key", field="boot_public_key") from error
    cipher = ChaCha20Poly1305(_derive(shared, mine, theirs.public_bytes_raw()))
    return base64.b64encode(mine + cipher.encrypt(_NONCE, plain, context.encode())).decode()


def unseal(box: str, key: X25519PrivateKey, context: str) -> bytes:
    """Return what was sealed. Raises Invalid when it was sealed for another key or context, or was changed."""
    raw = _decoded(box)
    try:
        theirs = X25519PublicKey.from_public_bytes(raw[:_KEY_BYTES])
        shared = key.exchange(theirs)
        cipher = ChaCha20Poly1305(_derive(shared, raw[:_KEY_BYTES], key.public_key().public_bytes_raw()))
        return cipher.decrypt(_NONCE, raw[_KEY_BYTES:], context.encode())
    except (ValueError, InvalidTag) as error:
        raise Invalid("this box was sealed for another machine or boot, or was changed on its way") from error


def check_public(text: str) -> None:
    """Raise Invalid for a text that is no public key."""
    _public(text)


def _public(text: str) -> X25519PublicKey:
    raw = _decoded(text)
    if len(raw) != _KEY_BYTES:
        raise Invalid(f"boot_public_key: {_KEY_BYTES} bytes in base64 are wanted", field="boot_public_key")
    return X25519PublicKey.from_public_bytes(raw)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("this is no base64") from error


def _derive(shared: bytes, ephemeral: bytes, receiver: bytes) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=_INFO + ephemeral + receiver).derive(shared)
