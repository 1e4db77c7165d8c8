"""The pools of mode full as operators write them: the interface's own network, and those behind relays. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from ops_system.model.errors import UsageError
from ops_system.regional.dhcp.leases import Pool

_RANGE_EXAMPLE = "192.0.2.100-192.0.2.199"
_FAR_EXAMPLE = "198.51.100.0/24:198.51.100.10-198.51.100.99:198.51.100.1"


def own_pool(own: IPv4Interface, addresses: str, gateway: str, dns: Sequence[str]) -> Pool:
    """Return the pool of the network an interface is in. `addresses` is FIRST-LAST. Raises UsageError."""
    first, last = _range("-pool", addresses, own.network)
    routers = (_address("-gateway", gateway),) if gateway else ()
    return Pool(own.network, first, last, routers=routers, dns=_addresses(dns), excluded=frozenset({own.ip}))


def far_pool(text: str, dns: Sequence[str]) -> Pool:
    """Return the pool of a network behind a relay, written NETWORK/BITS:FIRST-LAST[:GATEWAY]. Raises UsageError."""
    words = text.split(":")
    if len(words) not in {2, 3}:
        raise UsageError(
            "-relayed {text!r}: write NETWORK/BITS:FIRST-LAST[:GATEWAY], such as {example}",
            text=text,
            example=_FAR_EXAMPLE,
        )
    try:
        network = IPv4Network(words[0].strip())
    except ValueError as error:
        raise UsageError(
            "-relayed {text!r}: {error}; write it such as {example}",
            text=text,
            error=error,
            example=_FAR_EXAMPLE,
        ) from error
    first, last = _range("-relayed", words[1], network)
    gateway = words[2].strip() if words[2:] else ""
    routers = (_address("-relayed", gateway),) if gateway else ()
    return Pool(network, first, last, routers=routers, dns=_addresses(dns))


def check_apart(pools: Sequence[Pool]) -> None:
    """Raise UsageError when two pools share a network: nobody could say which one a machine is in."""
    for number, pool in enumerate(pools):
        for other in pools[:number]:
            if pool.network.overlaps(other.network):
                raise UsageError(
                    "-relayed {network}: it overlaps {other}, which has a pool already",
                    network=pool.network,
                    other=other.network,
                )


def _range(flag: str, text: str, network: IPv4Network) -> tuple[IPv4Address, IPv4Address]:
    first, _, last = text.partition("-")
    ends = _address(flag, first), _address(flag, last)
    hosts = (network.network_address + 1, network.broadcast_address - 1)
    if not hosts[0] <= ends[0] <= ends[1] <= hosts[1]:
        raise UsageError(
            "{flag} {text}: it must be a range of hosts in {network}, such as {example}",
            flag=flag,
            text=text,
            network=network,
            example=_RANGE_EXAMPLE,
        )
    return ends


def _addresses(texts: Sequence[str]) -> tuple[IPv4Address, ...]:
    return tuple([_address("-dns", text) for text in texts])


def _address(flag: str, text: str) -> IPv4Address:
    try:
        return IPv4Address(text.strip())
    except ValueError as error:
        raise UsageError("{flag}: {address!r} is no IPv4 address", flag=flag, address=text.strip()) from error
