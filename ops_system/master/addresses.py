"""By which names and addresses this master is reached: for the Host check, the certificate, and the join command."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from urllib.parse import urlsplit

from ops_system.master.config import ServerConfig
from ops_system.master.outbound.rules import Listener
from ops_system.master.trust.names import find_own_names
from ops_system.master.web.checks import host_name
from ops_system.runtime.tasks import every

LOOK_EVERY_S = 60.0
_ELSEWHERE = "192.0.2.1"  # a documentation address (RFC 5737): choosing a route to it sends nothing

_log = logging.getLogger(__name__)


class KnownAddresses:
    """Looked up in a thread now and then, because a name server may be slow; asked for every request."""

    def __init__(self, server: ServerConfig) -> None:
        self._server = server
        self._public_host = host_name(server.public_url.partition("://")[2].partition("/")[0])
        self._port = server.port
        self._tls_port = 0
        self._main = socket.gethostname()
        self.names: tuple[str, ...] = ()

    def look(self) -> tuple[str, ...]:
        """Return what is there now. Blocking."""
        extra = (self._public_host,) if self._public_host else ()
        self.names = find_own_names(extra)
        self._main = _main_address() or socket.gethostname()
        return self.names

    async def run(self) -> None:
        """Keep up with interfaces that come and go."""

        async def look() -> None:
            await asyncio.to_thread(self.look)

        await every(LOOK_EVERY_S, look, "own addresses")

    def note_port(self, port: int) -> None:
        """Remember the port of the plain listener; the configured one may have been 0."""
        self._port = port

    def note_tls_port(self, port: int) -> None:
        """Remember that the TLS door is open on this port."""
        self._tls_port = port
        _log.info("TLS listener open: %s", self.network_url)

    @property
    def network_url(self) -> str:
        """The address for other machines; empty while the TLS door is closed."""
        if not self._tls_port:
            return ""
        host = self._server.listen
        if ipaddress.ip_address(host).is_unspecified if _is_address(host) else not host:
            host = self._main
        return f"https://[{host}]:{self._tls_port}" if ":" in host else f"https://{host}:{self._tls_port}"

    def own_listener(self) -> Listener:
        """Return where a call would reach the master itself, also by way of its public address."""
        public = urlsplit(self._server.public_url)
        ports = {self._port, self._tls_port, public.port or {"http": 80, "https": 443}.get(public.scheme, 0)}
        return Listener(frozenset({*self.names, "127.0.0.1", "::1", "localhost"}), frozenset(ports - {0}))

    def master_url(self) -> str:
        """Return the address a worker should be given: `public_url`, else the network's, else loopback."""
        return self._server.public_url or self.network_url or f"http://127.0.0.1:{self._port}"


def _is_address(text: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(text)
        return True
    return False


def _main_address() -> str:
    """Return the address from which this machine reaches others; empty when it reaches none."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((_ELSEWHERE, 9))
        return str(probe.getsockname()[0])
    return ""
