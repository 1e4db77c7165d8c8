"""Who this worker is: the node key, and what the master said at enrolment. Made by `enrol`, read by `app`.

Both stand in `work_dir`:

    node.key    Ed25519 private key, 0600, PKCS#8 PEM; made before the first enrolment is tried
    node.json   `Identity`, 0600; its presence means enrolled
"""

import base64
import contextlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ops_system.model.errors import SafetyRefusal
from ops_system.model.ids import NodeId
from ops_system.runtime.files import remove_durably, write_atomic

if TYPE_CHECKING:  # 6 MB of cryptography are loaded when the first key is
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_FILE = "node.key"
IDENTITY_FILE = "node.json"
LOCK_FILE = "lock"  # held by the running worker


class Identity(msgspec.Struct, frozen=True):
    """What a worker must remember to come back. `ca_pem` is what it trusts on https; pinned at enrolment."""

    node_id: NodeId
    node_name: str
    master_url: str
    ca_pem: str
    signing_public_key: str  # base64 of the raw Ed25519 key that signs packages
    enrolled_at: datetime
    epoch: int = 0


class NodeKey:
    """The node's private key. It never leaves this object but as signatures."""

    def __init__(self, key: "Ed25519PrivateKey") -> None:
        self._key = key

    def sign(self, text: bytes) -> bytes:
        """Return the Ed25519 signature (RFC 8032) of `text`."""
        return self._key.sign(text)

    def public_text(self) -> str:
        """Return the public key, raw, in base64."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()


def load_identity(work_dir: Path) -> Identity | None:
    """Return who this worker is, None when it never enrolled. A damaged file is refused: a second node is no repair."""
    path = work_dir / IDENTITY_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as problem:
        raise SafetyRefusal(
            "{path} cannot be read ({problem}); restore it from a copy, or remove it and join again with a new token",
            path=path,
            problem=problem,
        ) from problem


def save_identity(work_dir: Path, identity: Identity) -> None:
    """Write the identity, 0600, whole or not at all."""
    write_atomic(work_dir / IDENTITY_FILE, msgspec.json.format(msgspec.json.encode(identity), indent=2))


def load_key(work_dir: Path) -> NodeKey:
    """Return the node key. Raises SafetyRefusal when it is missing or damaged."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = work_dir / KEY_FILE
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as problem:
        raise SafetyRefusal(
            "the node key {path} cannot be read ({problem}); "
            "restore it from a copy, or remove it together with {identity} and join again with a new token",
            path=path,
            problem=problem,
            identity=IDENTITY_FILE,
        ) from problem
    if not isinstance(key, Ed25519PrivateKey):
        raise SafetyRefusal("{path} holds a key of another kind; an Ed25519 key is wanted", path=path)
    return NodeKey(key)


def key_place(work_dir: Path) -> str:
    """Return which file the node key is; a copy of the folder on the same machine has another."""
    try:
        found = (work_dir / KEY_FILE).stat()
    except OSError:
        return ""
    return f"{found.st_dev:x}-{found.st_ino:x}"


def load_or_make_key(work_dir: Path) -> NodeKey:
    """Return the node key, making it at the first call."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = work_dir / KEY_FILE
    if not path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomic(path, pem)
    return load_key(work_dir)


def forget_identity(work_dir: Path) -> None:
    """Remove identity and key; the identity first, so that a crash in between leaves a worker that must join again."""
    remove_durably(work_dir / IDENTITY_FILE)
    with contextlib.suppress(FileNotFoundError):
        remove_durably(work_dir / KEY_FILE)
