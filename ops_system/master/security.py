"""What an administrator should see of this master's own safety, in one view: certificates, doors, demands."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from ops_system.master.trust.service import ServedCertificate, Trust
from ops_system.master.web.doors import LOOPBACK, Doors
from ops_system.master.web.route import Call, Permission, Route


class ListenerView(msgspec.Struct, frozen=True):
    """A port that is open now."""

    address: str
    port: int
    tls: bool


class SecurityView(msgspec.Struct, frozen=True):
    """`ca_key_sha256` stands in every join token; `certificate` is what new TLS connections see, null while closed."""

    ca_key_sha256: str
    ca_expires_at: datetime
    signing_key_id: str
    certificate: ServedCertificate | None
    listeners: list[ListenerView]
    require_publisher: bool


def listeners_of(doors: Doors) -> list[ListenerView]:
    """Return the ports that are open now."""
    plain = ListenerView(LOOPBACK, doors.port, tls=False)
    return [plain, ListenerView(doors.listen, doors.tls_port, tls=True)] if doors.tls_port else [plain]


def routes(trust: Trust, listeners: Callable[[], list[ListenerView]], *, require_publisher: bool) -> list[Route]:
    """Return the route of `/security`."""

    async def get_security(_call: Call) -> SecurityView:
        return SecurityView(
            ca_key_sha256=trust.ca_key_sha256,
            ca_expires_at=trust.ca_expires_at,
            signing_key_id=trust.signing_key_id,
            certificate=trust.served(),
            listeners=listeners(),
            require_publisher=require_publisher,
        )

    return [
        Route(
            "GET",
            "/security",
            Permission.ADMIN,
            get_security,
            "Show the certificates, the open ports and what is demanded of packages",
            "get_security",
            answer=SecurityView,
            tag="system",
        )
    ]
