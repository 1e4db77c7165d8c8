"""Uploads a package over HTTP: asks first whether it is there, then streams it once.

    GET  /api/v1/packages/NAME/VERSION   200 same sha256: done · 200 other: conflict · 404: go on
    POST /api/v1/packages                201 new · 200 same bytes · 409 other bytes · 401, 403, 413, 422: the reason

`ZIP.sig`, where it lies beside the zip, travels along in base64 as X-Ops-Signature.

The standard library's client is enough, and keeps the executable small.
"""

import base64
import contextlib
import hashlib
import http.client
import ipaddress
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from ops_system.cli import Secret
from ops_system.model.errors import (
    Conflict,
    Forbidden,
    Invalid,
    OpsError,
    Unauthenticated,
    Unavailable,
    UsageError,
)
from ops_system.model.quantities import format_size
from ops_system.packtool.archive import Built
from ops_system.packtool.sign import is_good, read_signature, signature_path
from ops_system.packtool.words import Words

TIMEOUT_S = 60.0
PIECE_BYTES = 256 * 1024
MAX_ANSWER_BYTES = 4 * 1024 * 1024
_CREATED, _UNAUTHENTICATED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _INVALID = 201, 401, 403, 404, 409, 422
_OK = 200


class Master(msgspec.Struct, frozen=True):
    """Where to and how. `ca_file` and `ca_key_sha256` (hex, of the key's DER) say whom to trust; empty: the system."""

    url: str
    token: Secret
    ca_file: str = ""
    ca_key_sha256: str = ""
    is_plain_allowed: bool = False


class _Stored(msgspec.Struct, frozen=True):
    sha256: str


class _Refusal(msgspec.Struct, frozen=True):
    message: str = ""
    details: dict[str, object] = {}


class _CaAnswer(msgspec.Struct, frozen=True):
    ca_pem: str


class _Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes


def push_package(master: Master, built: Built, words: Words, progress: Callable[[int], None]) -> str:
    """Bring the package to the master; return the words for what happened.

    Raises UsageError, Unauthenticated, Forbidden, Conflict, Invalid, Unavailable.
    """
    _refuse_plain(master, words)
    names = {"name": built.manifest.name, "version": built.manifest.version}
    with contextlib.closing(_connect(master, words)) as connection:
        path = f"/api/v1/packages/{quote(names['name'])}/{quote(names['version'])}"
        found = _judge(_ask(connection, master, path, words), built, words)
        if found:
            return found
        answer = _send(connection, master, built, words, progress)
    if answer.status == _CREATED:
        return words.say("pushed", **names, sha256=built.sha256)
    if answer.status == _OK:
        return words.say("pushed.same", **names)
    raise _refusal(answer, built, words)


def _read_own_signature(built: Built, words: Words) -> str:
    """Return the base64 of `ZIP.sig`, empty when there is none. Raises Invalid when it is for other bytes."""
    path = signature_path(built.path)
    if not path.exists():
        return ""
    if not is_good(read_signature(path), built.sha256, built.size_bytes):
        raise Invalid(words.say("signature.bad", path=path))
    return base64.b64encode(path.read_bytes()).decode()


def _judge(answer: _Answer, built: Built, words: Words) -> str:
    """What the master's answer to "is it there?" means: done, or an empty text to go on."""
    if answer.status in {_UNAUTHENTICATED, _FORBIDDEN}:
        raise _refusal(answer, built, words)
    if answer.status != _OK:
        return ""
    names = {"name": built.manifest.name, "version": built.manifest.version}
    try:
        stored = msgspec.json.decode(answer.body, type=_Stored)
    except msgspec.MsgspecError:
        return ""
    if stored.sha256 != built.sha256:
        raise Conflict(words.say("push.conflict", **names))
    return words.say("pushed.same", **names)


def _refusal(answer: _Answer, built: Built, words: Words) -> OpsError:
    refusal = _Refusal()
    with contextlib.suppress(msgspec.MsgspecError):
        refusal = msgspec.json.decode(answer.body, type=_Refusal)
    match answer.status:
        case 401:
            return Unauthenticated(words.say("push.token"))
        case 403 if refusal.details.get("wanted") == "publisher":
            return Forbidden(refusal.message)
        case 403:
            return Forbidden(f"{words.say('push.forbidden')} ({refusal.message})")
        case 409:
            return Conflict(words.say("push.conflict", name=built.manifest.name, version=built.manifest.version))
        case 422:
            found = refusal.details.get("problems", [])
            problems = [str(problem) for problem in found] if isinstance(found, list) else []
            return Invalid(refusal.message, problems=problems)
    return Unavailable(words.say("push.answer", status=answer.status, message=refusal.message or "-"))


# --- connection ------------------------------------------------------------------------------------------------------
def _refuse_plain(master: Master, words: Words) -> None:
    parts = urlsplit(master.url)
    if parts.scheme == "http" and not master.is_plain_allowed and not _is_loopback(parts.hostname or ""):
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        raise UsageError(words.say("push.plain", url=master.url, host=host))


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _connect(master: Master, words: Words) -> http.client.HTTPConnection:
    parts = urlsplit(master.url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
    return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=_tls(master, words))


def _tls(master: Master, words: Words) -> ssl.SSLContext:
    if master.ca_key_sha256:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=_fetch_ca(master, words))
        return context
    try:
        return ssl.create_default_context(cafile=master.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"--ca {master.ca_file}: {error}") from error


def _fetch_ca(master: Master, words: Words) -> str:
    """Ask for the CA without trusting the connection, and believe it only by the hash of its key."""
    parts = urlsplit(master.url)
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S, context=blind)
    with contextlib.closing(connection):
        answer = _ask(connection, None, "/api/v1/worker/ca", words, url=master.url)
    ca_pem = answer.body.decode(errors="replace")
    with contextlib.suppress(msgspec.MsgspecError):
        ca_pem = msgspec.json.decode(answer.body, type=_CaAnswer).ca_pem
    if _key_sha256(ca_pem) != master.ca_key_sha256.lower():
        raise UsageError(words.say("push.other_ca", url=master.url))
    return ca_pem


def _key_sha256(ca_pem: str) -> str:
    """SHA-256 of the certificate's SubjectPublicKeyInfo, as in join tokens; empty when this is no certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        key = x509.load_pem_x509_certificate(ca_pem.encode()).public_key()
    except ValueError:
        return ""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _ask(
    connection: http.client.HTTPConnection, master: Master | None, path: str, words: Words, *, url: str = ""
) -> _Answer:
    headers = {"Accept": "application/json"}
    if master is not None:
        headers["Authorization"] = f"Bearer {master.token.reveal()}"
    try:
        connection.request("GET", path, headers=headers)
        return _read(connection)
    except (OSError, http.client.HTTPException) as error:
        raise _away(master.url if master else url, error, words) from error


def _send(
    connection: http.client.HTTPConnection,
    master: Master,
    built: Built,
    words: Words,
    progress: Callable[[int], None],
) -> _Answer:
    signature, sent_bytes = _read_own_signature(built, words), 0
    try:
        connection.putrequest("POST", "/api/v1/packages", skip_accept_encoding=True)
        connection.putheader("Authorization", f"Bearer {master.token.reveal()}")
        connection.putheader("Content-Type", "application/zip")
        connection.putheader("Content-Length", str(built.size_bytes))
        if signature:
            connection.putheader("X-Ops-Signature", signature)
        connection.endheaders()
        try:
            sent_bytes = _stream(connection, built.path, progress)
        except (ConnectionError, ssl.SSLError) as broken:
            return _last_words(connection, broken)
        return _read(connection)
    except (OSError, http.client.HTTPException) as error:
        sizes = {"sent": format_size(sent_bytes), "total": format_size(built.size_bytes)}
        raise Unavailable(words.say("push.cut", **sizes, problem=_name(error))) from error


def _last_words(connection: http.client.HTTPConnection, broken: OSError) -> _Answer:
    """A server that refuses answers and closes while we still send; its answer says more than the broken pipe."""
    try:
        return _read(connection)
    except (OSError, http.client.HTTPException):
        raise broken from None


def _stream(connection: http.client.HTTPConnection, path: Path, progress: Callable[[int], None]) -> int:
    sent_bytes = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            connection.send(piece)
            sent_bytes += len(piece)
            progress(sent_bytes)
    return sent_bytes


def _read(connection: http.client.HTTPConnection) -> _Answer:
    response = connection.getresponse()
    return _Answer(response.status, response.read(MAX_ANSWER_BYTES))


def _away(url: str, error: Exception, words: Words) -> OpsError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unavailable(words.say("push.certificate", url=url, problem=error.verify_message))
    return Unavailable(words.say("push.away", url=url, problem=_name(error)))


def _name(error: Exception) -> str:
    return str(error) or type(error).__name__
