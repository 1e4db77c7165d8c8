"""Joining a master with a one-time token. Called once by `app` when there is no identity yet.

    worker                                        master
      |  GET  /api/v1/worker/ca (not verified)      |
      |  <------------------------------ CA (PEM)   |   its key's hash must be the one in the token (S4)
      |                                             |   or one certificate this CA vouches for
      |  POST /api/v1/worker/enrol (verified) --->  |   only now the secret leaves this machine
      |  <-- node id, name, CA, package key, epoch  |

A token for another master, a used or wrong one, and an unsafe address are configuration errors (exit 2). A master that
is merely away is waited for.
"""

import asyncio
import contextlib
import ipaddress
import logging
import os
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from ops_system import __version__
from ops_system.model.errors import Unavailable, UsageError
from ops_system.model.ids import NodeId
from ops_system.model.nodes import Fingerprint
from ops_system.protocol.vouchers import Voucher
from ops_system.runtime.authorities import key_sha256
from ops_system.worker.identity import Identity
from ops_system.worker.tls import trust_for

if TYPE_CHECKING:
    import aiohttp

_log = logging.getLogger(__name__)

TLS_PORT = 8443
TIMEOUT_S = 15.0
_RETRY_FROM_S, _RETRY_UP_TO_S = 1.0, 10.0
_MAX_ANSWER_BYTES, _CHUNK_BYTES = 256 * 1024, 16 * 1024
_TOKEN_PARTS = 4
_HASH_LENGTH = 64
_LOCALE_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set counts (POSIX, 8.2)
_CHINESE = {
    "expired": "该接入令牌已过期",
    "used": "该接入令牌已用完",
    "other_machine": "该接入令牌属于另一台机器",
    "unknown": "主控端不认识该接入令牌（有误、已收回或早已过期）",
}
_CHINESE_REMEDY = "请新建一个：控制台“节点 > 添加节点”，或运行 ops-master join-token create"
_REFUSED = frozenset({400, 401, 403, 404, 409, 410, 415, 421, 422})


class JoinToken(msgspec.Struct, frozen=True):
    """`opsj1.<sha256 of the CA's public key>.<id>.<secret>`."""

    ca_key_sha256: str
    token_id: str
    secret: str

    def __repr__(self) -> str:
        return f"JoinToken({self.token_id})"


class EnrolRequest(msgspec.Struct, frozen=True):
    """Body of POST /worker/enrol."""

    token_id: str
    token_secret: str
    public_key: str
    name: str
    labels: dict[str, str]
    fingerprint: Fingerprint
    worker_version: str


class EnrolAnswer(msgspec.Struct, frozen=True):
    """What the master says to a good token."""

    node_id: NodeId
    node_name: str
    ca_pem: str
    signing_public_key: str
    epoch: int = 0


class Refusal(msgspec.Struct, frozen=True):
    """The error body of the API."""

    code: str = ""
    message: str = ""
    details: dict[str, Any] = {}


class CaAnswer(msgspec.Struct, frozen=True):
    """Answer of GET /worker/ca."""

    ca_pem: str
    voucher: Voucher | None = None


class Applicant(msgspec.Struct, frozen=True):
    """Who wants to join."""

    name: str
    labels: dict[str, str]
    public_key: str  # base64 of the raw Ed25519 key
    fingerprint: Fingerprint


def parse_join_token(text: str) -> JoinToken:
    """Return the token. Raises UsageError that does not repeat the text: it is a secret."""
    parts = text.strip().split(".")
    if len(parts) != _TOKEN_PARTS or parts[0] != "opsj1" or not all(parts):
        raise UsageError("-token is no join token (opsj1.….….…); make one with: ops-master join-token create")
    if len(parts[1]) != _HASH_LENGTH:
        raise UsageError("-token was cut or changed on the way; copy it again, whole")
    return JoinToken(ca_key_sha256=parts[1].lower(), token_id=parts[2], secret=parts[3])


def is_loopback(url: str) -> bool:
    """Return whether the URL's host is this machine itself, by its name."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def check_address(url: str, *, allow_plain_http: bool) -> str:
    """Return the master's URL without a trailing slash. Raises UsageError for plain http to another machine (S5)."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError("-master {url} is no address; write https://HOST:{port}", url=url, port=TLS_PORT)
    if parts.path not in {"", "/"} or parts.query or parts.username:
        raise UsageError(
            "-master {url}: only scheme, host and port; write {scheme}://{netloc}",
            url=url,
            scheme=parts.scheme,
            netloc=parts.netloc,
        )
    if parts.scheme == "https" or is_loopback(url):
        return url.rstrip("/")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if not allow_plain_http:
        raise UsageError(
            "-master {url} would send everything readable over the network; "
            "use https://{host}:{port}, or allow it with -allow_plain_http 1",
            url=url,
            host=host,
            port=TLS_PORT,
        )
    _log.warning("PLAIN HTTP to %s: commands and logs travel readable, and nobody proves to be the master", url)
    return url.rstrip("/")


async def enrol(
    url: str, token: JoinToken, applicant: Applicant, dice: Callable[[], float] = random.random
) -> Identity:
    """Join the master at `url` and return the identity, waiting for a master that is away.

    Raises UsageError when this token will never work here.
    """
    while True:
        try:
            return await enrol_once(url, token, applicant)
        except Unavailable as away:
            wait_s = _RETRY_FROM_S + dice() * (_RETRY_UP_TO_S - _RETRY_FROM_S)
            _log.warning("cannot join yet: %s; next try in %.0f s", away.message, wait_s)
            await asyncio.sleep(wait_s)


async def enrol_once(url: str, token: JoinToken, applicant: Applicant) -> Identity:
    """Try once. Raises Unavailable when the master is away, UsageError when it says no."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False, auto_decompress=False) as session:
        try:
            ca = await _fetch_pinned_ca(session, url, token)
            return await _apply(session, url, ca, token, applicant)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch) as problem:
            raise _wrong_certificate(url, problem) from problem
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise Unavailable(f"{url} does not answer ({str(problem) or type(problem).__name__})") from problem


async def fetch_ca(session: "aiohttp.ClientSession", url: str) -> CaAnswer:
    """Fetch the CA without trusting the connection: nothing of the answer may be believed before it is checked.

    Raises Unavailable, UsageError, and what aiohttp raises.
    """
    async with session.get(f"{url}/api/v1/worker/ca", ssl=False, allow_redirects=False) as answer:
        return _ca_in(await _body(answer))


async def _fetch_pinned_ca(session: "aiohttp.ClientSession", url: str, token: JoinToken) -> CaAnswer:
    """Fetch the CA and believe it by the hash that came with the token."""
    ca = await fetch_ca(session, url)
    try:
        found = key_sha256(ca.ca_pem)
    except ValueError as problem:
        raise UsageError("{url} does not answer like an ops master; check -master", url=url) from problem
    if found != token.ca_key_sha256:
        raise UsageError(
            "{url} is not the master this token was made for; nothing was sent to it. Check -master", url=url
        )
    return ca


def _ca_in(body: bytes) -> CaAnswer:
    """Return the PEM, alone or inside JSON."""
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.json.decode(body, type=CaAnswer)
    return CaAnswer(body.decode(errors="replace"))


async def _apply(
    session: "aiohttp.ClientSession", url: str, ca: CaAnswer, token: JoinToken, applicant: Applicant
) -> Identity:
    request = EnrolRequest(
        token_id=token.token_id,
        token_secret=token.secret,
        public_key=applicant.public_key,
        name=applicant.name,
        labels=applicant.labels,
        fingerprint=applicant.fingerprint,
        worker_version=__version__,
    )
    async with session.post(
        f"{url}/api/v1/worker/enrol",
        data=msgspec.json.encode(request),
        headers={"Content-Type": "application/json"},
        ssl=trust_for(url, ca.ca_pem, ca.voucher),
        allow_redirects=False,
    ) as answer:
        found = _decode_answer(url, await _body(answer))
    return Identity(
        node_id=found.node_id,
        node_name=found.node_name,
        master_url=url,
        ca_pem=ca.ca_pem,
        signing_public_key=found.signing_public_key,
        enrolled_at=datetime.now(UTC),
        epoch=found.epoch,
    )


async def _body(answer: "aiohttp.ClientResponse") -> bytes:
    """Return a good answer's body. Raises Unavailable or UsageError with the master's own words."""
    body = b""
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            raise UsageError("{url} does not answer like an ops master; check -master", url=answer.url.origin())
    if answer.ok:
        return body
    refusal = Refusal()
    with contextlib.suppress(msgspec.MsgspecError):
        refusal = msgspec.json.decode(body, type=Refusal)
    words = refusal.message or f"HTTP {answer.status}"
    if answer.status in _REFUSED:
        chinese = in_chinese(str(refusal.details.get("reason", "")), os.environ)
        raise UsageError(
            "{url} refuses to let this node join: {words}{chinese}",
            url=answer.url.origin(),
            words=words,
            chinese=chinese,
        )
    raise Unavailable(f"{answer.url.origin()} cannot let this node join now: {words}")


def in_chinese(reason: str, environ: Mapping[str, str]) -> str:
    """Return the refusal of a join token once more for a console set to Chinese; empty for any other."""
    locale = next((environ[name] for name in _LOCALE_VARIABLES if environ.get(name)), "")
    if not locale.startswith("zh") or reason not in _CHINESE:
        return ""
    return f" / {_CHINESE[reason]}；{_CHINESE_REMEDY}"


def _decode_answer(url: str, body: bytes) -> EnrolAnswer:
    try:
        return msgspec.json.decode(body, type=EnrolAnswer)
    except msgspec.MsgspecError as problem:
        raise UsageError(
            "{url} does not answer like an ops master ({problem}); check -master", url=url, problem=problem
        ) from problem


def _wrong_certificate(url: str, problem: Exception) -> UsageError:
    return UsageError(
        "the certificate at {url} does not hold for that address ({problem}); use "
        "an address the master knows as its own, or name it as server.public_url in the master's config.yaml",
        url=url,
        problem=problem,
    )
