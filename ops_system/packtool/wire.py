"""The pack tool's way to a master: one connection, one question, one answer. Used by `push` and `resume`.

The standard library's client is enough, and keeps the executable small.
"""

import contextlib
import http.client
import ipaddress
import ssl
from urllib.parse import urlsplit

import msgspec

from ops_system.model.errors import OpsError, Unavailable, UsageError
from ops_system.model.kinds import Secret
from ops_system.packtool.words import Words
from ops_system.runtime.authorities import fetch_ca, key_sha256

TIMEOUT_S = 60.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024


class Master(msgspec.Struct, frozen=True):
    """Where to and how. `ca_file` and `ca_key_sha256` (hex, of the key's DER) say whom to trust; empty: the system."""

    url: str
    token: Secret
    ca_file: str = ""
    ca_key_sha256: str = ""
    is_plain_allowed: bool = False


class Answer(msgspec.Struct, frozen=True):
    """What the master said."""

    status: int
    body: bytes


def refuse_plain(master: Master, words: Words) -> None:
    """Raise UsageError where the token would travel readable over a network."""
    parts = urlsplit(master.url)
    if parts.scheme == "http" and not master.is_plain_allowed and not _is_loopback(parts.hostname or ""):
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        raise UsageError(words.say("push.plain", url=master.url, host=host))


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def connect(master: Master, words: Words) -> http.client.HTTPConnection:
    """Return a connection to the master; it opens with the first question. Raises UsageError."""
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
        raise UsageError("--ca {ca_file}: {error}", ca_file=master.ca_file, error=error) from error


def _fetch_ca(master: Master, words: Words) -> str:
    try:
        ca_pem = fetch_ca(master.url, TIMEOUT_S)
        if key_sha256(ca_pem) == master.ca_key_sha256.lower():
            return ca_pem
    except (OSError, http.client.HTTPException) as error:
        raise away(master.url, error, words) from error
    except ValueError:
        pass  # no certificate at all is another one, too
    raise UsageError(words.say("push.other_ca", url=master.url))


def ask(
    connection: http.client.HTTPConnection,
    master: Master,
    path: str,
    words: Words,
    *,
    body: bytes | None = None,
) -> Answer:
    """Ask by GET, with a JSON `body` by POST. Raises Unavailable when nobody answers."""
    headers = {"Accept": "application/json", "Authorization": f"Bearer {master.token.reveal()}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        return read_answer(connection)
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise away(master.url, error, words) from error


def read_answer(connection: http.client.HTTPConnection) -> Answer:
    """Read the answer to what was sent."""
    response = connection.getresponse()
    return Answer(response.status, response.read(MAX_ANSWER_BYTES))


def away(url: str, error: Exception, words: Words) -> OpsError:
    """Return what an error of the connection is to people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unavailable(words.say("push.certificate", url=url, problem=error.verify_message))
    return Unavailable(words.say("push.away", url=url, problem=name_of(error)))


def name_of(error: Exception) -> str:
    """Return the error's words, or its kind where it has none."""
    return str(error) or type(error).__name__
