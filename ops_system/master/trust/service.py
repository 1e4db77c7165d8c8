"""Everything the master proves itself with, opened once by `app.py` and by the commands on DATA."""

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from ops_system.master.trust.authority import Authority, fingerprint
from ops_system.master.trust.keys import Sealer, Signer
from ops_system.master.trust.own import OwnCertificate
from ops_system.model.errors import SafetyRefusal, UsageError
from ops_system.protocol.vouchers import Voucher
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import every
from ops_system.storage.folder import DataFolder
from ops_system.storage.lock import hold

if TYPE_CHECKING:
    from cryptography import x509

ROTATE_CHECK_S = 3600.0
OWN_CHECK_S = 5.0

_log = logging.getLogger(__name__)


class ServedCertificate(msgspec.Struct, frozen=True):
    """The certificate that new TLS connections see. `is_own`: the operator's, not issued by this master."""

    sha256: str
    subject: str
    issuer: str
    names: list[str]
    expires_at: datetime
    is_own: bool


class Trust:
    """CA, leaf, signing key and sealing key of one data folder."""

    def __init__(
        self,
        authority: Authority,
        sealer: Sealer,
        signer: Signer,
        *,
        names: Callable[[], tuple[str, ...]],
        clock: Clock,
        own: OwnCertificate | None = None,
    ) -> None:
        self._authority = authority
        self._sealer = sealer
        self._signer = signer
        self._find_names = names
        self._names = names()
        self._clock = clock
        self._leaf_hashes: list[bytes] = []  # newest last
        self._context: ssl.SSLContext | None = None
        self._own = own
        self._own_stamp = own.stamp() if own else None
        self._served: x509.Certificate | None = None
        self._voucher: Voucher | None = None

    @classmethod
    def open(
        cls,
        folder: DataFolder,
        names: Callable[[], tuple[str, ...]],
        clock: Clock,
        own: OwnCertificate | None = None,
    ) -> "Trust":
        """Read the keys, or make them in a folder not yet in use. Blocking.

        Raises SafetyRefusal naming the file that is damaged, or gone although the folder is in use.
        """
        with hold(folder.init_lock):
            sealer, signer = Sealer.open(folder), Signer.open(folder)
            authority = Authority.open(folder, clock.now())
        return cls(authority, sealer, signer, names=names, clock=clock, own=own)

    @property
    def ca_pem(self) -> str:
        """The CA certificate."""
        return self._authority.pem

    @property
    def ca_key_sha256(self) -> str:
        """SHA-256 (hex) of the CA's public key; stands in every join token and is the fingerprint people compare."""
        return self._authority.key_sha256

    @property
    def ca_expires_at(self) -> datetime:
        """The end of the CA certificate."""
        return self._authority.expires_at

    @property
    def signing_key_id(self) -> str:
        """SHA-256 (hex) of the key that signs packages."""
        return hashlib.sha256(self.signing_public_key).hexdigest()

    @property
    def signing_public_key(self) -> bytes:
        """Raw 32 bytes; workers verify packages with it."""
        return self._signer.public_key()

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature of `data`."""
        return self._signer.sign(data)

    def seal(self, plain: bytes) -> bytes:
        """Return bytes that only `unseal` can read."""
        return self._sealer.seal(plain)

    def unseal(self, sealed: bytes) -> bytes:
        """Return what was sealed. Raises Unavailable."""
        return self._sealer.unseal(sealed)

    def ssl_context(self) -> ssl.SSLContext:
        """Return the server's TLS context; a rotation changes it in place for new connections. Blocking at first."""
        if self._context is None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
            try:
                self.rotate()
            except UsageError as problem:
                self._context = None
                raise SafetyRefusal("{problem}", problem=problem) from problem
        return self._context

    def rotate(self) -> bool:
        """Take the newest certificate; True when there is a new one. Blocking.

        An own one is read again from its files, and UsageError raised when they will not do (the one that is served
        goes on); else a leaf is issued where names changed or the old one's life ends.
        """
        self._names = self._find_names()
        now = self._clock.now()
        if self._own is None:
            newest = self._authority.ensure_leaf(self._names, now)
            files = (self._authority.leaf_path, self._authority.leaf_key_path)
        else:
            self._own_stamp = self._own.stamp()
            newest = self._own.read(now)
            files = (self._own.certificate, self._own.key)
        sha256 = fingerprint(newest)
        if self._leaf_hashes and sha256 == self._leaf_hashes[-1]:
            return False
        if self._context is not None:
            self._context.load_cert_chain(*files)
        self._served = newest
        self._voucher = self._authority.vouch(newest) if self._own else None
        self._leaf_hashes = [*self._leaf_hashes[-1:], sha256]
        return True

    def voucher(self) -> Voucher | None:
        """Return what tells workers to accept the operator's own certificate; None while our own leaf is served."""
        return self._voucher

    def served(self) -> ServedCertificate | None:
        """Describe what new TLS connections see; None while there is no TLS listener."""
        if self._served is None:
            return None
        return describe(self._served, is_own=self._own is not None)

    def days_left(self) -> dict[str, float]:
        """Return how many days `certificate:ca` and `certificate:server` (while there is one) are still good for."""
        ends = {"certificate:ca": self.ca_expires_at}
        if self._served is not None:
            ends["certificate:server"] = self._served.not_valid_after_utc
        now = self._clock.now()
        return {name: (at - now).total_seconds() / 86_400 for name, at in ends.items()}

    def certificate_sha256(self) -> bytes:
        """Return the SHA-256 of the leaf that new connections see; empty while there is no TLS context."""
        return self._leaf_hashes[-1] if self._leaf_hashes else b""

    def is_own_certificate(self, sha256: bytes) -> bool:
        """True for the leaf served now or, for connections older than a rotation, the one before."""
        return sha256 in self._leaf_hashes

    def own_names(self) -> tuple[str, ...]:
        """Names and addresses of this machine, as of the last look."""
        return self._names

    async def run(self) -> None:
        """Look once an hour whether the leaf must be rotated; every few seconds whether an own certificate changed."""
        interval_s = ROTATE_CHECK_S if self._own is None else OWN_CHECK_S
        await every(interval_s, self.check, "rotate certificate")

    async def check(self) -> None:
        """Rotate when it is due. Own files that will not do are said once per change; the old certificate stays."""
        if self._context is None:
            return
        if self._own is not None and await asyncio.to_thread(self._own.stamp) == self._own_stamp:
            return
        try:
            if await asyncio.to_thread(self.rotate):
                _log.info("the TLS listener has a new certificate, SHA-256 %s", self.certificate_sha256().hex())
        except UsageError as problem:
            _log.error("%s; the certificate from before is served on", problem.message)


def describe(certificate: "x509.Certificate", *, is_own: bool) -> ServedCertificate:
    """Return what people compare and watch of a certificate."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    return ServedCertificate(
        sha256=fingerprint(certificate).hex(),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        names=[str(name.value) for name in names],
        expires_at=certificate.not_valid_after_utc,
        is_own=is_own,
    )
