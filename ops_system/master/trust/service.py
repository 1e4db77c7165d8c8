"""Everything the master proves itself with, opened once by `app.py` and by the commands on DATA."""

import asyncio
import ssl
from collections.abc import Callable

from ops_system.master.trust.authority import Authority
from ops_system.master.trust.keys import Sealer, Signer
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import every
from ops_system.storage.folder import DataFolder
from ops_system.storage.lock import hold

ROTATE_CHECK_S = 3600.0


class Trust:
    """CA, leaf, signing key and sealing key of one data folder."""

    def __init__(
        self, authority: Authority, sealer: Sealer, signer: Signer, names: Callable[[], tuple[str, ...]], clock: Clock
    ) -> None:
        self._authority = authority
        self._sealer = sealer
        self._signer = signer
        self._find_names = names
        self._names = names()
        self._clock = clock
        self._leaf_hashes: list[bytes] = []  # newest last
        self._context: ssl.SSLContext | None = None

    @classmethod
    def open(cls, folder: DataFolder, names: Callable[[], tuple[str, ...]], clock: Clock) -> "Trust":
        """Read the keys, or make them in a folder not yet in use. Blocking.

        Raises SafetyRefusal naming the file that is damaged, or gone although the folder is in use.
        """
        with hold(folder.init_lock):
            sealer, signer = Sealer.open(folder), Signer.open(folder)
            authority = Authority.open(folder, clock.now())
        return cls(authority, sealer, signer, names, clock)

    @property
    def ca_pem(self) -> str:
        """The CA certificate."""
        return self._authority.pem

    @property
    def ca_key_sha256(self) -> str:
        """SHA-256 (hex) of the CA's public key; stands in every join token and is the fingerprint people compare."""
        return self._authority.key_sha256

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
            self.rotate()
        return self._context

    def rotate(self) -> bool:
        """Issue a new leaf where names changed or its life ends; True when there is a new one. Blocking."""
        self._names = self._find_names()
        newest = self._authority.ensure_leaf(self._names, self._clock.now())
        if self._leaf_hashes and newest == self._leaf_hashes[-1]:
            return False
        if self._context is not None:
            self._context.load_cert_chain(self._authority.leaf_path, self._authority.leaf_key_path)
        self._leaf_hashes = [*self._leaf_hashes[-1:], newest]
        return True

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
        """Look once an hour whether the leaf must be rotated."""
        await every(ROTATE_CHECK_S, self._check, "rotate certificate")

    async def _check(self) -> None:
        if self._context is not None:
            await asyncio.to_thread(self.rotate)
