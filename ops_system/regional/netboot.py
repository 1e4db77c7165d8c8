"""DHCP, TFTP and router answers of one interface, as the configuration wants them. Built by `app`."""

import ipaddress
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ops_system.regional.advertisement import RouterAnswer
from ops_system.regional.boot.gate import Asks, decide
from ops_system.regional.config import BootConfig
from ops_system.regional.dhcp.leasefile import LeaseFile
from ops_system.regional.dhcp.leases import Pool
from ops_system.regional.dhcp.pools import check_apart, far_pool, own_pool
from ops_system.regional.dhcp.questions import BootFiles, DhcpAnswer, DhcpQuestion, boot_answer
from ops_system.regional.dhcp.rules import DhcpConfig
from ops_system.regional.dhcp.server import DhcpServer
from ops_system.regional.mirror import Mirror
from ops_system.regional.sockets import interface_address
from ops_system.regional.tftp.server import Files, TftpServer
from ops_system.runtime.tasks import Part

ANYWHERE = "0.0.0.0"  # noqa: S104 - machines without an address ask by broadcast; the interface bounds it
TFTP_PORT = 69


class Answers:
    """What DHCP says to whom: the same gate as every other route, and nobody unknown without discovery (P7, P10).

    UEFI without a boot file looks for one by IPv6 and HTTP for minutes before it comes to its disk. So it loads iPXE,
    asks the gate again by its script, and is led there.
    """

    def __init__(self, mirror: Mirror, files: BootFiles, serves: Callable[[], bool]) -> None:
        self._mirror, self._files, self._serves = mirror, files, serves

    def __call__(self, question: DhcpQuestion) -> DhcpAnswer | None:
        """Return the answer; None: silence."""
        if not self._serves():
            return None
        known = self._mirror.find(Asks(question.mac, "", question.uuid.lower()))
        if not known.sn and not known.is_discovery_on:
            return None
        if decide(known).is_local and not question.is_uefi_x64:
            return DhcpAnswer()  # a BIOS that hears of no boot file is at its disk at once
        return boot_answer(question, self._files)


class NetBoot:
    """The servers that are switched on."""

    def __init__(self, config: BootConfig, leases: Path, answers: Answers, files: Files) -> None:
        self.config = config
        self.dhcp = _make_dhcp(config, leases, answers) if config.dhcp != "off" else None
        self.tftp = TftpServer(ANYWHERE, TFTP_PORT, files, interface=config.interface) if config.tftp else None
        wants_router = config.router_answers and config.dhcp != "off"
        self._router = RouterAnswer(config.interface) if wants_router else None

    def parts(self) -> Mapping[str, Part]:
        """Return what runs."""
        found: dict[str, Part] = {}
        if self.dhcp is not None:
            found["dhcp"] = self.dhcp.run
        if self.tftp is not None:
            found["tftp"] = self.tftp.run
        if self._router is not None:
            found["router answers"] = self._router.run
        return found


def own_url(api_url: str, listen: str, port: int, interface: str, store_url: str) -> str:
    """Return where machines reach this client: as told, else by the interface, else as the store sees us."""
    if api_url:
        return api_url.rstrip("/")
    if interface:
        host = str(interface_address(interface).ip)
    elif listen not in {ANYWHERE, "::", ""}:
        host = listen
    else:
        host = _address_towards(store_url)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _address_towards(url: str) -> str:
    """Return the address this machine would send from; nothing is sent."""
    parts = urlsplit(url)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.connect((parts.hostname or "127.0.0.1", parts.port or 80))
            return str(asker.getsockname()[0])
    except OSError:
        return "127.0.0.1"


def _make_dhcp(config: BootConfig, leases: Path, answers: Answers) -> DhcpServer:
    own = interface_address(config.interface)
    pools = _pools(config, own) if config.dhcp == "full" else ()
    told = DhcpConfig(config.dhcp, config.interface, own.ip, pools)
    file = LeaseFile(leases)
    return DhcpServer(told, answers, kept=file.load(), keep=file.keep)


def _pools(config: BootConfig, own: ipaddress.IPv4Interface) -> tuple[Pool, ...]:
    near = own_pool(own, config.pool, config.gateway, config.dns)
    pools = (near, *(far_pool(text, config.dns) for text in config.relayed))
    check_apart(pools)
    return pools
