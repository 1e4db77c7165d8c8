"""A master's authority met for the first time: fetched from whoever answers, believed only by the hash of its key.

Used by the roles that are told the hash: `ops` and the pack tool fetch with this; a worker does so on its own session,
with the voucher that comes along, and shares only the hash.
"""

import contextlib
import hashlib
import ssl
from urllib.parse import urlsplit

import msgspec

_MAX_BYTES = 1 << 20


class _CaAnswer(msgspec.Struct, frozen=True):
    ca_pem: str


def fetch_ca(url: str, timeout_s: float) -> str:
    """Return the authority (PEM) that whoever answers at `url` shows; nothing about it is proven.

    Raises OSError and HTTPException when nobody answers, ValueError when it is no answer of a master.
    """
    import http.client

    parts = urlsplit(url)
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout_s, context=blind)
    with contextlib.closing(connection):
        connection.request("GET", "/api/v1/worker/ca", headers={"Accept": "application/json"})
        body = connection.getresponse().read(_MAX_BYTES)
    try:
        return msgspec.json.decode(body, type=_CaAnswer).ca_pem
    except msgspec.MsgspecError as problem:
        raise ValueError(f"{url} does not answer like an ops master") from problem


def key_sha256(ca_pem: str) -> str:
    """Return the SHA-256 (hex) of the certificate's SubjectPublicKeyInfo, as in join tokens. Raises ValueError."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(ca_pem.encode()).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
