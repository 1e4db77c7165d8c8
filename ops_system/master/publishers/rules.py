"""What a publisher's key and signature may look like: pure."""

import base64
import binascii
from datetime import datetime

import msgspec

from ops_system.model.errors import Invalid
from ops_system.model.packages import NAME

SIGNATURE_HEADER = "X-Ops-Signature"
_KEY_BYTES = 32
_MAX_SIGNATURE_CHARS = 8192
_HOW = "send the content of ZIP.sig in base64 (pack-tool sign makes it, pack-tool push sends it)"
_HOW_KEY = "give the content of the .pub file that pack-tool keygen wrote, or its 32 bytes in base64"
_PEM_HEAD, _PEM_TAIL = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
_ED25519_PREFIX = bytes.fromhex("302a300506032b6570032100")  # SubjectPublicKeyInfo before the raw key, RFC 8410


class PublisherKey(msgspec.Struct, frozen=True):
    """A trusted key. `id` is the SHA-256 (hex) of the raw key, `public_key` its base64."""

    id: str
    name: str
    public_key: str
    created_at: datetime
    created_by: str


class NewPublisherKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to trust: the content of the `.pub` file that `pack-tool keygen` wrote, or its 32 bytes in base64."""

    name: str
    public_key: str


class Presented(msgspec.Struct, frozen=True):
    """The content of `ZIP.sig`, as `pack-tool sign` writes it."""

    name: str
    version: str
    sha256: str
    size_bytes: int
    key_id: str
    public_key: str
    signature: str
    algorithm: str = "ed25519"


def read_signature(text: str) -> Presented:
    """Return the signature in a header or field. Raises `Invalid`."""
    if len(text) > _MAX_SIGNATURE_CHARS:
        raise _refuse("signature", f"more than {_MAX_SIGNATURE_CHARS} characters", _HOW)
    try:
        found = msgspec.json.decode(base64.b64decode(text, validate=True), type=Presented)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as problem:
        raise _refuse("signature", str(problem), _HOW) from problem
    if found.algorithm != "ed25519":
        raise _refuse("signature", f"algorithm {found.algorithm!r} is not ed25519", _HOW)
    return found


def read_public_key(text: str) -> bytes:
    """Return the raw 32 bytes of a key in PEM or base64. Raises `Invalid`."""
    body, is_pem = text.strip(), False
    if body.startswith(_PEM_HEAD) and body.endswith(_PEM_TAIL):
        body, is_pem = "".join(body.removeprefix(_PEM_HEAD).removesuffix(_PEM_TAIL).split()), True
    try:
        raw = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as problem:
        raise _refuse("public_key", str(problem), _HOW_KEY) from problem
    if is_pem and raw.startswith(_ED25519_PREFIX):
        raw = raw.removeprefix(_ED25519_PREFIX)
    if len(raw) != _KEY_BYTES:
        raise _refuse("public_key", "this is no Ed25519 public key", _HOW_KEY)
    return raw


def check_name(name: str) -> None:
    """Raise `Invalid` for a name that packages could not have either."""
    if not NAME.match(name):
        problem = "$.name: 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit"
        raise Invalid(problem, problems=[problem])


def _refuse(field: str, why: str, how: str) -> Invalid:
    problem = f"$.{field}: {why}"
    return Invalid(f"{problem}; {how}", problems=[problem])
