"""The chain's arithmetic and what may stand in a row. Pure.

`hash = SHA-256(previous hash ‖ canonical row)`; the first row's previous hash is 32 zero bytes. The canonical row is
the compact JSON array `[seq, at_ms, actor_kind, actor_id, actor_name, action, target, outcome, details]` in UTF-8,
`details` being the stored text.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from ops_system.master.web.route import ListQuery

GENESIS = bytes(32)
HIDDEN = "(hidden)"
MAX_TEXT = 2000

_SECRET_KEY = re.compile(
    r"passw|secret|token|authoriz|cookie|api_?key|private|credential|totp|csrf|(^|_)(sk|code|key)$", re.IGNORECASE
)
_HARMLESS_KEY = re.compile(r"_(id|ids|name|count|uses|ttl)$|^(exit_code|code_name)$", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"\b(opsj1\.[0-9a-f]{64}\.[^\s.]+\.|ops_)[A-Za-z0-9_-]{16,}")
_SECRET_FLAG = re.compile(r"((?:--?|\b)[\w-]*(?:passw\w*|secret|token|api[_-]?key)[ =:]\s*)(\S+)", re.IGNORECASE)


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One row without its hash, in canonical order."""

    seq: int
    at_ms: int
    actor_kind: str
    actor_id: str
    actor_name: str
    action: str
    target: str
    outcome: str
    details: str


class AuditRow(msgspec.Struct, frozen=True):
    """A row as the API shows it. `outcome`: done, denied or failed."""

    seq: int
    at: datetime
    actor_kind: str
    actor_id: str
    actor_name: str
    action: str
    target: str
    outcome: str
    details: dict[str, Any]
    hash: str


class AuditQuery(ListQuery, frozen=True, rename={"from_at": "from", "to_at": "to"}):
    """Filters of the list. `action` is a prefix (`user.`); `from` and `to` are RFC 3339 stamps, `to` exclusive."""

    actor: str = ""
    action: str = ""
    target: str = ""
    outcome: Literal["", "done", "denied", "failed"] = ""
    from_at: datetime | None = None
    to_at: datetime | None = None


class Verdict(msgspec.Struct, frozen=True):
    """Whether the chain holds. `first_bad` is the seq of the first row that does not fit, or None."""

    ok: bool
    rows: int
    first_bad: int | None


def link(previous: bytes, entry: Entry) -> bytes:
    """Return the hash of `entry` standing behind `previous`."""
    return hashlib.sha256(previous + msgspec.json.encode(entry)).digest()


def check_links(start: bytes, after_seq: int, rows: Iterable[tuple[Entry, bytes]]) -> tuple[bytes, int | None]:
    """Follow the chain over `rows`; return the last hash and the first bad seq (a missing row: the next one)."""
    previous, seq = start, after_seq
    for entry, stored in rows:
        previous = link(previous, entry)
        if entry.seq != seq + 1 or previous != stored:
            return previous, entry.seq
        seq = entry.seq
    return previous, None


def spell_details(details: Mapping[str, Any]) -> str:
    """Return the text to store: sorted keys, secrets hidden, long texts cut."""
    return msgspec.json.encode(redact(dict(details)), order="deterministic").decode()


def redact(value: Any, key: str = "") -> Any:
    """Hide what looks like a secret, by its key or by its shape, at any depth."""
    if isinstance(value, Mapping):
        return {str(name): redact(inner, str(name)) for name, inner in value.items()}
    if key and value not in (None, "", True, False) and is_secret_key(key):
        return HIDDEN
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(inner) for inner in value]
    if isinstance(value, str):
        return redact_text(value)
    return value


def is_secret_key(key: str) -> bool:
    """True for a field name whose value must not be shown."""
    return bool(_SECRET_KEY.search(key)) and not _HARMLESS_KEY.search(key)


def redact_text(text: str) -> str:
    """Hide our own tokens and `--password X` in free text; cut it at 2000 characters."""
    shown = _SECRET_TEXT.sub(rf"\g<1>{HIDDEN}", text)
    shown = _SECRET_FLAG.sub(rf"\g<1>{HIDDEN}", shown)
    return shown if len(shown) <= MAX_TEXT else shown[:MAX_TEXT] + "…"
