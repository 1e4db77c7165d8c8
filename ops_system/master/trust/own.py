"""The operator's own certificate for the TLS listener: two PEM files, looked at again when they change (trust S6)."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ops_system.model.errors import UsageError

if TYPE_CHECKING:
    from cryptography import x509

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """Where certificate (the server's first, then intermediates) and private key lie."""

    certificate: Path
    key: Path

    @classmethod
    def of(cls, certificate: str, key: str) -> "OwnCertificate | None":
        """Return what the settings name, None when they name nothing. Raises UsageError for half of a pair."""
        if bool(certificate) != bool(key):
            missing, given = ("tls_key", "tls_cert") if certificate else ("tls_cert", "tls_key")
            raise UsageError(
                "server.{given} is set and server.{missing} is not; an own certificate needs both files",
                given=given,
                missing=missing,
            )
        return cls(Path(certificate), Path(key)) if certificate else None

    def read(self, now: datetime) -> "x509.Certificate":
        """Return the server's certificate. Blocking. Raises UsageError naming the file that will not do."""
        from cryptography import x509

        try:
            found = x509.load_pem_x509_certificates(self.certificate.read_bytes())[0]
        except (OSError, ValueError) as problem:
            raise UsageError(
                "server.tls_cert: {certificate} is no certificate in PEM ({problem})",
                certificate=self.certificate,
                problem=problem,
            ) from problem
        if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
            span = f"{found.not_valid_before_utc:%Y-%m-%d %H:%M} to {found.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            raise UsageError(
                "server.tls_cert: {certificate} is good from {span} only; renew it",
                certificate=self.certificate,
                span=span,
            )
        if _public_key_of(self.key) != _spell(found.public_key()):
            raise UsageError(
                "server.tls_key: {key} is not the key of the certificate in {certificate}",
                key=self.key,
                certificate=self.certificate,
            )
        return found

    def stamp(self) -> Stamp:
        """Return what changes when a file does. Blocking."""
        return tuple(_stamp(path) for path in (self.certificate, self.key))


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _public_key_of(path: Path) -> bytes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return _spell(load_pem_private_key(path.read_bytes(), None).public_key())
    except (OSError, ValueError, TypeError) as problem:
        raise UsageError(
            "server.tls_key: {path} is no private key in PEM without a password ({problem})", path=path, problem=problem
        ) from problem


def _spell(key: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    spelled: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined] # any kind of key
    return spelled
