"""Tables of machines: what is pasted is read, and every fault is told at once, by line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.bulk import MAX_ROWS, BulkRow, parse_table
from ops_system.model.errors import Invalid, OpsError, TooLarge

HEAD = "idc,sn,mac,os_type,os_version,profile,hostname,tags\n"


def test_a_table_is_read():
    table = parse_table(HEAD + "dc1,SN1,00-1A-2b-3c-4d-5e,Ubuntu 22.04,,web,web-1.lan,rack=a1 team=web\n")
    tags = {"rack": "a1", "team": "web"}
    assert table.problems == ()
    assert table.rows == (BulkRow(2, "dc1", "SN1", "00:1a:2b:3c:4d:5e", "Ubuntu 22.04", "", "web", "web-1.lan", tags),)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_spreadsheets_differ(delimiter):
    text = "\ufeff# pasted\r\n\r\nOS Type,SN,MAC\r\n,,\r\nDebian 12,a,001a2b3c4d5e\r\n".replace(",", delimiter)
    table = parse_table(text, "dc1")
    assert [(row.number, row.idc, row.sn) for row in table.rows] == [(5, "dc1", "a")]


def test_every_fault_of_every_row_is_told_with_its_line():
    text = HEAD + (
        "dc1,SN1,00:1a:2b:3c:4d:5e,Ubuntu 22.04,,,,\n"
        "DC 1,-bad,01:00:00:00:00:00,Ubntu,22.04,,-x,oops\n"
        "dc1,SN1,00:1A:2B:3C:4D:5E,Debian,12,,,,more\n"
    )
    table = parse_table(text)
    assert [row.sn for row in table.rows] == ["SN1"]
    assert [(one.number, one.column) for one in table.problems] == [
        (3, "idc"),
        (3, "sn"),
        (3, "mac"),
        (3, "os_type"),
        (3, "hostname"),
        (3, "tags"),
        (4, ""),
        (4, "sn"),
        (4, "mac"),
    ]
    told = {one.column: one.reason.message for one in table.problems if one.number == 3}
    assert "multicast" in told["mac"]
    assert "Ubuntu 22.04" in told["os_type"]
    assert "line 2" in table.problems[-1].reason.message


def test_one_serial_may_be_in_two_data_centres():
    rows = "dc1,SN1,00:00:00:00:00:01,Debian 12,,,,\ndc2,SN1,00:00:00:00:00:02,Debian 12,,,,\n"
    assert parse_table(HEAD + rows).problems == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("\n# only this\n", "empty"),
        ("sn,mac\nSN1,00:00:00:00:00:01\n", "column idc is missing"),
        ("idc,sn,mac,os_type,colour\n", "unknown column 'colour'"),
        ("idc,sn,sn,mac,os_type\n", "sn stands twice"),
        ('idc,sn,mac,os_type\n"dc1,SN1', "cannot be read"),
    ],
)
def test_a_heading_that_cannot_be_used_is_refused(text, said):
    with pytest.raises(Invalid, match=said):
        parse_table(text)


def test_a_table_has_an_end():
    with pytest.raises(TooLarge):
        parse_table(HEAD + "x\n" * (MAX_ROWS + 1))
    with pytest.raises(TooLarge):
        parse_table("x" * 2_000_000)


@given(st.text(max_size=300))
def test_nothing_that_is_pasted_breaks_it(text):
    for whole in (text, HEAD + text):
        try:
            table = parse_table(whole, "dc1")
        except OpsError:
            continue
        assert all(row.mac.count(":") == 5 for row in table.rows)
