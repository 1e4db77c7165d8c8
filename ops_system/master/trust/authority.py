"""The certificate authority (ECDSA P-256) and the leaf it issues for this master's names and addresses (RFC 5280).

The CA is made once and pinned by workers through the hash of its public key. The leaf is cheap: it is issued anew when
names change, when it is damaged, and when two thirds of its life are over.
"""

import base64
import hashlib
import ipaddress
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ops_system.master.trust.keys import load_or_make
from ops_system.model.errors import SafetyRefusal
from ops_system.protocol.vouchers import Voucher, voucher_text
from ops_system.runtime.files import write_atomic
from ops_system.storage.folder import DataFolder

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CA_LIFE = timedelta(days=20 * 365)
LEAF_LIFE = timedelta(days=365)
LEAF_RENEW = timedelta(days=120)  # left when a new one is issued
_EARLY = timedelta(days=7)  # clocks differ; a certificate is valid a little before it was made


class Authority:
    """The CA and its key."""

    def __init__(self, key: "EllipticCurvePrivateKey", certificate: "x509.Certificate", folder: Path) -> None:
        self._key = key
        self._certificate = certificate
        self.leaf_key_path = folder / "leaf.key"
        self.leaf_path = folder / "leaf.pem"

    @classmethod
    def open(cls, folder: DataFolder, now: datetime) -> "Authority":
        """Read the CA, or make it in a folder not yet in use. Blocking. Raises SafetyRefusal naming the file."""
        from cryptography import x509

        key = load_or_make(folder, folder.ca / "ca.key", _parse_key, _make_key)
        path = folder.ca / "ca.pem"
        certificate = load_or_make(folder, path, x509.load_pem_x509_certificate, lambda: _issue_ca(key, now))
        if certificate.public_key() != key.public_key():
            raise SafetyRefusal("{path} does not belong to ca.key beside it: put both back from one backup", path=path)
        return cls(key, certificate, folder.ca)

    @property
    def pem(self) -> str:
        """The CA certificate."""
        return _pem(self._certificate).decode()

    @property
    def key_sha256(self) -> str:
        """SHA-256 (hex) of the CA's SubjectPublicKeyInfo; stands in every join token."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        spki = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).hexdigest()

    @property
    def expires_at(self) -> datetime:
        """The end of the CA certificate."""
        return self._certificate.not_valid_after_utc

    def vouch(self, certificate: "x509.Certificate") -> Voucher:
        """Say to workers that this certificate, issued by somebody else, is served here."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        sha256, expires_at = fingerprint(certificate).hex(), certificate.not_valid_after_utc
        signature = self._key.sign(voucher_text(sha256, expires_at), ECDSA(SHA256()))
        return Voucher(sha256, expires_at, base64.b64encode(signature).decode())

    def ensure_leaf(self, names: Collection[str], now: datetime) -> "x509.Certificate":
        """See to a good leaf for exactly these names and addresses, and return it. Blocking."""
        leaf = self._read_leaf()
        if leaf is None or not _fits(leaf, names, now):
            key = _make_key()
            leaf = _issue_leaf(_parse_key(key), names, now, self._key, self._certificate)
            write_atomic(self.leaf_key_path, key, 0o600)
            write_atomic(self.leaf_path, _pem(leaf) + _pem(self._certificate), 0o600)
        return leaf

    def _read_leaf(self) -> "x509.Certificate | None":
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature

        try:
            leaf = x509.load_pem_x509_certificate(self.leaf_path.read_bytes())
            leaf.verify_directly_issued_by(self._certificate)
            key = _parse_key(self.leaf_key_path.read_bytes())
        except (OSError, ValueError, TypeError, InvalidSignature):
            return None
        return leaf if leaf.public_key() == key.public_key() else None


def fingerprint(certificate: "x509.Certificate") -> bytes:
    """Return the SHA-256 of a certificate, as browsers and TLS libraries show it."""
    from cryptography.hazmat.primitives import hashes

    return certificate.fingerprint(hashes.SHA256())


def _fits(leaf: "x509.Certificate", names: Collection[str], now: datetime) -> bool:
    from cryptography import x509

    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc - LEAF_RENEW:
        return False
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(found) == set(_alternative_names(names))


def _alternative_names(names: Collection[str]) -> "list[x509.GeneralName]":
    from cryptography import x509

    made: list[x509.GeneralName] = []
    for name in sorted(set(names)):
        try:
            made.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            made.append(x509.DNSName(name.encode("idna").decode()))
    return made


def _issue_ca(key: "EllipticCurvePrivateKey", now: datetime) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = _name("ops-system CA")
    builder = (
        _builder(now, CA_LIFE)
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pem(builder.sign(key, hashes.SHA256()))


def _issue_leaf(
    key: "EllipticCurvePrivateKey",
    names: Collection[str],
    now: datetime,
    ca_key: "EllipticCurvePrivateKey",
    ca: "x509.Certificate",
) -> "x509.Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    builder = (
        _builder(now, LEAF_LIFE)
        .subject_name(_name("ops-system master"))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .add_extension(x509.SubjectAlternativeName(_alternative_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    return builder.sign(ca_key, hashes.SHA256())


def _builder(now: datetime, life: timedelta) -> "x509.CertificateBuilder":
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + life)
    )


def _usage(*, is_ca: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: "x509.Certificate") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _make_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _parse_key(content: bytes) -> "EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(content, None)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise TypeError("it is not an elliptic curve key")
    return key
