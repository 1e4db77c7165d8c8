from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.master.outbound.rules import (
    MAX_URL_CHARS,
    Listener,
    embedded,
    fault_of_address,
    read_allowance,
    read_url,
    refusal,
)
from ops_system.model.errors import Invalid, UsageError

REFUSED = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "100.100.100.200",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "fd00:ec2::254",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a9fe:a9fe",
    "2002:7f00:1::1",
    "2001:0:7f00:1::1",
    "2001:0:1:1:0:0:80ff:fffe",
    "2001:db8::5efe:7f00:1",
]
ALLOWED = ["10.1.2.3", "192.168.1.1", "172.16.0.1", "93.184.216.34", "100.64.0.1", "fd12::1", "2606:4700::1111"]
OWN = Listener(frozenset({"192.0.2.7", "master.lan", "127.0.0.1"}), frozenset({8080, 8443}))


@pytest.mark.parametrize("text", REFUSED)
def test_this_machine_its_link_and_groups_are_refused(text):
    assert fault_of_address(ip_address(text))


@pytest.mark.parametrize("text", ALLOWED)
def test_other_machines_may_be_called(text):
    assert fault_of_address(ip_address(text)) == ""


@given(st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_no_form_of_loopback_is_let_through(address):
    low = int(address)
    for high in ("::ffff:0:0", "64:ff9b::", "64:ff9b:1::", "::"):
        assert fault_of_address(ip_address(int(ip_address(high)) | low))
    assert fault_of_address(ip_address((0x2002 << 112) | (low << 80)))


def judge(host, address, port=443, allow=()):
    return refusal(host, ip_address(address), port, [read_allowance(text) for text in allow], OWN)


def test_an_administrator_may_name_a_host_an_address_a_network_or_a_port():
    assert judge("hooks.lan", "127.0.0.1")
    for entry in ("hooks.lan", "HOOKS.LAN.", "127.0.0.1", "127.0.0.0/8", "hooks.lan:443", "127.0.0.1:443"):
        assert judge("hooks.lan", "127.0.0.1", allow=[entry]) == "", entry
    for entry in ("lan", "hooks.lan:80", "127.0.0.2", "10.0.0.0/8", "::1", "127.0.0.1:80"):
        assert judge("hooks.lan", "127.0.0.1", allow=[entry]), entry
    assert judge("h", "::1", 9000, ["[::1]:9000"]) == "" == judge("h", "::1", allow=["::1"])
    assert judge("h", "::ffff:127.0.0.1", allow=["127.0.0.0/8"]) == ""


def test_an_own_listener_needs_an_entry_with_its_port():
    for host, address, port in (("x.example", "192.0.2.7", 8443), ("master.lan", "10.0.0.1", 8080)):
        assert judge(host, address, port) == "the master itself listens there"
        assert judge(host, address, port, [host, address, "0.0.0.0/0"])
        assert judge(host, address, port, [f"{address}:{port}"]) == ""
        assert judge(host, address, 9000) == ""
    assert judge("x", "::ffff:192.0.2.7", 8443) == "the master itself listens there"


@pytest.mark.parametrize(
    "text", ["", ":80", "a b", "host:0", "host:99999", "host:http", "10.0.0.0/33", "http://x", "*"]
)
def test_an_entry_that_means_nothing_is_refused(text):
    with pytest.raises(UsageError, match=r"outbound\.allow"):
        read_allowance(text)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://Example.COM/x?y=1", "example.com", 443),
        ("http://example.com.:8080", "example.com", 8080),
        ("http://[::1]/", "::1", 80),
    ],
)
def test_a_url_is_read(url, host, port):
    target = read_url(url)
    assert (target.host, target.port) == (host, port)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/token-81",
        "ftp://example.com/token-81",
        "file:///etc/passwd?token-81",
        "http:///token-81",
        "http://user:pw@example.com/token-81",
        "http://@example.com/token-81",
        "http://example.com:0/token-81",
        "http://example.com:99999/token-81",
        "http://[::1/token-81",
        "http://exa mple.com/token-81",
        "http://example.com\\@127.0.0.1/token-81",
        "http://example.com/\ntoken-81",
        "http://[fe80::1%25eth0]/token-81",
        "https://example.com/token-81" + "x" * MAX_URL_CHARS,
    ],
)
def test_a_bad_url_is_refused_without_repeating_it(url):
    with pytest.raises(Invalid) as caught:
        read_url(url)
    assert "token-81" not in str(caught.value)


def test_an_ipv4_address_hides_no_other():
    assert list(embedded(ip_address("127.0.0.1"))) == []
