"""Publishers' keys and the detached signature `ZIP.sig` (Ed25519, RFC 8032; JSON around it)."""

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ops_system.model.catalogue import image_text
from ops_system.model.errors import Invalid, NotAllowed
from ops_system.model.manifest import Manifest
from ops_system.model.packages import publisher_text
from ops_system.packtool.words import Words


class Signature(msgspec.Struct, frozen=True):
    """The content of `ZIP.sig`. `public_key` and `signature` are base64 of the raw bytes."""

    name: str
    version: str
    sha256: str
    size_bytes: int
    key_id: str  # SHA-256 of the raw public key
    public_key: str
    signature: str
    algorithm: str = "ed25519"

    def signed_text(self) -> bytes:
        """Return what the key signed."""
        return publisher_text(self.name, self.version, self.sha256, self.size_bytes)


def signature_path(package: Path) -> Path:
    """Return where a package's signature lies."""
    return package.with_name(f"{package.name}.sig")


def make_key(path: Path) -> str:
    """Write a new private key to `path` (PEM, 0600) and the public one to `path`.pub; return the key id.

    Raises NotAllowed when one of the files exists.
    """
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public_path = path.with_name(f"{path.name}.pub")
    for existing in (path, public_path):
        if existing.exists():
            raise NotAllowed(f"{existing} exists already; a key is never overwritten")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    public = key.public_key()
    _write_new(path, private, 0o600)
    _write_new(public_path, public.public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo), 0o644)
    return key_id(public.public_bytes(forms.Encoding.Raw, forms.PublicFormat.Raw))


def sign_package(manifest: Manifest, sha256: str, size_bytes: int, key_path: Path) -> Signature:
    """Return the signature of a package by the key in `key_path`. Raises Invalid when that is no such key."""
    text = publisher_text(manifest.name, manifest.version, sha256, size_bytes)
    return _sign(_Signed(manifest.name, manifest.version, sha256, size_bytes, text), key_path)


def sign_image(path: Path, name: str, version: str, image_format: str, key_path: Path) -> Signature:
    """Return the signature of an image of an operating system. Raises Invalid when `key_path` holds no such key."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = file.tell()
    text = image_text(name, version, image_format, sha256, size_bytes)
    return _sign(_Signed(name, version, sha256, size_bytes, text), key_path)


@dataclass(frozen=True)
class _Signed:
    """What is signed: `text` is the exact bytes."""

    name: str
    version: str
    sha256: str
    size_bytes: int
    text: bytes


def _sign(what: _Signed, key_path: Path) -> Signature:
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = forms.load_pem_private_key(key_path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise Invalid(f"{key_path} is no private key; make one with: pack-tool keygen {key_path}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Invalid(f"{key_path} is no Ed25519 key; make one with: pack-tool keygen FILE")
    raw = key.public_key().public_bytes(forms.Encoding.Raw, forms.PublicFormat.Raw)
    return Signature(
        name=what.name,
        version=what.version,
        sha256=what.sha256,
        size_bytes=what.size_bytes,
        key_id=key_id(raw),
        public_key=base64.b64encode(raw).decode(),
        signature=base64.b64encode(key.sign(what.text)).decode(),
    )


def read_signature(path: Path) -> Signature:
    """Return the signature in a file. Raises Invalid when it is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Signature)
    except msgspec.MsgspecError as error:
        raise Invalid(f"{path} is no signature: {error}; sign the package again") from error


def is_good(signature: Signature, sha256: str, size_bytes: int) -> bool:
    """Return whether the signature is for these bytes and made by the key it names."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if (signature.sha256, signature.size_bytes) != (sha256, size_bytes):
        return False
    try:
        raw = base64.b64decode(signature.public_key, validate=True)
        Ed25519PublicKey.from_public_bytes(raw).verify(
            base64.b64decode(signature.signature, validate=True), signature.signed_text()
        )
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return key_id(raw) == signature.key_id


@dataclass(frozen=True)
class OwnSignature:
    """What lies beside a zip: `text` is its base64, empty when there is none; `sha256` the bytes it is for."""

    path: Path
    text: str = ""
    sha256: str = ""

    def check(self, sha256: str, words: Words) -> None:
        """Raise Invalid when there is a signature, and it is for other bytes."""
        if self.text and self.sha256 != sha256:
            raise Invalid(words.say("signature.bad", path=self.path))


def read_own_signature(package: Path, size_bytes: int, words: Words) -> OwnSignature:
    """Return the signature beside a package of that size; whether it is for its bytes says `check`. Raises Invalid."""
    path = signature_path(package)
    if not path.exists():
        return OwnSignature(path)
    signature = read_signature(path)
    if not is_good(signature, signature.sha256, size_bytes):
        raise Invalid(words.say("signature.bad", path=path))
    return OwnSignature(path, base64.b64encode(path.read_bytes()).decode(), signature.sha256)


def key_id(raw_public_key: bytes) -> str:
    """Return the name of a key: the SHA-256 of its 32 bytes."""
    return hashlib.sha256(raw_public_key).hexdigest()


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
