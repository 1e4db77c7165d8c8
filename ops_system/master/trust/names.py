"""The names and addresses by which this machine may be reached: for the leaf certificate and the Host allow-list."""

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

_AWAY = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))  # documentation addresses; nothing is sent


def find_own_names(extra: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return host name, `localhost`, loopback and every address found, plus `extra`, sorted. Blocking."""
    names = {"localhost", "127.0.0.1", "::1", *(name.lower() for name in extra if name)}
    host = socket.gethostname().lower()
    with contextlib.suppress(UnicodeError):
        if host.encode("idna"):
            names.add(host)
    names.update(_addresses(host))
    return tuple(sorted(names))


def _addresses(host: str) -> Iterator[str]:
    for family, target in _AWAY:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            yield from _usable(str(probe.getsockname()[0]))
    if sys.platform == "linux":  # the resolver may take seconds to say that it does not know this host
        yield from _linux_addresses()
    else:
        with contextlib.suppress(OSError, UnicodeError):
            for *_, sockaddr in socket.getaddrinfo(host, None):
                yield from _usable(str(sockaddr[0]))


def _linux_addresses() -> Iterator[str]:
    """Each interface's first IPv4 address, see netdevice(7), and every IPv6 address, see proc_pid_net(5)."""
    import fcntl

    get_address = 0x8915  # SIOCGIFADDR
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(probe, get_address, name.encode()[:15].ljust(256, b"\0"))
                yield from _usable(socket.inet_ntoa(answer[20:24]))
    with contextlib.suppress(OSError), Path("/proc/net/if_inet6").open(encoding="ascii") as lines:
        for line in lines:
            yield from _usable(str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))))


def _usable(address: str) -> Iterator[str]:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if not (parsed.is_link_local or parsed.is_unspecified or parsed.is_multicast):
        yield str(parsed)
