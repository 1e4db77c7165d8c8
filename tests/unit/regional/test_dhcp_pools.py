"""Pools as they are written on the command line."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from ops_system.model.errors import UsageError
from ops_system.regional.dhcp.pools import check_apart, far_pool, own_pool

OWN = IPv4Interface("192.0.2.1/24")


def test_the_own_network():
    pool = own_pool(OWN, "192.0.2.100-192.0.2.199", "192.0.2.254", ("192.0.2.53", "192.0.2.54"))
    assert (pool.network, pool.first, pool.last) == (
        OWN.network,
        IPv4Address("192.0.2.100"),
        IPv4Address("192.0.2.199"),
    )
    assert pool.routers == (IPv4Address("192.0.2.254"),)
    assert len(pool.dns) == 2
    assert not own_pool(OWN, "192.0.2.1-192.0.2.9", "", ()).has(OWN.ip)


def test_a_network_behind_a_relay():
    pool = far_pool("198.51.100.0/24:198.51.100.10-198.51.100.99:198.51.100.1", ("192.0.2.53",))
    assert pool.network == IPv4Network("198.51.100.0/24")
    assert (str(pool.first), str(pool.last)) == ("198.51.100.10", "198.51.100.99")
    assert pool.routers == (IPv4Address("198.51.100.1"),)
    assert far_pool("198.51.100.0/24:198.51.100.10-198.51.100.99", ()).routers == ()


@pytest.mark.parametrize(
    ("addresses", "gateway", "dns"),
    [
        ("", "", ()),
        ("192.0.2.100", "", ()),
        ("192.0.2.200-192.0.2.100", "", ()),
        ("192.0.2.100-198.51.100.1", "", ()),
        ("192.0.2.0-192.0.2.10", "", ()),
        ("192.0.2.100-192.0.2.255", "", ()),
        ("192.0.2.100-192.0.2.110", "router", ()),
        ("192.0.2.100-192.0.2.110", "", ("8.8.8",)),
    ],
)
def test_what_makes_no_pool_is_said(addresses, gateway, dns):
    with pytest.raises(UsageError, match=r"^-(pool|gateway|dns)"):
        own_pool(OWN, addresses, gateway, dns)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "198.51.100.0/24",
        "198.51.100.1/24:198.51.100.10-198.51.100.99",
        "198.51.100.0/24:192.0.2.10-192.0.2.20",
        "198.51.100.0/24:198.51.100.10-198.51.100.99:x",
        "a:b:c:d",
    ],
)
def test_what_makes_no_far_pool_is_said(text):
    with pytest.raises(UsageError, match=r"^-relayed"):
        far_pool(text, ())


def test_two_pools_of_one_network_are_refused():
    pools = [own_pool(OWN, "192.0.2.100-192.0.2.110", "", ()), far_pool("192.0.0.0/16:192.0.3.1-192.0.3.9", ())]
    with pytest.raises(UsageError, match="overlaps"):
        check_apart(pools)
    check_apart(pools[:1])
