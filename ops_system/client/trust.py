"""Whom to believe when a master is met for the first time, and the TLS contexts that follow from it.

As a worker does, `ops` can be told the SHA-256 of the authority's public key: the authority is fetched blindly, and
believed only when its key has that hash. From then on only this authority is believed for that master.
"""

import contextlib
import http.client
import ipaddress
import ssl
from urllib.parse import urlsplit

from ops_system.model.errors import SafetyRefusal, Unavailable, UsageError
from ops_system.runtime import authorities

TIMEOUT_S = 60.0


def is_loopback(url: str) -> bool:
    """Return whether this address cannot leave the machine."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def refuse_plain(url: str, *, is_allowed: bool) -> None:
    """Raise UsageError for an address that would send credentials readable over the network."""
    parts = urlsplit(url)
    if parts.scheme == "https" or is_allowed or is_loopback(url):
        return
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    raise UsageError(
        "{url} would send what proves who you are readable over the network; "
        "use https://{host}:8443, or --allow_plain_http 1",
        url=url,
        host=host,
    )


def tls_context(ca_pem: str) -> ssl.SSLContext:
    """Return what checks certificates: by this authority alone, or by the system's when there is none."""
    if not ca_pem:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=ca_pem)
    except ssl.SSLError as error:
        raise UsageError("this is no certificate of an authority: {error}", error=error) from error
    return context


def fetch_ca(url: str) -> tuple[str, str]:
    """Return the authority a master claims and its key's SHA-256, both unproven. Raises Unavailable, UsageError."""
    try:
        ca_pem = authorities.fetch_ca(url, TIMEOUT_S)
        return ca_pem, authorities.key_sha256(ca_pem)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{url} does not answer ({str(error) or type(error).__name__})") from error
    except ValueError as error:
        raise UsageError("{url} does not answer like an ops master; check the address", url=url) from error


def pin_ca(url: str, wanted_sha256: str) -> str:
    """Return the authority whose key has this hash. Raises SafetyRefusal when the master shows another one."""
    ca_pem, found = fetch_ca(url)
    if found != wanted_sha256.lower():
        raise SafetyRefusal(
            "{url} shows another authority ({found}) than the one given; nothing was sent to it. "
            "Ask who runs the master for the right value",
            url=url,
            found=found,
        )
    return ca_pem
