from datetime import UTC, datetime

import pytest

from ops_system.master.power.ipmi import readings
from ops_system.master.power.rules import BmcSettings, Identity, Way, check_settings, fits, split_host, way_of
from ops_system.model.errors import Invalid
from ops_system.model.machines import Machine

PIN = "ab" * 32
UUID = "27946b59-9e44-4fa7-8e91-f3527a1ef094"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "settings",
    [
        BmcSettings("manual"),
        BmcSettings("ipmi", "10.0.0.7"),
        BmcSettings("ipmi", "[fd00::7]:6230", "root", "secret"),
        BmcSettings("redfish", "https://bmc-7.lan", "root", "secret"),
        BmcSettings("redfish", "https://10.0.0.7:8443/", certificate_sha256=PIN, system="System.Embedded.1"),
        BmcSettings("redfish", "http://10.0.0.7", allow_plain_http=True),
    ],
)
def test_what_leads_to_a_bmc_passes(settings):
    check_settings(settings)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (BmcSettings("manual", "10.0.0.7"), "$.address"),
        (BmcSettings("ipmi"), "$.address"),
        (BmcSettings("ipmi", "10.0.0.7:99999"), "$.address"),
        (BmcSettings("ipmi", "https://10.0.0.7"), "$.address"),
        (BmcSettings("ipmi", "10.0.0.7", certificate_sha256=PIN), "$.certificate_sha256"),
        (BmcSettings("redfish", "10.0.0.7"), "$.address"),
        (BmcSettings("redfish", "https://root:secret@10.0.0.7"), "$.address"),
        (BmcSettings("redfish", "https://10.0.0.7/redfish/v1"), "$.address"),
        (BmcSettings("redfish", "https://10.0.0.7:0"), "$.address"),
        (BmcSettings("redfish", "https://[::"), "$.address"),
        (BmcSettings("redfish", "http://10.0.0.7"), "in clear"),
        (BmcSettings("redfish", "http://10.0.0.7", allow_plain_http=True, certificate_sha256=PIN), "no certificate"),
        (BmcSettings("redfish", "https://10.0.0.7", certificate_sha256="AB" * 32), "$.certificate_sha256"),
        (BmcSettings("redfish", "https://10.0.0.7", system="../../Managers"), "$.system"),
        (BmcSettings("redfish", "https://10.0.0.7", "a:b"), "$.username"),
        (BmcSettings("redfish", "https://10.0.0.7", "a", "x" * 257), "$.password"),
    ],
)
def test_each_fault_is_named(settings, problem):
    with pytest.raises(Invalid) as refused:
        check_settings(settings)
    assert [text for text in refused.value.details["problems"] if problem in text]


def test_a_kept_password_goes_to_the_same_server_only():
    before = Way("dc1", "SN1", "redfish", "https://a", "root", "secret", PIN)
    kept = way_of("dc1", "SN1", BmcSettings("redfish", "https://a/", "admin", certificate_sha256=PIN), before)
    assert (kept.password, kept.username) == ("secret", "admin")
    for other in (
        BmcSettings("redfish", "https://b", certificate_sha256=PIN),
        BmcSettings("redfish", "https://a"),
        BmcSettings("ipmi", "a"),
    ):
        with pytest.raises(Invalid, match="type it again"):
            way_of("dc1", "SN1", other, before)
    assert not way_of("dc1", "SN1", BmcSettings("manual"), before).password
    assert way_of("dc1", "SN1", BmcSettings("redfish", "https://b", password="new"), before).password == "new"


def test_serial_or_uuid_must_be_the_machines():
    known = Machine(idc="dc1", sn="SN-1", uuid=UUID)
    assert fits(Identity(serials=("  sn 1 ",)), "SN-1", None)
    assert fits(Identity(serials=("other",), uuids=(UUID.upper(),)), "SN-1", known)
    assert not fits(Identity(uuids=(UUID,)), "SN-1", None)
    assert not fits(Identity(), "SN-1", Machine(idc="dc1", sn="SN-1"))
    assert not fits(Identity(serials=("",), uuids=("",)), "SN-1", Machine(idc="dc1", sn="SN-1"))
    assert not fits(Identity(serials=("SN-11",), uuids=(PIN,)), "SN-1", known)


def test_a_guid_is_read_in_each_order():
    import uuid

    one = uuid.UUID(UUID)
    for data in (one.bytes, one.bytes_le, one.bytes[::-1]):
        assert UUID in readings(data)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bmc.lan", ("bmc.lan", 623)),
        ("10.0.0.7:6230", ("10.0.0.7", 6230)),
        ("fd00::7", ("fd00::7", 623)),
        ("[fd00::7]:1", ("fd00::7", 1)),
        ("[fd00::7]x", None),
        ("a:b", None),
        ("", None),
        ("a b", None),
        ("a:0", None),
    ],
)
def test_host_and_port_are_parted(text, found):
    assert split_host(text) == found
