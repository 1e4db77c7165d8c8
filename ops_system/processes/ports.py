"""Whether the ports an instance declares are free. Used before each start."""

import errno
import socket
import sys
from collections.abc import Mapping

from ops_system.model.reasons import Reason

_MAX_PORT = 65535


def find_taken(ports: Mapping[str, int]) -> tuple[str, int] | None:
    """Return (name, port) of the first declared TCP port somebody listens on, None when all are free.

    Port 0 is "any" and always free; one that needs rights we lack is left to the service itself.
    """
    for name, port in ports.items():
        if 0 < port <= _MAX_PORT and not is_free(port):
            return name, port
    return None


def explain_taken(ports: Mapping[str, int]) -> Reason | None:
    """Say which declared port is taken; None when all are free."""
    taken = find_taken(ports)
    if taken is None:
        return None
    name, port = taken
    message = f"port {port} ({name}) is taken by another process; free it or give the module another port"
    return Reason("port_taken", message, {"port": port, "name": name})


def is_free(port: int) -> bool:
    """True when the port can be bound on every address, IPv4 and IPv6. Connections in TIME_WAIT do not count."""
    return _can_bind(socket.AF_INET, port) and _can_bind(socket.AF_INET6, port)


def _can_bind(family: socket.AddressFamily, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if sys.platform == "win32":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(("", port))
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True
