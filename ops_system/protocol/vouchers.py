"""How the authority vouches for a certificate it did not issue: the operator's own, served on the TLS listener.

A worker that pinned the authority's key accepts exactly the certificate the voucher names, whatever else a machine in
between can show, and needs no other trust store.
"""

from datetime import datetime

import msgspec


class Voucher(msgspec.Struct, frozen=True):
    """`signature`: base64 of the CA key's ECDSA (P-256, SHA-256, DER) over `voucher_text`."""

    certificate_sha256: str  # hex
    expires_at: datetime  # when the certificate does
    signature: str


def voucher_text(certificate_sha256: str, expires_at: datetime) -> bytes:
    """Return the exact bytes the CA signs."""
    return f"ops-certificate-v1\n{certificate_sha256}\n{int(expires_at.timestamp())}\n".encode()
