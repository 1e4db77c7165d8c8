"""Where a request comes from: the socket's own word, and what a configured proxy says on top (trust S11). Pure.

`X-Forwarded-For` is a list to which each proxy adds the address it saw, at the right. It is read from the right, as far
as the addresses are configured proxies: the first that is none is the client, whatever stands left of it.
"""

import functools
import ipaddress
from collections.abc import Sequence

import msgspec
from aiohttp import web
from multidict import MultiMapping

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_REMEMBERED = 1024  # addresses: the same few call again and again
_SIGNS = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Forwarded", "Via")


class Client(msgspec.Struct, frozen=True):
    """Who is at the other end. `is_secure`: the client's own hop is TLS. `is_local`: a program of this machine.

    `is_tls` and `is_local` are what the socket itself shows: no header makes them true.
    """

    address: str
    is_secure: bool
    is_tls: bool
    is_local: bool


CLIENT = web.RequestKey("client", Client)


def client_of(request: web.Request) -> Client:
    """Return what the front noted of a request."""
    return request[CLIENT]


def read_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return checked addresses and networks (`10.0.0.7`, `10.0.0.0/24`, `fd00::/8`) ready to compare."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def find_client(peer: str, *, is_tls: bool, headers: MultiMapping[str], proxies: Sequence[Network]) -> Client:
    """Return the client behind a socket whose other end is `peer`.

    A request that shows any sign of having been forwarded is not local, also where the proxy is not configured: a proxy
    on this machine would otherwise make the whole network local.
    """
    is_local = is_loopback(peer) and not any(sign in headers for sign in _SIGNS)
    if not _is_of(peer, proxies):
        return Client(peer, is_tls, is_tls, is_local)
    hops = [hop.strip() for hop in ",".join(headers.getall("X-Forwarded-For", [])).split(",")]
    scheme = headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    is_secure = {"https": True, "http": False}.get(scheme, is_tls)
    return Client(_rightmost_stranger(peer, hops, proxies), is_secure, is_tls, is_local)


def is_loopback(address: str) -> bool:
    """True for an address of this machine's loopback."""
    parsed = _parse(address)
    return parsed is not None and parsed.is_loopback


def _rightmost_stranger(peer: str, hops: Sequence[str], proxies: Sequence[Network]) -> str:
    """Walk from the peer outwards. What is no address ends the walk: the hop before it is the last that is known."""
    current = peer
    for hop in reversed(hops):
        if not _is_of(current, proxies):
            break
        parsed = _parse(_without_port(hop))
        if parsed is None:
            break
        current = str(parsed)
    return current


def _without_port(hop: str) -> str:
    """Return `192.0.2.1` of `192.0.2.1:4711`, `2001:db8::1` of `[2001:db8::1]:4711`, as some proxies write."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _is_of(address: str, networks: Sequence[Network]) -> bool:
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks)


@functools.lru_cache(maxsize=_REMEMBERED)
def _parse(address: str) -> Address | None:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
