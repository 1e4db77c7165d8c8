"""Calls a URL that an operator typed, or dials a host: only what `rules` permits, bounded in time and size (trust S18).

The address is judged when its socket is made, so that a name that answers differently the second time changes nothing.
No proxy of the environment, no cookies, nothing unpacked; redirects stay on the host, at most three, each judged anew.
"""

import asyncio
import hashlib
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver

from ops_system.master.outbound.rules import Listener, Target, read_allowance, read_url, refusal
from ops_system.model.errors import Forbidden, OpsError, TimedOut, Unavailable, UsageError

WITHIN_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_REDIRECTS = 3
_FOLLOWED = frozenset({301, 302, 307, 308})  # with the same method and body; 303 would turn a message into a GET
_IN_ALLOW = "an administrator can permit it in outbound.allow"

T = TypeVar("T")
AddrInfo = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `body` has at most `MAX_ANSWER_BYTES`, as sent: never shown to anybody, only looked into."""

    status: int
    body: bytes


class Outbound:
    """One per master. `allow` is `outbound.allow`; `own` tells where the master itself listens by now.

    `ca_file` (PEM) is trusted beside the system's authorities. Raises `UsageError` for what will not do.
    """

    def __init__(
        self,
        *,
        allow: Iterable[str] = (),
        ca_file: str = "",
        own: Callable[[], Listener] = Listener,
        make_resolver: Callable[[], AbstractResolver] = aiohttp.ThreadedResolver,
        within_s: float = WITHIN_S,
    ) -> None:
        self._allowances = tuple(read_allowance(text) for text in allow)
        self._own = own
        self._make_resolver = make_resolver
        self.within_s = within_s
        self.tls = _trust(ca_file)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send `body` and return the answer, whatever its status.

        Raises `Invalid` (the URL), `Forbidden` (refused address or redirect), `TimedOut`, `Unavailable`, each with
        `details["reason"]`; no message repeats the URL's path, which may hold a token.
        """
        try:
            async with asyncio.timeout(self.within_s):
                return await self._follow(url, body, headers)
        except TimeoutError as problem:
            raise self._late(str(read_url(url))) from problem

    async def ask(
        self, method: str, url: str, *, body: bytes | None, headers: Mapping[str, str], certificate_sha256: str = ""
    ) -> Answer:
        """Send one request and return the answer, whatever its status; no redirect is followed.

        `certificate_sha256` (hex) takes the place of the authorities: only the server that shows it is believed.
        Raises as `post`; a server with another certificate gives `Unavailable`, reason `certificate_changed`.
        """
        pin = aiohttp.Fingerprint(bytes.fromhex(certificate_sha256)) if certificate_sha256 else self.tls
        try:
            async with asyncio.timeout(self.within_s):
                return (await self._ask(url, body, headers, method=method, tls=pin))[0]
        except TimeoutError as problem:
            raise self._late(str(read_url(url))) from problem

    async def certificate_of(self, host: str, port: int) -> str:
        """Return the SHA-256 (hex) of the certificate that a server shows, whoever issued it: for people to compare.

        Nothing is sent but the handshake. Raises `Forbidden`, `TimedOut`, `Unavailable`.
        """
        made = await self.dial(host, port)
        try:
            return await asyncio.to_thread(_shown_certificate, made, self.within_s)
        except TimeoutError as problem:
            raise self._late(f"{host}:{port}") from problem
        except (OSError, ValueError) as problem:
            raise Unavailable(f"{host}:{port} speaks no TLS", reason="tls_failed") from problem

    async def address_of(self, host: str, port: int) -> str:
        """Return the first address of `host` that may be called, for protocols that are not spoken here.

        Raises `Forbidden`, `TimedOut`, `Unavailable`.
        """
        guard = _Guard(Target("udp", host.lower(), port), self)
        try:
            async with asyncio.timeout(self.within_s):
                found = await self._addresses(guard)
        except TimeoutError as problem:
            raise self._late(f"{host}:{port}") from problem
        fault: Exception = OSError("the name has no address")
        for family, address in found:
            try:
                guard.make_socket((family, socket.SOCK_DGRAM, 0, "", address)).close()
            except OSError as refused:
                fault = refused
            else:
                return address[0]
        raise guard.explain(fault)

    async def dial(self, host: str, port: int) -> socket.socket:
        """Return a connected socket to the first address of `host` that may be called and answers.

        Raises `Forbidden`, `TimedOut`, `Unavailable`.
        """
        guard = _Guard(Target("tcp", host.lower(), port), self)
        try:
            async with asyncio.timeout(self.within_s):
                return await self._dial(guard)
        except TimeoutError as problem:
            raise self._late(f"{host}:{port}") from problem

    def refusal(self, host: str, address: str, port: int) -> str:
        """Return why this address may not be called, empty when it may."""
        return refusal(host, ipaddress.ip_address(address), port, self._allowances, self._own())

    def _late(self, where: str) -> TimedOut:
        return TimedOut(f"{where} gave no answer within {self.within_s:g} s", reason="outbound_timeout")

    # --- HTTP -----------------------------------------------------------------------------------------------------
    async def _follow(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        first = read_url(url)
        for _ in range(1 + MAX_REDIRECTS):
            answer, location = await self._ask(url, body, headers)
            if answer.status not in _FOLLOWED or not location:
                return answer
            url = urljoin(url, location)
            _check_redirect(first, url)
        raise Forbidden(f"{first} redirects more than {MAX_REDIRECTS} times", reason="redirect_refused")

    async def _ask(
        self,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        method: str = "POST",
        tls: ssl.SSLContext | aiohttp.Fingerprint | None = None,
    ) -> tuple[Answer, str]:
        guard = _Guard(read_url(url), self)
        sent = {"Accept-Encoding": "identity", "User-Agent": "ops-master", **headers}
        try:
            async with (
                aiohttp.ClientSession(
                    connector=guard.connector(self._make_resolver(), tls or self.tls),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                    trust_env=False,
                ) as session,
                session.request(method, url, data=body, headers=sent, allow_redirects=False) as response,
            ):
                told = await _read_some(response.content)
                return Answer(response.status, told), response.headers.get("Location", "")
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise guard.explain(problem) from problem

    # --- sockets --------------------------------------------------------------------------------------------------
    async def _dial(self, guard: "_Guard") -> socket.socket:
        problem: Exception = OSError("the name has no address")
        for family, address in await self._addresses(guard):
            try:
                made = guard.make_socket((family, socket.SOCK_STREAM, 0, "", address))
            except OSError as refused:
                problem = refused
                continue
            try:
                made.setblocking(False)
                await asyncio.get_running_loop().sock_connect(made, address)
            except OSError as failed:
                made.close()
                problem = failed
            except BaseException:
                made.close()
                raise
            else:
                return made
        raise guard.explain(problem)

    async def _addresses(self, guard: "_Guard") -> list[tuple[int, tuple[str, int]]]:
        host, port = guard.target.host, guard.target.port
        resolver = self._make_resolver()
        try:
            found = await resolver.resolve(host, port, socket.AF_UNSPEC)
        except OSError as problem:
            raise guard.explain(problem) from problem
        finally:
            await resolver.close()
        return [(one["family"], (one["host"], one["port"])) for one in found]


class _Guard:
    """Judges the addresses of one call, and says afterwards why it failed."""

    def __init__(self, target: Target, outbound: Outbound) -> None:
        self.target = target
        self._outbound = outbound
        self._refused = ""

    def connector(self, resolver: AbstractResolver, tls: ssl.SSLContext | aiohttp.Fingerprint) -> aiohttp.TCPConnector:
        """Return a connector that makes each socket here."""
        return aiohttp.TCPConnector(
            resolver=resolver, use_dns_cache=False, force_close=True, ssl=tls, socket_factory=self.make_socket
        )

    def make_socket(self, info: AddrInfo) -> socket.socket:
        """Return a socket for an address that may be called. Raises OSError: the next address is tried then."""
        family, kind, proto, _, address = info
        fault = self._outbound.refusal(self.target.host, address[0], self.target.port)
        if fault:
            self._refused = f"{address[0]} ({fault})"
            raise PermissionError(self._refused)
        return socket.socket(family, kind, proto)

    def explain(self, problem: Exception) -> OpsError:
        """Return what to tell people."""
        if self._refused:
            words = f"{self.target} is not called: it leads to {self._refused}; {_IN_ALLOW}"
            return Forbidden(words, reason="outbound_refused")
        if isinstance(problem, aiohttp.ServerFingerprintMismatch):
            seen = problem.got.hex()
            words = f"{self.target} shows another certificate than the pinned one: SHA-256 {seen}"
            return Unavailable(words, reason="certificate_changed", seen_sha256=seen)
        if isinstance(problem, aiohttp.ClientSSLError | ssl.SSLError):
            words = (
                f"{self.target} shows a certificate that is not trusted, or no TLS; outbound.ca_file adds authorities"
            )
            return Unavailable(words, reason="tls_failed")
        return Unavailable(f"{self.target} cannot be reached ({type(problem).__name__})", reason="unreachable")


async def _read_some(stream: aiohttp.StreamReader) -> bytes:
    """Return the beginning of a body; the rest is never read."""
    told = bytearray()
    while len(told) < MAX_ANSWER_BYTES:
        piece = await stream.read(MAX_ANSWER_BYTES - len(told))
        if not piece:
            break
        told += piece
    return bytes(told)


def _check_redirect(first: Target, url: str) -> None:
    """Raise `Forbidden` unless the redirect stays on the host and does not give up TLS."""
    try:
        target = read_url(url)
    except OpsError as problem:
        raise Forbidden(f"{first} redirects to no http address", reason="redirect_refused") from problem
    if target.host != first.host or (first.scheme, target.scheme) == ("https", "http"):
        raise Forbidden(f"{first} redirects to {target}; only the same host is followed", reason="redirect_refused")


def _shown_certificate(made: socket.socket, within_s: float) -> str:
    """Blocking; closes the socket."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is believed here: people compare what is shown
    made.settimeout(within_s)
    with context.wrap_socket(made) as wrapped:
        return hashlib.sha256(wrapped.getpeercert(binary_form=True) or b"").hexdigest()


def _trust(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(Path(ca_file))
        except (OSError, ssl.SSLError) as problem:
            raise UsageError(
                "outbound.ca_file: {ca_file} holds no certificates in PEM ({problem})", ca_file=ca_file, problem=problem
            ) from problem
    return context
