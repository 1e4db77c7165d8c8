"""A package: name + version, immutable, content-addressed by the SHA-256 of its zip."""

import re
from datetime import datetime

import msgspec

from ops_system.model.manifest import Manifest

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
NAME = re.compile(NAME_PATTERN.replace("$", r"\Z"))


class PackageRef(msgspec.Struct, frozen=True):
    """What a worker needs to fetch and verify one package.

    `signature` is the master's Ed25519 signature (base64) over `signed_text(ref)`.
    """

    name: str
    version: str
    sha256: str
    size_bytes: int
    signature: str


class Package(msgspec.Struct, frozen=True):
    """A package as the API shows it."""

    name: str
    version: str
    sha256: str
    size_bytes: int
    manifest: Manifest
    created_at: datetime
    created_by: str


def signed_text(name: str, version: str, sha256: str, size_bytes: int) -> bytes:
    """Return the exact bytes the master signs at upload and the worker verifies before unpacking and starting."""
    return f"ops-package-v1\n{name}\n{version}\n{sha256}\n{size_bytes}\n".encode()


def publisher_text(name: str, version: str, sha256: str, size_bytes: int) -> bytes:
    """Return the exact bytes a publisher signs with a key of their own, beside the package."""
    return f"ops-publisher-v1\n{name}\n{version}\n{sha256}\n{size_bytes}\n".encode()
