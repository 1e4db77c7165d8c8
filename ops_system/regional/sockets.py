"""Sockets that hear and speak on one network interface alone (P10). Linux only: elsewhere they say so."""

import errno
import socket
import struct
import sys
from ipaddress import IPv4Address, IPv4Interface

import msgspec

from ops_system.model.errors import SafetyRefusal, UsageError

_GET_ADDRESS, _GET_NETMASK = 0x8915, 0x891B  # SIOCGIFADDR, SIOCGIFNETMASK (netdevice(7))
_NAME_BYTES = 15
_PKTINFO = struct.Struct("=I4s4s")
_IPV4 = 0x0800  # ETH_P_IP


class Datagram(msgspec.Struct, frozen=True):
    """What arrived: its bytes, from whom, and the address of ours it was sent to."""

    data: bytes
    source: IPv4Address
    source_port: int
    target: IPv4Address


def check_platform(what: str) -> None:
    """Raise UsageError where sockets cannot be bound to an interface."""
    if sys.platform != "linux":
        raise UsageError(
            "{what} binds to one network interface, which only Linux can; switch it off on {platform}",
            what=what,
            platform=sys.platform,
        )


def check_interface(name: str, what: str) -> None:
    """Raise UsageError for an interface that is not there; says which ones are."""
    names = [each for _, each in socket.if_nameindex()]
    if name not in names:
        raise UsageError(
            "{what}: there is no interface {name!r}; this machine has {names}",
            what=what,
            name=name,
            names=", ".join(names),
        )


def interface_address(name: str) -> IPv4Interface:
    """Return the first IPv4 address of an interface with its network. Raises UsageError when it has none."""
    import fcntl

    request = struct.pack("256s", name.encode()[:_NAME_BYTES])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        try:
            address, mask = (fcntl.ioctl(asker, code, request)[20:24] for code in (_GET_ADDRESS, _GET_NETMASK))
        except OSError as error:
            raise UsageError(
                "interface {name!r} has no IPv4 address ({trouble})",
                name=name,
                trouble=error.strerror,
            ) from error
    return IPv4Interface(f"{IPv4Address(address)}/{IPv4Address(mask)}")


def open_udp(interface: str, port: int, what: str, *, address: str = "0.0.0.0") -> socket.socket:  # noqa: S104 - it hears one interface alone
    """Return a UDP socket on `port` of one interface (empty: all); not shared, so that a second server is noticed.

    Raises SafetyRefusal when the port is in use or may not be opened.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if interface:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        opened.setsockopt(socket.IPPROTO_IP, _ip_pktinfo(), 1)
        opened.bind((address, port))
    except OSError as error:
        opened.close()
        raise _refusal(error, f"{what}: UDP port {port}", interface) from error
    return opened


def open_cards(interface: str) -> socket.socket | None:
    """Return a socket that sends IPv4 packets to a card by its MAC, and hears nothing; None without the right to it."""
    try:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    except PermissionError:
        return None
    opened.bind((interface, 0))
    return opened


def _refusal(error: OSError, what: str, interface: str) -> SafetyRefusal:
    where = f"{what} on {interface or 'any interface'}"
    match error.errno:
        case errno.EADDRINUSE:
            return SafetyRefusal("{where} is in use: stop the other server there, or switch this one off", where=where)
        case errno.EACCES | errno.EPERM:
            return SafetyRefusal(
                "{where} needs the right to low ports: run as root or with CAP_NET_BIND_SERVICE", where=where
            )
        case _:
            return SafetyRefusal("{where} cannot be opened: {trouble}", where=where, trouble=error.strerror)


def receive(opened: socket.socket, room_bytes: int) -> Datagram | None:
    """Return the next datagram; None when nothing waits."""
    try:
        data, extra, _, (host, port) = opened.recvmsg(room_bytes, socket.CMSG_SPACE(_PKTINFO.size))
    except BlockingIOError:
        return None
    target = IPv4Address(0)
    for level, kind, value in extra:
        if (level, kind) == (socket.IPPROTO_IP, _ip_pktinfo()) and len(value) >= _PKTINFO.size:
            _, local, _ = _PKTINFO.unpack_from(value)
            target = IPv4Address(local)  # for a broadcast: the interface's own
    return Datagram(data, IPv4Address(host), port, target)


def send_from(opened: socket.socket, data: bytes, own: IPv4Address, target: tuple[str, int]) -> None:
    """Send a datagram whose sender is `own`, on an interface with many addresses too. Raises OSError."""
    chosen = _PKTINFO.pack(0, own.packed, bytes(4))
    opened.sendmsg([data], [(socket.IPPROTO_IP, _ip_pktinfo(), chosen)], 0, target)


def send_to_card(opened: socket.socket, packet: bytes, interface: str, mac: str) -> None:
    """Send an IPv4 packet to a card. Raises OSError."""
    opened.sendto(packet, (interface, _IPV4, 0, 0, bytes.fromhex(mac.replace(":", ""))))


def _ip_pktinfo() -> int:
    return 8  # IP_PKTINFO of Linux (ip(7)); Python 3.11's socket does not name it
