"""Which addresses the master may call on somebody's behalf: pure (trust S18).

Refused are this machine (loopback, unspecified), its link, groups, what no host can have, the metadata services of
clouds, and the master's own listeners; also where such an IPv4 address hides in an IPv6 one. `outbound.allow` lifts it.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import msgspec

from ops_system.model.errors import Invalid, UsageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL_CHARS = 2048
MAX_PORT = 65535
_PORTS = {"http": 80, "https": 443}
_METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "192.0.0.192", "fd00:ec2::254")))
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291, section 2.5.5.1
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214: the interface identifier ends in an IPv4 address


class Target(msgspec.Struct, frozen=True):
    """Where a URL leads."""

    scheme: str
    host: str  # lower case, without brackets
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Allowance(msgspec.Struct, frozen=True):
    """One entry of `outbound.allow`: a host name or a network, on every port or on one."""

    host: str = ""
    network: Network | None = None
    port: int | None = None

    def covers(self, host: str, address: Address) -> bool:
        """Whether the entry names this host, or a network with this address."""
        if self.network is None:
            return self.host == host
        return any(one in self.network for one in [address, *embedded(address)] if one.version == self.network.version)


class Listener(msgspec.Struct, frozen=True):
    """Where the master itself answers: names and addresses, each on each port."""

    hosts: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset()

    def is_at(self, host: str, address: Address, port: int) -> bool:
        """Whether a call would reach the master itself."""
        forms = {host, str(address), *map(str, embedded(address))}
        return port in self.ports and not forms.isdisjoint(self.hosts)


def read_allowance(text: str) -> Allowance:
    """Return one entry: `HOST`, `ADDRESS`, `NETWORK/BITS`, each with `:PORT` if wanted. Raises `UsageError`."""
    entry = text.strip().lower()
    if (network := _network(entry.strip("[]"))) is not None:
        return Allowance(network=network)
    host, colon, port = entry.rpartition(":")
    if colon and not (port.isascii() and port.isdecimal() and 1 <= int(port) <= MAX_PORT):
        raise _refuse_entry(text)
    name = (host if colon else entry).strip("[]")
    found = _network(name)
    if not name or (found is None and not set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_")):
        raise _refuse_entry(text)
    return Allowance(host="" if found else name.rstrip("."), network=found, port=int(port) if colon else None)


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _refuse_entry(text: str) -> UsageError:
    return UsageError(
        "outbound.allow: {text!r} is neither a host name, an address nor a network such as 10.0.0.0/8", text=text
    )


def read_url(url: str) -> Target:
    """Return where a typed URL leads. Raises `Invalid`; the message does not repeat the URL, which may hold a token."""
    if len(url) > MAX_URL_CHARS:
        raise _refuse_url(f"more than {MAX_URL_CHARS} characters")
    if any(not char.isprintable() or char.isspace() or char == "\\" for char in url):
        raise _refuse_url("no spaces, control characters or backslashes")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as problem:
        raise _refuse_url("it cannot be read") from problem
    if parts.scheme not in _PORTS:
        raise _refuse_url("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise _refuse_url("no user name or password before the host")
    if not host or "%" in host or port == 0:
        raise _refuse_url("it names no host")
    return Target(parts.scheme, host.rstrip("."), port or _PORTS[parts.scheme])


def _refuse_url(why: str) -> Invalid:
    problem = f"$.url: {why}"
    return Invalid(problem, problems=[problem])


def embedded(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """Yield every IPv4 address that an IPv6 address carries: mapped, compatible, NAT64, 6to4, Teredo, ISATAP."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    is_isatap = (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
    if is_isatap or any(address in network for network in _NAT64) or (address in _COMPATIBLE and int(address) > 1):
        yield low


def fault_of_address(address: Address) -> str:
    """Return what speaks against calling an address, empty when nothing does."""
    for one in (address, *embedded(address)):
        kinds = {
            "this machine itself": one.is_loopback or one.is_unspecified or _is_this_network(one),
            "an address of the link": one.is_link_local or (one.version == 6 and one.is_site_local),  # noqa: PLR2004 - IPv6
            "a group of hosts": one.is_multicast,
            "the metadata service of a cloud": one in _METADATA,
            "a reserved address": one.version == 4 and one.is_reserved,  # noqa: PLR2004 - IPv4; 240.0.0.0/4, broadcast
        }
        found = next((words for words, is_so in kinds.items() if is_so), "")
        if found:
            return found
    return ""


def _is_this_network(address: Address) -> bool:
    return address in ipaddress.IPv4Network("0.0.0.0/8")


def refusal(host: str, address: Address, port: int, allowances: Iterable[Allowance], own: Listener) -> str:
    """Return why `address`, to which `host` resolved, may not be called; empty when it may.

    An own listener needs an entry of `outbound.allow` that names its port.
    """
    found = [entry for entry in allowances if entry.port in {None, port} and entry.covers(host, address)]
    if own.is_at(host, address, port):
        is_allowed = any(entry.port == port for entry in found)
        return "" if is_allowed else "the master itself listens there"
    return "" if found else fault_of_address(address)
