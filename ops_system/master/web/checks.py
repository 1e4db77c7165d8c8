"""Who may ask what from where: Host, Origin, permission, in the words of contract section 4 and trust S11. Pure."""

import functools
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from ops_system.master.web.route import Permission, Principal
from ops_system.model.errors import Forbidden, Misdirected, Unauthenticated

ALWAYS_OWN = frozenset({"localhost", "127.0.0.1", "::1"})
_REMEMBERED = 1024  # Host headers: the same few come again and again
_DEFAULT_PORTS = {"http": 80, "https": 443}


@functools.lru_cache(maxsize=_REMEMBERED)
def host_name(host: str) -> str:
    """Return the name or address of a Host header, without port and brackets, in lower case; empty when malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    if "@" in host or "/" in host or "?" in host or "#" in host:
        return ""
    return (parts.hostname or "").removesuffix(".").lower()


def check_host(host: str, own_names: Collection[str]) -> None:
    """Raise `Misdirected` unless the Host header names this server (DNS rebinding)."""
    name = host_name(host)
    if name and (name in ALWAYS_OWN or name in own_names):
        return
    raise Misdirected(
        f"{name or 'the Host header'} is no name of this server; set server.public_url to the address people use",
        host=name,
    )


def origin_of(scheme: str, host: str) -> str:
    """Return `scheme://host[:port]` with the default port left out, as a browser spells it."""
    try:
        parts = urlsplit(f"{scheme}://{host}")
        port = parts.port
    except ValueError:
        return ""
    name = (parts.hostname or "").lower()
    shown = f"[{name}]" if ":" in name else name
    return f"{scheme}://{shown}" if port in {None, _DEFAULT_PORTS.get(scheme)} else f"{scheme}://{shown}:{port}"


def check_origin(origin: str | None, allowed: Callable[[], Collection[str]], *, is_required: bool) -> None:
    """Raise `Forbidden` for an Origin that is not exactly one of `allowed`, or for none where a cookie speaks."""
    if origin is None:
        if is_required:
            raise Forbidden("a browser session must send its Origin", reason="origin_missing")
        return
    if origin not in allowed():
        raise Forbidden("this page may not call the server: its origin is another one", reason="origin", origin=origin)


def check_permission(permission: Permission, principal: Principal, *, is_local: bool) -> None:
    """Raise `Unauthenticated` for an anonymous caller, `Forbidden` for one without the permission."""
    if permission is Permission.OPEN or (permission is Permission.LOOPBACK and is_local):
        return
    if principal.kind == "anonymous":
        raise Unauthenticated("log in, or send a valid token")
    wanted = Permission.VIEW if permission is Permission.LOOPBACK else permission
    if wanted is Permission.SELF and principal.kind != "node":  # a node has no account here
        return
    if wanted not in principal.permissions:
        raise Forbidden(f"{principal.name} has no permission {wanted.value}", permission=wanted.value)
