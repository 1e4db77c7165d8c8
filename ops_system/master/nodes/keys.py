"""Node keys: raw Ed25519 (RFC 8032), 32 bytes. Used at enrolment and at the opening of each link."""

import base64
import binascii

from ops_system.model.errors import Invalid

_KEY_BYTES = 32


def read_public_key(text: str) -> bytes:
    """Return the raw key from base64. Raises `Invalid`."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as problem:
        raise Invalid("public_key is not base64", problems=["public_key: not base64"]) from problem
    if len(raw) != _KEY_BYTES:
        message = f"public_key: an Ed25519 key has {_KEY_BYTES} bytes, this has {len(raw)}"
        raise Invalid(message, problems=[message])
    return raw


def is_signed(public_key: bytes, signature: bytes, text: bytes) -> bool:
    """Return whether the holder of the key signed exactly this text."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True
