import pytest

from ops_system.master.web import checks
from ops_system.master.web.clients import is_loopback
from ops_system.master.web.guard import ANONYMOUS
from ops_system.master.web.route import Permission, Principal
from ops_system.model.errors import Forbidden, Misdirected, Unauthenticated

VIEWER = Principal("user", "u", "vera", frozenset({Permission.VIEW}))


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8443", "OPS.example.com:1", "ops.example.com."])
def test_own_names_are_welcome(host):
    checks.check_host(host, {"ops.example.com"})


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "localhost@evil.example", "evil/localhost", "[::1", "a:b:c"]
)
def test_other_names_are_misdirected(host):
    with pytest.raises(Misdirected):
        checks.check_host(host, {"ops.example.com"})


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", "127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https", "Ops.example.com:443", "https://ops.example.com"),
        ("http", "ops:80", "http://ops"),
        ("https", "[::1]:8443", "https://[::1]:8443"),
        ("http", "ops:x", ""),
    ],
)
def test_an_origin_is_spelled_as_browsers_do(scheme, host, origin):
    assert checks.origin_of(scheme, host) == origin


def test_an_origin_must_be_exact():
    own = {"https://ops:8443"}
    checks.check_origin("https://ops:8443", lambda: own, is_required=True)
    checks.check_origin(None, lambda: own, is_required=False)
    with pytest.raises(Forbidden):
        checks.check_origin(None, lambda: own, is_required=True)
    for origin in (
        "null",
        "http://ops:8443",
        "https://ops",
        "https://ops:84430",
        "https://ops:8443/",
        "",
        "https://OPS:8443",
    ):
        with pytest.raises(Forbidden):
            checks.check_origin(origin, lambda: own, is_required=False)


@pytest.mark.parametrize(
    ("address", "is_own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("", False),
        ("fe80::1%eth0", False),
    ],
)
def test_loopback(address, is_own):
    assert is_loopback(address) is is_own


def test_permissions():
    checks.check_permission(Permission.OPEN, ANONYMOUS, is_local=False)
    checks.check_permission(Permission.LOOPBACK, ANONYMOUS, is_local=True)
    checks.check_permission(Permission.LOOPBACK, VIEWER, is_local=False)
    checks.check_permission(Permission.SELF, VIEWER, is_local=False)
    checks.check_permission(Permission.VIEW, VIEWER, is_local=False)
    for permission in (Permission.OPERATE, Permission.ADMIN, Permission.NODE, Permission.REGIONAL):
        with pytest.raises(Forbidden):
            checks.check_permission(permission, VIEWER, is_local=False)
    for permission in set(Permission) - {Permission.OPEN}:
        with pytest.raises(Unauthenticated):
            checks.check_permission(permission, ANONYMOUS, is_local=False)
    node = Principal("node", "node_1", "web", frozenset({Permission.NODE}))
    checks.check_permission(Permission.NODE, node, is_local=False)
    for permission in set(Permission) - {Permission.OPEN, Permission.NODE}:
        with pytest.raises(Forbidden):
            checks.check_permission(permission, node, is_local=False)
