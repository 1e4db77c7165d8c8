"""A package: name + version, immutable, content-addressed by the SHA-256 of its zip."""

import re
from datetime import datetime

import msgspec

from ops_system.model.manifest import Manifest

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
NAME = re.compile(NAME_PATTERN.replace("$", r"\Z"))


class PublisherSignature(msgspec.Struct, frozen=True):
    """By which key a publisher signed a package: Ed25519 over `publisher_text`; `key_id` is the key's SHA-256 in hex.

    `public_key` and `signature` are base64 of the raw bytes.
    """

    key_id: str
    public_key: str
    signature: str


class PackageRef(msgspec.Struct, frozen=True):
    """What a worker needs to fetch and verify one package.

    `signature` is the master's Ed25519 signature (base64) over `signed_text(ref)`; `publisher` the publisher's own.
    """

    name: str
    version: str
    sha256: str
    size_bytes: int
    signature: str
    publisher: PublisherSignature | None = None


class Package(msgspec.Struct, frozen=True):
    """A package as the API shows it. `tags`, `note`, `is_pinned` are what people wrote on it, `marked_*` the last."""

    name: str
    version: str
    sha256: str
    size_bytes: int
    manifest: Manifest
    created_at: datetime
    created_by: str
    publisher: PublisherSignature | None = None
    tags: tuple[str, ...] = ()
    note: str = ""
    is_pinned: bool = False
    marked_at: datetime | None = None
    marked_by: str = ""


def signed_text(name: str, version: str, sha256: str, size_bytes: int) -> bytes:
    """Return the exact bytes the master signs at upload and the worker verifies before unpacking and starting."""
    return f"ops-package-v1\n{name}\n{version}\n{sha256}\n{size_bytes}\n".encode()


def publisher_text(name: str, version: str, sha256: str, size_bytes: int) -> bytes:
    """Return the exact bytes a publisher signs with a key of their own, beside the package."""
    return f"ops-publisher-v1\n{name}\n{version}\n{sha256}\n{size_bytes}\n".encode()
