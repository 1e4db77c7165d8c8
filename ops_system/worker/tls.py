"""Whom a worker believes on https: the pinned authority's certificates, and the one certificate it vouches for."""

import base64
import binascii
import hashlib
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops_system.protocol.vouchers import Voucher, voucher_text

if TYPE_CHECKING:
    import aiohttp


def trusting_context(ca_pem: str) -> ssl.SSLContext:
    """Return a TLS context that trusts this CA and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca_pem)
    return context


def trust_for(url: str, ca_pem: str, voucher: Voucher | None = None) -> "ssl.SSLContext | aiohttp.Fingerprint | bool":
    """Return what aiohttp shall check of a connection to `url`; on plain http nothing.

    With a good voucher the one certificate it names; without, any that the pinned authority issued for the address.
    """
    import aiohttp

    if not url.startswith("https:"):
        return False
    if voucher is not None and is_vouched(voucher, ca_pem, datetime.now(UTC)):
        return aiohttp.Fingerprint(bytes.fromhex(voucher.certificate_sha256))
    return trusting_context(ca_pem)


def is_vouched(voucher: Voucher, ca_pem: str, now: datetime) -> bool:
    """Return whether the pinned CA's key signed this voucher, for a certificate that has not expired."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    key = x509.load_pem_x509_certificate(ca_pem.encode()).public_key()
    if not isinstance(key, EllipticCurvePublicKey) or now > voucher.expires_at:
        return False
    try:
        signature = base64.b64decode(voucher.signature, validate=True)
        key.verify(signature, voucher_text(voucher.certificate_sha256, voucher.expires_at), ECDSA(SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return len(voucher.certificate_sha256) == 2 * hashlib.sha256().digest_size
