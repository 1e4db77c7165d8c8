"""Ed25519 signatures of publishers (RFC 8032), checked by the master at upload and by a worker before it unpacks."""

import base64
import binascii
import hashlib

from ops_system.model.packages import PublisherSignature


def is_by_publisher(found: PublisherSignature, text: bytes) -> bool:
    """Return whether the key that `found` names, and carries, signed exactly this text."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        raw = base64.b64decode(found.public_key, validate=True)
        Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(found.signature, validate=True), text)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return key_id(raw) == found.key_id


def key_id(raw_public_key: bytes) -> str:
    """Return the name of a key: the SHA-256 (hex) of its 32 bytes."""
    return hashlib.sha256(raw_public_key).hexdigest()
