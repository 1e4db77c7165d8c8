import socket

import pytest

from ops_system.master.addresses import KnownAddresses
from ops_system.master.config import SCHEMA
from ops_system.runtime.config import build


def known(**texts):
    return KnownAddresses(build(SCHEMA, {f"server.{name}": text for name, text in texts.items()}).server)


def test_own_names_hold_host_loopback_and_public_name():
    names = known(public_url="https://Ops.Example.com:9443").look()
    assert {"localhost", "127.0.0.1", "::1", socket.gethostname().lower(), "ops.example.com"} <= set(names)


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("10.1.2.3", "https://10.1.2.3:8443"),
        ("::1", "https://[::1]:8443"),
        ("ops.example.com", "https://ops.example.com:8443"),
    ],
)
def test_a_worker_is_given_the_address_that_is_listened_on(listen, url):
    addresses = known(listen=listen)
    assert addresses.network_url == ""
    assert addresses.master_url() == "http://127.0.0.1:8080"
    addresses.note_tls_port(8443)
    assert addresses.network_url == addresses.master_url() == url


def test_an_unspecified_address_is_replaced_by_one_that_can_be_dialled():
    addresses = known(listen="0.0.0.0")
    addresses.look()
    addresses.note_tls_port(8443)
    assert "0.0.0.0" not in addresses.network_url
    assert addresses.network_url.startswith("https://")


def test_the_public_address_outranks_all():
    addresses = known(public_url="https://ops.example.com")
    addresses.note_tls_port(8443)
    assert addresses.master_url() == "https://ops.example.com"
