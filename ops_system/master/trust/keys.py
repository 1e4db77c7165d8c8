"""Secret files of the data folder: read, or made at the first start. `cryptography` is imported late: it is large.

Once `DATA/.initialized` exists nothing here is made anew: a key that is gone or damaged is a reason not to start, since
a new one would lock out every enrolled worker and every sealed secret.
"""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ops_system.model.errors import SafetyRefusal, Unavailable
from ops_system.runtime.files import write_atomic
from ops_system.storage.folder import DataFolder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

T = TypeVar("T")

_KEY_BYTES = 32
_NONCE_BYTES = 12
_FORMAT = b"\x01"


def load_or_make(folder: DataFolder, path: Path, parse: Callable[[bytes], T], make: Callable[[], bytes]) -> T:
    """Return what `path` holds; in a folder not yet in use make it. Blocking; hold the init lock.

    Raises SafetyRefusal naming the file when it is damaged, unreadable, or gone although the folder is in use.
    """
    if not path.exists():
        if folder.is_initialized:
            raise SafetyRefusal(
                "{path} is missing, but this data folder is in use: put it back from a backup", path=path
            )
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, make(), 0o600)
    try:
        return parse(path.read_bytes())
    except (ValueError, TypeError, OSError) as error:
        raise SafetyRefusal(
            "{path} is damaged or unreadable ({error}): put it back from a backup", path=path, error=error
        ) from error


class Sealer:
    """Hides secrets at rest by AES-256-GCM under `DATA/master.key`: format byte, 12-byte nonce, ciphertext, tag."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(key)

    @classmethod
    def open(cls, folder: DataFolder) -> "Sealer":
        """Read or make the key."""
        return cls(load_or_make(folder, folder.master_key, _parse_key, lambda: secrets.token_bytes(_KEY_BYTES)))

    def seal(self, plain: bytes) -> bytes:
        """Return bytes that only `unseal` can read."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _FORMAT + nonce + self._cipher.encrypt(nonce, plain, _FORMAT)

    def unseal(self, sealed: bytes) -> bytes:
        """Return what was sealed. Raises Unavailable when it was changed, or sealed under another key."""
        from cryptography.exceptions import InvalidTag

        form, nonce, rest = sealed[:1], sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, rest, form)  # another format byte fails the tag
        except (InvalidTag, ValueError) as error:
            raise Unavailable(
                "a stored secret cannot be read: it belongs to another master.key; set it again"
            ) from error


class Signer:
    """The Ed25519 key that signs packages; workers pin its public half at enrolment."""

    def __init__(self, key: "Ed25519PrivateKey") -> None:
        self._key = key

    @classmethod
    def open(cls, folder: DataFolder) -> "Signer":
        """Read or make the key."""
        return cls(load_or_make(folder, folder.signing_key, _parse_signing_key, _make_signing_key))

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature."""
        return self._key.sign(data)

    def public_key(self) -> bytes:
        """Return the raw 32-byte public key."""
        return self._key.public_key().public_bytes_raw()


def _parse_key(content: bytes) -> bytes:
    if len(content) != _KEY_BYTES:
        raise ValueError(f"{len(content)} bytes instead of {_KEY_BYTES}")
    return content


def _parse_signing_key(content: bytes) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(content, None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError("it is not an Ed25519 key")
    return key


def _make_signing_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
