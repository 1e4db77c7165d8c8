import pytest
from multidict import CIMultiDict

from ops_system.master.web.clients import Client, find_client, read_networks
from ops_system.model.errors import Invalid
from ops_system.model.kinds import NETWORKS

PROXIES = read_networks(("10.0.0.5", "10.1.0.0/16", "fd00::/8", "127.0.0.1"))


def find(peer, *pairs, is_tls=False):
    return find_client(peer, is_tls=is_tls, headers=CIMultiDict(pairs), proxies=PROXIES)


def test_without_a_proxy_the_socket_tells_everything():
    assert find("203.0.113.9", is_tls=True) == Client("203.0.113.9", is_secure=True, is_tls=True, is_local=False)
    assert find("127.0.0.1") == Client("127.0.0.1", is_secure=False, is_tls=False, is_local=True)


def test_what_a_stranger_says_counts_for_nothing():
    said = (("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-Proto", "https"))
    assert find("203.0.113.9", *said) == Client("203.0.113.9", is_secure=False, is_tls=False, is_local=False)


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("127.0.0.1, 198.51.100.1", "198.51.100.1"),  # what the client itself claimed stands at the left
        ("198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("203.0.113.7, 198.51.100.1, 10.1.2.3,10.0.0.5", "198.51.100.1"),
        ("10.1.2.3", "10.1.2.3"),  # every hop is a proxy: the furthest one
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("198.51.100.1:4711", "198.51.100.1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("unknown", "10.0.0.5"),
        ("198.51.100.1, <script>", "10.0.0.5"),
        ("198.51.100.1, , 10.1.2.3", "10.1.2.3"),
        ("", "10.0.0.5"),
    ],
)
def test_the_rightmost_address_that_is_no_proxy_is_the_client(said, address):
    assert find("10.0.0.5", ("X-Forwarded-For", said)).address == address


def test_lines_of_one_header_are_one_list():
    lines = (("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-For", "198.51.100.1"))
    assert find("10.0.0.5", *lines).address == "198.51.100.1"


@pytest.mark.parametrize(
    ("said", "is_secure"),
    [("https", True), ("HTTPS", True), ("http", False), ("https, http", False), ("gopher", False)],
)
def test_the_scheme_of_a_proxy(said, is_secure):
    client = find("10.0.0.5", ("X-Forwarded-Proto", said))
    assert (client.is_secure, client.is_tls) == (is_secure, False)


@pytest.mark.parametrize("sign", ["X-Forwarded-For", "x-real-ip", "Forwarded", "Via", "X-Forwarded-Proto"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])  # one is a configured proxy, the other is not
def test_nothing_forwarded_is_local(sign, peer):
    assert not find(peer, (sign, "127.0.0.1")).is_local


def test_networks_are_checked_where_they_are_configured():
    assert NETWORKS.read("10.0.0.5, 10.1.0.0/16,fd00::/8") == ("10.0.0.5", "10.1.0.0/16", "fd00::/8")
    for wrong in ("proxy.example", "10.0.0.5/33", "10.0.0.5:80", "10.0.0.5/8"):
        with pytest.raises(Invalid, match=r"no address and no network"):
            NETWORKS.read(wrong)
